"""The command line: what is chosen, and what is refused in one line."""

from __future__ import annotations

import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

from . import samples
from benchmark import cli, runner, suites, sweep
from benchmark.model import Group, Suite, Work
from benchmark.tools import Programs, Sluice
from benchmark.units import UnitError


def chosen(*words: str) -> list[Suite]:
    return cli.choose(cli.parser().parse_args(words))


class Choice(unittest.TestCase):
    def test_one_file_unless_something_else_is_named(self) -> None:
        self.assertEqual([suite.name for suite in chosen()], ["file"])
        self.assertEqual([suite.name for suite in chosen("--quick")], list(suites.REPRESENTATIVE))

    def test_every_suite_has_cases_with_names_of_their_own_and_its_reference(self) -> None:
        with TemporaryDirectory() as tree:
            Path(tree, "file").write_text("something")
            for suite in chosen("all", "--tree", tree):
                self.assertTrue(suites.explain(suite.name))
                for group in suite.groups:
                    names = [case.name for case in group.cases]
                    self.assertEqual(len(names), len(set(names)), suite.name)
                    self.assertIn(group.reference, ["", *names])
                    self.assertEqual(sum(case.headline for case in group.cases), 1, suite.name)

    def test_what_does_not_fit_is_refused(self) -> None:
        for words, said in (
            (("fil",), "no suite 'fil'"),
            (("sweep", "file"), "sweep goes alone"),
            (("file", "--link", "1G"), "--link belongs to sweep"),
            (("tree", "--tree", "/nowhere"), "/nowhere is not a directory"),
        ):
            with self.assertRaisesRegex(cli.UsageError, said):
                chosen(*words)
        with self.assertRaisesRegex(UnitError, "'2Q' is not a size"):
            chosen("--size", "2Q")


class Sweep(unittest.TestCase):
    def test_it_is_the_product_of_its_lists(self) -> None:
        (suite,) = chosen(
            *("sweep", "--verify", "digest,none", "--streams", "1,2,4", "--size", "1M,2M"),
            *("--link", "100M,1G", "--no-peers"),
        )
        self.assertEqual(len(suite.groups), 4)
        names = [case.name for case in suite.groups[0].cases]
        self.assertEqual(len(names), 6)
        self.assertIn("verify none, -P 4", names)

    def test_the_options_reach_the_end_they_belong_to(self) -> None:
        (suite,) = chosen("sweep", "--receive-path", "copy", "--compress", "3", "--no-peers")
        tool = suite.groups[0].cases[-1].tool
        assert isinstance(tool, Sluice)
        self.assertEqual(tool.receive, ("--receive-path=copy",))
        self.assertEqual(tool.send, ("--compress=3",))

    def test_unknown_values_are_refused(self) -> None:
        for option, value in (("--send-path", "fast"), ("--streams", "x"), ("--files", "10")):
            with self.assertRaises(UnitError):
                chosen("sweep", option, value)

    def test_a_remote_receiver_has_a_host_and_a_port(self) -> None:
        self.assertEqual(sweep.parse_remote("server"), ("server", sweep.DEFAULT_PORT))
        self.assertEqual(sweep.parse_remote("[fd77::2]:9"), ("fd77::2", 9))
        for text in ("", "fd77::2", "a:b", "a:99999"):
            with self.assertRaises(UnitError):
                sweep.parse_remote(text)


class Plan(unittest.TestCase):
    def test_trees_need_room_for_each_run_where_nothing_can_be_mounted(self) -> None:
        work = Work("tree", 10, 10 << 20)
        suite = Suite("x", "x", [Group(work, [samples.case("a"), samples.case("b")])])
        mounted = runner.bytes_needed([suite], 100, True)
        kept = runner.bytes_needed([suite], 100, False)
        self.assertGreater(kept, 2 * 100 * work.bytes)
        self.assertLess(mounted, kept)

    def test_too_little_room_is_named_with_a_remedy(self) -> None:
        self.assertIsNone(runner.space_problem(5, 5, Path("/x")))
        said = runner.space_problem(1 << 20, 2 << 30, Path("/x"))
        self.assertEqual(
            said,
            "/x has 1 MiB free and 2 GiB are needed: give --dir another file system, "
            "or a smaller --size",
        )


class Lacks(unittest.TestCase):
    HELP = """\
 Sending options:
  -P, --streams N              parallel data connections (default: 2)
  -z, --compress [=LEVEL(=3)]  compress with zstd; auto decides
                               from what it measures
      --verify HOW             compare digests
"""

    def test_it_finds_options_and_auto_in_the_help(self) -> None:
        programs = Programs(Path("/nowhere"))
        programs.__dict__["_help"] = {"sluice-send": self.HELP}
        for options, lacking in (
            (("--verify=none", "--compress=auto"), None),
            (("--streams=auto",), "this sluice-send has no --streams=auto"),
            (("--generate",), "this sluice-send has no --generate"),
        ):
            self.assertEqual(programs.lacks(programs.send, options), lacking)


if __name__ == "__main__":
    unittest.main()
