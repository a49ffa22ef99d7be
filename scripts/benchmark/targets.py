"""Where a run lands: a new directory each time, on a file system that no earlier run has worn.

A file is stored in a new directory, which is deleted afterwards. For trees that would distort the
next run: ext4 steps over the inodes that were deleted in the last half minute, which can make it
ten times as slow. So as root each tree gets an ext4 file system of its own, made anew in an image
that is mounted by a loop device; otherwise nothing is deleted before the end.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .model import Failure, Work
from .sources import remove
from .system import Cleanup
from .units import MIB, format_size

# Without noinit_itable a kernel thread would write inode tables during the measurement. With barriers
# every commit of the journal would sync the image to the disk below, and with it what the run before
# has left there: a copy took 2.6 to 7.3 s instead of 2.5.
MOUNT_OPTIONS = "noatime,noinit_itable,nobarrier"
_BLOCK_BYTES = 4096
_INODE_BYTES = 256
_UNMOUNT_LIMIT_SECONDS, _UNMOUNT_PAUSE_SECONDS = 10, 0.05


def image_bytes(work: Work) -> int:
    """Room for the work, rounded up to blocks, its directories, inodes, and a journal."""
    inodes = 2 * work.files + 20_000
    blocks = work.bytes + inodes * (_BLOCK_BYTES + _INODE_BYTES)
    return (blocks * 5 // 4 + 256 * MIB) // MIB * MIB


def _command(*words: str | Path) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Failure(f"{words[0]}: {error.strerror}") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise Failure(f"{words[0]}: {said[-1]}")


def _allocate(path: Path, size: int) -> None:
    """All blocks at once, so that the host's file system allocates none while we measure."""
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        path.unlink(missing_ok=True)  # what there was room for
        raise Failure(f"cannot allocate {format_size(size)}: {error.strerror}") from None


def _unmount(path: Path) -> None:
    """Tries for a while: a program that was killed may still be on its way out."""
    deadline = time.monotonic() + _UNMOUNT_LIMIT_SECONDS
    while os.path.ismount(path):
        try:
            _command("umount", path)
        except Failure:
            if time.monotonic() > deadline:
                raise
            time.sleep(_UNMOUNT_PAUSE_SECONDS)


class Targets:
    """Hands out fresh destinations below a directory."""

    def __init__(self, base: Path, cleanup: Cleanup) -> None:
        self._base = base
        self._cleanup = cleanup
        self._count = 0
        self._image = base / "target.ext4"
        self._image_bytes = 0
        self._loop_works: bool | None = None

    @contextmanager
    def fresh(self, work: Work) -> Iterator[Path]:
        """A new directory, which is gone afterwards, or, where that would distort, at the end."""
        self._count += 1
        path = self._base / f"target-{self._count}"
        path.mkdir()
        if work.kind != "tree" or work.discard:
            try:
                yield path
            finally:
                remove(path)
            return
        unmount = self._cleanup.add(lambda: _unmount(path))
        mounted = self._may_mount(work, path)
        try:
            yield path
        finally:
            self._cleanup.now(unmount)
            if mounted:
                path.rmdir()

    def describe(self, work: Work) -> str:
        if work.discard:
            return "nothing is stored"
        if work.kind == "tree" and self._loop_works:
            return f"a new ext4 per run (loop device, {MOUNT_OPTIONS})"
        return "a new directory per run"

    def _may_mount(self, work: Work, path: Path) -> bool:
        if os.geteuid() != 0 or self._loop_works is False:
            return False
        try:
            self._mount(work, path)
            self._loop_works = True
        except Failure:
            if self._loop_works:
                raise
            self._loop_works = False  # in a container, say
        return self._loop_works

    def _mount(self, work: Work, path: Path) -> None:
        size = image_bytes(work)
        if size > self._image_bytes:
            self._image_bytes = 0
            _allocate(self._image, size)
            self._image_bytes = size
        inodes = str(2 * work.files + 20_000)
        _command("mkfs.ext4", "-q", "-F", "-E", "nodiscard", "-N", inodes, self._image)
        _command("mount", "-o", f"loop,{MOUNT_OPTIONS}", self._image, path)
