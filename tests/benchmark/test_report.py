"""The HTML report: complete, and in need of nothing else."""

from __future__ import annotations

import re
import unittest
from html.parser import HTMLParser

from . import samples

try:
    from benchmark import report
except ImportError as error:
    raise unittest.SkipTest(f"skipped: {error}") from None


class Page(HTMLParser):
    """What a browser would fetch, and ids and what refers to them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.references: set[str] = set(re.findall(r"url\(#([^)]+)\)", text))
        self.charts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.charts += tag == "svg"
        if tag in ("script", "link", "img", "iframe", "object", "embed", "base"):
            self.fetched.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("src", "href", "xlink:href", "data", "action"):
                if (value or "").startswith("#"):
                    self.references.add((value or "")[1:])
                else:
                    self.fetched.append(f"{name}={value}")


def problems(text: str) -> list[str]:
    """Why a page does not stand alone."""
    page = Page(text)
    found = list(page.fetched)
    found += re.findall(r"@import[^;]*|url\((?!#)[^)]*\)", text)
    found += [f"id {name} twice" for name in set(page.ids) if page.ids.count(name) > 1]
    return found + [f"no id {name}" for name in page.references - set(page.ids)]


class Html(unittest.TestCase):
    text = report.render(samples.report())

    def test_it_stands_alone(self) -> None:
        self.assertEqual(problems(self.text), [])

    def test_it_has_the_charts_that_the_suites_call_for(self) -> None:
        # Bars and ways of the file, lines of the counts.
        self.assertEqual(Page(self.text).charts, 3)

    def test_colours_are_the_pages_own(self) -> None:
        self.assertEqual(re.findall(r"#0102[0-9a-f]{2}", self.text), [])
        self.assertIn("fill: var(--sluice)", self.text)
        self.assertIn("prefers-color-scheme: dark", self.text)
        self.assertIn("@media print", self.text)

    def test_messages_are_escaped(self) -> None:
        self.assertIn("exit code 1: &lt;no&gt; &amp; never", self.text)

    def test_it_says_that_something_is_missing(self) -> None:
        self.assertNotIn("Incomplete", self.text)
        value = samples.report()
        value.incomplete = "suite 2 of 3 ended by SIGINT"
        self.assertIn("Incomplete:</strong> suite 2 of 3 ended by SIGINT.", report.render(value))

    def test_it_says_what_came_out_and_how_to_repeat_it(self) -> None:
        self.assertIn("sluice: 1.00 GB/s; 2.00 x the time of bare", self.text)
        self.assertIn("<pre>scripts/bench file</pre>", self.text)


if __name__ == "__main__":
    unittest.main()
