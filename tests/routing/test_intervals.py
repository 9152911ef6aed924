"""When a time interval holds: Alertmanager's rules, and the calendar's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from obskit.routing.intervals import Interval, IntervalSettings, TimeIntervalSettings, build_intervals, muted_by


def interval(**settings: Any) -> Interval:
    return IntervalSettings.model_validate(settings).interval()


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


NIGHT = {"start_time": "22:00", "end_time": "24:00"}
WORK = {"start_time": "09:00", "end_time": "17:00"}


@pytest.mark.parametrize(
    ("settings", "moment", "inside"),
    [
        ({}, "2026-01-01T00:00", True),
        ({"times": [WORK]}, "2026-01-01T09:00", True),
        ({"times": [WORK]}, "2026-01-01T16:59:59.999", True),
        ({"times": [WORK]}, "2026-01-01T17:00", False),
        ({"times": [WORK, NIGHT]}, "2026-01-01T23:59", True),
        ({"times": []}, "2026-01-01T23:59", False),
        ({"weekdays": ["monday:friday"]}, "2026-11-20T12:00", True),
        ({"weekdays": ["Monday:Friday"]}, "2026-11-21T12:00", False),
        ({"weekdays": ["sunday", "saturday"]}, "2026-11-21T12:00", True),
        ({"weekdays": ["sunday"]}, "2026-11-22T12:00", True),
        ({"days_of_month": ["1:5"]}, "2026-11-05T12:00", True),
        ({"days_of_month": ["1:5"]}, "2026-11-06T12:00", False),
        ({"days_of_month": ["-3:-1"]}, "2026-11-28T00:00", True),
        ({"days_of_month": ["-3:-1"]}, "2026-11-27T23:59", False),
        ({"days_of_month": ["-1"]}, "2028-02-29T00:00", True),
        ({"days_of_month": ["-1"]}, "2028-02-28T00:00", False),
        ({"days_of_month": ["29:31"]}, "2026-02-28T00:00", False),
        ({"days_of_month": ["25:-1"]}, "2026-02-28T00:00", True),
        ({"days_of_month": ["-31:-28"]}, "2026-02-01T00:00", True),
        ({"days_of_month": ["-1"], "location": "Europe/Berlin"}, "2026-03-31T12:00", True),
        ({"days_of_month": ["-1"], "location": "Europe/Berlin"}, "2026-03-30T12:00", False),
        ({"months": ["may:august"]}, "2026-08-31T12:00", True),
        ({"months": ["5:8", "december"]}, "2026-12-01T12:00", True),
        ({"months": ["5:8"]}, "2026-09-01T12:00", False),
        ({"years": ["2026:2027"]}, "2027-12-31T23:59", True),
        ({"years": ["2026"]}, "2027-01-01T00:00", False),
        ({"years": ["2026"], "location": "America/New_York"}, "2027-01-01T00:00", True),
        ({"times": [WORK], "weekdays": ["friday"], "months": ["november"]}, "2026-11-20T12:00", True),
        ({"times": [WORK], "weekdays": ["friday"], "months": ["october"]}, "2026-11-20T12:00", False),
        ({"times": [WORK], "location": "Europe/Berlin"}, "2026-07-01T07:00", True),
        ({"times": [WORK], "location": "Europe/Berlin"}, "2026-01-01T07:59", False),
        ({"location": "Local"}, "2026-01-01T07:59", True),
    ],
)
def test_a_moment_is_inside_or_not(settings: dict[str, Any], moment: str, inside: bool) -> None:
    assert interval(**settings).contains(at(moment)) is inside


def test_when_the_clocks_change_an_hour_is_skipped_or_comes_twice() -> None:
    hour = interval(times=[{"start_time": "02:00", "end_time": "03:00"}], location="Europe/Berlin")

    def minutes_inside(day: str) -> int:
        start = at(f"{day}T00:00", "Europe/Berlin")
        return sum(hour.contains(start + minute * 60_000) for minute in range(25 * 60))

    assert [minutes_inside(day) for day in ("2026-03-28", "2026-03-29", "2026-10-25")] == [60, 0, 120]


@given(st.integers(0, 2_500_000_000), st.integers(1, 28))
def test_days_from_the_end_are_the_days_before_the_next_month(moment_s: int, back: int) -> None:
    day = datetime.fromtimestamp(moment_s, UTC)
    first_of_next = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
    expected = (first_of_next.date() - day.date()).days == back
    assert interval(days_of_month=[f"-{back}"]).contains(int(day.timestamp() * 1000)) is expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"times": [{"start_time": "17:00", "end_time": "09:00"}]}, "start time cannot be equal or greater"),
        ({"times": [{"start_time": "24:01", "end_time": "24:00"}]}, "not a time of day"),
        ({"times": [{"start_time": "9:00", "end_time": "10:00"}]}, "not a time of day"),
        ({"times": [{"start_time": "09:00"}]}, "required"),
        ({"weekdays": ["friday:monday"]}, "the end is before the start"),
        ({"weekdays": ["mon"]}, "mon is not a valid weekday"),
        ({"weekdays": ["monday:tuesday:friday"]}, "invalid format"),
        ({"days_of_month": ["0"]}, "out of range"),
        ({"days_of_month": ["1:32"]}, "out of range"),
        ({"days_of_month": ["-1:5"]}, "end day must be negative"),
        ({"days_of_month": ["30:-5"]}, "always before start day"),
        ({"days_of_month": ["x"]}, "x is not a number"),
        ({"months": ["june:may"]}, "the end is before the start"),
        ({"months": ["13"]}, "13 is not a valid month"),
        ({"years": ["2027:2026"]}, "the end is before the start"),
        ({"years": [["2027"]]}, "must be text"),
        ({"location": "Mars/Base"}, "Mars/Base is not a time zone"),
        ({"location": "../etc/passwd"}, "is not a time zone"),
        ({"time_zone": "UTC"}, "Extra inputs"),
    ],
)
def test_what_cannot_be_an_interval_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        IntervalSettings.model_validate(settings)


INTERVALS = build_intervals(
    TimeIntervalSettings.model_validate(each)
    for each in (
        {"name": "november", "time_intervals": [{"months": ["11"]}]},
        {"name": "odd", "time_intervals": [{"months": ["1"]}, {"months": ["3"]}]},
        {"name": "never"},
    )
)


@pytest.mark.parametrize(
    ("mutes", "actives", "moment", "by"),
    [
        ((), (), "2026-11-20", ()),
        (("november", "odd"), (), "2026-11-20", ("november",)),
        (("november", "odd"), (), "2026-03-20", ("odd",)),
        ((), ("november", "odd"), "2026-11-20", ()),
        ((), ("november", "never"), "2026-12-20", ("november", "never")),
        (("november",), ("november",), "2026-11-20", ("november",)),
        (("gone",), (), "2026-11-20", ()),
    ],
)
def test_a_route_is_quiet_inside_what_mutes_it_and_outside_what_it_is_active_in(
    mutes: tuple[str, ...], actives: tuple[str, ...], moment: str, by: tuple[str, ...]
) -> None:
    assert muted_by(mutes, actives, INTERVALS, at(moment)) == by
