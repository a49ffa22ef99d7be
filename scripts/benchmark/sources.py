"""What is sent: made once, kept while it is needed, put into the page cache or out of it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from .model import Failure, Work
from .units import MIB

_PIECE_BYTES = MIB
# Longer than what zstd sees at a time in a transfer (128 KiB), so repeating it gains nothing.
_TEXT_BYTES = 8 * MIB
_FILES_PER_DIRECTORY = 1000
_SEED = 7722  # the same bytes each time


def _text() -> bytes:
    """Words of a made-up language, as often as words are (Zipf): zstd makes a third of it."""
    chance = random.Random(_SEED)
    letters = "etaoinshrdlucmfwypvbgk"
    words = [
        "".join(chance.choices(letters, k=chance.randint(2, 10))).encode() for _ in range(8192)
    ]
    weights = [1 / (rank + 2) for rank in range(len(words))]
    pieces: list[bytes] = []
    size = 0
    while size < _TEXT_BYTES:
        line = b" ".join(chance.choices(words, weights, k=12)) + b"\n"
        pieces.append(line)
        size += len(line)
    return b"".join(pieces)[:_TEXT_BYTES]


def _random_pieces(chance: random.Random) -> Iterator[bytes]:
    while True:
        yield chance.randbytes(_PIECE_BYTES)


def _text_pieces() -> Iterator[bytes]:
    text = _text()
    while True:
        for offset in range(0, len(text), _PIECE_BYTES):
            yield text[offset : offset + _PIECE_BYTES]


def write_file(path: Path, size: int, pieces: Iterator[bytes]) -> None:
    """Exactly size bytes."""
    with path.open("wb") as file:
        left = size
        while left > 0:
            left -= file.write(memoryview(next(pieces))[:left])


def write_tree(path: Path, files: int, total: int, pieces: Iterator[bytes]) -> None:
    """Files of about the same size, together total bytes; small ones differ by up to a half."""
    chance = random.Random(_SEED)
    path.mkdir()
    each = total // max(files, 1)
    small = each <= _PIECE_BYTES // 2
    block, offset, left = b"", 0, total
    for number in range(files):
        if number % _FILES_PER_DIRECTORY == 0:
            directory = path / f"{number // _FILES_PER_DIRECTORY:04}"
            directory.mkdir()
        name = directory / f"file-{number:06}"
        if not small:
            write_file(name, each, pieces)
            continue
        size = each if each <= 4096 else chance.randint(each // 2, each + each // 2)
        if number == files - 1 and left > 0:
            size = min(left, _PIECE_BYTES)  # what chance left over
        size = min(size, left)
        left -= size
        if offset + size > len(block):
            block, offset = next(pieces), 0
        name.write_bytes(block[offset : offset + size])
        offset += size


def each_file(path: Path) -> Iterator[Path]:
    """All regular files."""
    if path.is_file():
        yield path
        return
    for directory, _names, names in os.walk(path):
        for name in names:
            file = Path(directory, name)
            if file.is_file() and not file.is_symlink():
                yield file


def settle(directory: Path) -> None:
    """Writes back whatever waits for it on the file system of the directory, so that this falls into
    no measurement."""
    done = subprocess.run(["sync", "-f", directory], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"cannot write back {directory}: {done.stderr.strip()}")


def heat(path: Path) -> None:
    """Reads everything, so that the page cache holds it."""
    buffer = bytearray(_PIECE_BYTES)
    for file in each_file(path):
        with file.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass


def chill(path: Path) -> None:
    """Puts everything out of the page cache, and nothing else: it must be on the disk already."""
    for file in each_file(path):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure_tree(tree: Path) -> tuple[int, int]:
    """Regular files, and their bytes."""
    files = total = 0
    for file in each_file(tree):
        files += 1
        total += file.stat().st_size
    return files, total


class Sources:
    """Makes sources below a directory when they are first asked for."""

    def __init__(self, base: Path, say: Callable[[str], None]) -> None:
        self._base = base
        self._say = say
        self._made: dict[Work, Path] = {}
        self._count = 0

    def get(self, work: Work) -> Path | None:
        """None for made-up bytes, which the sender makes itself."""
        if work.kind == "generate":
            return None
        if work not in self._made:
            self._say(f"making {work.describe()} ...")
            self._count += 1
            path = self._base / f"source-{self._count}"
            self._make(work, path)
            settle(self._base)
            self._made[work] = path
        return self._made[work]

    def drop(self, work: Work) -> None:
        """Deletes a single file that is not needed any more, and leaves trees: where many inodes
        were just deleted, ext4 is slow to make new ones, and the next measurement would suffer."""
        if work.kind == "file" and work in self._made:
            self._made.pop(work).unlink()

    def _make(self, work: Work, path: Path) -> None:
        if work.tree is not None:
            # cp complains about what it may not read and goes on, which is all right here.
            subprocess.run(["cp", "-a", work.tree, path], stderr=subprocess.DEVNULL, check=False)
            if not path.is_dir():
                raise Failure(f"cannot copy {work.tree}")
            return
        pieces = _text_pieces() if work.content == "text" else _random_pieces(random.Random(_SEED))
        if work.kind == "file":
            write_file(path, work.bytes, pieces)
        else:
            write_tree(path, work.files, work.bytes, pieces)


def remove(path: Path) -> None:
    """Also what is read-only, as received directories may be."""

    def again(_function: object, name: str, _error: object) -> None:
        parent = os.path.dirname(name)
        os.chmod(parent, 0o700)
        if os.path.isdir(name) and not os.path.islink(name):
            os.chmod(name, 0o700)
            shutil.rmtree(name)
        else:
            os.unlink(name)

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=again)
    else:
        path.unlink(missing_ok=True)
