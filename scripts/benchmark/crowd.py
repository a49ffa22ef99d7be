"""Measurements of more than one push: many senders at a time, and a limited one, second by second."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass, replace

from .model import End, Failure, Run
from .peers import which
from .system import Gate, Usage
from .tools import Place, bill, read_summary, sender_command, sluice_run, start_receiver

_SECOND = 1.0


@dataclass(frozen=True)
class Sessions:
    """So many senders at once into one receiver; each has an equal part of the work.

    The time is that from when all may start, for what it takes the benchmark to start 256 commands
    is none of theirs, until the last has ended; `session_rates` are bytes per second of each."""

    count: int
    send: tuple[str, ...] = ()

    def missing(self, place: Place) -> str | None:
        programs = place.programs
        lacking = programs.lacks(programs.send, (*self.send, "--generate"))
        return lacking or programs.lacks(programs.receive, ("--discard",))

    def run(self, place: Place) -> Run:
        part = replace(place, work=replace(place.work, bytes=place.work.bytes // self.count))
        receiver = start_receiver(place, f"--max-sessions={max(self.count, 1)}")
        port = receiver.await_port()
        with Gate() as gate:
            senders = [
                place.sending(
                    f"send-{number}",
                    *sender_command(part, place.network.host, port, f"{number}", self.send),
                    gate=gate,
                )
                for number in range(self.count)
            ]
            started = time.monotonic()
        usages = [sender.wait(place.limit_seconds) for sender in senders]
        wall = time.monotonic() - started
        received = receiver.stop()
        summaries = [read_summary(sender) for sender in senders]
        sent, stored = _sum(usages), received.end
        for summary in summaries:
            _add(sent, summary["sender"])
            _add(stored, summary["receiver"])
        rates = [part.work.bytes / max(summary["seconds"], 1e-9) for summary in summaries]
        return Run(wall, sent, stored, {"session_rates": rates})


def _sum(usages: list[Usage]) -> End:
    """Of the senders; their peak memory is that of the largest."""
    ends = [usage.end for usage in usages]
    return End(
        cpu_seconds=sum(end.cpu_seconds or 0 for end in ends),
        peak_memory_bytes=max(end.peak_memory_bytes or 0 for end in ends),
        context_switches=sum(end.context_switches or 0 for end in ends),
    )


def _add(end: End, part: dict[str, object]) -> None:
    one = bill(End(), part)
    end.system_calls = (end.system_calls or 0) + (one.system_calls or 0)
    for way, count in one.bytes_by_way.items():
        end.bytes_by_way[way] = end.bytes_by_way.get(way, 0) + count


@dataclass(frozen=True)
class Limited:
    """sluice-send --bwlimit. `rates_per_second` are what the receiver's kernel got in each second
    (bytes received of all its connections, by ss(8)), the first and the last left out."""

    limit: str

    def missing(self, place: Place) -> str | None:
        programs = place.programs
        lacking = programs.lacks(programs.send, ("--bwlimit", "--generate"))
        lacking = lacking or programs.lacks(programs.receive, ("--discard",))
        return lacking or (None if which("ss") else "ss is not installed (package iproute2)")

    def run(self, place: Place) -> Run:
        receiver = start_receiver(place, "--once")
        port = receiver.await_port()
        options = (f"--bwlimit={self.limit}",)
        sender = place.sending(
            "send", *sender_command(place, place.network.host, port, "limited", options)
        )
        marks: list[tuple[float, int]] = []
        deadline = time.monotonic() + place.limit_seconds
        due = time.monotonic() + _SECOND / 2
        while sender.running and time.monotonic() < deadline:
            if time.monotonic() >= due:
                due += _SECOND
                received = _received(port)
                if received > 0:
                    marks.append((time.monotonic(), received))
            time.sleep(0.002)
        sent = sender.wait(max(0.0, deadline - time.monotonic()))
        done = receiver.wait(place.limit_seconds)
        run = sluice_run(sent, done, read_summary(sender))
        run.series["rates_per_second"] = [
            (after[1] - before[1]) / (after[0] - before[0])
            for before, after in zip(marks, marks[1:])
            if after[1] > before[1]
        ]
        return run


def _received(port: int) -> int:
    """By all connections to that port together, so far."""
    done = subprocess.run(
        [which("ss") or "ss", "-tinH", "state", "established", f"( sport = :{port} )"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Failure(f"ss: {done.stderr.strip()}")
    return sum(int(count) for count in re.findall(r"\bbytes_received:(\d+)", done.stdout))
