"""When a schedule comes round: against a table, and against walking the clock minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit_collectors.heartbeats_cron import Cron

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo"]


def ms(text: str, zone: str = "UTC", fold: int = 0) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()) * 1000


def shown(t_ms: int) -> str:
    return datetime.fromtimestamp(t_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


NEXT = [
    ("* * * * *", "UTC", "2026-01-01 00:00", "2026-01-01 00:01"),
    ("30 3 * * *", "UTC", "2026-01-01 03:30", "2026-01-02 03:30"),
    ("30 3 * * *", "Europe/Berlin", "2026-01-01 00:00", "2026-01-01 02:30"),
    ("30 3 * * *", "Europe/Berlin", "2026-07-01 00:00", "2026-07-01 01:30"),
    ("*/15 * * * *", "UTC", "2026-01-01 00:15", "2026-01-01 00:30"),
    ("5/20 * * * *", "UTC", "2026-01-01 00:25", "2026-01-01 00:45"),
    ("0 9-17/4 * * mon-fri", "UTC", "2026-01-02 17:00", "2026-01-05 09:00"),
    ("0 0 * * 7", "UTC", "2026-01-01 00:00", "2026-01-04 00:00"),
    ("0 0 13 * fri", "UTC", "2026-01-01 00:00", "2026-01-02 00:00"),  # either day
    ("0 0 */2 * fri", "UTC", "2026-01-01 00:00", "2026-01-09 00:00"),  # both, as the day begins with *
    ("0 0 29 2 *", "UTC", "2026-01-01 00:00", "2028-02-29 00:00"),
    ("0 0 29 2 *", "UTC", "2096-03-01 00:00", "2104-02-29 00:00"),
    ("0 0 31 jan,mar *", "UTC", "2026-02-01 00:00", "2026-03-31 00:00"),
    ("@daily", "America/New_York", "2026-01-01 00:00", "2026-01-01 05:00"),
    ("@WEEKLY", "UTC", "2026-01-01 00:00", "2026-01-04 00:00"),
    # Berlin loses 02:00-03:00 on 2026-03-29: a fixed time there runs at the end of the gap, once
    ("30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", "2026-03-29 01:00"),
    ("30 2 * * *", "Europe/Berlin", "2026-03-29 01:00", "2026-03-30 00:30"),
    ("15,45 2 * * *", "Europe/Berlin", "2026-03-29 00:00", "2026-03-29 01:00"),
    ("0 * * * *", "Europe/Berlin", "2026-03-29 00:00", "2026-03-29 01:00"),  # 01:00, then 03:00
    ("*/30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", "2026-03-30 00:00"),  # follows the wall: no 02:xx that day
    # Berlin has 02:00-03:00 twice on 2026-10-25: a fixed time runs the first time only
    ("30 2 * * *", "Europe/Berlin", "2026-10-25 00:00", "2026-10-25 00:30"),
    ("30 2 * * *", "Europe/Berlin", "2026-10-25 00:30", "2026-10-26 01:30"),
    ("30 * * * *", "Europe/Berlin", "2026-10-25 00:30", "2026-10-25 01:30"),
    ("*/30 2 * * *", "Europe/Berlin", "2026-10-25 00:30", "2026-10-25 01:00"),
    # Half an hour only, in the south
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00", "2026-10-03 15:30"),
]


@pytest.mark.parametrize(("schedule", "zone", "after", "expected"), NEXT)
def test_a_schedule_comes_round_when_cron_would_run_it(schedule: str, zone: str, after: str, expected: str) -> None:
    assert shown(Cron.parse(schedule, ZoneInfo(zone)).after(ms(after))) == expected


WRONG = [
    ("* * * *", "five fields"),
    ("60 * * * *", 'minute: "60" is not within 0-59'),
    ("* 24 * * *", "hour"),
    ("* * 0 * *", "day of the month"),
    ("* * * 13 *", "month"),
    ("* * * * 8", "day of the week"),
    ("*/0 * * * *", "minute"),
    ("5-1 * * * *", "minute"),
    ("1,,2 * * * *", "minute"),
    ("mon * * * *", 'minute: "mon" is not a number'),
    ("* * * * * *", "five fields"),
    ("0 0 31 2 *", "never"),
    ("@reboot", "five fields"),
    ("² * * * *", "minute"),
    ("", "five fields"),
]


@pytest.mark.parametrize(("schedule", "words"), WRONG)
def test_a_schedule_that_cannot_be_meant_is_refused_in_words(schedule: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Cron.parse(schedule, ZoneInfo("UTC"))


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    part = st.one_of(
        number.map(str),
        st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}"),
        st.integers(1, high).map(lambda step: f"*/{step}"),
    )
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


WALL = st.tuples(st.just("*/7"), fields(0, 23), st.just("*"), st.just("*"), fields(0, 6)).map(" ".join)
FIXED = st.tuples(
    st.integers(0, 59).map(str), st.integers(0, 23).map(str), fields(1, 28), st.just("*"), st.just("*")
).map(" ".join)
MOMENTS = st.integers(1_600_000_000, 1_900_000_000)


@given(schedule=WALL, zone=st.sampled_from(ZONES), seconds=MOMENTS)
def test_what_follows_the_wall_comes_at_the_first_minute_whose_time_on_the_wall_fits(
    schedule: str, zone: str, seconds: int
) -> None:
    cron = Cron.parse(schedule, ZoneInfo(zone))
    moment = datetime.fromtimestamp(seconds // 60 * 60, UTC)
    for _ in range(2 * 1440):
        moment += timedelta(minutes=1)
        local = moment.astimezone(cron.zone)
        fits = local.minute in cron.minutes and local.hour in cron.hours
        if fits and (local.weekday() + 1) % 7 in cron.weekdays:
            assert cron.after(seconds * 1000) == round(moment.timestamp()) * 1000
            return
    assert cron.after(seconds * 1000) > round(moment.timestamp()) * 1000


@given(schedule=FIXED, zone=st.sampled_from(ZONES), seconds=MOMENTS)
def test_a_fixed_time_comes_once_on_each_day_it_is_meant_for(schedule: str, zone: str, seconds: int) -> None:
    cron = Cron.parse(schedule, ZoneInfo(zone))
    t_ms, days = seconds * 1000, []
    for _ in range(5):
        following = cron.after(t_ms)
        assert following > t_ms
        t_ms = following
        days.append(datetime.fromtimestamp(t_ms / 1000, cron.zone).date())
    assert len(set(days)) == len(days)
    # The first one's day may begin the walk in its middle; between two there is no day that was left out.
    for earlier, later in pairwise(days):
        between = [earlier + timedelta(days=n) for n in range(1, (later - earlier).days)]
        assert not [day for day in between if day.day in cron.days]
