from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.model.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "ms"),
    [("0", 0), ("0s", 0), ("15s", 15_000), ("1h30m", 5_400_000), ("1d", 86_400_000), ("5m", 300_000), ("5ms", 5),
     ("1y2w3d4h5m6s7ms", 33_019_506_007), (" 5m ", 300_000), ("90s", 90_000)],
)  # fmt: skip
def test_a_duration_is_read(text: str, ms: int) -> None:
    assert parse_duration(text) == ms


@pytest.mark.parametrize("text", ["", "5", "m", "1.5h", "5m1h", "1m1m", "-5m", "5 m", "1h 30m", "5M", "\u0665m", "1us"])
def test_what_prometheus_does_not_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0s"), (90_000, "1m30s"), (86_400_000, "1d"), (90_000_000, "25h"), (1, "1ms"), (-300_000, "-5m"),
     (7 * 86_400_000, "1w"), (365 * 86_400_000, "1y")],
)  # fmt: skip
def test_a_duration_is_printed_as_prometheus_prints_it(ms: int, text: str) -> None:
    assert format_duration(ms) == text


@given(st.integers(0, 10**13))
def test_what_is_printed_is_read_again(ms: int) -> None:
    assert parse_duration(format_duration(ms)) == ms
