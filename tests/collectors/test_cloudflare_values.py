"""Numbers and times as Cloudflare's answers may hold them."""

from __future__ import annotations

from typing import Any

import pytest

from obskit_collectors.cloudflare_values import number, time_ms


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0.0), (7, 7.0), (0.5, 0.5)]
    + [(odd, None) for odd in (None, True, "7", [], {}, -1, float("nan"), float("inf"), 10**400)],
)
def test_a_number_is_finite_and_not_negative_or_unknown(value: Any, expected: float | None) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1_000),
        ("1970-01-01T00:00:01", 1_000),
        ("1970-01-01T02:00:01.500+02:00", 1_500),
        (None, None),
        (7, None),
        ("yesterday", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("9999-01-01T00:00:00Z", None),
    ],
)
def test_a_time_without_a_zone_is_utc(text: Any, expected: int | None) -> None:
    assert time_ms(text) == expected
