"""A full disk: nothing is acknowledged that is not stored, rules go on from memory, and it passes without a restart."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from obskit.errors import StoreFull
from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.model.telemetry import REGISTRY
from obskit.store.interface import Batch, Cursor, Samples, Touched
from obskit.testing.clock import FakeClock, run
from tests.store.shelf import Shelf, metric, samples

UP, FRESH = metric("up"), metric("fresh")
WEB, JOB = Labels({"app": "web"}), Labels({"app": "job"})
MB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def value(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


def bulk(shelf: Shelf, number: int) -> Batch:
    text = random.randbytes(30_000).hex()
    return Batch(records=[Record(WEB, shelf.clock.now_ns(), f"{number} {text}")], cursor=Cursor("tail", str(number)))


async def fill(shelf: Shelf) -> int:
    """Append lines until there is no room; the last number that was acknowledged."""
    for number in range(2_000):
        shelf.clock.advance(1)
        try:
            await shelf.store.append(bulk(shelf, number))
        except StoreFull:
            return number - 1
    raise AssertionError("the disk did not fill")


async def check_full_then_free(shelf: Shelf, free: object) -> None:
    await shelf.put(UP, 1)
    shelf.clock.advance(1)
    acknowledged = await fill(shelf)
    assert value("obskit_store_disk_full") == 1

    # Nothing of what was refused is there.
    assert await shelf.store.cursor("tail") == str(acknowledged)
    numbers = [int(record.line.split()[0]) for record in shelf.store.logs.select([], 0, 2**62)]
    assert numbers == list(range(acknowledged + 1))

    # Samples go on in memory, of new series too, and wake the rules.
    heard: list[Touched] = []
    shelf.store.subscribe(heard.append)
    unsaved = value("obskit_store_unsaved_samples_total")
    await shelf.store.append(samples((UP, shelf.now, 2), (FRESH, shelf.now, 3)))
    assert [point for _, point in shelf.points("up")[UP]] == [1, 2]
    assert [point for _, point in shelf.points("fresh")[FRESH]] == [3]
    assert value("obskit_store_unsaved_samples_total") == unsaved + 2
    assert heard[-1].metrics == {"up", "fresh"}
    shelf.clock.advance(1)
    with pytest.raises(StoreFull):
        await shelf.store.append(Batch(Samples([UP], [shelf.now], [4.0]), cursor=Cursor("poll", "1")))
    assert [point for _, point in shelf.points("up")[UP]] == [1, 2, 4]

    # Alert state has a reserve of its own.
    batch = samples((metric("ALERTS"), shelf.now, 1))
    await shelf.store.append(batch, lambda tx: tx.execute("INSERT INTO meta VALUES ('a', 'b')"), essential=True)
    assert shelf.store.database.read("SELECT value FROM meta WHERE key = 'a'") == [("b",)]

    free()  # type: ignore[operator]
    shelf.clock.advance(1)
    await shelf.store.append(bulk(shelf, acknowledged + 1))
    await shelf.put(FRESH, 5)
    assert value("obskit_store_disk_full") == 0
    assert await shelf.store.cursor("tail") == str(acknowledged + 1)


def test_a_full_file_system(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * 3 * MB)
        async with Shelf(small_disk, clock, reserve_bytes=MB // 2) as shelf:
            await check_full_then_free(shelf, ballast.unlink)
            left = shelf.points("up"), shelf.points("fresh"), shelf.points("ALERTS")
            assert all(left)
        async with Shelf(small_disk, clock, reserve_bytes=MB // 2) as shelf:
            assert [point for _, point in shelf.points("up")[UP]] == [1]
            assert [point for _, point in shelf.points("fresh")[FRESH]] == [5]
            assert len(shelf.points("ALERTS")) == 1

    clock = FakeClock()
    run(scenario(), clock)
    assert caplog.text.count("no space left") == 1
    assert caplog.text.count("there is space again") == 1


def test_a_full_database(tmp_path: Path) -> None:
    """As above for those who may not mount: SQLite's own limit answers with the same error as the disk."""

    async def scenario() -> None:
        async with Shelf(tmp_path, reserve_bytes=0) as shelf:
            limit = shelf.store.database._writer.execute
            await shelf.store.database.call(lambda: limit("PRAGMA max_page_count = 200"))
            await shelf.put(UP, 1)
            shelf.clock.advance(1)
            acknowledged = await fill(shelf)
            # So many that no page has room for them by chance.
            many = [metric("many", n=str(n)) for n in range(1_000)]
            await shelf.store.append(samples((UP, shelf.now, 2), *((labels, shelf.now, 3) for labels in many)))
            assert [point for _, point in shelf.points("up")[UP]] == [1, 2]
            assert list(shelf.points("many")) == many
            assert value("obskit_store_disk_full") == 1
            await shelf.store.database.call(lambda: limit("PRAGMA max_page_count = 100000"))
            await shelf.store.append(bulk(shelf, acknowledged + 1))
            assert value("obskit_store_disk_full") == 0

    run(scenario())


def test_a_series_that_disk_knows_stays_one_series_while_it_is_full(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, reserve_bytes=0) as shelf:
            await shelf.put(UP, 1)
            shelf.clock.advance(3 * 3600)
            await shelf.put(FRESH, 1)
            shelf.clock.advance(1)
            execute = shelf.store.database._writer.execute
            await shelf.store.database.call(lambda: execute("PRAGMA max_page_count = 1"))
            await fill(shelf)
            await shelf.store.append(samples((UP, shelf.now, 2)))
            assert [point for _, point in shelf.points("up", 4 * 3_600_000)[UP]] == [1, 2]

    run(scenario())


def test_a_full_disk_while_lines_are_sealed(small_disk: Path) -> None:
    """Sealing finds no room, and appends are refused; when there is room again nothing is missing and nothing is double."""

    async def scenario() -> None:
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * 3 * MB)
        async with Shelf(small_disk, clock, reserve_bytes=MB // 2) as shelf:
            acknowledged, refused = 0, 0
            for number in range(1, 200):
                clock.advance(1)
                try:
                    await shelf.store.append(of_two_streams(shelf, number))
                    acknowledged = number
                except StoreFull:
                    refused += 1
                if number % 3 == 0:
                    with suppress(StoreFull, sqlite3.OperationalError):
                        await shelf.seal()
                if refused == 5:
                    break
            assert refused
            check_all_there(shelf, await shelf.store.cursor("tail"), acknowledged)
            ballast.unlink()
            clock.advance(1)
            await shelf.store.append(of_two_streams(shelf, acknowledged + 1))
            await shelf.seal()
            assert shelf.store.database.read("SELECT count(*) FROM log_head") == [(0,)]
            check_all_there(shelf, await shelf.store.cursor("tail"), acknowledged + 1)

    clock = FakeClock()
    run(scenario(), clock)


def of_two_streams(shelf: Shelf, number: int) -> Batch:
    """One brings enough for a block of its own, the other does not."""
    now_ns = shelf.clock.now_ns()
    records = [Record(WEB, now_ns + n, f"{number} {random.randbytes(10_000).hex()}") for n in range(8)]
    records.append(Record(JOB, now_ns, f"{number} {random.randbytes(2_000).hex()}"))
    return Batch(records=records, cursor=Cursor("tail", str(number)))


def check_all_there(shelf: Shelf, cursor: str | None, acknowledged: int) -> None:
    found = Counter(int(record.line.split()[0]) for record in shelf.store.logs.select([], 0, 2**62))
    assert cursor == str(acknowledged)
    assert set(found.values()) == {9}
    assert max(found) == acknowledged
