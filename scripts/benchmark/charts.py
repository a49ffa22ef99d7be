"""Charts as SVG that can stand inside a page: text stays text, colours follow the page's.

matplotlib draws with placeholder colours, which are then replaced by the page's CSS variables, so
that one chart is readable in light and dark and on paper.
"""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402
from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: E402

from .model import WAYS, GroupResult, Result, SuiteResult  # noqa: E402
from .stats import Spread, spread  # noqa: E402
from .table import cpu_per_gb, rate_of, rate_unit  # noqa: E402
from .units import MIB, format_count, format_size, significant  # noqa: E402

# Placeholder -> CSS variable, defined in report.html.j2.
_COLOURS = {
    "ink": "#010203",
    "rule": "#010204",
    "sluice": "#010205",
    "reference": "#010206",
    "peer": "#010207",
    "way-1": "#010208",
    "way-2": "#010209",
    "way-3": "#01020a",
    "way-4": "#01020b",
}
_LINES = ("sluice", "way-2", "reference", "way-3", "peer")
_STYLES = ("-", "--", "-.", ":", "-")
_MARKERS = ("o", "s", "^", "D", "v")
_WIDTH_INCHES = 9.4
_ROW_INCHES, _BELOW_INCHES = 0.27, 0.36
_TITLE_INCHES, _LEGEND_INCHES = 0.3, 0.25
_CHARACTER_INCHES = 0.072  # of DejaVu Sans at 8.5 points

matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",
        "font.family": "DejaVu Sans",
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.edgecolor": _COLOURS["rule"],
        "axes.labelcolor": _COLOURS["ink"],
        "axes.titlecolor": _COLOURS["ink"],
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": _COLOURS["rule"],
        "grid.linewidth": 0.5,
        "figure.facecolor": "none",
        "text.color": _COLOURS["ink"],
        "xtick.color": _COLOURS["ink"],
        "ytick.color": _COLOURS["ink"],
        "legend.frameon": False,
        "legend.fontsize": 8.5,
    }
)


def _svg(figure: Figure, prefix: str) -> str:
    """Without what belongs to a file of its own; ids are made unique in the page by the prefix."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}-", text)
    for name, placeholder in _COLOURS.items():
        text = text.replace(placeholder, f"var(--{name})")
    return text.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)


def _pair(group: GroupResult, results: list[Result], above: float) -> tuple[Figure, list[Any]]:
    """Two panels side by side that share their rows, which read from top to bottom, with so many
    inches above them. All charts of a group begin at the same place."""
    names = [result.case.name for result in results]
    height = _ROW_INCHES * len(names) + _BELOW_INCHES + above
    figure = Figure(figsize=(_WIDTH_INCHES, height))
    axes = list(figure.subplots(1, 2, sharey=True))
    longest = max(len(result.case.name) for result in group.results)
    figure.subplots_adjust(
        left=(longest * _CHARACTER_INCHES + 0.15) / _WIDTH_INCHES,
        right=0.985,
        top=1 - above / height,
        bottom=_BELOW_INCHES / height,
        wspace=0.1,
    )
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    for axis in axes:
        axis.tick_params(axis="y", length=0)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.grid(axis="x")
    return figure, axes


def _bars(axis: Any, results: list[Result], values: list[Spread | None], scale: float) -> None:
    """A bar to the median with its figure behind it, whiskers from the lowest to the highest."""
    top = max((value.high / scale for value in values if value), default=1.0)
    axis.set_xlim(0, top * 1.17)
    for row, (result, value) in enumerate(zip(results, values)):
        if value is None:
            axis.text(top * 0.01, row, "not known", va="center", fontsize=7.5)
            continue
        median, low, high = value.median / scale, value.low / scale, value.high / scale
        axis.barh(row, median, height=0.66, color=_COLOURS[result.case.role])
        if len(result.runs) > 1:
            axis.plot([low, high], [row, row], color=_COLOURS["ink"], linewidth=1.1)
            for end in (low, high):
                axis.plot([end, end], [row - 0.16, row + 0.16], color=_COLOURS["ink"], linewidth=1)
        axis.text(max(high, median) + top * 0.015, row, significant(median), va="center")


def throughput(group: GroupResult, unit: str, prefix: str) -> str:
    """Rates, and CPU seconds per GB beside them. Empty if nothing was measured."""
    results = [result for result in group.results if result.measured]
    if not results:
        return ""
    figure, (left, right) = _pair(group, results, _TITLE_INCHES)
    name, scale = rate_unit(group, unit)
    left.set_title(f"Throughput, {name} (more is better)")
    _bars(left, results, [rate_of(result, group, unit) for result in results], scale)
    right.set_title("CPU seconds per GB, both ends (less is better)")
    _bars(right, results, [cpu_per_gb(result, group) for result in results], 1.0)
    return _svg(figure, prefix)


def _shares(result: Result, end: str) -> list[float]:
    ways = result.ways("sender" if end == "sender" else "receiver")
    total = sum(ways.values()) or 1
    return [ways.get(way, 0) / total * 100 for way in WAYS]


def where_bytes_went(group: GroupResult, prefix: str) -> str:
    """Shares by way at each end, of the cases that tell. Empty if none does."""
    results = [result for result in group.results if result.measured and result.ways("sender")]
    if not results:
        return ""
    figure, axes = _pair(group, results, _TITLE_INCHES + _LEGEND_INCHES)
    for axis, end in zip(axes, ("sender", "receiver")):
        axis.set_title("sent, % of bytes" if end == "sender" else "received, % of bytes")
        axis.set_xlim(0, 100)
        for row, result in enumerate(results):
            start = 0.0
            for number, share in enumerate(_shares(result, end)):
                colour = _COLOURS[f"way-{number + 1}"]
                axis.barh(row, share, left=start, height=0.66, color=colour)
                start += share
    handles = [
        Patch(color=_COLOURS[f"way-{number + 1}"], label=way) for number, way in enumerate(WAYS)
    ]
    figure.legend(handles=handles, loc="upper right", ncol=len(WAYS), borderaxespad=0.1)
    return _svg(figure, prefix)


def _series(suite: SuiteResult) -> dict[str, list[tuple[float, GroupResult, Result]]]:
    """Points by case name."""
    lines: dict[str, list[tuple[float, GroupResult, Result]]] = {}
    for group in suite.groups:
        for result in group.results:
            if result.measured and group.group.x is not None:
                point = (group.group.x, group, result)
                lines.setdefault(result.case.name, []).append(point)
    return lines


def _line(axis: Any, number: int, name: str, points: list[tuple[float, Spread]]) -> None:
    colour = _COLOURS[_LINES[number % len(_LINES)]]
    xs = [x for x, _ in points]
    axis.fill_between(
        xs,
        [value.low for _, value in points],
        [value.high for _, value in points],
        color=colour,
        alpha=0.18,
        linewidth=0,
    )
    axis.plot(
        xs,
        [value.median for _, value in points],
        color=colour,
        linestyle=_STYLES[number % len(_STYLES)],
        marker=_MARKERS[number % len(_MARKERS)],
        markersize=4,
        linewidth=1.6,
        label=name,
    )


def _draw_rates(axis: Any, suite: SuiteResult) -> None:
    files = suite.suite.unit == "files"
    scale = 1.0 if files else 1e9
    axis.set_title("Files per second" if files else "Throughput, GB/s")
    for number, (name, points) in enumerate(_series(suite).items()):
        rates = [
            (x, rate.per(scale))
            for x, group, result in points
            if (rate := rate_of(result, group, suite.suite.unit)) is not None
        ]
        _line(axis, number, name, rates)


def _draw_peaks(axis: Any, suite: SuiteResult) -> None:
    axis.set_title("Peak memory of the larger end, MiB")
    for number, (name, points) in enumerate(_series(suite).items()):
        peaks = []
        for x, _, result in points:
            known = [peak / MIB for peak in result.peaks() if peak is not None]
            if known:
                peaks.append((x, Spread(max(known), max(known), max(known))))
        _line(axis, number, name, peaks)


def _draw_shares(axis: Any, suite: SuiteResult) -> None:
    axis.set_title("Each sender's rate, MB/s: median, and from least to most")
    axis.set_yscale("log")
    for number, (name, points) in enumerate(_series(suite).items()):
        shares = []
        for x, _, result in points:
            rates = (rate for run in result.runs for rate in run.series.get("session_rates", []))
            share = spread(rates)
            if share is not None:
                shares.append((x, share.per(1e6)))
        _line(axis, number, name, shares)


def by_size(suite: SuiteResult, prefix: str) -> str:
    """Lines over all groups of a suite: rates, and beside them memory or shares."""
    series = _series(suite)
    if not series:
        return ""
    figure = Figure(figsize=(_WIDTH_INCHES, 3.6))
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.06, right=0.985, top=0.84, bottom=0.13, wspace=0.16)
    _draw_rates(left, suite)
    shares = any(run.series for points in series.values() for _, _, r in points for run in r.runs)
    (_draw_shares if shares else _draw_peaks)(right, suite)
    ticks = sorted({group.group.x for group in suite.groups if group.group.x is not None})
    in_bytes = suite.suite.x_label == "bytes"
    for axis in (left, right):
        axis.set_xscale("log")
        shown = FuncFormatter(lambda x, _: format_size(x) if in_bytes else format_count(x))
        axis.set_xticks(ticks)
        axis.xaxis.set_major_formatter(shown)
        axis.minorticks_off()
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
        if not (shares and axis is right):
            axis.set_ylim(0, axis.dataLim.ymax * 1.1)
        axis.grid()
        if not in_bytes:
            axis.set_xlabel(suite.suite.x_label)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper left", ncol=len(labels), borderaxespad=0.2)
    return _svg(figure, prefix)
