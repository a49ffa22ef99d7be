"""The free sweep: every combination of the ways, digests, levels, streams, works and links named."""

from __future__ import annotations

import itertools
import re
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from .model import Case, Group, Suite, Work
from .suites import BARE, CP_NAME, CP_TREE_NAME, file_peers, reference, tree_peers, tree_work
from .tools import CP, CP_TREE, LEVELS, Bare, Security, Sluice
from .units import Link, UnitError, format_size, parse_link, parse_size

DEFAULT_PORT = 7722
_WAYS_TO_SEND = ("auto", "sendfile", "copy")
_WAYS_TO_RECEIVE = ("auto", "splice", "copy")
_VERIFY = ("digest", "none")
# What the programs do without the option.
_DEFAULTS = {
    "--send-path": "auto",
    "--receive-path": "auto",
    "--verify": "digest",
    "--compress": "none",
    "--streams": "auto",
}


def split(text: str, known: Sequence[str] = (), number: bool = False) -> list[str]:
    """A list with commas. Each must be known, or a number where those are allowed."""
    values = [value.strip() for value in text.split(",")]
    for value in values:
        if value not in known and not (number and re.fullmatch(r"-?\d+", value)):
            choices = ", ".join(known) + (" or a number" if number else "")
            raise UnitError(f"'{value}' is none of {choices}")
    return values


def parse_files(text: str) -> Work:
    """COUNTxSIZE, such as 10000x4K."""
    count, _, size = text.partition("x")
    if not count.isdigit() or int(count) == 0 or not size:
        raise UnitError(f"'{text}' is not COUNTxSIZE: give something like 10000x4K")
    return Work("tree", int(count), int(count) * parse_size(size))


def parse_remote(text: str) -> tuple[str, int]:
    """HOST[:PORT]; an IPv6 address in brackets."""
    match = re.fullmatch(r"(\[[^]]+\]|[^:]+)(?::(\d{1,5}))?", text)
    if not match or int(match[2] or 1) > 65535:
        raise UnitError(f"'{text}' is not HOST[:PORT]: put an IPv6 address into [ ]")
    return match[1].strip("[]"), int(match[2] or DEFAULT_PORT)


def _levels(options: Namespace) -> list[str]:
    """Of --security, if they can be had."""
    levels = split(options.security or ("tls" if options.key_file else "none"), LEVELS)
    for name, value in (("--key-file", options.key_file), ("--insecure", options.insecure)):
        if value and not options.to:
            raise UnitError(f"{name} belongs to --to")
    protected = [level for level in levels if level != "none"]
    if protected and options.to and not options.key_file:
        raise UnitError(f"--security {protected[0]} with --to needs its key: give --key-file FILE")
    if options.key_file and not Path(options.key_file).is_file():
        raise UnitError(f"--key-file {options.key_file} is no file")
    return levels


def _cases(options: Namespace) -> list[Case]:
    """The cross product; a name says only what differs between cases."""
    dimensions = [
        ("send by", "--send-path", split(options.send_path, _WAYS_TO_SEND)),
        ("receive by", "--receive-path", split(options.receive_path, _WAYS_TO_RECEIVE)),
        ("verify", "--verify", split(options.verify, _VERIFY)),
        ("-z", "--compress", split(options.compress, ("none", "auto"), number=True)),
        ("-P", "--streams", split(options.streams, ("auto",), number=True)),
    ]
    levels = _levels(options)
    remote = parse_remote(options.to) if options.to else None
    key_file = Path(options.key_file).resolve() if options.key_file else None
    cases: list[Case] = []
    for *values, level in itertools.product(*(choices for _, _, choices in dimensions), levels):
        send: list[str] = []
        receive: list[str] = []
        name: list[str] = []
        for (label, option, choices), value in zip(dimensions, values):
            if len(choices) > 1:
                name.append(f"{label} {value}")
            if value != _DEFAULTS[option]:
                (receive if option == "--receive-path" else send).append(f"{option}={value}")
        if len(levels) > 1:
            name.append(level)
        if options.insecure and level == "none":
            send.append("--insecure")
        tool = Sluice(tuple(send), tuple(receive), remote, security=Security(level, key_file))
        cases.append(Case(", ".join(name) or "sluice", tool, "sluice", headline=not cases))
    return cases


def _works(options: Namespace) -> list[Work]:
    discard = bool(options.discard)
    works = []
    if options.tree_given:
        works.append(tree_work(Path(options.tree)))
    for text in options.files.split(",") if options.files else []:
        works.append(parse_files(text))
    if options.size or not works:
        kind = "generate" if options.generate else "file"
        for text in (options.size or "256M").split(","):
            size = parse_size(text)
            works.append(Work("generate" if kind == "generate" else "file", 1, size))
    return [
        Work(work.kind, work.files, work.bytes, work.content, work.tree, discard) for work in works
    ]


def _links(options: Namespace) -> list[Link | None]:
    if not options.link:
        return [None]
    return [parse_link(text) for text in options.link.split(",")]


def make(options: Namespace) -> Suite:
    """Raises UnitError."""
    groups = []
    for work, link in itertools.product(_works(options), _links(options)):
        cases = _cases(options)
        base = ""
        if link is None and not options.to:
            cases, base = _references(work, cases)
        if options.peers and not options.to and not work.discard:
            if work.kind == "file":
                cases += file_peers()
            elif work.kind == "tree":
                cases += tree_peers()
        if options.to:
            work = Work(work.kind, work.files, work.bytes, work.content, work.tree, False)
        title = f"{work.files:,} files, " if work.kind == "tree" else ""
        title += format_size(work.bytes) + (f", {link}" if link else "")
        groups.append(Group(work, cases, title, base or cases[0].name, link))
    return Suite("sweep", "A sweep", groups)


def _references(work: Work, cases: list[Case]) -> tuple[list[Case], str]:
    """What else moves such a work, before the cases; and the name of what ratios refer to."""
    if work.kind == "file":
        before = [reference(BARE, Bare())]
        if not work.discard:
            before.append(reference(CP_NAME, CP))
        return before + cases, BARE
    if work.kind == "tree" and not work.discard:
        return [reference(CP_TREE_NAME, CP_TREE), *cases], CP_TREE_NAME
    return cases, ""
