from __future__ import annotations

import logging

import pytest

from obskit.collect import Captured, Feed
from obskit.errors import CollectorError, StoreFull
from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.model.telemetry import REGISTRY
from obskit.store.interface import Batch, Samples
from obskit.testing.clock import START_MS, FakeClock, run

SERIES = Labels({"__name__": "depth"})


class FullFor(Captured):
    """An intake without room for the first `refusals` attempts."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.refusals = refusals

    async def append(self, batch: Batch) -> None:
        if self.refusals:
            self.refusals -= 1
            raise StoreFull("no space left")
        await super().append(batch)


def metric(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_a_full_store_holds_the_batch_back_and_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    clock, intake = FakeClock(), FullFor(7)
    batch = Batch(Samples([SERIES], [START_MS], [1.0]))
    with caplog.at_level(logging.INFO):
        run(Feed("full", intake, clock).append(batch, "t"), clock)
    assert intake.batches == [batch]
    assert clock.monotonic() == 0.5 + 1 + 2 + 5 + 10 * 3
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_what_is_pushed_is_not_waited_with_while_the_store_is_full() -> None:
    clock, intake = FakeClock(), FullFor(1)
    feed, batch = Feed("pushed", intake, clock), Batch(Samples([SERIES], [START_MS], [1.0]))
    with pytest.raises(StoreFull):
        run(feed.offer(batch, "t"), clock)
    assert clock.monotonic() == 0
    run(feed.offer(batch, "t"), clock)
    assert intake.batches == [batch]
    assert feed.status()[0].items == 1


def test_nothing_is_counted_before_it_was_seen() -> None:
    clock = FakeClock()
    feed = Feed("unseen", Captured(), clock)
    with feed.book("t").call():
        pass
    run(feed.append(Batch(), "t"), clock)
    assert metric("obskit_collector_up", collector="unseen", target="t") == 1
    assert metric("obskit_collector_data_age_seconds", collector="unseen", target="t") is None
    assert metric("obskit_collector_items_total", collector="unseen", kind="sample") is None
    assert feed.status()[0].newest_data_ms is None


def test_the_books_say_how_old_the_newest_item_is() -> None:
    clock = FakeClock()
    feed = Feed("aged", Captured(), clock)
    records = [Record(Labels({"app": "x"}), (START_MS - 5000) * 1_000_000, "line")]
    run(feed.append(Batch(Samples([SERIES], [START_MS - 9000], [1.0]), records), "t"), clock)
    clock.advance(2)
    assert metric("obskit_collector_data_age_seconds", collector="aged", target="t") == 7
    assert metric("obskit_collector_items_total", collector="aged", kind="sample") == 1
    assert metric("obskit_collector_items_total", collector="aged", kind="record") == 1


def test_what_a_failed_read_leaves_behind_does_not_make_the_data_younger() -> None:
    clock = FakeClock()
    feed = Feed("leftovers", Captured(), clock)
    batch = Batch(Samples([SERIES], [START_MS], [1.0]))
    run(feed.append(batch, "t"), clock)
    feed.book("t").failure(CollectorError("refused", reason="network"), 0.1)
    run(feed.append(Batch(Samples([SERIES], [START_MS + 9000], [0.0])), "t"), clock)
    assert feed.status()[0].newest_data_ms == START_MS


def test_a_failure_is_booked_by_reason_and_logged_once_per_change(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    book = Feed("failing", Captured(), clock).book("t")

    def attempt(error: CollectorError | None) -> None:
        with book.call():
            clock.advance(0.25)
            if error:
                raise error

    refused, denied = CollectorError("refused", reason="network"), CollectorError("denied", reason="auth")
    with caplog.at_level(logging.INFO):
        for error in (refused, refused, denied, denied):
            with pytest.raises(CollectorError):
                attempt(error)
        assert metric("obskit_collector_up", collector="failing", target="t") == 0
        assert (book.status().errors, book.status().error) == (4, "denied")
        attempt(None)
    assert len(caplog.records) == 3
    assert metric("obskit_collector_up", collector="failing", target="t") == 1
    assert metric("obskit_collector_calls_total", collector="failing", target="t", result="network") == 2
    assert metric("obskit_collector_calls_total", collector="failing", target="t", result="ok") == 1
    assert metric("obskit_collector_duration_seconds_sum", collector="failing") == pytest.approx(1.25)
    assert metric("obskit_collector_last_success_timestamp_seconds", collector="failing", target="t") == (
        pytest.approx(START_MS / 1000 + 1.25)
    )


def test_dropped_and_sampled_items_are_counted() -> None:
    book = Feed("dropping", Captured(), FakeClock()).book("t")
    book.dropped(3, "too_long")
    book.sampled(9)
    assert metric("obskit_collector_dropped_total", collector="dropping", reason="too_long") == 3
    assert metric("obskit_collector_sampled_total", collector="dropping") == 9


def test_the_series_of_a_target_that_is_gone_go_too() -> None:
    feed = Feed("leaving", Captured(), FakeClock())
    with feed.book("t").call():
        pass
    feed.close_book("t")
    feed.close_book("never there")
    assert metric("obskit_collector_up", collector="leaving", target="t") is None
    assert metric("obskit_collector_calls_total", collector="leaving", target="t", result="ok") is None
    assert feed.status() == []
