"""Units, medians, rows and JSON: what goes in is by hand, what comes out is exact."""

from __future__ import annotations

import json
import unittest

from . import samples  # first, for it makes the modules known
from benchmark import headline, stats, table, units
from benchmark.model import Bound, Group, GroupResult, Run, to_json


class Units(unittest.TestCase):
    def test_sizes_are_powers_of_1024(self) -> None:
        for text, size in (("7", 7), ("4k", 4096), ("64M", 64 << 20), ("2GiB", 2 << 30)):
            self.assertEqual(units.parse_size(text), size)

    def test_what_is_no_size_is_refused_with_a_remedy(self) -> None:
        for text in ("", "M", "1.5G", "-1", "1X", "0x10"):
            with self.assertRaisesRegex(units.UnitError, "is not a size: give"):
                units.parse_size(text)

    def test_sizes_are_shown_short_where_they_are_exact(self) -> None:
        shown = [units.format_size(size) for size in (0, 1023, 8192, 1536, 2 << 30)]
        self.assertEqual(shown, ["0 B", "1023 B", "8 KiB", "1.5 KiB", "2 GiB"])

    def test_a_link_has_decimal_bits(self) -> None:
        link = units.parse_link("200M/80ms/0.1%")
        self.assertEqual((link.rate_bits, link.rtt_seconds), (200e6, 0.08))
        self.assertAlmostEqual(link.loss, 0.001)
        self.assertAlmostEqual(link.goodput, 25e6 * 1448 / 1500)
        self.assertEqual(link.options(), ["--rate", "200M", "--rtt", "80ms", "--loss", "0.1%"])
        self.assertEqual(units.parse_link("1G").options(), ["--rate", "1G"])

    def test_what_is_no_link_is_refused(self) -> None:
        for text in ("", "0M", "1M/80", "1M/8ms/1", "1M/8ms/100%", "1M/8ms/1%/x", "1.2.3M"):
            with self.assertRaisesRegex(units.UnitError, "is not a link"):
                units.parse_link(text)

    def test_counts_take_at_most_five_characters(self) -> None:
        shown = [units.format_count(number) for number in (None, 0, 999, 5200, 123456, 1.3e6)]
        self.assertEqual(shown, ["-", "0", "999", "5.2k", "123k", "1.3M"])


class Stats(unittest.TestCase):
    def test_the_median_of_an_even_number_lies_between(self) -> None:
        value = stats.spread([4.0, 1.0, 2.0, 3.0])
        self.assertEqual(value, stats.Spread(2.5, 1.0, 4.0))

    def test_what_is_not_known_of_one_is_not_known_of_all(self) -> None:
        self.assertIsNone(stats.spread([1.0, None]))
        self.assertIsNone(stats.spread([]))

    def test_the_shortest_time_is_the_highest_rate(self) -> None:
        self.assertEqual(stats.Spread(2.0, 1.0, 4.0).rate(8.0), stats.Spread(4.0, 2.0, 8.0))

    def test_there_is_no_ratio_to_nothing(self) -> None:
        value = stats.Spread(2.0, 2.0, 2.0)
        self.assertEqual(stats.ratio(value, 4.0), 0.5)
        self.assertIsNone(stats.ratio(value, 0.0))
        self.assertIsNone(stats.ratio(value, None))


class Table(unittest.TestCase):
    def test_rows_have_medians_and_ratios_and_fit_the_width(self) -> None:
        lines = table.render(samples.large_file(), "bytes")
        self.assertTrue(all(len(line) <= table.WIDTH for line in lines), lines)
        self.assertEqual(
            lines[2].split(),
            "sluice 1.000 0.900-1.200 1.00 2.00 0.200 4.0k 2.0k 7/9".split(),
        )
        self.assertIn("failed: scp: exit code 1", lines[3])
        self.assertIn("skipped: nc is not installed", lines[4])

    def test_one_run_has_no_range(self) -> None:
        group = samples.large_file()
        del group.results[1].runs[1:]
        self.assertEqual(table.render(group, "bytes")[2].split()[2], "-")

    def test_values_of_a_run_become_notes(self) -> None:
        group = samples.large_file()
        group.results[1].runs[0].series["session_rates"] = [1e6, 3e6, 8e6]
        note = table.render(group, "bytes")[-1]
        self.assertEqual(note.strip(), "sluice: each session: 1.00 to 8.00 MB/s, median 3.00")


class Headline(unittest.TestCase):
    def test_it_names_the_rate_and_what_it_is_beside(self) -> None:
        said = headline.sentence(samples.large_file(), "bytes")
        self.assertEqual(said, "sluice: 1.00 GB/s; 2.00 x the time of bare")

    def test_a_faster_peer_is_named(self) -> None:
        group = samples.large_file()
        group.results[2] = samples.result("socat", [0.8], "peer")
        said = headline.sentence(group, "bytes")
        self.assertIn("0.80 x the speed of the fastest peer (socat)", said)

    def test_a_bound_is_shown_as_a_share(self) -> None:
        group = samples.large_file()
        bounded = Group(group.group.work, group.group.cases, bound=Bound(0.9, "the link"))
        said = headline.sentence(GroupResult(bounded, group.results), "bytes")
        self.assertEqual(said, "sluice: 1.00 GB/s; 90 % of the bound: the link")

    def test_a_failure_is_said(self) -> None:
        group = samples.large_file()
        group.results[1].status, group.results[1].message = "failed", "no space"
        self.assertEqual(headline.sentence(group, "bytes"), "sluice failed: no space")


class Json(unittest.TestCase):
    def test_every_run_and_the_medians_are_there(self) -> None:
        value = json.loads(json.dumps(to_json(samples.report())))
        self.assertEqual(value["schema"], 1)
        self.assertIsNone(value["incomplete"])
        group = value["suites"][0]["groups"][0]
        bare, sluice, failed, absent = group["cases"]
        self.assertEqual([run["wall_seconds"] for run in sluice["runs"]], [1.2, 1.0, 0.9])
        self.assertEqual(sluice["median"]["wall_seconds"], 1.0)
        self.assertEqual(sluice["median"]["bytes_per_second"], 10**9)
        self.assertEqual(sluice["median"]["ratio"], 2.0)
        self.assertAlmostEqual(sluice["median"]["cpu_seconds_per_gb"], 0.2)
        self.assertEqual(sluice["median"]["receiver_peak_memory_bytes"], 9 << 20)
        self.assertEqual((bare["role"], bare["median"]["ratio"]), ("reference", 1.0))
        self.assertEqual((failed["status"], failed["runs"]), ("failed", []))
        self.assertEqual((absent["status"], absent["median"]), ("skipped", {}))

    def test_one_end_is_enough(self) -> None:
        alone = Run(1.0, samples.end(0.25))
        self.assertEqual(alone.total("cpu_seconds"), 0.25)
        alone.sender.cpu_seconds = None
        self.assertIsNone(alone.total("cpu_seconds"))


if __name__ == "__main__":
    unittest.main()
