"""Cron schedules: five fields and a time zone, and when they come round next.

Daylight saving, as Debian's cron has it (cron(8)): a job whose hour or minute begins with `*` follows the clock on the
wall, through every hour that there really is. A job at fixed times runs once: at the end of the gap if its time is left
out, and the first time if its time comes twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

_MONTHS: Final = dict(
    zip(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], range(1, 13), strict=True)
)
_DAYS: Final = dict(zip(["sun", "mon", "tue", "wed", "thu", "fri", "sat"], range(7), strict=True))
_NO_NAMES: Final[Mapping[str, int]] = {}
_FIELDS: Final = (
    ("minute", 0, 59, _NO_NAMES),
    ("hour", 0, 23, _NO_NAMES),
    ("day of the month", 1, 31, _NO_NAMES),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_PART: Final = re.compile(r"(?:(?P<all>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?", re.ASCII)
_FURTHEST: Final = 366 * 9
"""Days to look ahead: 29 February may be eight years away (around 2100)."""
_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Cron:
    """A schedule. Days match as in cron: by either field when both are restricted, else by both."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    follows_the_wall: bool
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str, zone: ZoneInfo) -> Cron:
        """Of `30 3 * * mon-fri` or `@daily`; ValueError says which field is wrong, or that it never comes."""
        fields = _NICKNAMES.get(text.strip().lower(), text).lower().split()
        if len(fields) != len(_FIELDS):
            raise ValueError(f"a schedule has five fields (minute hour day month weekday), not {len(fields)}")
        minutes, hours, days, months, weekdays = (
            _values(field, *limits) for field, limits in zip(fields, _FIELDS, strict=True)
        )
        cron = cls(
            minutes=tuple(sorted(minutes)),
            hours=tuple(sorted(hours)),
            days=days,
            months=months,
            weekdays=frozenset(day % 7 for day in weekdays),
            either_day=not fields[2].startswith("*") and not fields[4].startswith("*"),
            follows_the_wall=fields[0].startswith("*") or fields[1].startswith("*"),
            zone=zone,
        )
        cron.after(0)
        return cron

    def after(self, t_ms: int) -> int:
        """The first time after `t_ms`, in Unix milliseconds."""
        moment = datetime.fromtimestamp(t_ms // 1000, UTC)
        # A gap may push a time of yesterday's date into today.
        day = moment.astimezone(self.zone).date() - timedelta(days=1)
        for _ in range(_FURTHEST):
            if self._has(day):
                found = self._first_of(day, moment)
                if found is not None:
                    return round(found.timestamp()) * 1000
            day += timedelta(days=1)
        raise ValueError("this schedule never comes round")

    def _has(self, day: date) -> bool:
        by_month, by_week = day.day in self.days, (day.weekday() + 1) % 7 in self.weekdays
        either = by_month or by_week if self.either_day else by_month and by_week
        return day.month in self.months and either

    def _first_of(self, day: date, after: datetime) -> datetime | None:
        """The first time of a day after a moment."""
        begin, end = datetime.combine(day, time.min, self.zone), datetime.combine(day, time.max, self.zone)
        if begin.utcoffset() != end.utcoffset():  # clocks change: its times may be out of order
            return min((moment for moment in self._times(day, 0) if moment > after), default=None)
        here = after.astimezone(self.zone)
        if here.date() > day:
            return None
        first_hour = here.hour if here.date() == day else 0
        return next((moment for moment in self._times(day, first_hour) if moment > after), None)

    def _times(self, day: date, first_hour: int) -> Iterator[datetime]:
        for hour in self.hours:
            for minute in self.minutes if hour >= first_hour else ():
                local = datetime.combine(day, time(hour, minute), self.zone)
                yield from self._moments(local)

    def _moments(self, local: datetime) -> Iterator[datetime]:
        """When a time on the wall really is: once, twice, or never."""
        first, second = local.astimezone(UTC), local.replace(fold=1).astimezone(UTC)
        if first == second:
            yield first
        elif first < second:  # the hour comes twice
            yield first
            if self.follows_the_wall:
                yield second
        elif not self.follows_the_wall:  # the hour is left out
            yield self._end_of_gap(second)

    def _end_of_gap(self, before: datetime) -> datetime:
        """The moment at which the clock was put forward, from one a little before it."""
        offset = before.astimezone(self.zone).utcoffset()
        moment = before
        while moment.astimezone(self.zone).utcoffset() == offset:
            moment += _MINUTE
        return moment


def _values(field: str, name: str, low: int, high: int, names: Mapping[str, int]) -> frozenset[int]:
    """What one field allows."""
    values: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f'{name}: "{part}" is not a number, a range or a step')
        step = int(match["step"] or 1)
        first, last = _range(match, name, low, high, names)
        if not (low <= first <= last <= high and step > 0):
            raise ValueError(f'{name}: "{part}" is not within {low}-{high}')
        values.update(range(first, last + 1, step))
    return frozenset(values)


def _range(match: re.Match[str], name: str, low: int, high: int, names: Mapping[str, int]) -> tuple[int, int]:
    if match["all"]:
        return low, high
    first = _number(match["first"], name, names)
    if match["last"] is not None:
        return first, _number(match["last"], name, names)
    return first, high if match["step"] else first


def _number(text: str, name: str, names: Mapping[str, int]) -> int:
    if text in names:
        return names[text]
    if not text.isdecimal():
        raise ValueError(f'{name}: "{text}" is not a number')
    return int(text)
