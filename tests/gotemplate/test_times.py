"""Go's layouts: what is written is read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.gotemplate.problems import ValueProblem
from obskit.gotemplate.times import Instant, parse_time

NS = 1_709_618_828_123_456_789  # 2024-03-05 06:07:08.123456789, a Tuesday


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("2006-01-02T15:04:05Z07:00", "2024-03-05T06:07:08Z"),
        ("2006-01-02T15:04:05.999999999Z07:00", "2024-03-05T06:07:08.123456789Z"),
        ("Mon Jan _2 15:04:05 2006", "Tue Mar  5 06:07:08 2024"),
        ("Monday, 02-Jan-06 15:04:05 MST", "Tuesday, 05-Mar-24 06:07:08 UTC"),
        ("3:04PM", "6:07AM"),
        ("1/2/06 03:04:05pm", "3/5/24 06:07:08am"),
        ("15:04:05.000", "06:07:08.123"),
        ("15:04:05,000000", "06:07:08,123456"),
        ("002 __2", "065  65"),
        ("-0700 -07:00 -07", "+0000 +00:00 +00"),
        ("January 2006", "March 2024"),
        ("no time at all", "no time at all"),
    ],
)
def test_a_time_is_written_as_its_layout_says(layout: str, text: str) -> None:
    assert Instant(NS).format(layout) == text


def test_a_time_is_written_in_its_zone() -> None:
    berlin = Instant(NS, "Europe/Berlin")
    assert berlin.format("15:04 -0700 MST Z07:00") == "07:07 +0100 CET +01:00"
    assert str(Instant(NS)) == "2024-03-05 06:07:08.123456789 +0000 UTC"


@pytest.mark.parametrize(
    ("layout", "text", "ns"),
    [
        ("2006-01-02", "2024-03-05", 1_709_596_800 * 10**9),
        ("2006-01-02T15:04:05Z07:00", "2024-03-05T06:07:08+02:00", 1_709_611_628 * 10**9),
        ("2006-01-02T15:04:05Z07:00", "2024-03-05T06:07:08.5Z", 1_709_618_828_500_000_000),
        ("Jan _2 2006 3:04PM", "Mar  5 2024 6:07PM", 1_709_662_020 * 10**9),
        ("2006-01-02 15:04:05 -0700", "1969-12-31 23:59:59 +0000", -(10**9)),
    ],
)
def test_a_time_is_read_as_its_layout_says(layout: str, text: str, ns: int) -> None:
    assert parse_time(layout, text).ns == ns


@pytest.mark.parametrize(
    ("layout", "text"), [("2006-01-02", "2024-13-05"), ("15:04", "6"), ("2006", "24"), ("2006-01-02", "x")]
)
def test_what_is_no_such_time_is_a_problem(layout: str, text: str) -> None:
    with pytest.raises(ValueProblem):
        parse_time(layout, text)


def test_a_zone_that_is_not_known_is_a_problem() -> None:
    with pytest.raises(ValueProblem, match="unknown time zone"):
        parse_time("2006", "2024", "Nowhere/Land")


@given(
    st.integers(0, 4_000_000_000).map(lambda seconds: seconds * 10**9),
    st.sampled_from(["UTC", "Asia/Kolkata", "-03:30"]),
)
def test_what_is_written_is_read_back(ns: int, zone: str) -> None:
    layout = "2006-01-02T15:04:05Z07:00"
    assert parse_time(layout, Instant(ns, zone).format(layout)).ns == ns


@given(st.text(st.sampled_from("2006-1 5:47PJanMoZ.09_"), max_size=20), st.text(max_size=20))
def test_any_layout_ends(layout: str, text: str) -> None:
    Instant(NS).format(layout)
    try:
        parse_time(layout, text)
    except ValueProblem:
        return
