"""Numbers and what surrounds them, in words: a value and its limit in one unit, how it went as a sparkline, deploys.

Pure, and the same for every receiver; which of it a message says is text.py's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from obskit.model.context import Context, Deploy, Limit

BARS: Final = "▁▂▃▄▅▆▇█"
SPARKS: Final = 10
DEPLOY_NEAR_MS: Final = 2 * 3_600_000
"""A deploy is worth a line when it went live this long before the alert began, or since."""

UNIT_WORDS: Final = frozenset(
    ("%", "ms", "s", "min", "h", "d", "seconds", "minutes", "hours", "days", "B", "KB", "MB", "GB", "KiB", "MiB", "GiB")
)
_LIMIT: Final = re.compile(r"\blimit [\d.]")
_NUMBER: Final = re.compile(r"(?<![\w.])(-?\d+(?:\.\d+)?)(?![\d.]*\d)\s?(%|[A-Za-z]+)?")
_UNITS_S: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def figure(value: float, unit: str = "") -> str:
    """A number as a person writes it, with at most four digits that matter."""
    if not math.isfinite(value):
        return ""
    digits = f"{value:.0f}" if abs(value) >= 1_000 else f"{value:.4g}"
    return f"{digits} {unit}".rstrip()


def unit_in(summary: str, value: float) -> str:
    """The unit that stands behind `value` in the rule's own words; empty when the value, or a unit, is not there."""
    return next((unit for number, unit in _numbers(summary) if _is_written(number, value)), "")


def limit_text(limit: Limit | None, summary: str, unit: str) -> str:
    """`> 2 %`; empty when there is none, or the summary has said it already, in whatever unit (`limit 3 minutes`)."""
    if (
        limit is None
        or _LIMIT.search(summary)
        or any(_is_written(number, limit.value) for number, _ in _numbers(summary))
    ):
        return ""
    return f"{limit.op} {figure(limit.value, unit)}" if math.isfinite(limit.value) else ""


def sparkline(values: Sequence[float]) -> str:
    """How values went, oldest first, in at most ten bars; empty for fewer than three."""
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 3:
        return ""
    shown = thinned(known, SPARKS)
    low, high = min(shown), max(shown)
    if high == low:
        return BARS[3] * len(shown)
    return "".join(BARS[round((value / 2 - low / 2) / (high / 2 - low / 2) * (len(BARS) - 1))] for value in shown)


def thinned(values: Sequence[float], count: int) -> list[float]:
    """At most `count` of the values: of each stretch the one farthest from nought, so that no peak is lost."""
    if len(values) <= count:
        return list(values)
    edges = [round(number * len(values) / count) for number in range(count + 1)]
    return [max(values[start:end], key=abs) for start, end in pairwise(edges)]


def peak(context: Context, since_ms: int, until_ms: int) -> float | None:
    """The worst reading in a span: the highest, or the lowest where the rule watches for too little."""
    values = [value for t_ms, value in context.readings if since_ms <= t_ms <= until_ms and math.isfinite(value)]
    if not values:
        return None
    return min(values) if context.limit and context.limit.op.startswith("<") else max(values)


def near_deploy(deploys: Iterable[Deploy], since_ms: int, until_ms: int) -> Deploy | None:
    """The newest deploy from two hours before the alert began until `until_ms`."""
    near = [deploy for deploy in deploys if since_ms - DEPLOY_NEAR_MS <= deploy.t_ms <= until_ms]
    return max(near, key=lambda deploy: deploy.t_ms, default=None)


def deploy_text(deploy: Deploy, since_ms: int) -> str:
    """`Deploy 9 min before: 4f2a1c9 "retry on 502" by ann (v212 → v213)`."""
    when = "before" if deploy.t_ms <= since_ms else "after it began"
    by = f" by {deploy.by}" if deploy.by else ""
    version = f" ({deploy.version})" if deploy.version else ""
    return f"Deploy {lasted(abs(since_ms - deploy.t_ms))} {when}: {deploy.what}{by}{version}"


def lasted(ms: int) -> str:
    """A span for a person: its two largest units (`45 s`, `6 min`, `1 h 5 min`)."""
    seconds = max(0, round(ms / 1000))
    for (name, size), (next_name, next_size) in pairwise(_UNITS_S):
        if seconds >= size:
            rest = seconds % size // next_size
            # Seconds beside minutes are noise in a message that a person reads.
            more = f" {rest} {next_name}" if rest and name != "min" else ""
            return f"{seconds // size} {name}{more}"
    return f"{seconds} s"


def _numbers(summary: str) -> list[tuple[str, str]]:
    return [(number, unit if unit in UNIT_WORDS else "") for number, unit in _NUMBER.findall(summary[:2_000])]


def _is_written(number: str, value: float) -> bool:
    """Whether `number` is what `value` reads rounded to as many places."""
    places = len(number.partition(".")[2])
    return (
        math.isfinite(value) and abs(float(number) - value) <= 0.5 * 10**-places and (places > 0 or value == int(value))
    )
