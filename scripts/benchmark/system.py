"""Processes under the clock, ports, and cleaning up whatever happens.

Every program runs under "bare time", which reports what the kernel knows of it and of those of its
children that it waited for. Not under Python: a child's peak memory would begin at Python's.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from .model import End, Failure

_START_LIMIT_SECONDS = 10.0
_STOP_LIMIT_SECONDS = 10.0
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.002
_TCP_LISTEN = "0A"  # include/net/tcp_states.h


class Interrupted(Exception):
    """A signal that asks to end came."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class _Shield:
    """Holds an interruption back while something is begun that is not yet noted for cleaning up.
    Not by blocking signals: a program that is started would inherit that."""

    def __init__(self) -> None:
        self._raised = False
        self._held: int | None = None

    def signalled(self, number: int, _frame: FrameType | None) -> None:
        if not self._raised:
            raise Interrupted(number)
        self._held = number

    @contextmanager
    def raised(self) -> Iterator[None]:
        self._raised = True
        try:
            yield
        finally:
            self._raised = False
            held, self._held = self._held, None
            if held is not None:
                raise Interrupted(held)


shield = _Shield()


def raise_on_signals() -> None:
    """From here on SIGINT, SIGTERM and SIGHUP raise Interrupted, so that everything is undone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, shield.signalled)


class Cleanup:
    """What has to be undone at the end, last first, even if some of it fails."""

    def __init__(self) -> None:
        self._actions: list[Callable[[], None]] = []

    def add(self, action: Callable[[], None]) -> Callable[[], None]:
        self._actions.append(action)
        return action

    def now(self, action: Callable[[], None]) -> None:
        """Undoes one of them ahead of time; what fails is tried again at the end."""
        action()
        if action in self._actions:
            self._actions.remove(action)

    def run(self) -> list[str]:
        """Returns what failed. A further signal does not stop it half-way."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        problems = []
        while self._actions:
            try:
                self._actions.pop()()
            except (OSError, subprocess.SubprocessError, Failure) as error:
                problems.append(str(error))
        return problems


@dataclass(frozen=True)
class Usage:
    """What "bare time" reports of a command."""

    exit_code: int
    seconds: float
    end: End


class Gate:
    """What many commands wait for, to start at the same time. Opens at the end of its block."""

    def __enter__(self) -> Gate:
        self.waiting, self._held = os.pipe()  # not inherited, but as standard input
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._held)
        os.close(self.waiting)


class Timed:
    """A command under the clock, in a process group of its own."""

    def __init__(
        self,
        bare: Path,
        argv: Sequence[str | Path],
        files: Path,
        at: Sequence[str],
        gate: Gate | None = None,
    ):
        """Output goes to FILES.out and FILES.err; `at` is put before the whole command. The command
        and its clock start when `gate` opens, if there is one."""
        self.name = os.path.basename(str(argv[0]))
        self.out, self.err = files.with_suffix(".out"), files.with_suffix(".err")
        self._usage = files.with_suffix(".usage")
        self._usage.unlink(missing_ok=True)
        hold = ["--hold"] if gate else []
        command = [*at, str(bare), "time", "--output", str(self._usage), *hold, "--"]
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self._process = subprocess.Popen(
                command + [str(word) for word in argv],
                stdin=gate.waiting if gate else subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """At once, with everything that it started in its group."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def _await_end(self, seconds: float) -> bool:
        if not self.running:
            return True
        # Popen.wait() with a time limit polls, at intervals that would show in the figures.
        descriptor = os.pidfd_open(self.pid)
        try:
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            return bool(poller.poll(max(0.0, seconds) * 1000))
        finally:
            os.close(descriptor)

    def wait(self, seconds: float, expect: tuple[int, ...] = (0,)) -> Usage:
        """Until it ends. Raises Failure if that takes too long or its exit code is another."""
        if not self._await_end(seconds):
            self.kill()
            raise Failure(f"{self.name}: not done after {seconds:.0f} s: {self.complaint()}")
        self._process.wait()
        try:
            values = json.loads(self._usage.read_text())
        except (OSError, ValueError):
            raise Failure(f"{self.name}: {self.complaint()}") from None
        usage = Usage(
            values["exit_code"],
            values["seconds"],
            End(
                cpu_seconds=values["cpu_seconds"],
                peak_memory_bytes=values["max_rss_kib"] * 1024,
                context_switches=values["context_switches"],
            ),
        )
        if usage.exit_code not in expect:
            raise Failure(f"{self.name}: exit code {usage.exit_code}: {self.complaint()}")
        return usage

    def command_pids(self) -> list[int]:
        """Of the command itself, not of the clock."""
        return children_of(self.pid)

    def stop(self) -> Usage:
        """Ends a server with SIGTERM, once it has no more children, so that they are counted."""
        deadline = time.monotonic() + _STOP_LIMIT_SECONDS
        for pid in self.command_pids():
            while children_of(pid) and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
            os.kill(pid, signal.SIGTERM)
        # What a server that was asked to end exits with is its own affair.
        return self.wait(_STOP_LIMIT_SECONDS, tuple(range(256)))

    def complaint(self) -> str:
        """The last that it said, as one line: some name the cause first, others last."""
        lines = self.err.read_text(errors="replace").split("\n") if self.err.exists() else []
        said = [line.strip() for line in lines if line.strip()]
        said = [line for line in said if not line.startswith("listening on ")]
        return "; ".join(said[-3:])[:300] if said else "it said nothing"

    def _await_start(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _START_LIMIT_SECONDS
        while not ready():
            if not self.running:
                raise Failure(f"{self.name}: did not start: {self.complaint()}")
            if time.monotonic() > deadline:
                raise Failure(f"{self.name}: {what} after {_START_LIMIT_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)

    def await_port(self) -> int:
        """Of a program that says "listening on ADDRESS:PORT"."""
        found: list[int] = []

        def ready() -> bool:
            match = re.search(r"^listening on .*?:(\d+)\b[^:\n]*$", self.err.read_text(), re.M)
            if match:
                found.append(int(match[1]))
            return bool(match)

        self._await_start(ready, "did not say where it listens")
        return found[0]

    def await_listener(self, port: int) -> None:
        """Of a program that says nothing. To connect would be the only connection of some."""

        def ready() -> bool:
            for table in ("tcp", "tcp6"):
                try:
                    lines = Path(f"/proc/{self.pid}/net/{table}").read_text().splitlines()[1:]
                except OSError:
                    continue
                for line in lines:
                    fields = line.split()
                    if fields[3] == _TCP_LISTEN and int(fields[1].split(":")[1], 16) == port:
                        return True
            return False

        self._await_start(ready, f"nobody listens on port {port}")


def children_of(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


class Processes:
    """Starts commands and sees to it that none outlives its run."""

    def __init__(self, bare: Path) -> None:
        self._bare = bare
        self._started: list[Timed] = []

    def start(
        self,
        argv: Sequence[str | Path],
        files: Path,
        at: Sequence[str] = (),
        gate: Gate | None = None,
    ) -> Timed:
        with shield.raised():
            try:
                process = Timed(self._bare, argv, files, at, gate)
            except OSError as error:
                raise Failure(f"{argv[0]}: {error.strerror}") from None
            self._started.append(process)
        return process

    def kill_all(self) -> None:
        while self._started:
            self._started[-1].kill()
            self._started.pop()


def run_gently(
    argv: Sequence[str], limit_seconds: float, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Of a command that undoes on SIGTERM what it has begun: it gets that, and some time, where it
    is interrupted or takes too long. Raises subprocess.TimeoutExpired."""
    process: subprocess.Popen[str] | None = None
    try:
        with shield.raised():
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
        out, err = process.communicate(timeout=limit_seconds)
        return subprocess.CompletedProcess(argv, process.returncode, out, err)
    finally:
        if process is not None and process.poll() is None:
            with shield.raised():
                _end_gently(process)


def _end_gently(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
    with process:  # waits, and closes the pipes
        pass


def free_port(host: str) -> int:
    """That nobody listens on at the moment, for programs that cannot say which one they took."""
    with socket.socket() as probe:
        try:
            probe.bind((host, 0))
        except OSError:  # an address of another network namespace
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
