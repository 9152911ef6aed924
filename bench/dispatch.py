"""10,000 active alerts in 1,000 groups: what a flush costs, beside the real Alertmanager in the same run.

    python -m bench.dispatch [--small] [--no-peer] [--json FILE]

Both get the same alerts through the same API, group them by one label and tell one webhook on loopback: a first message
for every group, then nothing new for some group intervals, then the same alerts again as Prometheus says them each
minute, then every group changes, then all are over. CPU is user and system time of the
process; obskit's holds its store (every decision and every delivery is a row on disk), Alertmanager keeps its own in
memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import yaml

from bench.beside import cpu_s, free_port
from bench.dispatch_child import ANNOTATIONS, GROUP_INTERVAL_S, labels, route
from bench.embedded import rss_mb
from obskit.clock import SystemClock
from obskit.web.alertmanager_json import time_text

IDLE_INTERVALS = 2
SETTLED_S = 240.0
POLL_S = 0.05
POSTED_AT_ONCE = 256
"""What Prometheus sends in one request (notifier.max-batch-size)."""
TIMES_AGAIN = 3


@dataclass(frozen=True)
class Load:
    """How many there are."""

    groups: int
    members: int

    @property
    def alerts(self) -> int:
        """In all groups."""
        return self.groups * self.members


@dataclass
class Cost:
    """What one system used: CPU milliseconds per flush of one group, and resident megabytes."""

    system: str
    first_ms: float = 0.0
    first_s: float = 0.0
    idle_ms: float = 0.0
    again_ms: float = 0.0
    change_ms: float = 0.0
    end_ms: float = 0.0
    rss_mb: float = 0.0


class Sink:
    """A webhook that counts what it hears: messages, by their status."""

    def __init__(self) -> None:
        self.heard: dict[str, dict[str, int]] = {"firing": {}, "resolved": {}}
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                of_status = sink.heard[body["status"]]
                of_status[body["groupKey"]] = len(body["alerts"])
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where to POST."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def count(self, status: str, size: int) -> int:
        """How many groups were last told with so many alerts."""
        return sum(members >= size for members in dict(self.heard[status]).values())


@dataclass(frozen=True)
class System:
    """One of the two: told of alerts through Alertmanager's API, asked for what it used."""

    name: str
    port: int
    pid: int
    started_ms: int = field(default_factory=SystemClock().now_ms)

    def tell(self, load: Load, members: range, *, over: bool) -> None:
        """All groups' alerts of these members fire, or are over; as Prometheus says it, so many at a time."""
        ends_ms = SystemClock().now_ms() + (-1_000 if over else 240_000)
        every = [
            {
                "labels": labels(group, member),
                "annotations": ANNOTATIONS,
                "startsAt": time_text(self.started_ms),
                "endsAt": time_text(ends_ms),
                "generatorURL": "http://prometheus.example/graph?g0.expr=up",
            }
            for group in range(load.groups)
            for member in members
        ]
        for start in range(0, len(every), POSTED_AT_ONCE):
            part = every[start : start + POSTED_AT_ONCE]
            httpx.post(f"http://127.0.0.1:{self.port}/api/v2/alerts", json=part, timeout=60).raise_for_status()


def measure(system: System, sink: Sink, load: Load) -> Cost:
    """The four phases."""
    cost, clock = Cost(system.name), SystemClock()
    half = range(load.members - 1)

    def spent(done: Callable[[], bool]) -> tuple[float, float]:
        before, began = cpu_s(system.pid), clock.monotonic()
        yield_until(done)
        return (cpu_s(system.pid) - before) * 1000 / load.groups, clock.monotonic() - began

    def phase(members: range, size: int, *, over: bool = False) -> tuple[float, float]:
        before, began = cpu_s(system.pid), clock.monotonic()
        system.tell(load, members, over=over)
        yield_until(lambda: sink.count("resolved" if over else "firing", size) >= load.groups)
        return (cpu_s(system.pid) - before) * 1000 / load.groups, clock.monotonic() - began

    def again() -> float:
        before = cpu_s(system.pid)
        system.tell(load, half, over=False)
        yield_for(1.0)
        return (cpu_s(system.pid) - before) * 1000 / load.groups

    cost.first_ms, cost.first_s = phase(half, 1)
    yield_for(GROUP_INTERVAL_S)
    ends = clock.monotonic() + GROUP_INTERVAL_S * IDLE_INTERVALS
    cost.idle_ms = spent(lambda: clock.monotonic() >= ends)[0] / IDLE_INTERVALS
    cost.again_ms = min(again() for _ in range(TIMES_AGAIN))
    cost.change_ms, _ = phase(range(load.members - 1, load.members), load.members)
    cost.rss_mb = rss_mb(system.pid)
    cost.end_ms, _ = phase(range(load.members), 1, over=True)
    return cost


def yield_until(done: Callable[[], bool]) -> None:
    """Wait; TimeoutError when it takes too long."""
    waiting, ends = threading.Event(), SystemClock().monotonic() + SETTLED_S
    while not done():
        if SystemClock().monotonic() > ends:
            raise TimeoutError("the sink did not hear of every group")
        waiting.wait(POLL_S)


def yield_for(seconds: float) -> None:
    """Wait so long."""
    threading.Event().wait(seconds)


@contextmanager
def alertmanager(folder: Path, sink: Sink) -> Iterator[System]:
    """It runs."""
    config = {
        "route": route(),
        "receivers": [{"name": "hook", "webhook_configs": [{"url": sink.url}]}],
        "global": {"resolve_timeout": "1h"},
    }
    (folder / "am.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = ["prometheus-alertmanager", f"--config.file={folder / 'am.yml'}", f"--storage.path={folder / 'am'}"]
    command += ["--cluster.listen-address=", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield_until(lambda: is_ready(port))
            yield System("Alertmanager", port, process.pid)
        finally:
            process.terminate()


def is_ready(port: int) -> bool:
    """Whether it answers."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/-/ready").status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def obskit(folder: Path, sink: Sink) -> Iterator[System]:
    """It runs."""
    command = [sys.executable, "-m", "bench.dispatch_child", str(folder), sink.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield System("obskit", int(process.stdout.readline()), process.pid)
        finally:
            process.kill()


def show(costs: list[Cost], load: Load) -> None:
    """The table for people."""
    print(f"{load.alerts:,} alerts in {load.groups:,} groups; CPU ms per group")
    print(
        f"{'':14}{'first':>9}{'idle flush':>12}{'said again':>12}{'change':>9}{'end':>9}{'RSS MB':>9}{'all told after':>16}"
    )
    for cost in costs:
        print(
            f"{cost.system:14}{cost.first_ms:>9.2f}{cost.idle_ms:>12.3f}{cost.again_ms:>12.2f}{cost.change_ms:>9.2f}{cost.end_ms:>9.2f}"
            f"{cost.rss_mb:>9.1f}{cost.first_s:>14.1f} s"
        )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--small", action="store_true", help="a tenth of it")
    parser.add_argument("--no-peer", action="store_true", help="without Alertmanager")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    load = Load(100 if asked.small else 1_000, 10)
    systems = [obskit]
    if not asked.no_peer and shutil.which("prometheus-alertmanager"):
        systems.append(alertmanager)
    costs = []
    for start in systems:
        with tempfile.TemporaryDirectory() as folder:
            sink = Sink()
            with start(Path(folder), sink) as system:
                costs.append(measure(system, sink, load))
    show(costs, load)
    if asked.json:
        asked.json.write_text(
            json.dumps({"load": asdict(load), "cpus": os.cpu_count(), "costs": [asdict(cost) for cost in costs]})
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
