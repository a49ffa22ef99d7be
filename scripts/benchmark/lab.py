"""The network between the two ends: loopback, a link of scripts/netlab, or a real one."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .model import Failure
from .system import Cleanup, run_gently
from .units import Link

NETLAB = Path(__file__).resolve().parent.parent / "netlab"
_FAR_ADDRESS = "10.77.0.2"
_LIMIT_SECONDS = 60


@dataclass(frozen=True)
class Network:
    """Where the ends run, and which address the receiving one has."""

    host: str = "127.0.0.1"
    near: tuple[str, ...] = ()  # put before a command that is to run at this end
    far: tuple[str, ...] = ()


LOOPBACK = Network()


def _netlab(emulator: Path, *words: str) -> str | None:
    """What it complains about. It finds the emulator in its environment."""
    if not os.access(NETLAB, os.X_OK):
        return "scripts/netlab is missing"
    try:
        environment = {**os.environ, "NETLAB_LINK": str(emulator)}
        done = run_gently([str(NETLAB), *words], _LIMIT_SECONDS, environment)
    except subprocess.TimeoutExpired:
        return f"scripts/netlab {words[0]}: not done after {_LIMIT_SECONDS} s"
    if done.returncode == 0:
        return None
    said = (done.stderr + done.stdout).strip().splitlines() or ["it said nothing"]
    return f"scripts/netlab {words[0]}: {said[-1]}"


class Lab:
    """At most one network at a time, taken down at the end at the latest."""

    def __init__(self, emulator: Path, cleanup: Cleanup) -> None:
        self._emulator = emulator
        self._cleanup = cleanup
        self._name = f"bench{os.getpid()}"
        self._missing: str | None = None
        self._asked = False

    def missing(self) -> str | None:
        """Why there cannot be one here."""
        if not self._asked:
            self._missing, self._asked = _netlab(self._emulator, "check"), True
        return self._missing

    def up(self, link: Link) -> Network:
        """Raises Failure. The caller hands `down` to Cleanup.now when it is done."""
        self._cleanup.add(self.down)
        problem = _netlab(self._emulator, "up", self._name, *link.options())
        if problem:
            self._cleanup.now(self.down)
            raise Failure(problem)

        def at(side: str) -> tuple[str, ...]:
            return (str(NETLAB), "exec", self._name, side, "--")

        return Network(_FAR_ADDRESS, at("near"), at("far"))

    def down(self) -> None:
        problem = _netlab(self._emulator, "down", self._name)
        if problem:
            raise Failure(problem)
