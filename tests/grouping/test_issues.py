"""What becomes of an issue: seen, resolved, regressed, muted."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.grouping.issues import FOREVER, HOUR_MS, MAX_HOURS, MAX_SAMPLES, Event, Issue, Sample, State


def issue() -> Issue:
    return Issue("id", "shop", "message", "t1-1", "title")


def see(of: Issue, t_ms: int, release: str = "", *, later: bool = False) -> Event | None:
    sample = Sample(of.count + 1, t_ms * 1_000_000, {}, f"line {t_ms}")
    return of.see(sample, release, is_later_release=later, now_ms=t_ms)


def test_it_is_new_once() -> None:
    one = issue()
    assert [see(one, t_ms) for t_ms in (5, 6, 4)] == [Event.NEW, None, None]
    assert (one.count, one.first_ms, one.last_ms, one.state) == (3, 4, 6, State.OPEN)


AGAIN = [
    ("without releases it is back", "", "", False, Event.REGRESSED),
    ("in the release it was resolved in it is the old one", "1.0", "1.0", False, None),
    ("in an older release too", "1.1", "1.0", False, None),
    ("in a later release it is back", "1.0", "1.1", True, Event.REGRESSED),
    ("without a release where there was one, it is back", "1.0", "", False, Event.REGRESSED),
]


@pytest.mark.parametrize(
    ("before", "after", "later", "event"), [row[1:] for row in AGAIN], ids=[row[0] for row in AGAIN]
)
def test_a_resolved_issue_that_is_seen_again(before: str, after: str, later: bool, event: Event | None) -> None:
    one = issue()
    see(one, 1, before)
    one.resolve(10)
    assert see(one, 20, after, later=later) is event
    assert one.state is (State.REGRESSED if event else State.RESOLVED)
    assert one.count == 2


def test_late_lines_of_before_bring_nothing_back() -> None:
    one = issue()
    see(one, 1)
    one.resolve(10)
    assert see(one, 9) is None
    assert one.state is State.RESOLVED


def test_a_muted_issue_is_silent_until_its_time() -> None:
    one = issue()
    see(one, 1)
    one.mute(10, until_ms=100)
    assert [see(one, t_ms) for t_ms in (50, 99)] == [None, None]
    assert see(one, 100) is Event.UNMUTED
    one.mute(110, FOREVER)
    assert see(one, 10**15) is None


def test_a_regressed_issue_is_resolved_and_reopened() -> None:
    one = issue()
    see(one, 1)
    one.resolve(2)
    see(one, 3)
    one.resolve(4)
    assert one.state is State.RESOLVED
    one.reopen(5)
    assert see(one, 6) is None
    assert one.state is State.OPEN


def test_samples_are_the_first_the_last_and_some_between() -> None:
    one = issue()
    for t_ms in range(1, 250_001):
        see(one, t_ms)
    assert [sample.number for sample in one.samples] == [1, 1_000, 10_000, 100_000, 250_000]


steps = st.lists(
    st.tuples(
        st.sampled_from(["see", "resolve", "mute", "reopen"]), st.integers(0, 50), st.sampled_from(["", "1", "2"])
    ),
    max_size=60,
)


@given(steps)
@settings(max_examples=150)
def test_counts_are_those_of_the_lines_whatever_is_done(steps: list[tuple[str, int, str]]) -> None:
    one, seen, now_ms = issue(), 0, 0
    for what, hours, release in steps:
        now_ms += hours * HOUR_MS
        if what == "see":
            before = one.state
            event = see(one, now_ms, release, later=release == "2")
            seen += 1
            assert (event is Event.REGRESSED) == (before is State.RESOLVED and one.state is State.REGRESSED)
        elif seen:
            actions: dict[str, Any] = {"resolve": one.resolve, "reopen": one.reopen}
            actions.get(what, lambda now: one.mute(now, now + HOUR_MS))(now_ms)
    assert one.count == seen
    assert len(one.hours) <= MAX_HOURS
    assert sum(one.hours.values()) <= seen
    assert len(one.samples) <= MAX_SAMPLES
    if one.samples:
        assert (one.samples[0].number, one.samples[-1].number) == (1, seen)


def test_an_issue_that_absorbs_another_has_the_lines_of_both() -> None:
    one, two = issue(), issue()
    see(one, 50, "2")
    see(two, 10, "1")
    see(two, 60, "3")
    one.absorb(two)
    assert (one.count, one.first_ms, one.first_release, one.last_ms, one.last_release) == (3, 10, "1", 60, "3")
    assert [sample.t_ns // 1_000_000 for sample in one.samples] == [10, 50, 60]
