from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.model.context import Context, Deploy, Limit
from obskit.notify.figures import (
    DEPLOY_NEAR_MS,
    SPARKS,
    deploy_text,
    figure,
    limit_text,
    near_deploy,
    peak,
    sparkline,
    thinned,
    unit_in,
)

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (7.4, "%", "7.4 %"),
        (7.4321987, "", "7.432"),
        (123456.78, "", "123457"),
        (0, "s", "0 s"),
        (-3.5, "", "-3.5"),
        (math.inf, "%", ""),
        (math.nan, "", ""),
    ],
)
def test_a_number_is_written_as_a_person_would(value: float, unit: str, said: str) -> None:
    assert figure(value, unit) == said


@pytest.mark.parametrize(
    ("summary", "value", "unit"),
    [
        ("api: 7.4 % of the requests fail (limit 5 %)", 7.4321, "%"),
        ("api: 7.4% fail", 7.4, "%"),
        ("p99 is 312 ms", 312.0, "ms"),
        ("jobs holds 60 jobs", 60, ""),
        ("7 machines of 2 minutes", 2, "minutes"),
        ("v2.3 is broken", 2.3, ""),
        ("it burns", 1, ""),
        ("it burns", math.nan, ""),
    ],
)
def test_the_unit_is_the_one_the_rule_wrote(summary: str, value: float, unit: str) -> None:
    assert unit_in(summary, value) == unit


@pytest.mark.parametrize(
    ("limit", "summary", "said"),
    [
        (Limit(">", 2), "7.4 % fail", "> 2 %"),
        (Limit(">", 2), "7.4 % fail (limit 2 %)", ""),
        (Limit(">", 180), "the oldest waits 4m (limit 3 minutes)", ""),
        (Limit(">", 2), "the rate limiter refused 7.4 %", "> 2 %"),
        (Limit("<", 0.5), "0.2 % succeed", "< 0.5 %"),
        (Limit(">", math.inf), "7.4 % fail", ""),
        (None, "7.4 % fail", ""),
    ],
)
def test_the_limit_is_told_when_the_rule_has_not_said_it(limit: Limit | None, summary: str, said: str) -> None:
    assert limit_text(limit, summary, "%") == said


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], ""),
        ([1, 2], ""),
        ([1, 2, 3], "▁▅█"),
        ([5, 5, 5], "▄▄▄"),
        ([1, math.nan, 2, math.inf, 3], "▁▅█"),
        ([0] * 50 + [9] + [0] * 50, "▁▁▁▁▁█▁▁▁▁"),
        ([-1e308, 0, 1e308], "▁▅█"),
    ],
)
def test_a_sparkline_shows_the_course_and_no_peak_is_lost(values: list[float], drawn: str) -> None:
    assert sparkline(values) == drawn


@given(st.lists(st.floats(), max_size=200))
def test_every_course_can_be_drawn(values: list[float]) -> None:
    assert len(sparkline(values)) <= SPARKS


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=99), st.integers(1, 30))
def test_thinning_keeps_the_farthest_value(values: list[float], count: int) -> None:
    kept = thinned(values, count)
    assert len(kept) <= max(count, 1)
    assert max(map(abs, kept)) == max(map(abs, values))


def test_the_peak_is_the_worst_reading_of_the_time() -> None:
    readings = ((0, 99.0), (10, 1.0), (20, 5.0), (30, 3.0), (40, math.nan))
    assert peak(Context(limit=Limit(">", 2), readings=readings), 10, 40) == 5.0
    assert peak(Context(limit=Limit("<", 2), readings=readings), 10, 40) == 1.0
    assert peak(Context(), 0, 40) is None


def test_a_deploy_is_near_from_two_hours_before_until_now() -> None:
    deploys = [Deploy(t_ms, str(t_ms)) for t_ms in (0, HOUR_MS, 2 * HOUR_MS + 1)]
    since_ms = DEPLOY_NEAR_MS + 1
    assert near_deploy(deploys, since_ms, since_ms) == deploys[2]
    assert near_deploy(deploys[:2], since_ms, since_ms) == deploys[1]
    assert near_deploy(deploys[:1], since_ms, since_ms) is None


def test_a_deploy_is_told_beside_the_beginning_of_the_alert() -> None:
    deploy = Deploy(0, '4f2a "retry"', "ann", "v1 → v2")
    assert deploy_text(deploy, 540_000) == 'Deploy 9 min before: 4f2a "retry" by ann (v1 → v2)'
    assert deploy_text(Deploy(540_000, "4f2a"), 0) == "Deploy 9 min after it began: 4f2a"
