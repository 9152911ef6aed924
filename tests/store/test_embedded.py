"""One append is one transaction: everything in it is there, or nothing is."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from obskit.errors import StoreError, StoreLocked
from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.model.samples import MetricMeta, MetricType
from obskit.store.database import Database, Transaction
from obskit.store.embedded import EmbeddedStore
from obskit.store.interface import Batch, Cursor, Samples, Touched
from obskit.store.schema import MIGRATIONS
from obskit.testing.clock import FakeClock, run
from tests.store.shelf import HOUR, Shelf, lines, metric, points, samples

UP = metric("up", job="a")
APP = Labels({"app": "web"})
CRASH = RuntimeError("on purpose")


def everything(shelf: Shelf, number: int = 1) -> Batch:
    return Batch(
        Samples([UP], [shelf.now], [float(number)]),
        [Record(APP, shelf.clock.now_ns(), f"line {number}")],
        {"up": MetricMeta(MetricType.GAUGE, "Whether it is up.")},
        Cursor("tail", str(number)),
    )


def test_what_was_appended_is_there_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock) as shelf:
            await shelf.store.append(everything(shelf))
            before = await seen(shelf)
        async with Shelf(tmp_path, clock) as shelf:
            assert await seen(shelf) == before

    async def seen(shelf: Shelf) -> object:
        records = list(shelf.store.logs.select([], 0, 2**62))
        cursor = await shelf.store.cursor("tail")
        assert [record.line for record in records] == ["line 1"]
        assert cursor == "1"
        assert shelf.points("up") == {UP: [(shelf.now, 1.0)]}
        return records, cursor, dict(shelf.store.metrics.metadata())

    clock = FakeClock()
    run(scenario(), clock)


def test_a_first_start_has_no_cursor(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            assert await shelf.store.cursor("tail") is None

    run(scenario())


def test_nothing_is_kept_when_what_belongs_to_it_fails(tmp_path: Path) -> None:
    def fail(_: Transaction) -> None:
        raise CRASH

    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            heard: list[Touched] = []
            shelf.store.subscribe(heard.append)
            with pytest.raises(RuntimeError, match="on purpose"):
                await shelf.store.append(everything(shelf), fail)
            assert shelf.points("up") == {}
            assert list(shelf.store.logs.select([], 0, 2**62)) == []
            assert await shelf.store.cursor("tail") is None
            assert heard == []
            await shelf.store.append(everything(shelf))
            assert shelf.points("up") == {UP: [(shelf.now, 1.0)]}

    run(scenario())


def test_what_belongs_to_it_is_written_in_the_same_transaction(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            await shelf.store.append(
                samples((UP, shelf.now, 1)), lambda tx: tx.execute("INSERT INTO meta VALUES ('state', 'firing')")
            )
            assert shelf.store.database.read("SELECT value FROM meta WHERE key = 'state'") == [("firing",)]

    run(scenario())


def test_subscribers_hear_what_was_touched(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            heard: list[Touched] = []
            shelf.store.subscribe(heard.append)
            await shelf.store.append(everything(shelf))
            await shelf.store.append(Batch(cursor=Cursor("tail", "2")))
            assert heard == [Touched(frozenset({"up"}), frozenset({APP}), shelf.now, heard[0].records)]
            assert list(heard[0].records) == list(everything(shelf).records)

    run(scenario())


def test_a_broken_subscriber_does_not_undo_an_append(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Touched) -> None:
        raise CRASH

    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            shelf.store.subscribe(fail)
            await shelf.store.append(everything(shelf))
            assert shelf.points("up") != {}

    run(scenario())
    assert "a subscriber of the store failed" in caplog.text


def test_a_reader_beside_the_daemon_sees_everything_committed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            await shelf.store.append(everything(shelf))
            reader = EmbeddedStore.open_readonly(tmp_path)
            reader.load()
            assert points(reader.metrics, "up", 0, shelf.now) == {UP: [(shelf.now, 1.0)]}
            assert [record.line for record in reader.logs.select([], 0, 2**62)] == ["line 1"]
            shelf.clock.advance(15)
            await shelf.store.append(everything(shelf, 2))
            assert len(points(reader.metrics, "up", 0, shelf.now)[UP]) == 2
            assert [record.line for record in reader.logs.select([], 0, 2**62)] == ["line 1", "line 2"]
            assert await reader.cursor("tail") == "2"
            with pytest.raises(StoreError, match="for reading"):
                await reader.append(everything(shelf))
            await reader.close()

    run(scenario())


def test_a_reader_needs_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store in"):
        EmbeddedStore.open_readonly(tmp_path)


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path):
            with pytest.raises(StoreLocked, match="in use"):
                Database.open(tmp_path)

    run(scenario())


def test_metadata_is_written_when_it_changes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            first, second = MetricMeta(help="old"), MetricMeta(MetricType.COUNTER, "new", "seconds")
            for meta in (first, first, second):
                await shelf.store.append(Batch(metadata={"up": meta}))
            assert shelf.store.metrics.metadata() == {"up": second}

    run(scenario())


def test_a_store_made_by_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "main.db")
    old.executescript(f"{MIGRATIONS[0]}; PRAGMA user_version = 1;")
    old.close()

    async def scenario() -> None:
        with pytest.raises(StoreError, match="older obskit"):
            EmbeddedStore.open_readonly(tmp_path)
        async with Shelf(tmp_path, clock) as shelf:
            await shelf.store.append(everything(shelf))
            assert shelf.points("up", HOUR) == {UP: [(shelf.now, 1.0)]}

    clock = FakeClock()
    run(scenario(), clock)


@pytest.mark.parametrize("open_store", [Database.open, Database.open_readonly])
def test_a_store_made_by_a_newer_version_is_refused(tmp_path: Path, open_store: Callable[[Path], Database]) -> None:
    new = sqlite3.connect(tmp_path / "main.db")
    new.executescript("PRAGMA user_version = 1000")
    new.close()
    with pytest.raises(StoreError, match="newer obskit"):
        open_store(tmp_path)


def test_many_appends_at_once_are_all_kept_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            start = shelf.now
            batches = [lines((APP, (start + n) * 10**6, str(n)), cursor=Cursor("c", str(n))) for n in range(50)]
            await asyncio.gather(*(shelf.store.append(batch) for batch in batches))
            assert [record.line for record in shelf.store.logs.select([], 0, 2**62)] == [str(n) for n in range(50)]
            assert await shelf.store.cursor("c") == "49"

    run(scenario())
