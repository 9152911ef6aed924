"""What is too old goes, what is too much goes, oldest first in proportion; nothing else does."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.model.telemetry import REGISTRY
from obskit.store import retention
from obskit.store.interface import Batch
from obskit.store.retention import EVERY_S
from obskit.testing.clock import FakeClock, run
from tests.store.shelf import HOUR, Shelf, day_files, lines, metric

UP = metric("up")
WEB = Labels({"app": "web"})
DAY = 24 * HOUR


def test_samples_and_records_go_at_their_own_age(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock, retention={"metrics": "30d", "logs": "7d"}) as shelf:
            start = shelf.now
            await shelf.put(UP, 1)
            await shelf.store.append(lines((WEB, clock.now_ns(), "old")))
            for days, samples, records in ((6, 1, 1), (8, 1, 0), (29, 1, 0), (31, 0, 0)):
                clock.set_wall(start + days * DAY)
                await shelf.put(metric("other"), 1)
                await shelf.store.retention.once(shelf.now)
                assert len(shelf.points("up", 40 * DAY).get(UP, [])) == samples
                assert len(list(shelf.store.logs.select([], 0, 2**62))) == records

    clock = FakeClock()
    run(scenario(), clock)


def test_finished_deliveries_are_kept_for_a_week(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            insert = (
                "INSERT INTO outbox (kind, destination, lane, step, payload, state, created_ms, due_ms, done_ms)"
                " VALUES ('notice', 'd', 'l', 's', '{}', ?, 0, 0, ?)"
            )
            for state, done_ms in (("sent", 1), ("dead", 1), ("waiting", None), ("sent", 6 * DAY)):
                await shelf.store.database.write(
                    lambda tx, row=(state, done_ms): tx.execute(insert, row)  # type: ignore[misc]  # bound per row
                )
            await shelf.store.retention.once(8 * DAY)
            left = shelf.store.database.read("SELECT state, done_ms FROM outbox ORDER BY id")
            assert left == [("waiting", None), ("sent", 6 * DAY)]

    run(scenario())


def noise(size: int) -> str:
    return random.randbytes(size // 2).hex()


def size_of(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def test_the_cap_holds_and_the_newest_stays(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock, max_size="24MB") as shelf:
            await shelf.tick([UP], 60, every_s=60)
            for number in range(40):
                clock.advance(600)
                records = [Record(WEB, clock.now_ns() + n, f"{number} {noise(60_000)}") for n in range(30)]
                await shelf.store.append(Batch(records=records))
                if number % 3:  # a part of the lines is in the day files
                    await shelf.seal()
                await shelf.store.retention.once(shelf.now)
                assert shelf.store.database.data_bytes() + size_of(day_files(tmp_path)) <= 24_000_000
            assert (tmp_path / "main.db").stat().st_size <= 26_000_000
            found = [int(record.line.split()[0]) for record in shelf.store.logs.select([], 0, 2**62)]
            assert found[-1] == 39
            assert found == sorted(found)
            # An hour of a thirty days' history is younger, in proportion, than hours of lines.
            assert len(shelf.points("up", 10 * HOUR)[UP]) == 60
            assert (REGISTRY.get_sample_value("obskit_store_bytes") or 0) > 1_000_000

    clock = FakeClock()
    random.seed(7)
    run(scenario(), clock)


def test_a_file_above_a_lowered_cap_is_shortened(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock) as shelf:
            for number in range(30):
                clock.advance(600)
                records = [Record(WEB, clock.now_ns() + n, f"{number} {noise(60_000)}") for n in range(30)]
                await shelf.store.append(Batch(records=records))
            assert shelf.store.database.file_bytes() > 20_000_000
        async with Shelf(tmp_path, clock, max_size="16MB") as shelf:
            await shelf.store.retention.once(shelf.now)
            assert shelf.store.database.file_bytes() <= 16_000_000

    clock = FakeClock()
    random.seed(7)
    run(scenario(), clock)


def test_a_slice_gives_back_many_pages_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            database = shelf.store.database
            await shelf.store.append(lines(*((WEB, n, random.randbytes(20_000).hex()) for n in range(200))))
            await database.write(lambda tx: tx.execute("DELETE FROM log_head"))
            ((free,),) = database.read("PRAGMA freelist_count")
            assert await database.write(retention._shorten)
            assert database.read("PRAGMA freelist_count") == [(free - retention._VACUUM_PAGES,)]

    run(scenario())


def test_names_without_data_are_forgotten_and_numbers_are_not_given_twice(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock) as shelf:
            await shelf.tick([metric("up", n=str(n)) for n in range(600)], 1)
            await shelf.store.append(lines((WEB, clock.now_ns(), "x"), (Labels({"app": "job"}), clock.now_ns(), "x")))
            for _ in range(3):
                clock.advance(20 * 86_400)
                await shelf.tick([UP], 2)
                await shelf.store.append(lines((WEB, clock.now_ns(), "x")))
                await shelf.store.retention.once(shelf.now)
            assert shelf.store.database.read("SELECT name, count(*) FROM series") == [("up", 1)]
            assert shelf.store.database.read("SELECT id FROM series") == [(601,)]
            assert shelf.store.database.read("SELECT labels FROM stream ORDER BY id") == [
                ('{"app":"web"}',),
                ('{"app":"job"}',),
            ]
            await shelf.tick([metric("up", n="0")], 1)
            assert shelf.store.database.read("SELECT max(id) FROM series") == [(602,)]

    clock = FakeClock()
    run(scenario(), clock)


def test_the_loop_goes_on_after_a_failure_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock, retention={"logs": "7d"}) as shelf:
            await shelf.store.append(lines((WEB, clock.now_ns(), "old")))
            await shelf.store.database.write(lambda tx: tx.execute("ALTER TABLE outbox RENAME TO away"))
            clock.advance(8 * 86_400)
            loop = asyncio.create_task(shelf.store.retention.run(clock))
            await clock.sleep(3.5 * EVERY_S)
            assert caplog.text.count("housekeeping failed") == 1
            await shelf.store.database.write(lambda tx: tx.execute("ALTER TABLE away RENAME TO outbox"))
            await shelf.store.append(lines((WEB, clock.now_ns(), "new")))
            await clock.sleep(2 * EVERY_S)
            assert [record.line for record in shelf.store.logs.select([], 0, 2**62)] == ["new"]
            loop.cancel()

    clock = FakeClock()
    run(scenario(), clock)
