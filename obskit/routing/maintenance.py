"""Maintenance windows that come again: alerts that are expected at some hours, kept quiet then; pure.

A window that is open is a silence that nobody had to set: what began in it and still fires at its end is told then.
For one that comes once there are silences.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from obskit.model.alert_matchers import AlertMatcher
from obskit.model.settings import Settings
from obskit.routing.intervals import Interval, Intervals
from obskit.routing.match_settings import MatcherLine
from obskit.routing.silences import Silence

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 86_400_000


class MaintenanceSettings(Settings):
    """An entry of `maintenance:`, ours."""

    name: str = Field(min_length=1, description="what messages and lists call it")
    matchers: list[MatcherLine] = Field(min_length=1, description="which alerts are expected; all must match")
    time_intervals: list[str] = Field(min_length=1, description="names of the `time_intervals:` it is open in")
    comment: str = Field("", description="why, for people")

    def window(self) -> Window:
        """As routing asks it."""
        matchers = tuple(each for line in self.matchers for each in line)
        return Window(self.name, matchers, tuple(self.time_intervals), self.comment)


@dataclass(frozen=True, slots=True)
class Window:
    """Alerts that satisfy every matcher are not told of in these time intervals."""

    name: str
    matchers: tuple[AlertMatcher, ...]
    intervals: tuple[str, ...]
    comment: str = ""


def open_windows(windows: Iterable[Window], intervals: Intervals, now_ms: int) -> list[Silence]:
    """Those that are open, as the silences that they are."""
    found = []
    for window in windows:
        named = [each for name in window.intervals for each in intervals.get(name, ())]
        if _inside(named, now_ms):
            found.append(_silence(window, named, now_ms))
    return found


def _silence(window: Window, intervals: Sequence[Interval], now_ms: int) -> Silence:
    minute = now_ms - now_ms % _MINUTE_MS
    # One that is open for longer is shown to end with the next day: the same moment for a whole day.
    latest_ms = now_ms - now_ms % _DAY_MS + 2 * _DAY_MS
    ends = range(minute + _MINUTE_MS, latest_ms, _MINUTE_MS)
    end_ms = next((at_ms for at_ms in ends if not _inside(intervals, at_ms)), latest_ms)
    return Silence(
        matchers=window.matchers,
        starts_ms=minute,
        ends_ms=end_ms,
        created_by=f"maintenance {window.name}",
        comment=window.comment,
        id=f"maintenance:{window.name}",
    )


def _inside(intervals: Iterable[Interval], at_ms: int) -> bool:
    return any(each.contains(at_ms) for each in intervals)
