"""Goals: what they compare, how they are told, and that every suite's name what it measures."""

from __future__ import annotations

import unittest
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from . import samples  # first, for it makes the modules known
from .test_options import chosen
from benchmark import headline, table
from benchmark.model import BOUND, Bound, Goal, Group, GroupResult, to_json


class Goals(unittest.TestCase):
    """10^9 bytes: bare in 0.5 s, sluice in 1 s."""

    def group(self, *goals: Goal) -> GroupResult:
        group = samples.large_file()
        cases = group.group.cases
        return GroupResult(
            Group(group.group.work, cases, reference="bare", goals=goals), group.results
        )

    def test_time_and_speed_are_told_apart(self) -> None:
        for goal, reached, met in (
            (Goal("sluice", "bare", 2.0), 2.0, True),
            (Goal("sluice", "bare", 1.9), 2.0, False),
            (Goal("bare", "sluice", 2.0, faster=True), 2.0, True),
            (Goal("bare", "sluice", 2.1, faster=True), 2.0, False),
            (Goal("sluice", "scp", 3.0, faster=True), None, None),
        ):
            group = self.group(goal)
            self.assertEqual((group.reached(goal), group.met(goal)), (reached, met), goal)

    def test_a_bound_is_something_to_be_beside(self) -> None:
        group = self.group(Goal("sluice", BOUND, 0.9, faster=True), Goal("bare", BOUND, 1))
        self.assertEqual([group.reached(goal) for goal in group.group.goals], [None, None])
        group.group = replace(group.group, bound=Bound(0.8, "what the link allows"))
        slow, fast = group.group.goals
        self.assertEqual((group.reached(slow), group.met(slow)), (0.8, False))
        self.assertEqual((group.reached(fast), group.met(fast)), (0.625, True))
        self.assertIn(
            "sluice: 0.80 x as fast as the bound (goal: >= 0.9, missed)",
            [line.strip() for line in table.render(group, "bytes")],
        )

    def test_they_are_said_under_the_table_and_in_the_summary(self) -> None:
        group = self.group(Goal("sluice", "bare", 1.15), Goal("bare", "scp", 3.0, faster=True))
        lines = [line.strip() for line in table.render(group, "bytes")[-2:]]
        self.assertEqual(
            lines,
            [
                "sluice: 2.00 x the time of bare (goal: <= 1.15, missed)",
                "bare: not measured beside scp (goal: >= 3)",
            ],
        )
        said = "sluice: 1.00 GB/s; 2.00 x the time of bare (goal: <= 1.15, missed); " + lines[1]
        self.assertEqual(headline.sentence(group, "bytes"), said)

    def test_a_faster_peer_that_no_goal_names_is_named_all_the_same(self) -> None:
        group = self.group(Goal("sluice", "slow", 1.0, faster=True))
        group.results[2] = samples.result("slow", [2.0], "peer")
        self.assertNotIn("fastest peer", headline.sentence(group, "bytes"))
        group.results[3] = samples.result("socat", [0.8], "peer")
        self.assertIn("the fastest peer (socat)", headline.sentence(group, "bytes"))

    def test_they_are_in_the_json(self) -> None:
        goal = Goal("bare", "sluice", 3.0, faster=True)
        report = samples.report()
        report.suites[0].groups = [self.group(goal)]
        (said,) = to_json(report)["suites"][0]["groups"][0]["goals"]
        self.assertEqual(
            said,
            {
                **{"case": "bare", "beside": "sluice", "factor": 3.0, "faster": True},
                **{"reached": 2.0, "met": False},
            },
        )


class OfSuites(unittest.TestCase):
    def groups(self, *words: str) -> dict[str, list[Group]]:
        with TemporaryDirectory() as tree:
            Path(tree, "file").write_text("something")
            return {suite.name: suite.groups for suite in chosen("all", "--tree", tree, *words)}

    def test_they_name_cases_of_their_group(self) -> None:
        for words in ((), ("--no-peers",), ("--quick",)):
            for name, groups in self.groups(*words).items():
                for group in groups:
                    known = {case.name for case in group.cases}
                    known |= {BOUND} if group.bound else set()
                    named = {name for goal in group.goals for name in (goal.case, goal.beside)}
                    self.assertLessEqual(named, known, name)

    def test_what_is_about_speed_has_some(self) -> None:
        having = {name for name, groups in self.groups().items() if any(g.goals for g in groups)}
        self.assertLessEqual(
            {"file", "files", "tree", "small", "fsync", "discard", "cold", "link", "compress"},
            having,
        )


if __name__ == "__main__":
    unittest.main()
