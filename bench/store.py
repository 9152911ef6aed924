"""What the embedded store costs: one command, a table for people and JSON for comparisons.

    python bench/store.py [--json FILE] [--hours N]

2,000 series (200 metrics of 10) scraped every 15 s, on a clock that runs as fast as the store does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import psutil

from obskit.model.labels import NAME, Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.model.records import Record
from obskit.store.database import Database
from obskit.store.embedded import EmbeddedStore, StoreSettings
from obskit.store.interface import Batch, Cursor, Samples
from obskit.testing.clock import FakeClock

METRICS, SERIES_EACH, INTERVAL_S = 200, 10, 15
LIMITS = StoreSettings()


def rss_mb() -> float:
    return psutil.Process().memory_info().rss / 1e6


def series() -> list[Labels]:
    return [
        Labels({NAME: f"bench_metric_{metric}_total", "instance": f"host-{i}:9100", "job": "bench", "region": "fra"})
        for metric in range(METRICS)
        for i in range(SERIES_EACH)
    ]


def percentiles(name: str, seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return {f"{name}_p50_us": cuts[49] * 1e6, f"{name}_p99_us": cuts[98] * 1e6}


async def scrape_for(store: EmbeddedStore, clock: FakeClock, labels: list[Labels], hours: float) -> list[float]:
    """Append scrapes: half counters, half gauges, a quarter of them never changing."""
    random.seed(1)
    values = [float(random.randrange(10**6)) for _ in labels]
    took = []
    for _ in range(int(hours * 3600 / INTERVAL_S)):
        clock.advance(INTERVAL_S)
        now_ms = clock.now_ms() + random.randrange(5)
        for i in range(len(values)):
            kind = i % 4
            if kind < 2:
                values[i] += random.randrange(20)
            elif kind == 2:
                values[i] = random.gauss(50, 5)
        batch = Batch(Samples(labels, [now_ms] * len(labels), list(values)), cursor=Cursor("bench", str(now_ms)))
        started = perf_counter()
        await store.append(batch)
        took.append(perf_counter() - started)
        if clock.now_ms() // 1000 % 1800 < INTERVAL_S:
            await store.retention.once(clock.now_ms())
    return took


def time_of(work: Callable[[], Any], times: int = 300) -> float:
    """Median seconds."""
    took = []
    for _ in range(times):
        started = perf_counter()
        work()
        took.append(perf_counter() - started)
    return statistics.median(took)


def selects(store: EmbeddedStore, clock: FakeClock) -> dict[str, float]:
    now_ms = clock.now_ms()
    one = (Matcher(NAME, MatchOp.EQUAL, "bench_metric_7_total"), Matcher("instance", MatchOp.REGEX, "host-.*"))
    every = (Matcher("job", MatchOp.EQUAL, "bench"),)
    read = store.metrics.select
    return {
        "select_10_series_5m_us": time_of(lambda: read(one, now_ms - 300_000, now_ms)) * 1e6,
        "select_10_series_50m_us": time_of(lambda: read(one, now_ms - 3_000_000, now_ms)) * 1e6,
        "select_2000_series_5m_us": time_of(lambda: read(every, now_ms - 300_000, now_ms), 50) * 1e6,
        "select_10_series_24h_disk_ms": time_of(lambda: read(one, now_ms - 86_400_000, now_ms), 5) * 1e3,
    }


async def samples_part(folder: Path, hours: float) -> dict[str, float]:
    clock = FakeClock()
    labels = series()
    store = EmbeddedStore(Database.open(folder), clock, LIMITS)
    store.load()
    before = rss_mb()
    took = await scrape_for(store, clock, labels, 1)
    result = {"rss_2000_series_1h_mb": rss_mb() - before}
    await scrape_for(store, clock, labels, hours - 1)
    result |= {
        "append_samples_per_s": len(labels) * len(took) / sum(took),
        **percentiles("append_scrape", took),
        "rss_after_all_mb": rss_mb(),
        "rss_before_mb": before,
        **selects(store, clock),
    }
    ((chunks, in_chunks),) = store.database.read("SELECT sum(length(data)) + 30 * count(*), sum(n) FROM metric_chunk")
    ((head, in_head),) = store.database.read("SELECT sum(length(data)) + 20 * count(*), sum(n) FROM metric_head")
    result |= {
        "disk_bytes_per_sample_folded": (chunks or math.nan) / (in_chunks or math.nan),
        "disk_bytes_per_sample_head": head / in_head,
        "main_db_mb": store.database.file_bytes() / 1e6,
    }
    await store.close()
    store = EmbeddedStore(Database.open(folder), clock, LIMITS)
    started = perf_counter()
    store.load()
    result["load_ms"] = (perf_counter() - started) * 1e3
    await store.close()
    return result


async def latency_part(folder: Path) -> dict[str, float]:
    clock = FakeClock()
    store = EmbeddedStore(Database.open(folder), clock, LIMITS)
    store.load()
    labels = Labels({NAME: "bench_one", "job": "bench"})
    stream = Labels({"app": "bench"})
    took: dict[str, list[float]] = {"append_1_sample": [], "append_1_line": []}
    for number in range(2_000):
        clock.advance(1)
        batches = {
            "append_1_sample": Batch(Samples([labels], [clock.now_ms()], [1.0]), cursor=Cursor("a", str(number))),
            "append_1_line": Batch(records=[Record(stream, clock.now_ns(), "hello")], cursor=Cursor("b", str(number))),
        }
        for name, batch in batches.items():
            started = perf_counter()
            await store.append(batch)
            took[name].append(perf_counter() - started)
    await store.close()
    return {key: value for name, seconds in took.items() for key, value in percentiles(name, seconds).items()}


async def lines_part(folder: Path) -> dict[str, float]:
    clock = FakeClock()
    store = EmbeddedStore(Database.open(folder), clock, LIMITS)
    store.load()
    random.seed(2)
    streams = [Labels({"app": f"app-{i}", "source": "bench"}) for i in range(5)]
    batches = []
    for _ in range(1_000):
        clock.advance(0.2)
        batches.append([
            Record(
                random.choice(streams), clock.now_ns() + i * 1_000_000,
                f'{{"level":"info","msg":"request served","path":"/api/items/{random.randrange(10**5)}",'
                f'"status":200,"ms":{random.randrange(400)}}}',
                {"trace_id": f"{random.getrandbits(64):016x}"},
            )
            for i in range(100)
        ])  # fmt: skip
    started, cpu = perf_counter(), process_time()
    for batch in batches:
        await store.append(Batch(records=batch, cursor=Cursor("bench", "1")))
    wall, cpu = perf_counter() - started, process_time() - cpu
    ((size, lines),) = store.database.read("SELECT sum(length(data)), sum(n) FROM log_head")
    everything = time_of(lambda: sum(1 for _ in store.logs.select((), 0, clock.now_ns() * 2)), 3)
    needle = time_of(lambda: list(store.logs.select((), 0, clock.now_ns() * 2, containing=["items/77777"])), 3)
    await store.close()
    return {
        "append_lines_per_s": lines / wall,
        "append_lines_per_cpu_s": lines / cpu,
        "disk_bytes_per_line": size / lines,
        "read_lines_per_s": lines / everything,
        "grep_lines_per_s": lines / needle,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers there as well")
    parser.add_argument("--hours", type=float, default=24, help="hours of samples (default 24)")
    arguments = parser.parse_args()
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        result |= asyncio.run(samples_part(Path(folder, "samples"), arguments.hours))
        result |= asyncio.run(latency_part(Path(folder, "latency")))
        result |= asyncio.run(lines_part(Path(folder, "lines")))
    for name, value in result.items():
        print(f"{name:32} {value:14,.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
