"""Memory that is touched before runs, and held beside them."""

from __future__ import annotations

import os
import subprocess
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from . import samples  # first, for it makes the modules known
from benchmark import memory
from benchmark.model import Failure
from benchmark.units import GIB

BUILD = os.environ.get("SLUICE_BUILD", str(samples.PROJECT / "build" / "release"))

# Stands in for "bare": notes what it is told to do, and holds nothing.
_BARE = """#!/bin/sh
echo "$@" >> {notes}
[ "$1" != hold ] || {{ echo holding; cat; }}
"""


class HeldMemory(unittest.TestCase):
    def setUp(self) -> None:
        holder = TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.notes = Path(holder.name, "notes")
        self.bare = Path(holder.name, "bare")
        self.bare.write_text(_BARE.format(notes=self.notes))
        self.bare.chmod(0o755)
        free = mock.patch.object(memory, "memory", return_value=20 * GIB)
        free.start()
        self.addCleanup(free.stop)

    def asked(self) -> list[str]:
        return self.notes.read_text().split("\n")[:-1] if self.notes.exists() else []

    def test_only_what_a_run_stores_is_touched_unless_memory_is_held(self) -> None:
        plain = memory.Memory(self.bare, hold=False)
        plain.hold(GIB)
        plain.warm(GIB)
        self.assertEqual(self.asked(), [f"warm {2 * GIB + (256 << 20)}"])

    def test_what_runs_do_not_need_is_held_and_all_the_rest_is_touched(self) -> None:
        held = memory.Memory(self.bare, hold=True)
        held.hold(2 * GIB)
        held.warm(2 * GIB)
        held.hold(4 * GIB)  # in place of the first
        held.release()
        held.release()
        for_two, for_four = ((3 * stored + 3) * GIB for stored in (2, 4))
        self.assertEqual(
            self.asked(),
            [
                f"hold {18 * GIB - for_two} {for_two}",
                f"warm {20 * GIB * 9 // 10}",
                f"hold {18 * GIB - for_four} {for_four}",
            ],
        )

    def test_nothing_is_held_where_a_run_needs_all(self) -> None:
        held = memory.Memory(self.bare, hold=True)
        held.hold(6 * GIB)
        self.assertEqual(self.asked(), [])

    def test_the_real_program_holds_memory_until_its_input_ends(self) -> None:
        bare = Path(BUILD, "tests", "bare", "bare")
        with subprocess.Popen(
            [bare, "hold", str(8 << 20), str(1 << 20)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as holder:
            assert holder.stdin is not None and holder.stdout is not None
            self.assertEqual(holder.stdout.readline(), "holding\n")
            resident = Path(f"/proc/{holder.pid}/statm").read_text().split()[1]
            self.assertGreaterEqual(int(resident) * os.sysconf("SC_PAGESIZE"), 8 << 20)
            holder.stdin.close()
            self.assertEqual(holder.wait(10), 0)

    def test_memory_that_cannot_be_had_is_said(self) -> None:
        self.bare.write_text("#!/bin/sh\nexit 1\n")
        held = memory.Memory(self.bare, hold=True)
        with self.assertRaisesRegex(Failure, "--hold-memory: cannot hold 9 GiB"):
            held.hold(2 * GIB)


if __name__ == "__main__":
    unittest.main()
