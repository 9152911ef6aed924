"""Folding changes where samples lie, never which samples there are: not even when it is killed in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from obskit.model.labels import Labels
from obskit.store import fold as folding
from obskit.store.disk import SPAN_MS
from obskit.store.fold import fold
from obskit.testing.clock import FakeClock, run
from tests.store.shelf import HOUR, Shelf, metric

SERIES = [metric("up", n=str(n)) for n in range(4)]


class Killed(BaseException):
    """Stands for the end of the process: nothing after it runs."""


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "_PASS_SAMPLES", 300)
    monkeypatch.setattr(folding, "_CHUNKS_AT_ONCE", 2)
    monkeypatch.setattr(folding, "_ROWS_AT_ONCE", 30)


def rows(shelf: Shelf, table: str) -> int:
    ((number,),) = shelf.store.database.read(f"SELECT count(*) FROM {table}")
    return int(number)


async def filled(shelf: Shelf) -> dict[Labels, Any]:
    await shelf.tick(SERIES, 60, every_s=120)
    await shelf.tick(SERIES[1:], 30, every_s=120)
    await shelf.tick(SERIES, 90, every_s=120)
    return shelf.points("up", 10 * HOUR)


def test_nothing_changes_but_the_place(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock) as shelf:
            before = await filled(shelf)
            assert sum(map(len, before.values())) == 4 * 180 - 30
            assert await fold(shelf.store.database, shelf.now) > 0
            assert shelf.points("up", 10 * HOUR) == before
            ((newest,),) = shelf.store.database.read("SELECT max(t1_ms) FROM metric_chunk")
            assert shelf.now - 4 * HOUR < newest <= shelf.now - 2 * HOUR
            spans = shelf.store.database.read(f"SELECT t0_ms / {SPAN_MS}, t1_ms / {SPAN_MS} FROM metric_chunk")
            assert all(first == last for first, last in spans)
            assert await fold(shelf.store.database, shelf.now) == 0
        async with Shelf(tmp_path, clock) as shelf:
            assert shelf.points("up", 10 * HOUR) == before

    clock = FakeClock()
    run(scenario(), clock)


@pytest.mark.parametrize("alive_for", range(10))
def test_a_fold_that_is_killed_goes_on_after_the_restart(tmp_path: Path, alive_for: int) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock) as shelf:
            before = await filled(shelf)
            database, write, left = shelf.store.database, shelf.store.database.write, alive_for

            async def mortal(*args: Any, **options: Any) -> Any:
                nonlocal left
                if left == 0:
                    raise Killed
                left -= 1
                return await write(*args, **options)

            database.write = mortal  # type: ignore[method-assign]
            with pytest.raises(Killed):
                await fold(database, shelf.now)
            assert shelf.points("up", 10 * HOUR) == before
        clock.advance(3 * 3600)
        async with Shelf(tmp_path, clock) as shelf:
            assert shelf.points("up", 13 * HOUR) == before
            while await fold(shelf.store.database, shelf.now):
                pass
            assert shelf.points("up", 13 * HOUR) == before
            ((stored,),) = shelf.store.database.read("SELECT sum(n) FROM metric_chunk")
            ((waiting,),) = shelf.store.database.read("SELECT total(n) FROM metric_head")
            assert stored + waiting == 4 * 180 - 30
            assert rows(shelf, "meta") == 0

    clock = FakeClock()
    run(scenario(), clock)


def test_samples_of_one_time_under_two_clocks_are_united(tmp_path: Path) -> None:
    async def scenario() -> None:
        start = clock.now_ms() // SPAN_MS * SPAN_MS + SPAN_MS
        clock.set_wall(start)
        async with Shelf(tmp_path, clock) as shelf:
            await shelf.tick(SERIES[:1], 10, every_s=60)
            clock.advance(5 * 3600)
            assert await fold(shelf.store.database, shelf.now) == 1
            clock.set_wall(start)
            await shelf.put(SERIES[1], 0)
            await shelf.tick(SERIES[:1], 12, every_s=60)
            clock.advance(5 * 3600)
            await fold(shelf.store.database, shelf.now)
            await shelf.tick(SERIES[:1], 1)
            assert len(shelf.points("up", 6 * HOUR)[SERIES[0]]) == 13

    clock = FakeClock()
    run(scenario(), clock)
