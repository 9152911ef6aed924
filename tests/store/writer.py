"""Processes to be killed: each appends batches for ever and prints the number of every one that was acknowledged.

They are forked, so that each begins in no time: a line on stdin starts one, `pid N` names it, `dead` is its obituary.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from obskit.clock import SystemClock
from obskit.model.labels import NAME, Labels
from obskit.model.records import Record
from obskit.store import arrival
from obskit.store.database import Database
from obskit.store.embedded import EmbeddedStore
from obskit.store.interface import Batch, Cursor, Samples
from obskit.store.settings import StoreSettings

SERIES = [Labels({NAME: "numbered", "n": str(n)}) for n in range(5)]
STREAM, LARGE = Labels({"app": "writer"}), Labels({"app": "large"})
PADDING = "x" * (arrival.OWN_BYTES // 4)


def batch(number: int, now_ms: int) -> Batch:
    """Number `n` in every place a batch has."""
    records = [Record(STREAM, now_ms * 10**6 + part, f"{number} {part} {random.random()}") for part in range(5)]
    # Every third time a stream brings enough for blocks of its own.
    padding = "" if number % 3 else PADDING
    records += [Record(LARGE, now_ms * 10**6 + part, f"{number} {part} {padding}") for part in range(5)]
    samples = Samples(SERIES, [now_ms] * len(SERIES), [float(number)] * len(SERIES))
    return Batch(samples, records, cursor=Cursor("writer", str(number)))


async def main(folder: Path) -> None:
    clock = SystemClock()
    store = EmbeddedStore(Database.open(folder), clock, StoreSettings())
    store.load()
    sealing = asyncio.create_task(seal_for_ever(store, clock))  # kills come during it, too
    number = int(await store.cursor("writer") or 0)
    # One millisecond a batch may run ahead of the clock: go on where the last writer was.
    last_ms = int(store.metrics.select([], 0, 2**62).times_ms.max(initial=0))
    while not sealing.done():
        number += 1
        last_ms = max(last_ms + 1, clock.now_ms())
        await store.append(
            batch(number, last_ms), lambda tx, n=number: tx.execute("REPLACE INTO meta VALUES ('n', ?)", (n,))
        )  # type: ignore[misc]  # bound per round
        say(number)


async def seal_for_ever(store: EmbeddedStore, clock: SystemClock) -> None:
    while True:
        await store.sealing.once(clock.now_ms())
        await clock.sleep(random.random() / 50)


def say(word: object) -> None:
    """One whole line, at once."""
    os.write(1, f"{word}\n".encode())


if __name__ == "__main__":
    for _ in sys.stdin:
        if pid := os.fork():
            say(f"pid {pid}")
            os.waitpid(pid, 0)
            say("dead")
        else:
            asyncio.run(main(Path(sys.argv[1])))
