"""Sizes, durations, rates and links: read from options, written for people."""

from __future__ import annotations

import re
from dataclasses import dataclass

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

_BINARY = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": 1 << 40}
_DECIMAL = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}
_TIME = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
# TCP with timestamps carries 1448 bytes in an IPv4 packet of 1500.
_PAYLOAD_SHARE = 1448 / 1500


class UnitError(ValueError):
    """A text that is no size, rate or link; the message names it and says what would do."""


def parse_size(text: str) -> int:
    """Bytes; K, M, G and T are powers of 1024, as in sluice's own options."""
    match = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise UnitError(f"'{text}' is not a size: give a number with K, M, G or T, such as 64M")
    return int(match[1]) * _BINARY[match[2].upper()]


def format_size(size: float) -> str:
    """Exact powers of 1024 stay short: 2 GiB, 64 MiB; anything else has one decimal."""
    for factor, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= factor:
            return f"{size / factor:.1f} {name}".replace(".0 ", " ")
    return f"{size:.0f} B"


def format_count(number: float | None) -> str:
    """At most five characters: 136, 5.2k, 1.3M."""
    if number is None:
        return "-"
    for factor, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            scaled = number / factor
            return f"{scaled:.1f}{name}" if scaled < 100 else f"{scaled:.0f}{name}"
    return f"{number:.0f}"


def format_seconds(seconds: float) -> str:
    """Three significant digits, for people who wait or compare."""
    if seconds < 100:
        return f"{seconds:.3f}" if seconds < 10 else f"{seconds:.2f}"
    return f"{seconds:.1f}" if seconds < 1000 else f"{seconds:.0f}"


def format_duration(seconds: float) -> str:
    """Roughly, for an estimate: 40 s, 3 min, 2 h."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def significant(number: float) -> str:
    """Three significant digits without an exponent."""
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"


@dataclass(frozen=True)
class Link:
    """A network to put between the two ends: bits per second, round trip, loss per packet."""

    rate_bits: float
    rtt_seconds: float = 0.0
    loss: float = 0.0

    @property
    def goodput(self) -> float:
        """Bytes of payload per second, at most."""
        return self.rate_bits / 8 * _PAYLOAD_SHARE

    def options(self) -> list[str]:
        """For scripts/netlab up."""
        result = ["--rate", _short_rate(self.rate_bits)]
        if self.rtt_seconds > 0:
            result += ["--rtt", _short_time(self.rtt_seconds)]
        if self.loss > 0:
            result += ["--loss", f"{self.loss * 100:g}%"]
        return result

    def __str__(self) -> str:
        parts = [f"{_short_rate(self.rate_bits)}bit/s"]
        if self.rtt_seconds > 0:
            parts.append(_short_time(self.rtt_seconds))
        if self.loss > 0:
            parts.append(f"{self.loss * 100:g}% loss")
        return " / ".join(parts)


def parse_link(text: str) -> Link:
    """RATE[/RTT[/LOSS]], such as 200M/80ms/0.1%."""
    parts = text.split("/")
    try:
        rate = re.fullmatch(r"([\d.]+)([KMG]?)", parts[0], re.IGNORECASE)
        if not rate or len(parts) > 3 or float(rate[1]) <= 0:
            raise ValueError
        rtt = re.fullmatch(r"([\d.]+)(us|ms|s)", parts[1]) if len(parts) > 1 else None
        loss = re.fullmatch(r"([\d.]+)%", parts[2]) if len(parts) > 2 else None
        if (len(parts) > 1 and not rtt) or (len(parts) > 2 and not loss):
            raise ValueError
        share = float(loss[1]) / 100 if loss else 0.0
        if share >= 1:
            raise ValueError
        return Link(
            float(rate[1]) * _DECIMAL[rate[2].upper()],
            float(rtt[1]) * _TIME[rtt[2]] if rtt else 0.0,
            share,
        )
    except ValueError:
        raise UnitError(
            f"'{text}' is not a link: give RATE[/RTT[/LOSS]], such as 200M/80ms/0.1%"
        ) from None


def _short_rate(bits: float) -> str:
    for factor, name in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if bits >= factor and bits % factor == 0:
            return f"{bits / factor:.0f}{name}"
    return f"{bits:.0f}"


def _short_time(seconds: float) -> str:
    micro = round(seconds * 1e6)
    return f"{micro // 1000}ms" if micro % 1000 == 0 else f"{micro}us"
