"""Start timestamps in the store: kept where they change, told with every sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from obskit.model.labels import Labels
from obskit.model.samples import Sample
from obskit.promql.engine import Engine
from obskit.store.interface import Batch, Samples
from obskit.testing.clock import FakeClock, run
from tests.store.shelf import HOUR, Shelf, metric, named

HITS = metric("hits_total", app="a")
OTHER = metric("hits_total", app="b")


async def append(shelf: Shelf, labels: Labels, value: float, start_ms: int = 0) -> None:
    shelf.clock.advance(60)
    await shelf.store.append(Batch(Samples.of([Sample(labels, shelf.now, value, start_ms=start_ms)])))


def starts(shelf: Shelf) -> list[int] | None:
    window = shelf.store.metrics.select(named("hits_total"), shelf.now - HOUR, shelf.now)
    return None if window.start_ms is None else window.start_ms.tolist()


def rows(shelf: Shelf) -> int:
    return int(shelf.store.database.read("SELECT count(*) FROM series_start")[0][0])


def test_each_sample_has_the_start_that_was_told_last(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock) as shelf:
            begin = shelf.now
            await append(shelf, HITS, 1.0)
            await append(shelf, HITS, 2.0, begin)
            await append(shelf, HITS, 3.0, begin)
            await append(shelf, OTHER, 3.0)
            await append(shelf, HITS, 1.0, begin + 150_000)
            expected = [0, begin, begin, begin + 150_000, 0]
            assert starts(shelf) == expected
            assert rows(shelf) == 2
        async with Shelf(tmp_path, clock) as shelf:
            assert starts(shelf) == expected
            await append(shelf, HITS, 2.0, begin + 150_000)
            assert rows(shelf) == 2

    clock = FakeClock()
    run(scenario(), clock)


def test_nobody_told_anything(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            await append(shelf, HITS, 1.0)
            assert starts(shelf) is None

    run(scenario())


def test_the_first_increment_of_a_counter_counts(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            begin = shelf.now + 30_000
            await append(shelf, HITS, 5.0, begin)
            await append(shelf, HITS, 6.0, begin)
            (found,) = Engine(shelf.store.metrics).instant("increase(hits_total[5m])", shelf.now).value.elements  # type: ignore[union-attr]  # a vector
            assert found.value == pytest.approx(6.0)

    run(scenario())


def test_what_says_nothing_any_more_is_deleted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, retention={"metrics": "1h"}) as shelf:
            begin = shelf.now
            for number in range(4):
                await append(shelf, HITS, 1.0, begin + 60_000 * number)
            shelf.clock.advance(5 * 3600)
            await append(shelf, HITS, 1.0, begin + 180_000)
            await shelf.store.retention.once(shelf.now)
            assert rows(shelf) == 1
            assert starts(shelf) == [begin + 180_000]

    run(scenario())
