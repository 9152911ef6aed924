"""What happened over time, for a person: bars, and charts of series with a line each. A pipe gets every point instead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from obskit.cli.moments import stamp
from obskit.cli.tables import aligned
from obskit.model.durations import format_duration

if TYPE_CHECKING:
    from obskit.model.results import RangeSeries

_BARS: Final = "▁▂▃▄▅▆▇█"
_NUMBERS: Final = ("LAST", "MIN", "MAX")
_LEAST: Final = 10
_GAP: Final = 2


def chart(series: Sequence[RangeSeries], width: int) -> list[str]:
    """Lines of at most `width` columns if labels let: newest, least and greatest value, sparkline, labels.

    All sparklines cover the same time, from the first to the last point of all.
    """
    times_ms = sorted({t_ms for one in series for t_ms in one.times_ms})
    step_ms = min((later - earlier for earlier, later in pairwise(times_ms)), default=1)
    start_ms, end_ms = times_ms[0], times_ms[-1] + step_ms
    numbers = [_numbers(one) for one in series]
    labels = [str(one.labels) for one in series]
    taken = sum(max(map(len, column)) + _GAP for column in zip(_NUMBERS, *numbers, strict=True))
    room = width - taken - _GAP - max(map(len, labels))
    bars = min(max(_LEAST, room), (end_ms - start_ms) // step_ms)
    rows = [
        (*three, sparkline(one, start_ms, end_ms, bars), name)
        for one, three, name in zip(series, numbers, labels, strict=True)
    ]
    when = f"{stamp(start_ms)[:19]}Z"
    if len(times_ms) > 1:
        when += f" to {stamp(times_ms[-1])[:19]}Z, every {format_duration(step_ms)}"
    return [*aligned([(*_NUMBERS, "", "SERIES"), *rows], right=3), when]


def sparkline(series: RangeSeries, start_ms: int, end_ms: int, width: int) -> str:
    """The series as bars: in each the greatest value of its time, a blank where there is none. From 0 unless below."""
    highest = [math.nan] * width
    for t_ms, value in zip(series.times_ms, series.values, strict=True):
        at = (t_ms - start_ms) * width // (end_ms - start_ms)
        if math.isfinite(value) and not value <= highest[at]:
            highest[at] = value
    return _bars(highest)


def bars_of_counts(counts: Sequence[int]) -> str:
    """Counts as bars, a blank where there was nothing."""
    return _bars([count or math.nan for count in counts])


def _bars(values: Sequence[float]) -> str:
    present = [value for value in values if not math.isnan(value)]
    low, high = min([0.0, *present]), max([0.0, *present])
    return "".join(" " if math.isnan(value) else _bar(value, low, high) for value in values)


def _bar(value: float, low: float, high: float) -> str:
    if high == low:
        return _BARS[0]
    return _BARS[min(len(_BARS) - 1, int((value - low) / (high - low) * len(_BARS)))]


def _numbers(series: RangeSeries) -> tuple[str, str, str]:
    finite = [value for value in series.values if not math.isnan(value)] or [math.nan]
    return _short(series.values[-1]), _short(min(finite)), _short(max(finite))


def _short(value: float) -> str:
    return f"{value:.6g}"
