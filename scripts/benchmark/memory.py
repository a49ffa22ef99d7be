"""The machine's memory, and that it is at hand.

The host of a virtual machine may take back what is free there (free page reporting, ballooning), and
then the first touch of a page waits for the host: 2 MiB took 5 ms where this was written, in place of
0.1. Half of what had been free for ten seconds was gone. Which pages a program is given nobody can say, so what
a run will need is touched just before it, and the rest can be held by a process of ours.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from .model import Failure
from .system import shield
from .units import GIB, MIB, format_size

# Beyond what a transfer itself fills: socket buffers, programs.
_WARM_EXTRA = 256 * MIB
# While memory is held: what stays free is for three times what a run stores (pages of the file
# system, of an image below it, and of sockets), and this.
_SPARE_BYTES, _SPARE_TIMES = 3 * GIB, 3
_RELEASE_LIMIT_SECONDS = 30


def memory(name: str) -> int:
    """A line of /proc/meminfo, in bytes."""
    match = re.search(rf"^{name}:\s*(\d+)", Path("/proc/meminfo").read_text(), re.M)
    return int(match[1]) * 1024 if match else 0


def is_virtual() -> bool:
    """Whether the processor says that it is a virtual machine's."""
    return (
        re.search(r"^flags\s*:.*\bhypervisor\b", Path("/proc/cpuinfo").read_text(), re.M)
        is not None
    )


class Memory:
    """Keeps memory at hand for runs, by "bare warm" and "bare hold"."""

    def __init__(self, bare: Path, hold: bool) -> None:
        self._bare = bare
        self._hold = hold
        self._holder: subprocess.Popen[str] | None = None

    def warm(self, bytes_stored: int) -> None:
        """Just before a run that stores so much; everything that is free, if the rest is held."""
        if self._holder and self._holder.poll() is not None:
            raise Failure("--hold-memory: the memory that was held had to be given up")
        free = memory("MemFree") * 9 // 10
        amount = free if self._holder else min(2 * bytes_stored + _WARM_EXTRA, free)
        subprocess.run([self._bare, "warm", str(amount)], check=False, stderr=subprocess.DEVNULL)

    def hold(self, bytes_stored: int) -> None:
        """If that is wanted: what runs that store so much do not need, in place of what is held."""
        self.release()
        spare = _SPARE_TIMES * bytes_stored + _SPARE_BYTES
        amount = memory("MemFree") * 9 // 10 - spare
        if not self._hold or amount <= 0:
            return
        with shield.raised():
            self._holder = holder = subprocess.Popen(
                [self._bare, "hold", str(amount), str(spare)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        assert holder.stdout is not None
        if holder.stdout.readline() != "holding\n":
            self.release()
            raise Failure(f"--hold-memory: cannot hold {format_size(amount)}")

    def release(self) -> None:
        """Nothing is held any more, and all of it is free."""
        if self._holder is not None:
            self._holder.kill()
            self._holder.communicate(timeout=_RELEASE_LIMIT_SECONDS)
            self._holder = None
