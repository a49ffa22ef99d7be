"""Medians with their spread. Every figure that is shown goes through here."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Of some measurements of one thing: the median, and how far they lay apart."""

    median: float
    low: float
    high: float

    def per(self, amount: float) -> Spread:
        """Each divided by amount."""
        return Spread(self.median / amount, self.low / amount, self.high / amount)

    def rate(self, amount: float) -> Spread:
        """amount divided by each: of seconds, so much per second. The lowest becomes the highest."""
        return Spread(*(amount / max(value, 1e-9) for value in (self.median, self.high, self.low)))


def spread(values: Iterable[float | None]) -> Spread | None:
    """None if one of the values is unknown, or if there are none."""
    known: list[float] = []
    for value in values:
        if value is None:
            return None
        known.append(value)
    if not known:
        return None
    return Spread(statistics.median(known), min(known), max(known))


def ratio(value: Spread | None, base: Spread | float | None) -> float | None:
    """Of the medians; None where one is unknown or the base is nothing."""
    bottom = base.median if isinstance(base, Spread) else base
    if value is None or bottom is None or bottom <= 0:
        return None
    return value.median / bottom
