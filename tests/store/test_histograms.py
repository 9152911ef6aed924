"""Native histograms in the store: in memory, after a restart, folded, aged; and floats beside them."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from obskit.model.histograms import NativeHistogram, ResetHint
from obskit.model.labels import Labels
from obskit.model.samples import STALE_NAN
from obskit.promql.engine import Engine
from obskit.store.embedded import EmbeddedStore
from obskit.store.interface import Batch, Samples
from obskit.testing.clock import FakeClock, run
from tests.store.shelf import HOUR, MINUTE, Shelf, metric, named

SIZES = metric("sizes", app="a")
UP = metric("up", app="a")


def sized(count: int) -> NativeHistogram:
    return NativeHistogram.exponential(0, count=float(count), sum=2.5 * count, positive={1: count / 2, 2: count / 2})


def of(labels: Labels, t_ms: int, histogram: NativeHistogram) -> Batch:
    samples = Samples()
    samples.add(UP, t_ms, 1.0)
    samples.add_histogram(labels, t_ms, histogram)
    return Batch(samples)


def stored(store: EmbeddedStore, end_ms: int, back_ms: int = HOUR) -> list[NativeHistogram | None]:
    window = store.metrics.select(named("sizes"), end_ms - back_ms, end_ms)
    return [] if window.histograms is None else window.histograms.tolist()


async def fill(shelf: Shelf, count: int) -> list[NativeHistogram | None]:
    for number in range(count):
        shelf.clock.advance(60)
        await shelf.store.append(of(SIZES, shelf.now, sized(2 * number)))
    return [sized(2 * number) for number in range(count)]


def test_what_was_appended_is_read_from_memory_and_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock) as shelf:
            expected = await fill(shelf, 5)
            assert stored(shelf.store, shelf.now) == expected
            with_floats = shelf.store.metrics.select(named("up"), 0, shelf.now)
            assert with_floats.histograms is None
        async with Shelf(tmp_path, clock) as shelf:
            assert stored(shelf.store, shelf.now) == expected
            await shelf.store.append(of(SIZES, shelf.now + 1, sized(100)))
            assert stored(shelf.store, shelf.now + 1) == [*expected, sized(100)]

    clock = FakeClock()
    run(scenario(), clock)


def test_a_reader_beside_the_daemon_finds_them_on_disk(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            expected = await fill(shelf, 3)
            reader = EmbeddedStore.open_readonly(tmp_path)
            assert stored(reader, shelf.now) == expected
            await reader.close()

    run(scenario())


def test_they_are_folded_with_their_samples_and_go_with_them(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock, retention={"metrics": "1d"}) as shelf:
            expected = await fill(shelf, 4)
            end = shelf.now
            clock.advance(9 * 3600)
            await shelf.store.retention.once(shelf.now)
            assert shelf.store.database.read("SELECT count(*) FROM metric_head") == [(0,)]
            assert stored(shelf.store, end) == expected
            clock.advance(24 * 3600)
            await shelf.store.retention.once(shelf.now)
            assert shelf.store.database.read("SELECT count(*) FROM histogram") == [(0,)]
            await shelf.put(UP, 1.0)  # an append now and then is when memory lets go
            assert stored(shelf.store, end) == []

    clock = FakeClock()
    run(scenario(), clock)


def test_numbers_are_not_given_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock, retention={"metrics": "1h"}) as shelf:
            await fill(shelf, 3)
            clock.advance(9 * 3600)
            await shelf.store.retention.once(shelf.now)
        async with Shelf(tmp_path, clock) as shelf:
            await fill(shelf, 1)
            assert shelf.store.database.read("SELECT id FROM histogram") == [(4,)]

    clock = FakeClock()
    run(scenario(), clock)


def test_queries_see_them_as_the_engine_does(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            await fill(shelf, 10)
            engine = Engine(shelf.store.metrics)
            value = engine.instant("histogram_quantile(0.5, sum(rate(sizes[5m])))", shelf.now).value
            assert [element.value for element in value.elements] == [2.0]  # type: ignore[union-attr]  # a vector

    run(scenario())


def test_a_series_may_end_and_hints_are_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            await shelf.store.append(of(SIZES, shelf.now, sized(4).hinted(ResetHint.GAUGE)))
            shelf.clock.advance(60)
            await shelf.put(SIZES, STALE_NAN)
            (first, second) = stored(shelf.store, shelf.now)
            assert first is not None
            assert first.is_gauge
            assert second is None
            assert Engine(shelf.store.metrics).instant("sizes", shelf.now).value.elements == ()  # type: ignore[union-attr]

    run(scenario())


def test_a_nan_from_outside_names_no_histogram(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            await fill(shelf, 1)
            (forged,) = struct.unpack("<d", struct.pack("<Q", 0x7FFD << 48 | 1))
            shelf.clock.advance(60)
            await shelf.put(metric("sizes", app="forged"), forged)
            window = shelf.store.metrics.select(named("sizes"), 0, shelf.now)
            assert window.histograms is not None
            assert window.histograms.tolist() == [sized(0), None]
            assert math.isnan(window.values[1])
            assert np.isnan(window.values).all()

    run(scenario())


def test_memory_lets_go_of_what_is_read_from_disk(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, memory_window="10m") as shelf:
            expected = await fill(shelf, 30)
            assert stored(shelf.store, shelf.now, 40 * MINUTE) == expected

    run(scenario())
