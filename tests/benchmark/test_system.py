"""What a run rests on: where it lands, and commands that undo what they have begun."""

from __future__ import annotations

import errno
import os
import subprocess
import time
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from . import samples  # first, for it makes the modules known
from benchmark import sources, system, targets
from benchmark.model import Failure, Work

BUILD = Path(os.environ.get("SLUICE_BUILD", samples.PROJECT / "build" / "release"))
BARE = BUILD / "tests" / "bare" / "bare"


class System(unittest.TestCase):
    def setUp(self) -> None:
        holder = TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.directory = Path(holder.name)

    def test_a_tree_lands_in_a_directory_where_no_image_can_be_allocated(self) -> None:
        work = Work("tree", 10, 1 << 20)
        for number in (errno.EOPNOTSUPP, errno.ENOSPC):
            base = self.directory / str(number)
            base.mkdir()
            handed_out = targets.Targets(base, system.Cleanup())
            fails = mock.patch("os.posix_fallocate", side_effect=OSError(number, "no"))
            with fails, mock.patch("os.geteuid", return_value=0), handed_out.fresh(work) as path:
                self.assertFalse(os.path.ismount(path))
                self.assertEqual(os.listdir(base), [path.name], "part of the image is left")
            self.assertEqual(handed_out.describe(work), "a new directory per run")

    def test_commands_that_wait_at_a_gate_start_when_it_opens(self) -> None:
        said = [self.directory / f"said-{number}" for number in range(2)]
        processes = system.Processes(BARE)
        self.addCleanup(processes.kill_all)
        with system.Gate() as gate:
            started = [
                processes.start(["touch", path], self.directory / f"touch-{number}", gate=gate)
                for number, path in enumerate(said)
            ]
            time.sleep(0.2)  # what must not happen would happen now
            self.assertFalse(any(path.exists() for path in said))
        for process in started:
            process.wait(10)
        self.assertTrue(all(path.exists() for path in said))

    def test_what_could_not_be_undone_ahead_of_time_is_undone_at_the_end(self) -> None:
        outcomes = [Failure("busy"), None]

        def undo() -> None:
            outcome = outcomes.pop(0)
            if outcome:
                raise outcome

        cleanup = system.Cleanup()
        cleanup.add(undo)
        with self.assertRaisesRegex(Failure, "busy"):
            cleanup.now(undo)
        ignored = mock.patch("signal.signal")  # the signals of the test stay what they are
        with ignored:
            self.assertEqual(cleanup.run(), [])
        self.assertEqual(outcomes, [])

    def test_a_target_that_is_busy_is_unmounted_as_soon_as_it_is_not(self) -> None:
        busy = [Failure("busy"), Failure("busy"), None]
        command = mock.patch.object(targets, "_command", side_effect=busy)
        mounted = mock.patch("os.path.ismount", side_effect=[True, True, True, False])
        with command as umount, mounted, mock.patch("time.sleep"):
            targets._unmount(self.directory)
        self.assertEqual(umount.call_count, 3)

    def test_a_command_that_takes_too_long_may_undo_what_it_began(self) -> None:
        begun, undone = self.directory / "begun", self.directory / "undone"
        script = f"trap 'rm {begun}; touch {undone}; exit 1' TERM; touch {begun}; "
        # Not one long command: a shell looks at its traps before a command and after it.
        script += "while :; do sleep 0.02; done"

        def take_too_long(**_: object) -> None:
            while not begun.exists():
                time.sleep(0.01)
            raise subprocess.TimeoutExpired("bash", 1.0)

        slow = mock.patch("subprocess.Popen.communicate", side_effect=take_too_long)
        with slow, self.assertRaises(subprocess.TimeoutExpired):
            system.run_gently(["bash", "-c", script], 1.0, os.environ)
        self.assertFalse(begun.exists())
        self.assertTrue(undone.exists())

    def test_what_a_command_said_and_how_it_ended_is_returned(self) -> None:
        done = system.run_gently(["sh", "-c", "echo $X; echo no >&2; exit 3"], 60, {"X": "yes"})
        self.assertEqual((done.returncode, done.stdout, done.stderr), (3, "yes\n", "no\n"))

    def test_a_file_system_that_cannot_be_written_back_is_named(self) -> None:
        sources.settle(self.directory)
        with self.assertRaisesRegex(Failure, "cannot write back /nowhere: "):
            sources.settle(Path("/nowhere"))


if __name__ == "__main__":
    unittest.main()
