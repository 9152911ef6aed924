"""kill -9, again and again, while the cloudflare collector reads a log from the fake: what is lost, what comes twice.

    python -m bench.cloudflare_kills --lines 100000 --kills 25

The log has equal times, every tenth line is late by up to 90 s, every row is shown twice, answers fail. A child process
reads it into the real store, is killed at a random instant and started again. At the end each line must be there once.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter

from obskit.clock import NS_PER_MS, SystemClock
from obskit.collect import Feed, find_kind
from obskit.model.matchers import Matcher, MatchOp
from obskit.store.database import Database
from obskit.store.embedded import EmbeddedStore, StoreSettings
from obskit.testing.cloudflare import ACCOUNT, TOKEN, FakeCloudflare
from obskit.testing.cloudflare_telemetry import FakeTelemetry, log_row
from obskit.testing.http import Failure

SPAN_MS = 3_000_000
"""From the first line to the last, which is of now."""
SETTLED_S = 300.0
SOURCE = [Matcher("source", MatchOp.EQUAL, "cloudflare")]


async def collect(folder: str, url: str) -> None:
    """The child: reads into the store until it is killed."""
    clock = SystemClock()
    kind = find_kind("cloudflare")
    settings = kind.settings(account_id=ACCOUNT, token=TOKEN, url=url, logs={"every": "2s", "backfill": "2h"})
    database = Database.open(folder)
    store = EmbeddedStore(database, clock, StoreSettings())
    store.load()
    await kind.build(settings).run(Feed("cloudflare", store, clock))


def fill(telemetry: FakeTelemetry, lines: int, dice: random.Random, now_ms: int) -> None:
    """Three lines of each time; the late ones show up while the child reads."""
    for n in range(lines):
        t_ms = now_ms - SPAN_MS + n // 3 * 3 * SPAN_MS // lines
        late_ms = dice.randrange(90_000) if dice.random() < 0.1 else 0
        telemetry.add(log_row(t_ms, f"id{n}", f"line {n}"), late_ms=late_ms)


def stored(folder: str, now_ms: int) -> Counter[str]:
    """How often each line is in the store."""
    database = Database.open_readonly(folder)
    try:
        store = EmbeddedStore(database, SystemClock(), StoreSettings())
        found = store.logs.select(SOURCE, 0, (now_ms + 3_600_000) * NS_PER_MS)
        return Counter(record.line for record in found)
    finally:
        asyncio.run(database.close())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        asyncio.run(collect(*options.child))
        return
    clock, dice = SystemClock(), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder, FakeCloudflare(clock) as fake:
        telemetry = FakeTelemetry(fake)
        telemetry.twice = True
        fill(telemetry, options.lines, dice, clock.now_ms())
        command = [sys.executable, "-m", "bench.cloudflare_kills", "--child", folder, fake.url]
        pause = threading.Event()
        for _ in range(options.kills):
            child = subprocess.Popen(command)
            if dice.random() < 0.3:
                fake.plan(Failure(dice.choice([429, 500]), after=dice.random() < 0.5))
            pause.wait(dice.uniform(1, 10))
            child.send_signal(signal.SIGKILL)
            child.wait()
        print(f"after {options.kills} kills: {sum(stored(folder, clock.now_ms()).values())} lines stored", flush=True)
        fake.repair()
        child = subprocess.Popen(command)
        started = clock.monotonic()
        while stored(folder, clock.now_ms()).total() < options.lines and clock.monotonic() - started < SETTLED_S:
            pause.wait(5)
        pause.wait(6)  # for what would come twice
        child.send_signal(signal.SIGKILL)
        child.wait()
        counts = stored(folder, clock.now_ms())
    doubled = sum(1 for count in counts.values() if count > 1)
    print(f"lines {options.lines}, stored {len(counts)}, lost {options.lines - len(counts)}, doubled {doubled}")


if __name__ == "__main__":
    main()
