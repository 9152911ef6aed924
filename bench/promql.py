"""What evaluating rules and queries costs, beside a real Prometheus on the same data in the same run.

    python -m bench.promql [--small] [--only WORD] [--json FILE] [--without-prometheus]

Times of rules are what each program reports of a group's evaluation, everything included (obskit: also the commit);
times of queries exclude writing the answer. Medians. Ends with 1 when a bar is missed. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time
from typing import Final

import numpy as np

from bench import beside, ingest
from bench.embedded import runner_of, scrapes, start_ms, stored
from bench.fleet import EVERY_MS, SAMPLES, Fleet
from bench.promql_rules import AGGREGATES, SELECTIVE, group, selective, unit_tests
from bench.table import Bench, Row, show
from obskit.clock import SystemClock
from obskit.collect.feed import Feed
from obskit.model.exposition import ExpositionParser
from obskit.model.labels import Labels
from obskit.promql.engine import Engine
from obskit.testing.http import Answer, FakeServer, Received
from obskit_collectors.prometheus_series import PageRules, TargetSeries

AHEAD: Final = 4
"""Prometheus gets so many rounds from the future: windows stay full while it evaluates at its own time."""
EVALUATIONS: Final = 9
COMMAND_RUNS: Final = 7
INTERVAL_S: Final = 5
BARS: Final[dict[str, dict[int, float]]] = {
    SELECTIVE: {1_000: 0.10, 10_000: 0.10, 100_000: 0.10},
    "sum by (app) (rate)": {10_000: 0.05, 100_000: 0.05},
    "error ratio by app": {10_000: 0.05},
    "p99 by app": {100_000: 0.05},
    "gauge > t": {},
}
"""The bars of the issue, by group and number of series; a small group costs us a turn of the loop, whatever it asks."""


class Rounds:
    """Columns [round, series] of a fleet; the last `ahead` rounds lie in the future."""

    def __init__(self, series: int, rounds: int, *, ahead: int = 0) -> None:
        fleet = Fleet(series, start_ms(rounds, ahead=ahead))
        self.labels = fleet.labels
        taken = [fleet.round(number) for number in range(rounds)]
        self.times_ms, self.values, self.scraped = (np.array(column) for column in zip(*taken, strict=True))

    def requests(self) -> Iterator[bytes]:
        """The same as remote write."""
        return beside.write_requests(self.labels, self.times_ms, self.values, self.scraped)


# Rules


async def obskit_rules(bench: Bench, series: int, rules: str) -> tuple[dict[str, float], dict[str, float]]:
    """Milliseconds per group: the first evaluation, and the median of those after it. Each comes after a scrape."""
    took: dict[str, list[float]] = {}
    rounds = scrapes(series, SAMPLES + EVALUATIONS + 2)
    history = (batch for _, batch in islice(rounds, SAMPLES + 1))
    async with stored(bench.new_folder("obskit"), history) as store:
        runner = runner_of(store, rules)
        for end_ms, batch in rounds:
            await store.append(batch)
            await runner.evaluate_all(end_ms)
            for status in runner.snapshot():
                took.setdefault(status.group.name, []).append(status.duration_s * 1000)
    return {name: ms[0] for name, ms in took.items()}, {name: statistics.median(ms[1:]) for name, ms in took.items()}


async def prometheus_rules(bench: Bench, rounds: Rounds, rules: str) -> dict[str, float]:
    """Milliseconds per group as Prometheus tells it: the median of what is seen at each interval."""
    took: dict[str, list[float]] = {}
    with beside.prometheus(bench.new_folder("prometheus"), rules=rules) as server:
        server.write(rounds.requests())
        await SystemClock().sleep(INTERVAL_S + 1)
        for _ in range(5 if bench.small else EVALUATIONS):
            await SystemClock().sleep(INTERVAL_S)
            for name, seconds in server.metric("prometheus_rule_group_last_duration_seconds").items():
                took.setdefault(name, []).append(seconds * 1000)
    return {name: statistics.median(ms) for name, ms in took.items()}


async def rules(bench: Bench) -> list[Row]:
    """Groups of rules over fleets of several sizes."""
    rows = []
    for series in (1_000, 10_000) if bench.small else (1_000, 10_000, 100_000):
        apps = max(1, series // 100)
        text = "groups:\n" + "".join(
            [group(SELECTIVE, INTERVAL_S, selective(1_000, apps)), *(group(*one) for one in _aggregates())]
        )
        given = Rounds(series, SAMPLES + AHEAD + 2, ahead=AHEAD)
        theirs = await prometheus_rules(bench, given, text) if bench.beside else {}
        cold, ours = await obskit_rules(bench, series, text)
        for name, ms in ours.items():
            rows.append(Row(f"{name}, {series:,} series", "ms", theirs.get(name), ms, BARS[name].get(series)))
        rows.append(Row(f"{SELECTIVE}, {series:,} series: first evaluation", "ms", None, cold[SELECTIVE], None))
    return rows


def _aggregates() -> Iterable[tuple[str, int, Sequence[str]]]:
    return ((name, INTERVAL_S, [expr]) for name, expr in AGGREGATES.items())


# Range queries

RANGES: Final = {
    "rate": "rate(http_requests_total[5m])",
    "sum by": "sum by (app) (rate(http_requests_total[5m]))",
    "p90": "histogram_quantile(0.9, sum by (app, le) (rate(http_request_duration_seconds_bucket[5m])))",
    "quantile_over_time": "quantile_over_time(0.9, http_requests_total[5m])",
}


async def ranges(bench: Bench) -> list[Row]:
    """Range queries over about 1,000 series of each kind and 1,000 steps of 5 s."""
    steps, step_s = (200, 5) if bench.small else (1_000, 5)
    series, rounds = 500 if bench.small else 1_700, steps * step_s * 1000 // EVERY_MS + SAMPLES
    end_s = SystemClock().now_ms() // 1000
    start_s = end_s - (steps - 1) * step_s
    with ExitStack() as stack:
        server = stack.enter_context(beside.prometheus(bench.new_folder("prometheus"))) if bench.beside else None
        if server is not None:
            server.write(Rounds(series, rounds).requests())
        async with stored(bench.new_folder("obskit"), (batch for _, batch in scrapes(series, rounds))) as store:
            engine, rows = Engine(store.metrics), []
            for name, query in RANGES.items():
                ours = partial(engine.range, query, start_s * 1000, end_s * 1000, step_s * 1000)
                theirs = None if server is None else partial(server.query_ms, query, start_s, end_s, step_s)
                their_ms, our_ms = _turns_ms(theirs, ours)
                rows.append(Row(f"range query over {steps:,} steps: {name}", "ms", their_ms, our_ms, 0.25))
            return rows


def _turns_ms(
    theirs: Callable[[], float] | None, ours: Callable[[], object], times: int = 7
) -> tuple[float | None, float]:
    """Milliseconds of a query, theirs and ours: medians. They take turns, so that what else the machine does meets both."""
    ours()
    their_ms, our_ms = [], []
    for _ in range(times):
        if theirs is not None:
            their_ms.append(theirs())
        began = perf_counter()
        ours()
        our_ms.append((perf_counter() - began) * 1000)
    return statistics.median(their_ms) if their_ms else None, statistics.median(our_ms)


# Memory


async def memory(bench: Bench) -> list[Row]:
    """Resident memory with many series and 5,000 rules, in a process of its own."""
    series = 10_000 if bench.small else 100_000
    theirs = None
    text = "groups:\n" + group(SELECTIVE, INTERVAL_S, selective(5_000, series // 100))
    if bench.beside:
        with beside.prometheus(bench.new_folder("prometheus"), rules=text) as server:
            server.write(Rounds(series, SAMPLES).requests())
            await SystemClock().sleep(4 * INTERVAL_S)
            theirs = server.rss_mb
    command = [sys.executable, "-m", "bench.embedded", str(series), "5000", str(bench.new_folder("obskit"))]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    ours = float((await process.communicate())[0])
    return [Row(f"memory, {series:,} series x 5 min, 5,000 rules", "MB", theirs, ours, 0.5)]


# Intake


SCRAPING_S: Final = 15


class Pages(FakeServer):
    """A target whose page is another one at each scrape."""

    def __init__(self, pages: list[bytes]) -> None:
        super().__init__()
        self._pages = pages

    def answer(self, _request: Received) -> Answer:
        """The next page."""
        body = self._pages[len(self.requests) % len(self._pages)]
        return Answer(body=body, content_type="text/plain; version=0.0.4")


async def intake(bench: Bench) -> list[Row]:
    """CPU per sample of scraping a page, from text to the store."""
    rows = []
    for series in (10_000,) if bench.small else (10_000, 100_000):
        fleet = Fleet(series, 0)
        pages = []
        for number in range(6):
            _, values, _ = fleet.round(number)
            pages.append(_page(fleet, values.tolist()))
        theirs = await _scraped_by_prometheus(bench, pages, series) if bench.beside else None
        ours = await _scraped_by_obskit(bench, pages) / series * 1e6
        rows.append(Row(f"scrape of {series:,} series, CPU per sample", "us", theirs, ours, 0.6))
    return rows


def _page(fleet: Fleet, values: list[float]) -> bytes:
    lines = [f"{labels} {value:g}" for labels, value in zip(fleet.labels, values, strict=True)]
    return ("\n".join(lines) + "\n").encode()


async def _scraped_by_obskit(bench: Bench, pages: list[bytes]) -> float:
    """CPU seconds per page, without fetching it."""
    parser, now_ms, took = ExpositionParser(), SystemClock().now_ms(), []
    series = TargetSeries(Labels({"instance": "bench:1", "job": "bench"}), PageRules(honor_labels=True))
    async with stored(bench.new_folder("obskit")) as store:
        feed = Feed("bench", store, SystemClock())
        for number, page in enumerate(pages):
            began, at_ms = process_time(), now_ms + number * EVERY_MS
            exposition = parser.parse(page, "text/plain; version=0.0.4", now_ms=at_ms)
            await feed.append(series.read(exposition, at_ms, 0.0), "bench")
            took.append(process_time() - began)
    return statistics.median(took[2:])


async def _scraped_by_prometheus(bench: Bench, pages: list[bytes], series: int) -> float:
    """CPU microseconds per sample while it scrapes every second; what it takes without a target is taken off."""
    costs = []
    with Pages(pages) as server:
        target = server.base_url.removeprefix("http://")
        job = f"{{job_name: b, honor_labels: true, scrape_interval: 1s, static_configs: [{{targets: ['{target}']}}]}}"
        for scrape in ("", job):
            with beside.prometheus(bench.new_folder("prometheus"), scrape=scrape) as prometheus:
                await SystemClock().sleep(4)
                began, scrapes = prometheus.cpu_s, len(server.requests)
                await SystemClock().sleep(SCRAPING_S)
                costs.append((prometheus.cpu_s - began, len(server.requests) - scrapes))
    (idle, _), (busy, done) = costs
    return (busy - idle) / max(1, done) / series * 1e6


# Unit tests of rules


async def tests_of_rules(bench: Bench) -> list[Row]:
    """The command line from start to end, over groups of 50 rules."""
    folder = bench.new_folder("tests")
    folder.mkdir()
    groups = 4 if bench.small else 20
    rule_file, test_file = unit_tests(groups=groups, rules=50)
    (folder / "rules.yml").write_text(rule_file, encoding="utf-8")
    (folder / "tests.yml").write_text(test_file, encoding="utf-8")
    ours = [sys.executable, "-c", "from obskit.cli import run; run()", "test", "rules", "tests.yml"]
    both = [["promtool", "test", "rules", "tests.yml"], ours] if bench.beside else [ours]
    *theirs, taken = _commands_s(both, folder)
    return [Row(f"test rules, {groups} groups of 50", "s", theirs[0] if theirs else None, taken, 0.5)]


def _commands_s(commands: list[list[str]], folder: Path) -> list[float]:
    """Seconds per command, from start to end. They take turns, so that what else the machine does meets all of them."""
    took: list[list[float]] = [[] for _ in commands]
    for _ in range(1 + COMMAND_RUNS):
        for times, command in zip(took, commands, strict=True):
            began = perf_counter()
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=False, env=_as_installed(folder)
            )
            times.append(perf_counter() - began)
            assert done.returncode == 0, done.stdout + done.stderr
    # The first run compiles our modules, as installing them does.
    return [statistics.median(times[1:]) for times in took]


def _as_installed(folder: Path) -> dict[str, str]:
    """An environment in which Python keeps what it compiled, whatever ours says, and not in the checkout."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = os.pathsep.join(path for path in sys.path if path)
    return {**kept, "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}


SCENES: Final = {
    "rules": rules,
    "ranges": ranges,
    "memory": memory,
    "intake": intake,
    "remote write": ingest.remote_write,
    "tests": tests_of_rules,
}


async def measure(arguments: argparse.Namespace) -> list[Row]:
    """Run the scenes."""
    with_prometheus = bool(shutil.which("prometheus")) and not arguments.without_prometheus
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="obskit-bench-") as folder:
        bench = Bench(Path(folder), arguments.small, with_prometheus)
        for name, scene in SCENES.items():
            if arguments.only in name:
                rows += await scene(bench)
    return rows


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description="PromQL and rules beside a real Prometheus")
    parser.add_argument("--small", action="store_true", help="fewer series, for a quick look")
    parser.add_argument("--only", default="", help=f"scenes whose name contains this: {', '.join(SCENES)}")
    parser.add_argument("--json", help="also write this file")
    parser.add_argument("--without-prometheus", action="store_true")
    arguments = parser.parse_args()
    rows = asyncio.run(measure(arguments))
    versions = {"Prometheus": beside.version(), "Python": platform.python_version(), "numpy": np.__version__}
    show(rows, versions)
    if arguments.json:
        found = [{**asdict(row), "ratio": row.ratio} for row in rows]
        text = json.dumps({"versions": versions, "small": arguments.small, "rows": found}, indent=2)
        Path(arguments.json).write_text(text + "\n", encoding="utf-8")
    return int(any(row.missed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
