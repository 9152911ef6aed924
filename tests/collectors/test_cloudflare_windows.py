"""From when to when the log is asked for next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from obskit_collectors.cloudflare_logs import REQUESTS_AT_ONCE, Pace
from obskit_collectors.cloudflare_windows import LATEST_MS, LONGEST_MS, SHORTEST_MS, Windows

NOW = 1_790_929_000_000
DAY = 86_400_000


def test_a_pass_goes_on_to_the_present_and_the_next_begins_anew() -> None:
    windows = Windows()
    begin, end = windows.next(NOW - 10 * 3_600_000, NOW - DAY, NOW)
    assert (begin, end) == (NOW - 10 * 3_600_000, NOW - 4 * 3_600_000)
    windows = windows.read(end, NOW, growth=2)
    assert windows.behind
    begin, end = windows.next(NOW - 9 * 3_600_000, NOW - DAY, NOW)
    assert (begin, end) == (NOW - 4 * 3_600_000, NOW)
    windows = windows.read(end, NOW, growth=2)
    assert not windows.behind
    assert windows.next(NOW - 5000, NOW - DAY, NOW + 15_000) == (NOW - 5000, NOW + 15_000)


def test_after_a_silence_a_pass_begins_an_hour_before_the_end_of_the_last() -> None:
    windows = Windows().read(NOW, NOW, growth=2)
    assert windows.next(NOW - DAY, NOW - 3 * DAY, NOW + 15_000)[0] == NOW - LATEST_MS


def test_nothing_is_asked_from_before_what_is_kept() -> None:
    assert Windows().next(NOW - 30 * DAY, NOW - 3 * DAY, NOW)[0] == NOW - 3 * DAY


def test_a_clock_that_was_ahead_does_not_make_windows_of_nothing() -> None:
    windows = Windows().read(NOW + DAY, NOW + DAY, growth=2)
    begin, end = windows.next(NOW + DAY, NOW - 3 * DAY, NOW)
    assert (begin, end) == (NOW - SHORTEST_MS, NOW)


@given(st.integers(1, 5 * DAY), st.lists(st.sampled_from(["cut", "grow", "stay"]), max_size=200))
def test_windows_follow_each_other_without_a_gap_and_end_at_the_present(back_ms: int, steps: list[str]) -> None:
    windows, reached = Windows(), NOW - max(back_ms, SHORTEST_MS)
    for step in [*steps, *["grow"] * 60]:
        begin, end = windows.next(reached, 0, NOW)
        assert reached - SHORTEST_MS <= begin <= reached
        assert 0 < end - begin <= LONGEST_MS
        if step == "cut":
            windows = windows.cut(begin, end)
            continue
        windows, reached = windows.read(end, NOW, growth=2 if step == "grow" else 1), end
        if not windows.behind:
            break
    assert reached == NOW


def test_many_requests_at_once_are_waited_for_later() -> None:
    pace = Pace()
    assert pace.wait_s(int(REQUESTS_AT_ONCE), 0.0) == 0
    assert pace.wait_s(4, 0.0) == 2
    assert pace.wait_s(4, 2.0) == 2
    assert pace.wait_s(1, 1000.0) == 0
    asked, now_s = 0, 1000.0
    while now_s < 1300:
        asked += 4
        now_s += pace.wait_s(4, now_s)
    assert asked <= 300 * 2 + REQUESTS_AT_ONCE + 4
