"""sluice itself, and the plain programs it is compared with."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from .lab import LOOPBACK, Network
from .model import End, Failure, Run, Tool, Work
from .system import Gate, Processes, Timed, Usage

# Members of "bytes" in sluice's summary, by what they mean in a report.
_WAYS = {
    "sendfile": "zero-copy",
    "splice": "zero-copy",
    "copied": "copied",
    "inline": "inline",
    "zstd": "compressed",
}


@dataclass(frozen=True)
class Programs:
    """What was built, and which options it has."""

    build: Path

    @property
    def send(self) -> Path:
        return self.build / "sender" / "sluice-send"

    @property
    def receive(self) -> Path:
        return self.build / "receiver" / "sluice-recv"

    @property
    def bare(self) -> Path:
        return self.build / "tests" / "bare" / "bare"

    @property
    def emulator(self) -> Path:
        return self.build / "tests" / "link" / "link"

    @cached_property
    def _help(self) -> dict[str, str]:
        return {
            program.name: subprocess.run(
                [program, "--help"], capture_output=True, text=True, check=False
            ).stdout
            for program in (self.send, self.receive)
        }

    def lacks(self, program: Path, options: tuple[str, ...]) -> str | None:
        """The first of the options, written as --name or --name=value, that it does not have."""
        for option in options:
            name, _, value = option.partition("=")
            match = re.search(
                rf"^ +(?:-\w, )?{name}\b.*?(?=^ +-|^$)", self._help[program.name], re.M | re.S
            )
            if not match or (value == "auto" and "auto" not in match[0]):
                return f"this {program.name} has no {option if match else name}"
        return None


@dataclass
class Place:
    """Everything that a tool needs for one run. The target does not exist yet, its directory does;
    `scratch` is a directory for what a tool writes down, shared by all runs."""

    programs: Programs
    processes: Processes
    work: Work
    source: Path | None
    target: Path
    scratch: Path
    limit_seconds: float
    network: Network = LOOPBACK

    def sending(self, name: str, *argv: str | Path, gate: Gate | None = None) -> Timed:
        return self.processes.start(argv, self.scratch / name, self.network.near, gate)

    def receiving(self, name: str, *argv: str | Path) -> Timed:
        return self.processes.start(argv, self.scratch / name, self.network.far)

    def payload(self) -> Path:
        """The source of something that is not made up."""
        assert self.source is not None
        return self.source


def ways(counts: dict[str, int]) -> dict[str, int]:
    """The bytes of a summary, by what they mean."""
    result: dict[str, int] = {}
    for name, count in counts.items():
        way = _WAYS.get(name, name)
        result[way] = result.get(way, 0) + count
    return result


def read_summary(sender: Timed) -> dict[str, Any]:
    """The last event of sluice-send --json."""
    lines = sender.out.read_text(errors="replace").splitlines()
    summary: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    if summary.get("event") != "summary":
        raise Failure("sluice-send: no summary was printed")
    return summary


def bill(end: End, part: dict[str, Any]) -> End:
    """Adds to what the kernel knows of an end what sluice knows of it."""
    end.system_calls = part["system_calls"]
    end.bytes_by_way = ways(part["bytes"])
    return end


LEVELS = ("none", "signed", "tls")


@dataclass(frozen=True)
class Security:
    """How what is sent is protected: one of LEVELS."""

    level: str = "none"
    key_file: Path | None = None  # of a receiver elsewhere; None: a key made for this benchmark

    def missing(self, programs: Programs, program: Path) -> str | None:
        needed = () if self.level == "none" else ("--key-file", "--security")
        return programs.lacks(program, needed)

    def options(self, place: Place, program: Path) -> list[str]:
        """The same for both ends."""
        if self.level != "none":
            return [f"--key-file={self.key_file or _own_key(place)}", f"--security={self.level}"]
        # Without a key nothing else is needed on loopback; senders of old knew no such rule.
        outside = place.network.host != LOOPBACK.host
        knows = outside and place.programs.lacks(program, ("--insecure",)) is None
        return ["--insecure"] if knows else []


def _own_key(place: Place) -> Path:
    """Both ends may read the same file. It is made at its first use."""
    path = place.scratch / "key"
    if not path.exists():
        command: list[str | Path] = [place.programs.receive, "--generate-key", path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise Failure(f"sluice-recv --generate-key: {said[-1]}")
    return path


IN_CLEAR = Security()


@dataclass(frozen=True)
class Sluice:
    """sluice-send into a sluice-recv of its own, or into one that runs elsewhere."""

    send: tuple[str, ...] = ()  # as --name or --name=value
    receive: tuple[str, ...] = ()
    remote: tuple[str, int] | None = None  # host, port
    made_up: bool = False  # made-up bytes although there is a source
    security: Security = IN_CLEAR

    def missing(self, place: Place) -> str | None:
        programs, security = place.programs, self.security
        made_up = self.made_up or place.work.kind == "generate"
        send = self.send + (("--generate",) if made_up else ())
        receive = self.receive + (("--discard",) if place.work.discard else ())
        lacking = programs.lacks(programs.send, send) or security.missing(programs, programs.send)
        if lacking or self.remote:
            return lacking
        lacking = programs.lacks(programs.receive, receive)
        return lacking or security.missing(programs, programs.receive)

    def run(self, place: Place) -> Run:
        if self.made_up:
            place = replace(place, work=replace(place.work, kind="generate"))
        receiver = None
        if self.remote:
            host, port = self.remote
            if ":" in host:
                host = f"[{host}]"
        else:
            receiver = start_receiver(place, "--once", *self.receive, security=self.security)
            host, port = place.network.host, receiver.await_port()
        name = place.target.name
        if self.remote:
            name = f"{place.target.parent.parent.name}-{place.target.parent.name}"
        command = sender_command(place, host, port, name, self.send, self.security)
        sender = place.sending("send", *command)
        sent = sender.wait(place.limit_seconds)
        received = receiver.wait(place.limit_seconds) if receiver else None
        run = sluice_run(sent, received, read_summary(sender))
        run.stored = not self.remote
        return run


def start_receiver(place: Place, *options: str, security: Security = IN_CLEAR) -> Timed:
    """A sluice-recv on a free port of the receiving end."""
    words = [*options, *security.options(place, place.programs.receive)]
    if place.network.host != LOOPBACK.host:
        words += ["--listen", place.network.host]
    if place.work.discard:
        words.append("--discard")
    return place.receiving(
        "receive", place.programs.receive, "--json", "--port=0", *words, place.target.parent
    )


def sender_command(
    place: Place,
    host: str,
    port: int,
    name: str,
    options: tuple[str, ...],
    security: Security = IN_CLEAR,
) -> list[str | Path]:
    """What pushes the work to HOST:NAME."""
    command: list[str | Path] = [place.programs.send, "--json", f"--port={port}", *options]
    command += security.options(place, place.programs.send)
    if place.work.kind == "generate":
        command.append(f"--generate={place.work.bytes}")
    else:
        # The contents of a tree, so that it gets exactly that name.
        slash = "/" if place.work.kind == "tree" else ""
        command.append(f"{place.payload()}{slash}")
    return [*command, f"{host}:{name}"]


def sluice_run(sent: Usage, received: Usage | None, summary: dict[str, Any]) -> Run:
    """What both ends cost; of a receiver elsewhere what it said itself."""
    there = summary["receiver"]
    if received:
        receiver = received.end
    else:
        receiver = End(cpu_seconds=there["cpu_seconds"], context_switches=there["context_switches"])
    return Run(sent.seconds, bill(sent.end, summary["sender"]), bill(receiver, there))


@dataclass(frozen=True)
class Bare:
    """tests/bare: plain system calls over loopback, no framing, nothing verified."""

    out: str = "sendfile"
    into: str = "splice"

    def missing(self, place: Place) -> str | None:
        return None if place.network is LOOPBACK else "bare knows loopback only"

    def run(self, place: Place) -> Run:
        bare = place.programs.bare
        target = Path("/dev/null") if place.work.discard else place.target
        receiver = place.receiving("receive", bare, "recv", "--path", self.into, target)
        port = receiver.await_port()
        sender = place.sending("send", bare, "send", "--path", self.out, place.payload(), str(port))
        sent = sender.wait(place.limit_seconds)
        return Run(sent.seconds, sent.end, receiver.wait(place.limit_seconds).end)


@dataclass(frozen=True)
class Local:
    """One program without a network. SOURCE and TARGET stand for what they say."""

    argv: tuple[str, ...]
    stores: bool = True

    def missing(self, place: Place) -> str | None:
        return None if shutil.which(self.argv[0]) else f"{self.argv[0]} is not installed"

    def run(self, place: Place) -> Run:
        names = {"SOURCE": str(place.source), "TARGET": str(place.target)}
        words = [
            re.sub("SOURCE|TARGET", lambda match: names[str(match[0])], word) for word in self.argv
        ]
        done = place.sending("send", *words).wait(place.limit_seconds)
        return Run(done.seconds, done.end, stored=self.stores)


CP = Local(("cp", "SOURCE", "TARGET"))
CP_TREE = Local(("cp", "-a", "SOURCE", "TARGET"))
READ = Local(("dd", "if=SOURCE", "of=/dev/null", "bs=1M", "status=none"), stores=False)


@dataclass(frozen=True)
class Synced:
    """Another tool, and then sync(1) of the file, which belongs to the time."""

    tool: Tool

    def missing(self, place: Place) -> str | None:
        return self.tool.missing(place)

    def run(self, place: Place) -> Run:
        run = self.tool.run(place)
        synced = place.receiving("sync", "sync", place.target).wait(place.limit_seconds)
        run.wall_seconds += synced.seconds
        if run.sender.cpu_seconds is not None and synced.end.cpu_seconds is not None:
            run.sender.cpu_seconds += synced.end.cpu_seconds
        return run
