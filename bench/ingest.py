"""What it costs to take what is pushed, beside a real Prometheus that is pushed the same in the same run.

    python -m bench.ingest [--small] [--without-prometheus]

Requests of 2,000 samples, packed as Prometheus packs them, each round with other values; the first rounds, in which all
series are new, do not count. Both programs run as processes of their own and are asked over HTTP; what decoding and
storing alone costs us is measured in this one. Linux only.
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
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import process_time
from typing import Final

import cramjam
import httpx

from bench import beside
from bench.embedded import start_ms, stored
from bench.fleet import Fleet
from bench.table import Bench, Row, show
from obskit.clock import SystemClock
from obskit.ingest.reception import Push, Reception
from obskit.ingest.remote_write import RemoteWrite
from obskit.ingest.settings import IngestSettings
from obskit.ingest.snappy import unpacked
from obskit.model.samples import Sample
from obskit.testing import remote_write as sender

PER_REQUEST: Final = 2_000
WARM: Final = 2
BAR: Final = 0.3
"""Of Prometheus' CPU per sample, of issue 3."""
Rounds = list[list[bytes]]


def rounds_of(series: int, rounds: int, write: Callable[[list[Sample]], bytes]) -> Rounds:
    """The bodies of each round of scrapes."""
    fleet = Fleet(series, start_ms(rounds))
    found = []
    for number in range(rounds):
        times_ms, values, _ = fleet.round(number)
        columns = zip(fleet.labels, times_ms.tolist(), values.tolist(), strict=True)
        samples = [Sample(*column) for column in columns]
        parts = (samples[start : start + PER_REQUEST] for start in range(0, len(samples), PER_REQUEST))
        found.append([bytes(cramjam.snappy.compress_raw(unpacked(write(part)))) for part in parts])
    return found


async def stored_us(bench: Bench, rounds: Rounds, series: int, headers: dict[str, str]) -> float:
    """CPU microseconds per sample from a body to the COMMIT, in this process."""
    lower = {name.lower(): value for name, value in headers.items()}
    took = []
    async with stored(bench.new_folder("obskit")) as store:
        reception, wire = Reception(store, SystemClock(), IngestSettings()), RemoteWrite()
        for bodies in rounds:
            began = process_time()
            for body in bodies:
                answer = await reception.receive(wire, Push(lower, _in_one_piece(body)))
                assert answer.status == httpx.codes.NO_CONTENT, answer.text
            took.append(process_time() - began)
    return statistics.mean(took[WARM:]) / series * 1e6  # as it is for a whole process


async def _in_one_piece(body: bytes) -> AsyncIterator[bytes]:
    yield body


def served_us(url: str, pid: int, rounds: Rounds, series: int, headers: dict[str, str]) -> float:
    """CPU microseconds per sample of a whole process that is pushed all rounds."""
    began = 0.0
    with httpx.Client(base_url=url, timeout=60) as client:
        for number, bodies in enumerate(rounds):
            if number == WARM:
                began = beside.cpu_s(pid)
            for body in bodies:
                client.post("/api/v1/write", content=body, headers=headers).raise_for_status()
    return (beside.cpu_s(pid) - began) / (len(rounds) - WARM) / series * 1e6


@contextmanager
def watch(folder: Path) -> Iterator[tuple[str, int]]:
    """An `obskit watch` that is configured to nothing, with its URL and process id."""
    folder.mkdir()
    port = beside.free_port()
    config = {"web": {"listen": f"127.0.0.1:{port}"}, "store": {"path": "data", "max_series": 200_000}}
    (folder / "obskit.yaml").write_text(json.dumps(config), encoding="utf-8")
    command = [sys.executable, "-c", "from obskit.cli import run; run()", "watch", "--config", "obskit.yaml"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        url = f"http://127.0.0.1:{port}"
        beside.wait_until(f"{url}/readyz", process)
        yield url, process.pid
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)


async def remote_write(bench: Bench) -> list[Row]:
    """CPU per sample of remote write."""
    rows = []
    for series in (10_000,) if bench.small else (10_000, 100_000):
        count = WARM + (10 if series > PER_REQUEST * 10 else 40)
        one = rounds_of(series, count, sender.write_request)
        theirs = None
        if bench.beside:
            with beside.prometheus(bench.new_folder("prometheus")) as server:
                theirs = served_us(server.url, server.pid, one, series, sender.ONE)
        with watch(bench.new_folder("watch")) as (url, pid):
            served = served_us(url, pid, one, series, sender.ONE)
        stored_one = await stored_us(bench, one, series, sender.ONE)
        two = rounds_of(series, count, sender.write_request_2)
        stored_two = await stored_us(bench, two, series, sender.TWO)
        name = f"remote write of {series:,} series, CPU per sample"
        rows += [
            Row(f"{name}: 1.0, decode and store", "us", theirs, stored_one, BAR),
            Row(f"{name}: 1.0, the whole process", "us", theirs, served, None),
            Row(f"{name}: 2.0, decode and store", "us", None, stored_two, None),
        ]
    return rows


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description="what is pushed, beside a real Prometheus")
    parser.add_argument("--small", action="store_true", help="fewer series, for a quick look")
    parser.add_argument("--without-prometheus", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="obskit-bench-") as folder:
        with_prometheus = bool(shutil.which("prometheus")) and not arguments.without_prometheus
        rows = asyncio.run(remote_write(Bench(Path(folder), arguments.small, with_prometheus)))
    show(rows, {"Prometheus": beside.version(), "Python": platform.python_version()})
    return int(any(row.missed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
