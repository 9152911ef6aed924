"""What cold storage costs and how fast it answers: one command, a table.

    python bench/cold.py [--lines N] [--json FILE]

A day of lines as Fly and Cloudflare send them (bench/log_lines.py) is stored, copied to a folder in a process of its own,
and read again from there, its file being gone. The bucket's network is not part of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from log_lines import DAY_NS, LogLines

from obskit.clock import SystemClock
from obskit.model.matchers import Matcher, MatchOp
from obskit.store.cold import moving
from obskit.store.database import Database
from obskit.store.embedded import EmbeddedStore, StoreSettings
from obskit.store.interface import Batch

ROWS = (
    ("lines_per_cpu_s", "copied (read, written, checked)", "lines/CPU s"),
    ("rss_before_mb", "RSS before", "MB"),
    ("rss_grown_mb", "RSS more at its peak", "MB"),
    ("hot_bytes_per_line", "bytes per line, hot", "B"),
    ("cold_bytes_per_line", "bytes per line, cold", "B"),
    ("objects", "objects", ""),
    ("hour_ms", "an hour of the cold day, substring", "ms"),
    ("stream_ms", "the cold day, one stream, substring", "ms"),
    ("scan_ms", "the cold day, substring", "ms"),
    ("query_rss_grown_mb", "RSS more at the peak of these", "MB"),
)


def opened(folder: Path) -> EmbeddedStore:
    settings = {
        "max_size": "20GB",
        "cold": {"folder": str(folder / "cold")},
        "retention": {"logs": "1h", "cold": "100y"},
        "query": {"max_time": "10m"},
    }
    return EmbeddedStore(Database.open(folder / "hot"), SystemClock(), StoreSettings.model_validate(settings))


async def fill(folder: Path, lines: int) -> dict[str, float]:
    store = opened(folder)
    await asyncio.to_thread(store.load)
    for number, records in enumerate(LogLines().batches(lines)):
        await store.append(Batch(records=records))
        if number % 20 == 0:
            await store.sealing.once(SystemClock().now_ms())
    await store.sealing.once(SystemClock().now_ms())
    await store.close()
    return {"hot_bytes_per_line": size_of(folder / "hot", "logs-*.db") / lines}


async def move(folder: Path, lines: int) -> dict[str, float]:
    moving.PAUSE_S = 0.0
    store = opened(folder)
    await asyncio.to_thread(store.load)
    assert store.cold is not None
    before, began, started = rss_mb(), process_time(), perf_counter()
    await store.cold.once(SystemClock().now_ms())
    found = {
        "lines_per_cpu_s": lines / (process_time() - began),
        "seconds": perf_counter() - started,
        "rss_before_mb": before,
        "rss_grown_mb": rss_mb() - before,
        "cold_bytes_per_line": size_of(folder / "cold", "**/*.parquet") / lines,
        "objects": float(len(list((folder / "cold").rglob("*.parquet")))),
    }
    for _ in range(2):
        await store.retention.once(SystemClock().now_ms())
    assert not list((folder / "hot").glob("logs-*.db"))
    await store.close()
    return found


async def read(folder: Path, lines: int) -> dict[str, float]:
    store, source = opened(folder), LogLines()
    start, end = source.start_ns, source.start_ns + DAY_NS
    before = rss_mb()
    assert sum(len(block.chosen) for block in store.logs.blocks([], 0, 2**62)) == lines
    stream = min(store.logs.streams([], start, end), key=str)
    alone = [Matcher(name, MatchOp.EQUAL, value) for name, value in stream.pairs]

    def holding(matchers: list[Matcher], start_ns: int, end_ns: int) -> Callable[[], int]:
        found = {"containing": ["no such thing"]}
        return lambda: sum(len(block.chosen) for block in store.logs.blocks(matchers, start_ns, end_ns, **found))

    hour = 3_600 * 10**9
    found = {
        "hour_ms": best_ms(holding([], start + 9 * hour, start + 10 * hour)),
        "stream_ms": best_ms(holding(alone, start, end)),
        "scan_ms": best_ms(holding([], start, end)),
        "query_rss_grown_mb": rss_mb() - before,
    }
    await store.close()
    return found


def best_ms(work: Callable[[], object], times: int = 3) -> float:
    took = []
    for _ in range(times):
        started = perf_counter()
        work()
        took.append(perf_counter() - started)
    return min(took) * 1000


def size_of(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern))


def rss_mb() -> float:
    """The peak until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_process(part: str, folder: Path, lines: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder), "--lines", str(lines)]
    found: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    parts = {"fill": fill, "move": move, "read": read}
    if options.part:
        print(json.dumps(asyncio.run(parts[options.part](options.folder, options.lines))))
        return
    folder = Path(tempfile.mkdtemp(prefix="obskit-cold-"))
    try:
        (folder / "cold").mkdir()
        found = {key: value for part in parts for key, value in in_process(part, folder, options.lines).items()}
    finally:
        shutil.rmtree(folder)
    for key, work, unit in ROWS:
        print(f"{work:<38}{found[key]:>12,.4g} {unit}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
