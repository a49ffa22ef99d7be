"""scripts/bench as a whole, a few MiB, one run. $SLUICE_BUILD is where the programs are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from . import samples
from .test_report import problems

BENCH = samples.PROJECT / "scripts" / "bench"
BUILD = os.environ.get("SLUICE_BUILD", str(samples.PROJECT / "build" / "release"))
LIMIT_SECONDS = 240


def command(directory: str, *words: str) -> list[str]:
    return [str(BENCH), "--build-dir", BUILD, "--dir", directory, "--runs", "1", *words]


def bench(directory: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(directory, *words),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


class Bench(unittest.TestCase):
    def setUp(self) -> None:
        holder = TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp"))
        self.addCleanup(holder.cleanup)
        self.directory = holder.name
        self.outputs = TemporaryDirectory()
        self.addCleanup(self.outputs.cleanup)

    def measure(self, *words: str) -> tuple[dict[str, Any], str]:
        json_file, html = (Path(self.outputs.name, name) for name in ("out.json", "out.html"))
        done = bench(
            self.directory, *words, "--no-peers", "--json", str(json_file), "--html", str(html)
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(os.listdir(self.directory), [], "it left something behind")
        return json.loads(json_file.read_text()), html.read_text()

    def test_a_file_is_measured_in_all_modes_and_reported(self) -> None:
        value, html = self.measure("file", "--size", "3M")
        self.assertEqual(problems(html), [])
        cases = {case["name"]: case for case in value["suites"][0]["groups"][0]["cases"]}
        self.assertEqual({case["status"] for case in cases.values()}, {"ok"})
        for case in cases.values():
            (run,) = case["runs"]
            self.assertGreater(run["wall_seconds"], 0)
            self.assertGreater(run["sender"]["peak_memory_bytes"], 0)
        run = cases["sluice copy -> copy"]["runs"][0]
        self.assertEqual(run["sender"]["bytes_by_way"]["copied"], 3 << 20)
        self.assertEqual(run["receiver"]["bytes_by_way"]["copied"], 3 << 20)
        self.assertGreater(run["sender"]["system_calls"], 0)

    def test_a_sweep_over_a_tree_measures_every_combination(self) -> None:
        value, _ = self.measure("sweep", "--files", "50x4K", "--verify", "digest,none")
        (group,) = value["suites"][0]["groups"]
        self.assertEqual((group["work"]["files"], group["work"]["bytes"]), (50, 50 * 4096))
        names = [case["name"] for case in group["cases"]]
        self.assertEqual(names, ["cp -a", "verify digest", "verify none"])

    def test_every_level_of_security_is_measured_and_held_against_its_goal(self) -> None:
        tree = Path(self.outputs.name, "tree")
        tree.mkdir()
        (tree / "file").write_text("content")
        value, html = self.measure("security", "--quick", "--size", "3M", "--tree", str(tree))
        self.assertEqual(problems(html), [])
        for group in value["suites"][0]["groups"]:
            self.assertEqual([case["status"] for case in group["cases"]], 3 * ["ok"], group)
            (goal,) = group["goals"]
            self.assertEqual(goal["met"], goal["reached"] <= goal["factor"])
            self.assertIn(f"{goal['case']}: {goal['reached']:.2f} x the time of", html)

    def test_what_is_asked_for_is_read_before_anything_is_built(self) -> None:
        done = bench(self.directory, "fiel", "--build-dir", "/nowhere")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^bench: no suite 'fiel': there are [^\n]*\n$")

    def test_no_room_is_said_before_anything_is_made(self) -> None:
        done = bench(self.directory, "file", "--size", "900T")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^bench: .* free and .* are needed: give --dir [^\n]*\n$")
        self.assertEqual(os.listdir(self.directory), [])

    def test_what_was_measured_before_an_interruption_is_reported_as_incomplete(self) -> None:
        out = Path(self.outputs.name, "out.json")
        words = ("sweep", "--no-peers", "--size", "1M,256M", "--json", str(out))
        process = subprocess.Popen(
            command(self.directory, *words),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("making one file of 256 MiB"):  # the first group is through
                process.send_signal(signal.SIGINT)
                break
        said, _ = process.communicate(timeout=LIMIT_SECONDS)
        self.assertEqual(process.returncode, 130, said)
        self.assertIn("\nincomplete: suite 1 of 1 ended by SIGINT\n", said)
        value = json.loads(out.read_text())
        self.assertEqual(value["incomplete"], "suite 1 of 1 ended by SIGINT")
        (group,) = value["suites"][0]["groups"]
        self.assertEqual(group["work"]["bytes"], 1 << 20)
        self.assertEqual(os.listdir(self.directory), [])

    def test_an_interruption_leaves_nothing_behind(self) -> None:
        process = subprocess.Popen(
            command(self.directory, "file", "--size", "64M"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + LIMIT_SECONDS
        # As soon as the first target is there, something is running.
        while not list(Path(self.directory).glob("sluice-bench.*/target-*")):
            self.assertIsNone(process.poll())
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=LIMIT_SECONDS)
        self.assertEqual(process.returncode, 130, said)
        self.assertIn("bench: ended by SIGINT", said)
        self.assertEqual(os.listdir(self.directory), [])


if __name__ == "__main__":
    unittest.main()
