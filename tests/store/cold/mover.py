"""Processes to be killed: each appends lines of some past days, for ever, moves what is over to cold storage and lets the
hot files go. Started like those of tests/store/writer.py."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from obskit.clock import SystemClock
from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.store.cold import moving, slices
from obskit.store.database import Database
from obskit.store.embedded import EmbeddedStore
from obskit.store.interface import Batch, Cursor
from obskit.store.settings import StoreSettings
from tests.store.writer import say

STREAMS = [Labels({"source": f"s{n % 2}", "n": str(n)}) for n in range(4)]
DAY_NS = 86_400 * 10**9
DAYS = 6


def settings(folder: Path) -> StoreSettings:
    return StoreSettings.model_validate(
        {"cold": {"folder": str(folder / "cold"), "after": "1m"}, "retention": {"logs": "1h", "cold": "400d"}}
    )


def records(number: int, now_ns: int) -> list[Record]:
    """Lines of one of some past days, each with its number."""
    t_ns = now_ns - (2 + number % DAYS) * DAY_NS
    return [Record(STREAMS[n], t_ns + n, f"{number} {n} {random.random()}") for n in range(4)]


async def main(folder: Path) -> None:
    clock = SystemClock()
    slices.PART_BYTES = 2_000
    moving.PAUSE_S = 0.0
    store = EmbeddedStore(Database.open(folder / "hot"), clock, settings(folder))
    await asyncio.to_thread(store.load)
    number = int(await store.cursor("writer") or 0)
    mover = asyncio.create_task(move_for_ever(store, clock))
    while not mover.done():
        number += 1
        await store.append(Batch(records=records(number, clock.now_ns()), cursor=Cursor("writer", str(number))))
        say(number)
        await clock.sleep(random.random() / 500)
    mover.result()


async def move_for_ever(store: EmbeddedStore, clock: SystemClock) -> None:
    assert store.cold is not None
    late_ms = 0
    while True:
        await store.sealing.once(clock.now_ms())
        late_ms += 61_000  # late lines are waited for: not here
        await store.cold.once(clock.now_ms() + late_ms)
        await store.retention.once(clock.now_ms())


if __name__ == "__main__":
    for _ in sys.stdin:
        if pid := os.fork():
            say(f"pid {pid}")
            os.waitpid(pid, 0)
            say("dead")
        else:
            asyncio.run(main(Path(sys.argv[1])))
