"""How long slots wait for sources that deliver late."""

from __future__ import annotations

from obskit.model.labels import Labels
from obskit.rules.watermarks import LATELY_MS, Watermarks, source_of

MS = 1_000_000
NOW = 1_000_000_000


def times(*ms: int) -> list[int]:
    return [t * MS for t in ms]


def test_a_source_is_named_by_its_label() -> None:
    assert source_of(Labels({"source": "cdn", "job": "x"})) == "cdn"
    assert source_of(Labels({"job": "x"})) == "x"
    assert source_of(Labels({"app": "x"})) == ""


def test_a_source_that_does_not_lag_holds_up_nothing() -> None:
    marks = Watermarks(120_000)
    for step in range(5):
        now = NOW + step * 1000
        marks.note("live", times(now - 5), ["g"], now)
    assert marks.ready_at_ms("g", NOW + 9000, NOW + 9000) == NOW + 9000


def test_a_slot_waits_as_long_as_a_source_lags_or_until_it_delivers() -> None:
    marks = Watermarks(120_000)
    marks.note("cdn", times(NOW - 30_000), ["g"], NOW)
    marks.note("cdn", times(NOW - 25_000, NOW - 5_000), ["g"], NOW)
    assert marks.ready_at_ms("g", NOW, NOW) == NOW + 30_000
    assert marks.ready_at_ms("other", NOW, NOW) == NOW
    marks.note("cdn", times(NOW + 1), ["g"], NOW + 2)
    assert marks.ready_at_ms("g", NOW, NOW) == NOW
    assert marks.lag_ms("g", NOW) == 30_000


def test_a_slot_never_waits_longer_than_the_limit_nor_for_who_was_not_seen_lately() -> None:
    marks = Watermarks(10_000)
    marks.note("slow", times(NOW - 60_000), ["g"], NOW)
    assert marks.ready_at_ms("g", NOW, NOW) == NOW + 10_000
    assert marks.ready_at_ms("g", NOW + LATELY_MS, NOW + LATELY_MS + 1) == NOW + LATELY_MS


def test_lines_that_come_late_do_not_count_as_lag() -> None:
    marks = Watermarks(120_000)
    marks.note("app", times(NOW), ["g"], NOW)
    marks.note("app", times(NOW - 50_000, NOW + 100), ["g"], NOW + 105)
    assert marks.lag_ms("g", NOW + 105) == 0


def test_a_lag_is_forgotten_after_a_while() -> None:
    marks = Watermarks(120_000)
    marks.note("app", times(NOW - 40_000), ["g"], NOW)
    for step in range(1, 4):
        now = NOW + step * LATELY_MS
        marks.note("app", times(now), ["g"], now)
    assert marks.lag_ms("g", NOW + 3 * LATELY_MS) == 0
