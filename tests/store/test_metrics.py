"""Samples: what is refused, what leaves memory, and that memory and disk together answer as one."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.model.labels import NAME, Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.model.samples import STALE_NAN, STALE_NAN_BITS
from obskit.model.telemetry import REGISTRY
from obskit.store.head import MetricHead
from obskit.store.interface import Batch, Samples
from obskit.store.settings import StoreSettings
from obskit.testing.clock import START_MS, FakeClock, run
from tests.store.shelf import HOUR, MINUTE, Shelf, metric, named, samples

UP = metric("up", job="a")
DOWN = metric("up", job="b")


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize(
    ("second", "reason", "kept"),
    [
        pytest.param((0, 1.0), None, [1.0], id="the same again is no news"),
        pytest.param((0, 2.0), "duplicate", [1.0], id="another value for the same time"),
        pytest.param((-1, 2.0), "out_of_order", [1.0], id="before the newest"),
        pytest.param((-3 * HOUR, 2.0), "too_old", [1.0], id="more than two hours old"),
        pytest.param((11 * MINUTE, 2.0), "future", [1.0], id="more than ten minutes ahead"),
        pytest.param((10**30, 2.0), "future", [1.0], id="no time at all"),
        pytest.param((1, 2.0), None, [1.0, 2.0], id="the next one"),
    ],
)
def test_a_series_only_goes_forward(
    tmp_path: Path, second: tuple[int, float], reason: str | None, kept: list[float]
) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            await shelf.store.append(samples((UP, shelf.now, 1.0)))
            before = count("obskit_store_dropped_total", reason=reason or "")
            # A sample of another series in the batch is not held responsible.
            await shelf.store.append(samples((UP, shelf.now + second[0], second[1]), (DOWN, shelf.now, 7.0)))
            assert count("obskit_store_dropped_total", reason=reason or "") == before + bool(reason)
            window = shelf.store.metrics.select(named("up"), 0, shelf.now + HOUR)
            assert window.values.tolist() == [*kept, 7.0]

    run(scenario())


def test_one_batch_may_hold_a_series_many_times_in_any_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            rows = [(labels, shelf.now - age, float(age)) for age in range(60) for labels in (UP, DOWN)]
            random.Random(1).shuffle(rows)
            before = count("obskit_store_dropped_total", reason="duplicate")
            await shelf.store.append(samples(*rows, (UP, shelf.now, -1.0)))
            expected = [(shelf.now - age, float(age)) for age in reversed(range(60))]
            assert shelf.points("up") == {UP: expected, DOWN: expected}
            assert count("obskit_store_dropped_total", reason="duplicate") == before + 1

    run(scenario())


def test_a_stale_marker_keeps_its_bits_in_memory_on_disk_and_folded(tmp_path: Path) -> None:
    def bits(shelf: Shelf, start_ms: int) -> list[int]:
        values = shelf.store.metrics.select(named("up"), start_ms, shelf.now).values
        return [struct.unpack("<Q", struct.pack("<d", value))[0] for value in values]

    async def scenario() -> None:
        start = clock.now_ms()
        async with Shelf(tmp_path, clock) as shelf:
            await shelf.put(UP, STALE_NAN)
            assert bits(shelf, start - 1) == [STALE_NAN_BITS]
        async with Shelf(tmp_path, clock) as shelf:
            assert bits(shelf, start - 1) == [STALE_NAN_BITS]
            clock.advance(9 * 3600)
            await shelf.store.retention.once(shelf.now)
            assert shelf.store.database.read("SELECT count(*) FROM metric_chunk") == [(1,)]
            assert bits(shelf, start - 1) == [STALE_NAN_BITS]

    clock = FakeClock()
    run(scenario(), clock)


def test_the_start_of_a_range_is_left_out_and_its_end_is_in(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            start = shelf.now
            await shelf.tick([UP], 4)
            window = shelf.store.metrics.select(named("up"), start + 15_000, start + 45_000)
            assert window.times_ms.tolist() == [start + 30_000, start + 45_000]

    run(scenario())


@pytest.mark.parametrize(
    ("matchers", "found"),
    [
        ([(NAME, "=", "up")], {"a", "b"}),
        ([(NAME, "=", "up"), ("job", "=", "a")], {"a"}),
        ([(NAME, "=", "up"), ("job", "!=", "a")], {"b"}),
        ([("job", "=~", "a|c")], {"a", "c"}),
        ([("job", "!~", "a.*")], {"b", "c"}),
        ([(NAME, "=~", "d.*")], {"c"}),
        ([("zone", "=", "")], {"a", "b", "c"}),
        ([(NAME, "=", "nothing")], set()),
    ],
)
def test_matchers_select_series(tmp_path: Path, matchers: list[tuple[str, str, str]], found: set[str]) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            await shelf.tick([UP, DOWN, metric("depth", job="c")], 2)
            wanted = [Matcher(name, MatchOp(op), value) for name, op, value in matchers]
            window = shelf.store.metrics.select(wanted, 0, shelf.now)
            assert {labels["job"] for labels in window.labels} == found
            assert len(window.times_ms) == 2 * len(found)
            assert shelf.store.metrics.series(wanted, 0, shelf.now) == list(window.labels)

    run(scenario())


def test_series_come_in_the_order_in_which_they_were_first_seen(tmp_path: Path) -> None:
    async def scenario() -> None:
        order = [metric("up", job=job) for job in "cab"]
        async with Shelf(tmp_path, clock) as shelf:
            for labels in order:
                await shelf.put(labels, 1)
            assert list(shelf.points("up")) == order
        async with Shelf(tmp_path, clock) as shelf:
            for labels in sorted(order):
                await shelf.put(labels, 2, age_ms=-1)
            clock.advance(1)
            assert list(shelf.points("up")) == order

    clock = FakeClock()
    run(scenario(), clock)


def test_the_labels_are_the_same_objects_while_the_series_are_the_same(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            select = shelf.store.metrics.select
            await shelf.tick([UP, DOWN], 1)
            first = select(named("up"), 0, shelf.now).labels
            await shelf.tick([UP, DOWN], 1)
            assert select(named("up"), 0, shelf.now).labels is first
            await shelf.tick([UP], 1)
            assert list(select(named("up"), shelf.now - 1, shelf.now).labels) == [UP]
            await shelf.tick([metric("up", job="new")], 1)
            assert len(select(named("up"), 0, shelf.now).labels) == 3

    run(scenario())


def test_a_series_without_samples_leaves_memory_and_is_found_on_disk(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            start = shelf.now
            await shelf.put(UP, 1)
            await shelf.tick([DOWN], 130, every_s=60)
            assert count("obskit_store_series") == 1
            assert UP in shelf.points("up", shelf.now - start + 1)
            assert list(shelf.points("up")) == [DOWN]
            await shelf.put(UP, 2)
            assert shelf.points("up", shelf.now - start + 1)[UP] == [(start, 1.0), (shelf.now, 2.0)]
            assert shelf.store.database.read("SELECT count(*) FROM series") == [(2,)]

    run(scenario())


def test_memory_is_used_again_when_its_samples_are_too_old(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            await shelf.tick([UP, DOWN], 1_000)
            lanes = shelf.store._metrics.head.lanes_in_use
            assert lanes <= 240 + 2 * 8

    run(scenario())


def test_series_beyond_the_limit_are_dropped_and_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, max_series=2) as shelf:
            many = [metric("up", n=str(n)) for n in range(5)]
            before = count("obskit_store_dropped_total", reason="series_limit")
            await shelf.tick(many, 2)
            assert list(shelf.points("up")) == many[:2]
            assert count("obskit_store_dropped_total", reason="series_limit") == before + 6

    run(scenario())
    assert caplog.text.count("new series are dropped") == 1


@pytest.mark.parametrize("extra", [{"n" * 300: "x"}, {"n": "v" * 5000}, {f"n{i}": "x" for i in range(70)}])
def test_a_series_with_labels_beyond_the_limits_is_dropped(tmp_path: Path, extra: dict[str, str]) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            before = count("obskit_store_dropped_total", reason="label_limit")
            await shelf.tick([UP, Labels({NAME: "up", **extra})], 1)
            assert list(shelf.points("up")) == [UP]
            assert count("obskit_store_dropped_total", reason="label_limit") == before + 1

    run(scenario())


def test_names_and_values_may_be_any_text(tmp_path: Path) -> None:
    async def scenario() -> None:
        odd = Labels({NAME: "größe 🐘", "läbel.with.dots": 'quote " and \n newline', "half": "\ud83d"})
        broken = Labels({NAME: "half \ud83d"})
        async with Shelf(tmp_path, clock) as shelf:
            await shelf.tick([odd, broken], 1)
        async with Shelf(tmp_path, clock) as shelf:
            for labels in (odd, broken):
                assert list(shelf.points(labels.name)) == [labels]
                assert list(shelf.points(labels.name, 100 * HOUR)) == [labels]

    clock = FakeClock()
    run(scenario(), clock)


def test_a_reserved_window_is_kept_in_memory(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            shelf.store.reserve_window("up", 5 * HOUR)
            await shelf.tick([UP, metric("other")], 400, every_s=60)
            head = shelf.store._metrics.head
            part, floor = head.select(named("up"), shelf.now - 5 * HOUR, shelf.now)
            assert len(part.times_ms) == 300
            assert floor <= shelf.now - 5 * HOUR + MINUTE
            assert len(head.select(named("other"), 0, shelf.now)[0].times_ms) < 80

    run(scenario())


@pytest.mark.parametrize("reserve_first", [True, False])
def test_a_reserved_window_is_filled_from_disk_after_a_restart(tmp_path: Path, *, reserve_first: bool) -> None:
    async def scenario() -> None:
        gone = metric("up", job="gone")
        async with Shelf(tmp_path, clock) as shelf:
            await shelf.tick([UP, gone], 60, every_s=60)
            await shelf.tick([UP], 500, every_s=60)
            await shelf.store.retention.once(shelf.now)
            assert shelf.store.database.read("SELECT count(*) > 0 FROM metric_chunk") == [(1,)]
            expected = shelf.points("up", 9 * HOUR)
        shelf = Shelf(tmp_path, clock)
        async with shelf:
            if reserve_first:
                shelf.store.reserve_window("up", 10 * HOUR)
                shelf.store.load()
            else:
                shelf.store.reserve_window("up", 10 * HOUR)
            assert shelf.points("up", 9 * HOUR) == expected
            part, floor = shelf.store._metrics.head.select(named("up"), shelf.now - 9 * HOUR, shelf.now)
            assert floor <= shelf.now - 9 * HOUR
            assert len(part.times_ms) == sum(map(len, expected.values()))
            assert gone in expected
            await shelf.tick([UP, gone], 1)
            assert len(shelf.points("up", 9 * HOUR)[gone]) == len(expected[gone]) + 1

    clock = FakeClock()
    run(scenario(), clock)


def test_two_readers_that_fill_a_window_at_once_fill_it_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock) as shelf:
            await shelf.tick([UP], 200, every_s=60)
            expected = shelf.points("up", 4 * HOUR)
        async with Shelf(tmp_path, clock) as shelf:
            store = shelf.store._metrics
            store.reserve_window("up", 4 * HOUR)
            gap = store.head.gap("up", shelf.now)
            assert gap is not None
            older = store._read(named("up"), *gap)
            for _ in range(2):
                store.head.fill("up", gap[0], older)
            assert shelf.points("up", 4 * HOUR) == expected

    clock = FakeClock()
    run(scenario(), clock)


def test_a_clock_that_goes_back_does_not_block_the_series(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            await shelf.tick([UP], 10)
            right = shelf.now
            shelf.clock.set_wall(right + 3 * HOUR)
            await shelf.tick([UP], 10)
            shelf.clock.set_wall(right)
            await shelf.tick([UP], 10)
            assert [value for _, value in shelf.points("up", 10 * MINUTE)[UP]] == [*map(float, range(10))] * 2

    run(scenario())
    assert "the clock went back" in caplog.text


def test_a_restart_after_the_clock_went_back_takes_samples_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        right = clock.now_ms()
        async with Shelf(tmp_path, clock) as shelf:
            clock.set_wall(right + 5 * MINUTE)
            await shelf.tick([UP], 3)
        clock.set_wall(right)
        async with Shelf(tmp_path, clock) as shelf:
            await shelf.tick([UP], 3)
            assert len(shelf.points("up", MINUTE)[UP]) == 3
            clock.advance(9 * 3600)
            await shelf.tick([UP], 1)
            await shelf.store.retention.once(shelf.now)
            # What was written under the wrong clock is history like any other.
            assert len(shelf.points("up", 10 * HOUR)[UP]) == 7

    clock = FakeClock()
    run(scenario(), clock)


def test_loading_gives_the_same_answers_as_before_the_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        known = [metric("up", n=str(n)) for n in range(20)]
        async with Shelf(tmp_path, clock) as shelf:
            await shelf.tick(known, 300)
            before = shelf.points("up", 2 * HOUR)
        async with Shelf(tmp_path, clock) as shelf:
            assert shelf.points("up", 2 * HOUR) == before
            part, _ = shelf.store._metrics.head.select(named("up"), shelf.now - HOUR, shelf.now)
            assert len(part.times_ms) == 20 * 240

    clock = FakeClock()
    run(scenario(), clock)


OPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("append"),
            st.lists(st.tuples(st.integers(0, 5), st.integers(-40, 40), st.floats(0, 9)), min_size=1, max_size=8),
        ),
        st.tuples(st.just("pass"), st.integers(1, 30)),
    ),
    max_size=60,
)


def model(operations: list[tuple[str, object]], check: Callable[[MetricHead, dict, int], None]) -> None:
    """Run operations on a head of a five-minute window and on a dict that keeps everything."""
    head = MetricHead(StoreSettings(memory_window=300_000))
    labels = [metric(f"m{n % 2}", n=str(n)) for n in range(6)]
    kept: dict[Labels, dict[int, float]] = {}
    now = START_MS
    for operation, argument in operations:
        if operation == "pass":
            now += argument * 10_000  # type: ignore[operator]
            continue
        batch = Samples()
        for number, seconds, value in argument:
            batch.add(labels[number], now + seconds * 1000, value)
        for number, seconds, value in sorted(argument, key=lambda row: row[1]):  # type: ignore[call-overload]
            mine = kept.setdefault(labels[number], {})
            if now + seconds * 1000 > max(mine, default=0):
                mine[now + seconds * 1000] = value
        head.apply(head.admit(batch, now), now)
        check(head, kept, now)


@given(OPS, st.integers(0, 400))
@settings(max_examples=100, deadline=None)
def test_memory_answers_as_a_plain_dict_would(operations: list[tuple[str, object]], back_s: int) -> None:
    def check(head: MetricHead, kept: dict[Labels, dict[int, float]], now: int) -> None:
        for name in ("m0", "m1"):
            floor = head.select(named(name), 0, 0)[1]
            start, end = now - back_s * 1000, now + 20_000
            part, _ = head.select(named(name), start, end)
            found = dict(zip(part.labels, np.split(part.times_ms, np.cumsum(part.counts)), strict=False))
            expected = {
                labels: times
                for labels, mine in kept.items()
                if labels.name == name and (times := [t for t in sorted(mine) if max(start, floor) < t <= end])
            }
            assert {labels: times.tolist() for labels, times in found.items()} == expected
            assert floor <= now - 300_000

    model(operations, check)


def test_an_empty_batch_is_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            await shelf.store.append(Batch())
            assert shelf.store.database.read("SELECT count(*) FROM metric_head") == [(0,)]

    run(scenario())
