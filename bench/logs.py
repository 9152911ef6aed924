"""What the log store costs and how fast it answers: one command, a table for people and JSON for comparisons.

    python bench/logs.py [--lines N] [--trials N] [--json FILE]

A day of lines as Fly and Cloudflare send them (bench/log_lines.py) is appended in bulk to a whole daemon with 100 log
rules, and read again; again in smaller batches, and without rules; each in a process of its own. Then log rules are
measured at a steady rate (bench/log_rules.py), and writers are killed (SIGKILL) while they append and seal. The anchors
were measured on such a machine with the same amount of lines: VictoriaLogs 1.26 and Loki main.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time, thread_time
from typing import Any

from log_lines import APPS, DAY_NS, LogLines
from log_rules import KINDS, steady

from obskit.clock import Clock, SystemClock
from obskit.config import Config, load_config
from obskit.errors import QueryError
from obskit.ingest.loki import LokiPush
from obskit.ingest.reception import Push, Reception
from obskit.ingest.settings import IngestSettings
from obskit.logql.engine import Engine, Progress
from obskit.logql.metric_nodes import Expr
from obskit.logql.parser import parse
from obskit.model.labels import Labels
from obskit.model.telemetry import REGISTRY
from obskit.store.database import Database
from obskit.store.embedded import EmbeddedStore, StoreSettings
from obskit.store.interface import Batch, Cursor
from obskit.store.log_interface import Records
from obskit.testing.loki import JSON, PROTOBUF, push_json, push_protobuf
from obskit.watch import Daemon
from obskit.watch.memory import keep_heap_together

MINUTE_NS = 60 * 10**9
BULK = 10_000
"""Lines of a batch, about 2.5 MB."""
BARE_REGEX = '|~ "[A-Z]{3}[0-9]{9}[A-Z]{2}"'
LIMITS = StoreSettings(max_size="20GB")  # type: ignore[arg-type]  # parsed by the model


@dataclass(frozen=True)
class Row:
    """One line of the table: ours, what the issue asks for, and what others need."""

    key: str
    work: str
    unit: str
    goal: str
    victorialogs: str
    loki: str


ROWS = (
    Row("lines_per_cpu_s", "bulk append, 100 rules on", "lines/CPU s", "≥ 400 k", "215 k", "210 k"),
    Row("few_lines_per_cpu_s", "the same in batches of 2,000 lines", "lines/CPU s", "", "", ""),
    Row("json_lines_per_cpu_s", "the same through Loki push, JSON", "lines/CPU s", "≥ 150 k", "", ""),
    Row("protobuf_lines_per_cpu_s", "the same through Loki push, protobuf", "lines/CPU s", "≥ 150 k", "", ""),
    Row("bare_lines_per_cpu_s", "bulk append, no rules", "lines/CPU s", "", "", ""),
    Row("append_worst_ms", "longest append meanwhile", "ms", "≤ 50", "", ""),
    Row("append_p99_ms", "99 % of appends", "ms", "", "", ""),
    Row("rss_peak_mb", "RSS peak during it, whole daemon", "MB", "≤ 150", "347", "1,205"),
    Row("bytes_per_line", "bytes per line on disk", "B", "≤ 55", "60", "57.5"),
    Row("last_5_minutes_ms", "last 5 minutes, substring", "ms", "≤ 5", "4.5", "18.5"),
    Row("trace_ms", "trace id over the day", "ms", "≤ 60", "12", "1,974"),
    Row("counts_ms", "count by app and minute over the day", "ms", "≤ 20", "81", "2,751"),
    Row("regex_ms", "rare regex over the day", "ms", "≤ 1,300", "417", "2,087"),
    Row("bare_regex_ms", "rare regex without a literal in it", "ms", "≤ 1,300", "", ""),
    Row("first_line_ms", "its first line, newest first", "ms", "", "", ""),
    Row("json_ms", "json filter over the day, 10 % pass", "ms", "≤ 2,900", "1,954", "3,736"),
    Row("stop_ms", "a query that is stopped has ended after", "ms", "≤ 100", "", ""),
    Row("query_rss_mb", "RSS peak with these queries", "MB", "", "", ""),
    Row("scan_ms", "rare substring over the day, no id in it", "ms", "", "", ""),
    Row("share_100", "100 rules at 600 lines/s", "% of a core", "≤ 1", "1.9", "23.4"),
    Row("share_1000", "1,000 rules at 600 lines/s", "% of a core", "≤ 3", "", ""),
    Row("lost", "acknowledged lines lost on SIGKILL", "lines", "0", "its last 5 s", "0"),
    Row("doubled", "lines there twice", "lines", "0", "", ""),
    Row("ready_ms", "ready again, at worst", "ms", "≤ 1,000", "", "16,000"),
)


def rules() -> list[str]:
    """100 rules of the kinds that people write (see log_rules.KINDS); the last five find something all the time."""
    quiet = [KINDS[n % 5].format(n=n + 1, app=n % 10, status=500) for n in range(95)]
    named = [expr.replace(f"app{n % 10}", APPS[n % 6]).replace("app.*", ".+") for n, expr in enumerate(quiet)]
    return [
        *named,
        'sum by (region) (count_over_time({app="shop-worker"} |= "raised TimeoutError" [5m])) > 1e6',
        'sum by (app) (rate({source="fly"} |~ "HTTP/2.0.. 50[234]" [5m])) > 1e6',
        'sum by (zone) (count_over_time({source="cloudflare"} |= `"EdgeResponseStatus":522` [5m])) > 1e6',
        'sum by (app) (count_over_time({source="fly"} | level="error" [5m])) > 1e6',
        'count_over_time({app="auth"} |= "/login" |= " 502 " [1m]) > 1e6',
    ]


def config_in(folder: Path, exprs: list[str]) -> Config:
    """What a daemon needs to keep a day of lines and to judge them."""
    folder.mkdir(parents=True)
    alerts = [{"alert": f"A{n}", "labels": {"severity": "info"}, "expr": expr} for n, expr in enumerate(exprs)]
    group = {"name": "bench", "type": "loki", "interval": "15s", "rules": alerts}
    (folder / "rules.yaml").write_text(json.dumps({"groups": [group] if alerts else []}))
    store = {"path": "data", "max_size": "20GB", "retention": {"logs": "30d"}}
    settings = {"store": store, "web": {"listen": "127.0.0.1:0"}, "rule_files": ["rules.yaml"]}
    (folder / "obskit.yaml").write_text(json.dumps(settings))
    return load_config(folder / "obskit.yaml")


async def bulk(folder: Path, lines: int, size: int, *, with_rules: bool, pushed: str) -> dict[str, Any]:
    """Append a day of lines as fast as they go to a daemon that runs in this process."""
    keep_heap_together()  # as `obskit watch` does
    clock = SystemClock()
    source = LogLines(start_ns=(clock.now_ns() // DAY_NS - 1) * DAY_NS)
    daemon = Daemon(config_in(folder, rules() if with_rules else []), clock)
    await daemon.start()
    stop = asyncio.Event()
    running = asyncio.create_task(daemon.run(stop))
    while daemon.health.waiting:
        await clock.sleep(0.05)
    gc.collect()
    gc.freeze()  # as `obskit watch` does when it has started
    store = daemon._store  # noqa: SLF001 - nobody else asks a daemon for it
    way = Pushes(store, clock, pushed) if pushed else Appends(store)
    found = await append_all(store, way, source.batches(lines, size), clock)
    found |= {"bytes_per_line": bytes_of_day_files(folder / "data") / lines} | queries(store, source)
    stop.set()
    await running
    await daemon.close()
    return found


class Appends:
    """Lines to the store as a collector brings them."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._store = store
        self._read = 0

    def prepared(self, records: Records) -> Batch:
        """What is brought."""
        self._read += len(records)
        return Batch(records=records, cursor=Cursor("bench", str(self._read)))

    async def bring(self, batch: Batch) -> None:
        await self._store.append(batch)


class Pushes:
    """Lines as a client of Loki pushes them."""

    def __init__(self, store: EmbeddedStore, clock: Clock, kind: str) -> None:
        self._reception = Reception(store, clock, IngestSettings(max_body="32MB", max_held="64MB"))  # type: ignore[arg-type]  # parsed by the model
        self._format = LokiPush()
        self._write, headers = (push_json, JSON) if kind == "json" else (push_protobuf, PROTOBUF)
        self._headers = {name.lower(): value for name, value in headers.items()}

    def prepared(self, records: Records) -> bytes:
        """The body of a push: stream by stream."""
        return self._write(sorted(records, key=lambda record: record.stream.pairs))

    async def bring(self, body: bytes) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield body

        answer = await self._reception.receive(self._format, Push(self._headers, chunks()))
        assert answer.status == 204, answer.text


async def append_all(
    store: EmbeddedStore, way: Appends | Pushes, batches: Iterator[Records], clock: Clock
) -> dict[str, float]:
    """CPU of all that follows an append, without that of making the lines; until all are sealed and judged."""
    began, making, raw, lines = process_time(), 0.0, 0, 0
    took: list[float] = []
    while True:
        at = thread_time()
        records = next(batches, None)
        if records is None:
            break
        lines, raw = lines + len(records), raw + sum(map(len, records.lines))
        prepared: Any = way.prepared(records)
        making += thread_time() - at
        started = perf_counter()
        await way.bring(prepared)
        took.append(perf_counter() - started)
    await clock.sleep(1)
    await store.sealing.once(clock.now_ms())
    return {
        "lines_per_cpu_s": lines / (process_time() - began - making),
        "append_worst_ms": max(took) * 1000,
        "append_p99_ms": sorted(took)[len(took) * 99 // 100] * 1000,
        "rss_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "raw_bytes_per_line": raw / lines,
        "backlogs_lost": REGISTRY.get_sample_value("obskit_rule_log_backlog_resets_total") or 0,
    }


def bytes_of_day_files(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("logs-*.db"))


def queries(store: EmbeddedStore, source: LogLines) -> dict[str, float]:
    """The best of a few runs of each."""
    start, end = source.start_ns, source.start_ns + DAY_NS
    trace = source.traces[len(source.traces) // 2] if source.traces else "0" * 32

    def holding(text: str, since_ns: int) -> Callable[[], int]:
        return lambda: sum(len(block.chosen) for block in store.logs.blocks([], since_ns, end, containing=[text]))

    def counted() -> int:
        return sum(int(lines.sum()) for _, _, lines, _ in store.logs.counts([], start + 1, end + 1) or ())

    engine = Engine(store.logs)

    def counting(stages: str) -> Callable[[], object]:
        query = parse(f'sum(count_over_time({{source=~".+"}} {stages} [1d]))')
        return lambda: engine.instant(query, end)

    def first_line() -> object:
        return next(engine.lines(parse(f'{{source=~".+"}} {BARE_REGEX}'), start, end, limit=10, newest_first=True))

    return {
        "regex_ms": best_ms(counting('|~ "order 77[0-9]{3} charged.*cart/[0-9]+7"'), times=3),
        "bare_regex_ms": best_ms(counting(BARE_REGEX), times=3),
        "first_line_ms": best_ms(first_line),
        "json_ms": best_ms(counting("| json | status >= 500"), times=3),
        "stop_ms": stopping_ms(engine, parse('sum(rate({source=~".+"} | json [1d]))'), end),
        "query_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "last_5_minutes_ms": best_ms(holding("TimeoutError", end - 5 * MINUTE_NS)),
        "trace_ms": best_ms(holding(trace, start)),
        "counts_ms": best_ms(counted),
        "scan_ms": best_ms(holding("no such thing", start), times=2),
    }


def stopping_ms(engine: Engine, query: Expr, end_ns: int) -> float:
    """How long a query of the whole day goes on after it was told to stop."""
    progress, told = Progress(), [0.0]

    def stop() -> None:
        told[0] = perf_counter()
        progress.stop()

    timer = threading.Timer(0.3, stop)
    timer.start()
    with suppress(QueryError):
        engine.instant(query, end_ns, progress=progress)
    timer.join()
    return max(0.0, perf_counter() - told[0]) * 1000


def best_ms(work: Callable[[], object], times: int = 7) -> float:
    took = []
    for _ in range(times):
        started = perf_counter()
        work()
        took.append(perf_counter() - started)
    return min(took) * 1000


async def write_for_ever(folder: Path) -> None:
    """Append numbered lines and say each number once it is acknowledged; seal all the while."""
    clock = SystemClock()
    store = EmbeddedStore(Database.open(folder), clock, LIMITS)
    store.load()

    async def seal() -> None:
        while True:
            await store.sealing.once(clock.now_ms())
            await clock.sleep(random.random() / 50)

    sealing = asyncio.create_task(seal())
    number = int(await store.cursor("writer") or 0)
    streams = [Labels({"app": "writer", "n": str(n)}) for n in range(3)]
    while not sealing.done():
        number += 1
        records = Records()
        for part in range(50):
            records.add(streams[part % 3], clock.now_ns(), f"{number} {part} {random.random()}")
        await store.append(Batch(records=records, cursor=Cursor("writer", str(number))))
        os.write(1, b"%d\n" % number)
    sealing.result()


def killed_writer(folder: Path) -> int:
    """Start a writer and kill it at a random moment; the last number that it said."""
    command = [sys.executable, __file__, "--part", "writer", folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(random.randrange(1, 40))]
        writer.send_signal(signal.SIGKILL)
        return [*said, *map(int, writer.stdout.read().split())][-1]


async def kill(folder: Path, trials: int) -> dict[str, float]:
    """Kill writers; count what is lost, what is doubled, and how long the next one needs to begin."""
    lost = doubled = 0
    ready = 0.0
    for _ in range(trials):
        last = killed_writer(folder)
        started = perf_counter()
        store = EmbeddedStore(Database.open(folder), SystemClock(), LIMITS)
        store.load()
        ready = max(ready, perf_counter() - started)
        counts = Counter(int(record.line.split()[0]) for record in store.logs.select([], 0, 2**62))
        lost += sum(max(0, 50 - counts[number]) for number in range(1, last + 1))
        doubled += sum(max(0, count - 50) for count in counts.values())
        assert int(await store.cursor("writer") or 0) in (last, last + 1), "the cursor says something else"
        await store.close()
    return {"lost": lost, "doubled": doubled, "ready_ms": ready * 1000, "trials": trials}


def in_process(part: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """One part in a process of its own. Its last line is what it found: a daemon without receivers writes alerts there."""
    command = [sys.executable, __file__, "--part", part, *arguments, str(folder)]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def bulks(folder: Path, lines: int) -> dict[str, Any]:
    """The bulk append in large and small batches, with and without rules."""
    found = in_process("bulk", folder / "bulk", "--lines", str(lines), "--with-rules")
    few = in_process("bulk", folder / "few", "--lines", str(lines // 5), "--with-rules", "--size", "2000")
    bare = in_process("bulk", folder / "bare", "--lines", str(lines // 5))
    found |= {"few_lines_per_cpu_s": few["lines_per_cpu_s"], "bare_lines_per_cpu_s": bare["lines_per_cpu_s"]}
    for kind in ("json", "protobuf"):
        pushed = in_process("bulk", folder / kind, "--lines", str(lines // 5), "--with-rules", "--pushed", kind)
        found[f"{kind}_lines_per_cpu_s"] = pushed["lines_per_cpu_s"]
    return found


def table(found: dict[str, Any]) -> str:
    rows = [("", "obskit", "goal", "VictoriaLogs", "Loki")]
    for row in ROWS:
        value = found.get(row.key)
        shown = "-" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
        rows.append((row.work, f"{shown} {row.unit}", row.goal, row.victorialogs, row.loki))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=5_000_000)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--size", type=int, default=BULK, help=argparse.SUPPRESS)
    parser.add_argument("--with-rules", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--pushed", choices=("json", "protobuf"), default="", help=argparse.SUPPRESS)
    parser.add_argument("--part", choices=("bulk", "writer"), help=argparse.SUPPRESS)
    parser.add_argument("folder", nargs="?", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "writer":
        asyncio.run(write_for_ever(arguments.folder))
    elif arguments.part == "bulk":
        how = {"with_rules": arguments.with_rules, "pushed": arguments.pushed}
        print(json.dumps(asyncio.run(bulk(arguments.folder, arguments.lines, arguments.size, **how))))
    else:
        folder = Path(tempfile.mkdtemp())
        try:
            found = bulks(folder, arguments.lines)
            found |= {f"share_{count}": steady(count, seconds=30).share for count in (100, 1000)}
            found |= asyncio.run(kill(folder / "kill", arguments.trials)) if arguments.trials else {}
        finally:
            shutil.rmtree(folder)
        print(table(found))
        if arguments.json:
            arguments.json.write_text(json.dumps({"lines": arguments.lines} | found, indent=2))


if __name__ == "__main__":
    main()
