from __future__ import annotations

import asyncio

import pytest

from obskit.collect import Captured, Feed, Several, poll
from obskit.errors import CollectorError
from obskit.model.labels import Labels
from obskit.store.interface import Batch, Samples
from obskit.testing.clock import FakeClock, run


def part(name: str, every_ms: int, error: Exception | None = None) -> object:
    async def read(now_ms: int) -> Batch:
        if error:
            raise error
        return Batch(Samples([Labels({"__name__": name})], [now_ms], [1.0]))

    return poll(read, name="several", target=name, every_ms=every_ms)


def names(captured: Captured) -> list[str]:
    return [sample.labels["__name__"] for sample in captured.samples]


def test_each_part_has_its_own_rhythm_and_its_own_book() -> None:
    clock, captured = FakeClock(), Captured()
    feed = Feed("several", captured, clock)
    refused = CollectorError("no", reason="auth")
    whole = Several("several", [part("often", 1000), part("seldom", 60_000), part("never", 1000, refused)])  # type: ignore[list-item]  # polls

    async def scenario() -> None:
        task = asyncio.create_task(whole.run(feed))
        await clock.sleep(10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(scenario(), clock)
    assert names(captured).count("often") >= 9
    assert names(captured).count("seldom") == 1
    assert {row.target: row.up for row in feed.status()} == {"often": True, "seldom": True, "never": False}


def test_once_reads_all_of_them_before_it_says_what_failed() -> None:
    clock, captured = FakeClock(), Captured()
    whole = Several("several", [part("bad", 1000, CollectorError("no", reason="auth")), part("good", 1000)])  # type: ignore[list-item]  # polls
    with pytest.raises(CollectorError, match="no"):
        run(whole.once(Feed("several", captured, clock)), clock)
    assert names(captured) == ["good"]


def test_a_defect_leaves_and_takes_the_other_parts_along() -> None:
    clock = FakeClock()
    whole = Several("several", [part("good", 1000), part("bad", 1000, ZeroDivisionError("a defect"))])  # type: ignore[list-item]  # polls

    async def scenario() -> int:
        with pytest.raises(ZeroDivisionError):
            await whole.run(Feed("several", Captured(), clock))
        return len(asyncio.all_tasks())

    assert run(scenario(), clock) == 1
