"""How fast a message leaves, beside a real Prometheus with an Alertmanager in the same run.

    python bench/latency.py [--firings N] [--crossings N] [--json FILE] [--without-prometheus]

line:     a line is written to a log file → the webhook's request is there.   Median at most 50 ms, p99 250 ms.
sample:   a page with a new value is given to a scrape → the request.         As above.
crossing: a gauge crosses its threshold, at any moment → the request, with everything at one second (scrape,
          evaluation) and no group_wait; Prometheus and Alertmanager look at the same page at the same time.

Every firing is a new group, so nothing waits for a group's interval; lines and samples come 50 to 150 ms apart, and the
log rule counts the last five seconds. Ends with 1 when a limit is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from footprint import free_address, running, write

from obskit.clock import SystemClock
from obskit.outbound import httpx
from obskit.testing.http import Answer, FakeServer, Received

MEDIAN_LIMIT_MS, P99_LIMIT_MS = 50.0, 250.0
EVERY_S = (0.05, 0.15)
PHASES = 8
"""Jobs and rule groups of the crossings: each has a phase of its own, and one alone could be lucky."""
SETTLE_S = 3.0
LOST_S = 10.0
clock = SystemClock()


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from an event to its request. `lost` events had none after ten seconds."""

    scene: str
    process: str
    firings: int
    lost: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    limited: bool

    @property
    def too_much(self) -> bool:
        return self.lost > 0 or (self.limited and (self.median_ms > MEDIAN_LIMIT_MS or self.p99_ms > P99_LIMIT_MS))


class Hook(FakeServer):
    """A webhook that notes when it first heard of each alert, by its label `n`."""

    def __init__(self) -> None:
        self.heard_s: dict[str, float] = {}
        super().__init__()

    def answer(self, request: Received) -> Answer:
        now_s = clock.monotonic()
        for alert in json.loads(request.body)["alerts"]:
            self.heard_s.setdefault(alert["labels"]["n"], now_s)
        return Answer(200)

    @property
    def url(self) -> str:
        return f"{self.base_url}/hook"


class GrowingPage(FakeServer):
    """A page on which each scrape finds one more gauge over its limit; notes when it was given out."""

    def __init__(self, firings: int) -> None:
        self.given_s: dict[str, float] = {}
        self.firings = firings
        self.growing = threading.Event()
        super().__init__()

    def answer(self, _request: Received) -> Answer:
        if self.growing.is_set() and len(self.given_s) < self.firings:
            self.given_s[str(len(self.given_s))] = clock.monotonic()
        return Answer(200, "".join(f'bench{{n="{n}"}} 1\n' for n in self.given_s).encode(), "text/plain; version=0.0.4")


class SteadyPages(FakeServer):
    """Pages (`/0`, `/1` …) of gauges that cross their limit when they are told to; gauge n is on page n mod PHASES."""

    def __init__(self, crossings: int) -> None:
        self.values = dict.fromkeys(map(str, range(crossings)), 0)
        super().__init__()

    def answer(self, request: Received) -> Answer:
        page = int(request.path.strip("/"))
        shown = [(n, value) for n, value in self.values.items() if int(n) % PHASES == page]
        text = "".join(f'bench{{n="{n}"}} {value}\n' for n, value in shown)
        return Answer(200, text.encode(), "text/plain; version=0.0.4")

    def scrapes(self) -> list[dict[str, Any]]:
        """A job for each page."""
        targets = [{"targets": [host_of(self)]}]
        return [{"job_name": f"page-{n}", "metrics_path": f"/{n}", "static_configs": targets} for n in range(PHASES)]


def host_of(server: FakeServer) -> str:
    return server.base_url.removeprefix("http://")


def route(receiver: str) -> dict[str, Any]:
    return {"receiver": receiver, "group_by": ["alertname", "n"], "group_wait": "0s", "group_interval": "5m"}


def rules(*queries: str, **keys: str) -> dict[str, Any]:
    """A group with one alert for each query."""
    more = {"labels": {"severity": "critical"}, "annotations": {"summary": "{{ $labels.n }} is {{ $value }}"}}
    alerts = [{"alert": "Bench", "expr": query, **more} for query in queries]
    named = [(f"bench-{number}", alert) for number, alert in enumerate(alerts)]
    return {"groups": [{"name": name, "interval": "1s", **keys, "rules": [alert]} for name, alert in named]}


@contextmanager
def obskit(folder: Path, hook: Hook, rule_file: dict[str, Any], **sections: Any) -> Iterator[str]:
    """`obskit watch`; its address."""
    address = free_address()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "store": {"path": str(folder / "data")},
        "web": {"listen": address},
        "rule_packs": [],
        "rule_files": [str(write(folder / "rules.yaml", rule_file))],
        "route": route("hook"),
        "receivers": [{"name": "hook", "webhook_configs": [{"url": hook.url}]}],
        **sections,
    }
    path = write(folder / "obskit.yaml", config)
    run = "from obskit.cli import run; run()"
    with running(folder, "obskit", sys.executable, "-c", run, "watch", "--config", path):
        yield address


async def until_ready(address: str, path: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for _ in range(300):
            try:
                if (await client.get(f"http://{address}{path}")).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            await clock.sleep(0.1)
    raise SystemExit(f"nothing is ready at {address}")


async def all_heard(hook: Hook, count: int) -> None:
    """Wait until the webhook has heard of so many alerts, or no longer hears of new ones."""
    heard, since_s = 0, clock.monotonic()
    while heard < count and clock.monotonic() - since_s < LOST_S:
        if len(hook.heard_s) > heard:
            heard, since_s = len(hook.heard_s), clock.monotonic()
        await clock.sleep(0.05)


async def lines(folder: Path, firings: int) -> list[Latency]:
    """Lines written to a log file, one by one, at odd intervals."""
    log, written_s = folder / "app.log", dict[str, float]()
    log.write_text("started\n")
    query = 'sum by (n) (count_over_time({app="bench"} | json | level = "error" [5s])) > 0'
    collectors = [{"file": {"paths": [str(log)], "labels": {"app": "bench"}}}]
    with Hook() as hook, obskit(folder, hook, rules(query, type="loki"), collectors=collectors) as address:
        await until_ready(address, "/readyz")
        await clock.sleep(SETTLE_S)
        with log.open("a", buffering=1) as file:
            for number in range(firings):
                written_s[str(number)] = clock.monotonic()
                file.write(json.dumps({"level": "error", "n": str(number), "message": "it broke"}) + "\n")
                await clock.sleep(random.uniform(*EVERY_S))
        await all_heard(hook, firings)
    return [measured("line", "obskit", written_s, hook, limited=True)]


async def samples(folder: Path, firings: int) -> list[Latency]:
    """Scrapes that find one more gauge over its limit each time."""
    with GrowingPage(firings) as page, Hook() as hook:
        scrape = {"job_name": "bench", "scrape_interval": "130ms", "static_configs": [{"targets": [host_of(page)]}]}
        with obskit(folder, hook, rules("bench > 0"), scrape_configs=[scrape]) as address:
            await until_ready(address, "/readyz")
            await clock.sleep(SETTLE_S)
            page.growing.set()
            await all_heard(hook, firings)
        return [measured("sample", "obskit", page.given_s, hook, limited=True)]


async def crossings(folder: Path, count: int, *, with_prometheus: bool) -> list[Latency]:
    """Gauges that cross their limit at moments that have nothing to do with the scrapes."""
    crossed_s: dict[str, float] = {}
    queries = [f'bench{{job="page-{number}"}} > 0' for number in range(PHASES)]
    with SteadyPages(count) as page, ExitStack() as stack:
        hooks = {"obskit": stack.enter_context(Hook())}
        started = obskit(folder, hooks["obskit"], rules(*queries), scrape_configs=page.scrapes())
        ready = {stack.enter_context(started): "/readyz"}
        if with_prometheus:
            hooks["prometheus"] = stack.enter_context(Hook())
            ready |= dict.fromkeys(
                stack.enter_context(prometheus(folder, hooks["prometheus"], page.scrapes())), "/-/ready"
            )
        for address, path in ready.items():
            await until_ready(address, path)
        await clock.sleep(SETTLE_S)
        for n in page.values:
            crossed_s[n] = clock.monotonic()
            page.values[n] = 1
            await clock.sleep(random.uniform(0.1, 0.7))
        for hook in hooks.values():
            await all_heard(hook, count)
        return [measured("crossing", name, crossed_s, hook, limited=False) for name, hook in hooks.items()]


@contextmanager
def prometheus(folder: Path, hook: Hook, scrapes: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """A Prometheus and an Alertmanager, as fast as they can be told to be; their addresses."""
    own, alertmanager = free_address(), free_address()
    receivers = [{"name": "hook", "webhook_configs": [{"url": hook.url}]}]
    routing = write(folder / "alertmanager.yml", {"route": route("hook"), "receivers": receivers})
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": scrapes,
    }
    path = write(folder / "prometheus.yml", config)
    with (
        running(
            folder, "alertmanager", "prometheus-alertmanager", f"--config.file={routing}",
            f"--storage.path={folder / 'alertmanager-data'}", f"--web.listen-address={alertmanager}",
            "--cluster.listen-address=",
        ),
        running(
            folder, "prometheus", "prometheus", f"--config.file={path}",
            f"--storage.tsdb.path={folder / 'prometheus-data'}", f"--web.listen-address={own}",
        ),
    ):  # fmt: skip
        yield own, alertmanager


def measured(scene: str, process: str, events_s: dict[str, float], hook: Hook, *, limited: bool) -> Latency:
    took_ms = sorted((hook.heard_s[n] - at_s) * 1000 for n, at_s in events_s.items() if n in hook.heard_s)
    lost = len(events_s) - len(took_ms)
    median_ms, p95_ms, p99_ms, max_ms = (percentile(took_ms, share) for share in (0.5, 0.95, 0.99, 1.0))
    return Latency(scene, process, len(events_s), lost, median_ms, p95_ms, p99_ms, max_ms, limited=limited)


def percentile(values: list[float], share: float) -> float:
    """The nearest rank."""
    return round(values[min(len(values) - 1, int(len(values) * share))], 1) if values else float("nan")


async def measure(folder: Path, arguments: argparse.Namespace) -> list[Latency]:
    scenes: dict[str, Callable[[Path], Any]] = {
        "line": lambda place: lines(place, arguments.firings),
        "sample": lambda place: samples(place, arguments.firings),
        "crossing": lambda place: crossings(
            place, arguments.crossings, with_prometheus=not arguments.without_prometheus
        ),
    }
    found: list[Latency] = []
    for name, scene in scenes.items():
        (folder / name).mkdir()
        found += await scene(folder / name)
    return found


def show(found: list[Latency]) -> None:
    print(
        f"{'scene':<10} {'process':<12} {'firings':>7} {'lost':>5} {'median ms':>10} {'p95':>8} {'p99':>8} {'max':>8}"
    )
    for one in found:
        row = f"{one.scene:<10} {one.process:<12} {one.firings:>7} {one.lost:>5}"
        row += f" {one.median_ms:10.1f} {one.p95_ms:8.1f} {one.p99_ms:8.1f} {one.max_ms:8.1f}"
        print(row, "  over its limit" if one.too_much else "")
    medians = {one.process: one.median_ms for one in found if one.scene == "crossing"}
    if "prometheus" in medians:
        print(
            f"crossing: Prometheus and Alertmanager take {medians['prometheus'] / medians['obskit']:.1f} times as long"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast a message leaves, beside Prometheus with Alertmanager.")
    parser.add_argument("--firings", type=int, default=200)
    parser.add_argument("--crossings", type=int, default=120)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    parser.add_argument("--without-prometheus", action="store_true")
    arguments = parser.parse_args()
    if not arguments.without_prometheus and not (
        shutil.which("prometheus") and shutil.which("prometheus-alertmanager")
    ):
        print("prometheus and prometheus-alertmanager are not installed: obskit alone is measured", file=sys.stderr)
        arguments.without_prometheus = True
    with tempfile.TemporaryDirectory(prefix="obskit-bench-") as folder:
        found = asyncio.run(measure(Path(folder), arguments))
    show(found)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n", encoding="utf-8")
    sys.exit(any(one.too_much for one in found))


if __name__ == "__main__":
    main()
