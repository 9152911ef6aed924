"""What samples in memory cost: one command, a table for people and JSON for comparisons.

    python bench/head.py [--json FILE] [--series N ...] [--only read|scrape|memory]

A fleet of N series: 60 % counters, 36 % buckets, 4 % gauges, an own clock for every target of 1,000 series, and one
scrape in a hundred missed; 20 samples each, 15 s apart. Times are of the CPU, the least of several runs.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time, thread_time
from typing import Any

import psutil

from obskit.model.labels import NAME, Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.store.database import Database
from obskit.store.embedded import EmbeddedStore, StoreSettings
from obskit.store.interface import Batch, Samples
from obskit.testing.clock import FakeClock
from obskit_collectors.prometheus_series import PageRules, TargetSeries

INTERVAL_S, SCRAPES, TARGET, WINDOW_MS = 15, 20, 1_000, 300_000
LIMITS = StoreSettings(max_series=200_000)


def fleet(series: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Names and labels: 100 series of each app and pod, ten apps on each target."""
    for number in range(series):
        app, kind = divmod(number, 100)
        labels = {"app": f"app-{app % 100}", "pod": f"pod-{app:05}"}
        if kind < 60:
            yield "http_requests_total", {**labels, "handler": f"/api/v1/{kind // 5}", "code": f"{200 + kind % 5}"}
        elif kind < 96:
            yield "http_latency_seconds_bucket", {**labels, "le": f"{(kind - 60) / 4:g}", "method": "GET"}
        else:
            yield "process_memory_bytes", {**labels, "area": f"area-{kind}"}


def page(series: list[tuple[str, dict[str, str]]], number: int) -> bytes:
    """The text of a scrape: every value is another one than that of the scrape before."""
    lines, last = [], ""
    for row, (name, labels) in enumerate(series):
        if name != last:
            lines.append(f"# TYPE {name} untyped")
        last = name
        inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
        lines.append(f"{name}{{{inside}}} {row * 17 + number * (row % 13 + 1)}.{number % 10}")
    return ("\n".join(lines) + "\n").encode()


def least(work: Callable[[], Any], times: int = 15) -> float:
    """Microseconds of CPU."""
    took = []
    for _ in range(times):
        started = thread_time()
        work()
        took.append(thread_time() - started)
    return min(took) * 1e6


def rss_mb() -> float:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # as obskit.watch.memory does
    return float(psutil.Process().memory_info().rss) / 1e6


async def filled(store: EmbeddedStore, clock: FakeClock, series: int) -> None:
    labels = [Labels({NAME: name, **rest}) for name, rest in fleet(series)]
    chance = random.Random(1)
    for number in range(SCRAPES + 2):
        clock.advance(INTERVAL_S)
        for target in range(0, series, TARGET):
            if chance.random() < 0.01:
                continue
            some = labels[target : target + TARGET]
            time_ms = clock.now_ms() - target * 7919 % (INTERVAL_S * 1000)
            values = [float(number * (row % 13 + 1)) for row in range(len(some))]
            await store.append(Batch(Samples(some, [time_ms] * len(some), values)))


async def reads(folder: Path, series: int) -> dict[str, float]:
    """Reading a window of five minutes."""
    clock = FakeClock()
    before = rss_mb()
    store = EmbeddedStore(Database.open(folder), clock, LIMITS)
    store.load()
    await filled(store, clock, series)
    counters = (Matcher(NAME, MatchOp.EQUAL, "http_requests_total"),)
    one_app = (*counters, Matcher("app", MatchOp.EQUAL, "app-7"))
    end = clock.now_ms()
    start = end - WINDOW_MS
    reader = store.metrics
    found = {
        "edges_us": least(lambda: reader.edges(counters, start, end)),
        "edges_one_app_us": least(lambda: reader.edges(one_app, start, end)),
        "newest_us": least(lambda: reader.newest(counters, start, end)),
        "select_us": least(lambda: reader.select(counters, start, end), 7),
        "select_one_app_us": least(lambda: reader.select(one_app, start, end)),
        "rss_mb": rss_mb() - before,
    }
    await store.close()
    return found


async def scrapes(folder: Path, series: int) -> dict[str, float]:
    """CPU per sample of a page's way from its bytes to the COMMIT, and of its stations."""
    clock = FakeClock()
    before = rss_mb()
    store = EmbeddedStore(Database.open(folder), clock, LIMITS)
    store.load()
    await asyncio.to_thread(
        subprocess.run, [sys.executable, __file__, "--pages", str(folder), "--series", str(series)], check=True
    )
    target = TargetSeries(Labels({"job": "bench", "instance": "bench:9100"}), PageRules())
    took: dict[str, list[float]] = {"parse": [], "batch": [], "store": [], "scrape": []}
    for number in range(SCRAPES):
        clock.advance(INTERVAL_S)
        body = (folder / str(number)).read_bytes()
        marks = [process_time()]
        exposition = target.parser.parse(body, "text/plain", now_ms=clock.now_ms())
        marks.append(process_time())
        batch = target.read(exposition, clock.now_ms(), 0.1)
        marks.append(process_time())
        await store.append(batch)
        marks.append(process_time())
        for station, low, high in (("parse", 0, 1), ("batch", 1, 2), ("store", 2, 3), ("scrape", 0, 3)):
            took[station].append(marks[high] - marks[low])
    result = {f"{station}_us_per_sample": min(cpu[2:]) / series * 1e6 for station, cpu in took.items()}
    result["first_scrape_us_per_sample"] = took["scrape"][0] / series * 1e6
    del body, exposition, batch
    result["scrape_rss_mb"] = rss_mb() - before
    result["rss_of_all_mb"] = rss_mb()
    await store.close()
    return result


def write_pages(folder: Path, series: int) -> None:
    """In a process of its own, as a target is: what it takes is not counted."""
    lines = list(fleet(series))
    for number in range(SCRAPES):
        (folder / str(number)).write_bytes(page(lines, number))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers there as well")
    parser.add_argument("--series", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--only", choices=["reads", "scrapes"])
    parser.add_argument("--pages", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.pages:
        write_pages(arguments.pages, arguments.series[0])
        return
    result: dict[str, dict[str, float]] = {}
    parts = {"reads": reads, "scrapes": scrapes}
    for series in arguments.series:
        found = result[str(series)] = {}
        for name, part in parts.items():
            if arguments.only in (None, name):
                with tempfile.TemporaryDirectory() as folder:
                    found |= asyncio.run(part(Path(folder), series))
    rows = list(result.values())
    print(f"{'series':28}" + "".join(f"{int(series):>12,}" for series in result))
    for name in rows[0]:
        print(f"{name:28}" + "".join(f"{row[name]:12,.2f}" for row in rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
