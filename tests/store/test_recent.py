"""Rows read lately: asked again they give the same, without a look at the disk, and they take no more than their room."""

from __future__ import annotations

from pathlib import Path

import pytest

from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.store.interface import Batch
from obskit.store.recent import RecentBlocks
from obskit.testing.clock import run
from tests.store.shelf import Shelf, block_of

WEB, JOB = Labels({"app": "web"}), Labels({"app": "job"})


@pytest.mark.parametrize("size", [1, 3, 17])
@pytest.mark.parametrize("newest_first", [False, True])
def test_a_second_look_finds_what_the_first_did(tmp_path: Path, size: int, *, newest_first: bool) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            stored = [Record((WEB, JOB)[n % 2], n, f"line {n} of {n % 5}", {"k": str(n)}) for n in range(4 * size)]
            for start in range(0, len(stored), size):
                await shelf.store.append(Batch(records=stored[start : start + size]))
            for _ in range(2):
                found = shelf.store.logs.select([], 1, 3 * size, containing=["of 3"], newest_first=newest_first)
                wanted = [record for record in stored[1 : 3 * size] if record.line.endswith("of 3")]
                assert list(found) == (wanted[::-1] if newest_first else wanted)

    run(scenario())


def test_a_second_look_does_not_read_the_rows(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            await shelf.store.append(Batch(records=[Record(WEB, 5, "once")]))
            before = list(shelf.store.logs.select([], 0, 10))
            await shelf.store.database.write(lambda tx: tx.execute("UPDATE log_head SET text = x'00'"))
            assert list(shelf.store.logs.select([], 0, 10)) == before

    run(scenario())


def test_the_oldest_are_let_go_when_there_is_no_room() -> None:
    recent = RecentBlocks(room=20_000)
    for number in range(10):
        recent.keep(number, block_of([Record(WEB, number, "x" * 3_000)], [1]))
    assert [number for number in range(10) if recent.get(number)] == [7, 8, 9]


def test_what_is_too_large_is_opened_each_time() -> None:
    recent = RecentBlocks(room=20_000)
    recent.keep(1, block_of([Record(WEB, 1, "x" * 30_000)], [1]))
    assert recent.get(1) is None
