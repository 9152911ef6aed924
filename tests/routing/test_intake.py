"""Alerts that others post: Alertmanager's rules of start, end and merging."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.model.alerts import Alert, ResolveReason
from obskit.model.labels import Labels
from obskit.routing.intake import SOURCE, Intake, Posted, expired, merge, settle

NOW = 1_000_000
TIMEOUT = 300_000


def posted(starts_ms: int | None = None, ends_ms: int | None = None, url: str = "") -> Alert:
    return settle(Posted(Labels({"alertname": "A"}), {}, starts_ms, ends_ms, url), NOW, TIMEOUT)


@pytest.mark.parametrize(
    ("said", "times"),
    [
        ((None, None), (NOW, None, NOW + TIMEOUT, True)),
        ((5, None), (5, None, NOW + TIMEOUT, True)),
        ((5, NOW + 7), (5, None, NOW + 7, False)),
        ((5, NOW), (5, NOW, None, False)),
        ((None, 9), (9, 9, None, False)),
        ((None, NOW + 9), (NOW + 9, None, NOW + 9, False)),
    ],
)
def test_what_is_not_said_of_its_times_is_filled_in(
    said: tuple[int | None, int | None], times: tuple[int, int | None, int | None, bool]
) -> None:
    alert = posted(*said)
    assert (alert.starts_ms, alert.ends_ms, alert.expires_ms, alert.timed_out) == times


@pytest.mark.parametrize(
    ("url", "source"),
    [("http://u:p@prom:9090/graph?x", "prom:9090"), ("", SOURCE), ("http://[", SOURCE), ("no url", SOURCE)],
)
def test_its_source_is_who_sent_it(url: str, source: str) -> None:
    assert posted(url=url).source == source


LONG = posted(10, NOW + 900_000)
SHORT = posted(10, NOW + 10)


@pytest.mark.parametrize(
    ("old", "new", "start", "end"),
    [
        (None, SHORT, 10, NOW + 10),
        (LONG, SHORT, 10, NOW + 900_000),
        (SHORT, LONG, 10, NOW + 900_000),
        (posted(10), SHORT, 10, NOW + 10),
        (LONG, posted(), 10, NOW + 900_000),
        (LONG, posted(20, NOW - 1), 10, NOW - 1),
        (posted(5, NOW - 10), posted(7, NOW - 20), 5, NOW - 10),
        (posted(5, 100), posted(200, NOW + 10), 200, NOW + 10),
        (posted(500), posted(7, NOW + TIMEOUT + 1), 7, NOW + TIMEOUT + 1),
    ],
)
def test_the_earliest_start_and_the_latest_word_of_an_end_are_kept(
    old: Alert | None, new: Alert, start: int, end: int
) -> None:
    alert = merge(old, new, NOW)
    assert (alert.starts_ms, alert.ends_ms or alert.expires_ms) == (start, end)
    assert alert.firing is (end > NOW)


def test_an_alert_of_our_own_rules_is_theirs_to_end() -> None:
    own = Alert(Labels({"alertname": "A"}), {}, 10, source="rules.yaml:A")
    assert merge(own, posted(5, NOW - 1), NOW) is own
    assert merge(replace(own, ends_ms=20), LONG, NOW) == LONG


def test_one_that_expired_ended_when_it_was_to() -> None:
    alert = expired(SHORT)
    assert (alert.firing, alert.ends_ms, alert.expires_ms) == (False, NOW + 10, None)
    assert alert.resolve_reason is ResolveReason.EXPIRED


MOMENTS = st.one_of(st.none(), st.sampled_from([5, 10, NOW - 1, NOW, NOW + 1, NOW + 10, NOW + TIMEOUT, NOW + 900_000]))
POSTS = st.lists(
    st.builds(Posted, st.just(Labels({"alertname": "A"})), st.sampled_from([{}, {"summary": "s"}]), MOMENTS, MOMENTS),
    min_size=1,
    max_size=4,
)
OLD = st.one_of(
    st.none(),
    st.builds(posted, MOMENTS, MOMENTS),
    st.just(Alert(Labels({"alertname": "A"}), {}, 10, value=1.0, source="rules.yaml:A")),
)


@given(OLD, POSTS)
def test_what_is_only_said_again_becomes_what_merging_makes_of_it(old: Alert | None, posts: list[Posted]) -> None:
    intake = Intake(NOW, TIMEOUT, lambda _: old)
    expected = old
    for each in posts:
        intake.take(each)
        expected = merge(expected, settle(each, NOW, TIMEOUT), NOW)
    assert expected is not None
    (found,) = (intake.changed | intake.extended).values()
    assert replace(found, value=0.0) == replace(expected, value=0.0)
    assert not intake.changed or not intake.extended
    if intake.extended:
        assert old is not None
        assert replace(found, expires_ms=0, value=0.0) == replace(old, expires_ms=0, value=0.0)
