from __future__ import annotations

import asyncio

from obskit.collect import Captured, Feed, Resumed, poll
from obskit.store.interface import Batch
from obskit.testing.clock import FakeClock, run


class Kept(Captured):
    async def cursor(self, owner: str) -> str | None:
        return f"of {owner}"


def test_a_collector_hears_of_its_cursor_before_it_runs_and_not_when_it_reads_once() -> None:
    clock, told = FakeClock(), list[str | None]()

    async def read(_now_ms: int) -> Batch:
        told.append("read")
        return Batch()

    async def scenario() -> None:
        resumed = Resumed(poll(read, name="x", target="y", every_ms=1000), "x y", told.append)
        assert resumed.name == "x"
        feed = Feed("x", Kept(), clock)
        await resumed.once(feed)
        task = asyncio.create_task(resumed.run(feed))
        await clock.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(scenario(), clock)
    assert told == ["read", "of x y", "read"]
