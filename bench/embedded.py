"""obskit's side of a benchmark: the embedded store filled with a fleet, and the evaluate loop over some rules.

    python -m bench.embedded SERIES RULES FOLDER

prints the resident memory (2^20 bytes) of a process that does just that.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from bench.fleet import EVERY_MS, SAMPLES, Fleet
from bench.promql_rules import SELECTIVE, group, selective
from obskit.clock import SystemClock
from obskit.logql.engine import Engine as LogQL
from obskit.promql.engine import Engine
from obskit.rules.commits import Listeners
from obskit.rules.evaluation import Evaluator
from obskit.rules.files import load_rules
from obskit.rules.runner import Runner
from obskit.store.database import Database
from obskit.store.embedded import EmbeddedStore, StoreSettings
from obskit.store.interface import Batch, Samples
from obskit.watch.memory import Pages, give_back


def start_ms(rounds: int, *, ahead: int = 0) -> int:
    """When to begin, so that all rounds but the last `ahead` lie in the past."""
    return SystemClock().now_ms() - (rounds - ahead) * EVERY_MS


def scrapes(series: int, rounds: int) -> Iterator[tuple[int, Batch]]:
    """A batch per round, and when the round is over. The last is over now; the Labels objects stay the same."""
    fleet = Fleet(series, start_ms(rounds))
    for number in range(rounds):
        times_ms, values, scraped = fleet.round(number)
        rows = np.flatnonzero(scraped)
        labels = [fleet.labels[row] for row in rows.tolist()]
        batch = Batch(samples=Samples(labels, times_ms[rows].tolist(), values[rows].tolist()))
        yield fleet.start_ms + (number + 1) * EVERY_MS, batch


@asynccontextmanager
async def stored(folder: Path, batches: Iterable[Batch] = ()) -> AsyncIterator[EmbeddedStore]:
    """The embedded store, filled."""
    store = EmbeddedStore(
        Database.open(folder, reserve_bytes=0), SystemClock(), StoreSettings(path=str(folder), max_series=200_000)
    )
    store.load()
    try:
        await _fill(store, batches)
        yield store
    finally:
        await store.close()


async def _fill(store: EmbeddedStore, batches: Iterable[Batch]) -> None:
    # Here and not above: a generator that waits at its yield would keep the last batch alive.
    for batch in batches:
        await store.append(batch)


def runner_of(store: EmbeddedStore, rules: str) -> Runner:
    """The evaluate loop over these rules, with nobody to notify."""
    read = load_rules(rules, "rules.yml")
    assert read.usable, read.problems
    evaluator = Evaluator(Engine(store.metrics), LogQL(store.logs))
    listeners = Listeners(record=lambda _tx, _transitions: None, after_commit=lambda: None)
    return Runner(store, evaluator, listeners, SystemClock(), groups=read.groups)


def rss_mb(pid: int | str = "self") -> float:
    """The resident memory of a process (2^20 bytes)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def memory_mb(series: int, rules: int, folder: Path) -> float:
    """What this process takes with the data and the rules, evaluated before and after the daemon's `stay_small`."""
    pages = Pages.of_this_process()
    async with stored(folder, (batch for _, batch in scrapes(series, SAMPLES))) as store:
        runner = runner_of(store, "groups:\n" + group(SELECTIVE, 15, selective(rules, max(1, series // 100))))
        now_ms = SystemClock().now_ms()
        for number in range(5):
            await runner.evaluate_all(now_ms + number * 1000)
            if number == 1:  # it comes 20 s after the start
                gc.collect()
                give_back(pages)
        return rss_mb()


if __name__ == "__main__":
    print(asyncio.run(memory_mb(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))
