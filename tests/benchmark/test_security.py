"""Levels of protection: which options reach which end, goals, and programs that go through ssh."""

from __future__ import annotations

import os
import subprocess
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

from . import samples  # first, for it makes the modules known
from .test_bench import BUILD
from .test_options import chosen
from benchmark import lab, ssh, system, tools
from benchmark.peers import lacking
from benchmark.model import Failure, Suite, Tool, Work
from benchmark.units import UnitError

HELP = "      --key-file FILE\n      --security LEVEL\n      --insecure  in clear\n"


def place(directory: Path, network: lab.Network = lab.LOOPBACK) -> tools.Place:
    programs = tools.Programs(Path(BUILD))
    target = directory / "target"
    source = directory / "source"
    processes = system.Processes(programs.bare)
    work = Work("tree", 1, 1)
    return tools.Place(programs, processes, work, source, target, directory, 60, network)


def told(options: str) -> tools.Programs:
    """Programs with that --help."""
    programs = tools.Programs(Path("/nowhere"))
    programs.__dict__["_help"] = {"sluice-send": options, "sluice-recv": options}
    return programs


class Temporary(unittest.TestCase):
    def setUp(self) -> None:
        holder = TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp"))
        self.addCleanup(holder.cleanup)
        self.directory = Path(holder.name)


class Levels(Temporary):
    def test_both_ends_get_the_level_and_the_key(self) -> None:
        here = place(self.directory)
        (self.directory / "key").write_text("made before")
        for level in ("signed", "tls"):
            options = tools.Security(level).options(here, here.programs.send)
            self.assertEqual(
                options, [f"--key-file={self.directory}/key", f"--security={level}"], level
            )
        other = tools.Security("tls", Path("/elsewhere/key"))
        self.assertIn("--key-file=/elsewhere/key", other.options(here, here.programs.send))

    def test_in_clear_only_another_address_than_loopback_takes_consent(self) -> None:
        here = place(self.directory)
        here.programs = told(HELP)
        self.assertEqual(tools.IN_CLEAR.options(here, here.programs.send), [])
        here.network = lab.Network("10.77.0.2")
        self.assertEqual(tools.IN_CLEAR.options(here, here.programs.send), ["--insecure"])
        here.programs = told("      --port N\n")
        self.assertEqual(tools.IN_CLEAR.options(here, here.programs.send), [])

    def test_programs_without_keys_can_be_measured_in_clear(self) -> None:
        here = place(self.directory)
        here.programs = told("      --port N\n")
        self.assertIsNone(tools.Sluice().missing(here))
        lacking = tools.Sluice(security=tools.Security("tls")).missing(here)
        self.assertEqual(lacking, "this sluice-send has no --key-file")

    def test_a_key_that_cannot_be_made_is_a_failure_in_one_line(self) -> None:
        here = place(self.directory / "missing")
        with self.assertRaisesRegex(Failure, "^sluice-recv --generate-key: [^\n]+$"):
            tools.Security("tls").options(here, here.programs.send)


class Choice(Temporary):
    def suite(self, *words: str) -> Suite:
        (self.directory / "file").write_text("something")
        (suite,) = chosen("security", "--tree", str(self.directory), *words)
        return suite

    def test_all_levels_are_beside_ssh_with_goals_that_name_cases(self) -> None:
        for words in ((), ("--no-peers",), ("--quick",)):
            for group in self.suite(*words).groups:
                names = [case.name for case in group.cases]
                self.assertEqual(names[:3], [f"sluice --security {x}" for x in tools.LEVELS])
                named = {name for goal in group.goals for name in (goal.case, goal.beside)}
                self.assertLessEqual(named, set(names))

    def test_the_goals_are_the_products(self) -> None:
        large, tree, small = self.suite().groups
        self.assertEqual([goal.factor for goal in large.goals], [1.15, 3, 3, 3])
        self.assertEqual([goal.factor for goal in tree.goals], [1.15, 5])
        self.assertEqual([goal.factor for goal in small.goals], [1.15, 5, 5])

    def test_the_tree_must_be_there(self) -> None:
        with self.assertRaisesRegex(Exception, "/nowhere is not a directory"):
            chosen("security", "--tree", "/nowhere")

    def test_a_sweep_takes_a_list_of_levels(self) -> None:
        (suite,) = chosen("sweep", "--security", "none,tls", "--streams", "1,2", "--no-peers")
        cases = suite.groups[0].cases[-4:]
        self.assertEqual(
            [case.name for case in cases], ["-P 1, none", "-P 1, tls", "-P 2, none", "-P 2, tls"]
        )
        levels = [case.tool.security.level for case in cases if isinstance(case.tool, tools.Sluice)]
        self.assertEqual(levels, ["none", "tls", "none", "tls"])

    def test_a_receiver_elsewhere_takes_its_key_or_consent(self) -> None:
        key = self.directory / "key"
        key.write_text("a key")
        (suite,) = chosen("sweep", "--to", "server", "--key-file", str(key), "--insecure")
        (case,) = suite.groups[0].cases
        assert isinstance(case.tool, tools.Sluice)
        self.assertEqual(case.tool.security, tools.Security("tls", key))
        self.assertEqual(case.tool.send, ())
        (suite,) = chosen("sweep", "--to", "server", "--insecure")
        (case,) = suite.groups[0].cases
        assert isinstance(case.tool, tools.Sluice)
        self.assertEqual((case.tool.security, case.tool.send), (tools.IN_CLEAR, ("--insecure",)))

    def test_what_cannot_be_is_refused_in_one_line(self) -> None:
        for words, said in (
            (("--security", "ssl"), "'ssl' is none of none, signed, tls"),
            (("--key-file", "/dev/null"), "--key-file belongs to --to"),
            (("--insecure",), "--insecure belongs to --to"),
            (("--to", "a", "--security", "signed"), "--security signed with --to needs its key"),
            (("--to", "a", "--key-file", "/nowhere"), "--key-file /nowhere is no file"),
        ):
            with self.assertRaisesRegex(UnitError, said):
                chosen("sweep", *words)


class Ssh(Temporary):
    """Small copies by the real programs. Their clock is $SLUICE_BUILD's."""

    TOOLS: tuple[Tool, ...] = (
        ssh.Scp(),
        ssh.Scp(ssh.USUAL_CIPHER),
        ssh.RsyncSsh(),
        ssh.TarSsh(),
    )

    def test_a_tree_arrives_by_each(self) -> None:
        # Names that a shell, a configuration file and a command line would each take apart.
        base = self.directory / "it's a $x"
        (base / "source" / "below").mkdir(parents=True)
        (base / "source" / "below" / "file").write_text("content")
        here = place(base)
        self.addCleanup(here.processes.kill_all)
        for number, tool in enumerate(self.TOOLS):
            missing = tool.missing(here)
            if missing:
                self.skipTest(f"skipped: {missing}")
            here.target = base / f"target-{number}"
            run = tool.run(here)
            self.assertEqual((here.target / "below" / "file").read_text(), "content", tool)
            assert run.receiver is not None
            self.assertGreater(run.wall_seconds, 0)

    def test_a_login_that_is_refused_is_a_reason_to_skip(self) -> None:
        here = place(self.directory)
        if lacking("ssh", "sshd", "ssh-keygen"):
            self.skipTest("skipped: no ssh")
        self.addCleanup(here.processes.kill_all)
        for name in ("host_key", "user_key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.directory / name],
                check=True,
            )
        (self.directory / "user_key.pub").write_text("")
        self.assertRegex(
            str(ssh.RsyncSsh().missing(here)), "^sshd cannot be used here: ssh: exit code 255: "
        )

    def test_what_follows_links_is_not_beside_a_real_tree(self) -> None:
        here = place(self.directory)
        here.work = Work("tree", 1, 1, tree=Path("/usr/share"))
        self.assertEqual(ssh.Scp().missing(here), "scp follows symbolic links")


if __name__ == "__main__":
    unittest.main()
