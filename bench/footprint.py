"""What a daemon that runs costs, beside a real Prometheus with an Alertmanager in the same run: memory and CPU.

    python bench/footprint.py [--seconds N] [--warm-up N] [--json FILE] [--without-prometheus]

idle:   the host, a log file, one small target, the shipped rules, a webhook receiver. At most 60 MB, 0.5 % of a core.
loaded: the same with a target of 2,000 series, and 100 rules more every 15 s. At most 75 MB, 0.5 % of a core.

Both run at once, Prometheus over the same targets and rules (it has no host or log collector). Memory is the resident
set at the end, its part that is not pages of files, and its peak since the start (MB as ps and top count them: 2^20
bytes). CPU is user and system time after the warm-up, in per cent of one core. Give --seconds a multiple of 15.
Ends with 1 when a limit is broken. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from obskit.clock import SystemClock
from obskit.testing.http import Answer, FakeServer, Received
from obskit.testing.webhook import FakeWebhook

ROOT = Path(__file__).parents[1]
HANDLERS, CODES, SHARDS, GAUGES = 50, (200, 201, 404, 500, 503), 10, 100
BOUNDS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "+Inf")
CPU_LIMIT = 0.5
MEMORY_LIMITS = {"idle": 60.0, "loaded": 75.0}
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took. `cpu_percent` is of one core."""

    scene: str
    process: str
    rss_mb: float
    anonymous_mb: float
    peak_mb: float
    cpu_percent: float

    @property
    def too_much(self) -> bool:
        return self.process == "obskit" and (self.rss_mb > MEMORY_LIMITS[self.scene] or self.cpu_percent > CPU_LIMIT)


class Page(FakeServer):
    """A /metrics page whose counters grow with each scrape."""

    def __init__(self, *, handlers: int, gauges: int) -> None:
        self._handlers, self._gauges, self._scrapes = handlers, gauges, 0
        super().__init__()

    def answer(self, request: Received) -> Answer:  # noqa: ARG002 - the server's shape
        self._scrapes += 1
        return Answer(200, "".join(self._lines()).encode(), "text/plain; version=0.0.4")

    @property
    def target(self) -> str:
        return self.base_url.removeprefix("http://")

    def _lines(self) -> Iterator[str]:
        n = self._scrapes
        yield "# HELP bench_requests_total Requests answered.\n# TYPE bench_requests_total counter\n"
        for handler in range(self._handlers):
            for code in CODES:
                count = n * (1000 // code + handler)
                yield f'bench_requests_total{{handler="/api/{handler}",code="{code}"}} {count}\n'
        yield "# HELP bench_request_seconds Time to answer.\n# TYPE bench_request_seconds histogram\n"
        for handler in range(self._handlers):
            for place, bound in enumerate(BOUNDS):
                yield f'bench_request_seconds_bucket{{handler="/api/{handler}",le="{bound}"}} {n * (place + 1) * 7}\n'
            yield f'bench_request_seconds_sum{{handler="/api/{handler}"}} {n * 3.25}\n'
            yield f'bench_request_seconds_count{{handler="/api/{handler}"}} {n * len(BOUNDS) * 7}\n'
        for gauge in range(self._gauges):
            yield f"# HELP bench_gauge_{gauge} Something that goes up and down.\n# TYPE bench_gauge_{gauge} gauge\n"
            for shard in range(SHARDS):
                yield f'bench_gauge_{gauge}{{shard="{shard}"}} {(n * 7919 + gauge * 31 + shard) % 1000}\n'


@dataclass(frozen=True, slots=True)
class Scene:
    """What is watched. Every page belongs to the scene alone, so that no scrape is served twice."""

    name: str
    folder: Path
    pages: tuple[Page, ...]
    rules: tuple[Path, ...]

    @property
    def scrapes(self) -> list[dict[str, object]]:
        return [
            {"job_name": f"page-{number}", "static_configs": [{"targets": [page.target]}]}
            for number, page in enumerate(self.pages)
        ]


def hundred_rules() -> dict[str, object]:
    """Thresholds, rates, quantiles and recorded sums, as people write them, in five groups."""
    rules: list[dict[str, object]] = []
    rules += [alert(f"GaugeHigh{number}", f"bench_gauge_{number} > 5000") for number in range(50)]
    for number in range(20):
        of = f'bench_requests_total{{handler="/api/{number}"'
        rules.append(alert(f"Errors{number}", f'sum(rate({of},code=~"5.."}}[5m])) / sum(rate({of}}}[5m])) > 0.9'))
    for number in range(15):
        buckets = f'bench_request_seconds_bucket{{handler="/api/{number}"}}'
        rules.append(alert(f"Slow{number}", f"histogram_quantile(0.99, sum by (le) (rate({buckets}[5m]))) > 60"))
    rules += [
        {"record": f"shard:bench_gauge_{number}:max", "expr": f"max by (shard) (bench_gauge_{number})"}
        for number in range(15)
    ]
    groups = [{"name": f"bench-{i}", "interval": "15s", "rules": rules[i * 20 : i * 20 + 20]} for i in range(5)]
    return {"groups": groups}


def alert(name: str, query: str) -> dict[str, object]:
    return {
        "alert": name,
        "expr": query,
        "for": "1m",
        "labels": {"severity": "warning"},
        "annotations": {"summary": "{{ $labels.job }}: {{ $value | humanize }} is too much"},
    }


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def write(path: Path, content: object) -> Path:
    """As JSON, which is YAML too."""
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return path


@contextmanager
def running(folder: Path, name: str, *command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to a file of the folder."""
    with (folder / f"{name}.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=folder)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(15)


def start_obskit(scene: Scene, receiver: str) -> subprocess.Popen[bytes]:
    log = scene.folder / "app.log"
    log.write_text("started\n", encoding="utf-8")
    config = {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "store": {"path": str(scene.folder / "obskit-data")},
        "web": {"listen": "127.0.0.1:0"},
        "collectors": ["host", {"file": {"paths": [str(log)], "labels": {"app": "bench"}}}],
        "scrape_configs": scene.scrapes,
        "rule_files": [str(path) for path in scene.rules],
        "receivers": [{"name": "hook", "webhook_configs": [{"url": receiver}]}],
    }
    path = write(scene.folder / "obskit.yaml", config)
    program = Path(sys.executable).with_name("obskit")
    return running(scene.folder, "obskit", program, "watch", "--plain", "--config", path)


def start_alertmanager(scene: Scene, address: str, receiver: str) -> subprocess.Popen[bytes]:
    config = {
        "route": {"receiver": "hook"},
        "receivers": [{"name": "hook", "webhook_configs": [{"url": receiver}]}],
    }
    path = write(scene.folder / "alertmanager.yml", config)
    return running(
        scene.folder,
        "alertmanager",
        "prometheus-alertmanager",
        f"--config.file={path}",
        f"--storage.path={scene.folder / 'alertmanager-data'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    )


def start_prometheus(scene: Scene, alertmanager: str) -> subprocess.Popen[bytes]:
    packs = [  # rules over lines and events say so by a key that Prometheus refuses
        path for path in sorted((ROOT / "alert_rules").glob("*.yaml")) if "\n    type: " not in path.read_text()
    ]
    config = {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "rule_files": [str(path) for path in (*packs, *scene.rules)],
        "scrape_configs": scene.scrapes,
    }
    path = write(scene.folder / "prometheus.yml", config)
    return running(
        scene.folder,
        "prometheus",
        "prometheus",
        f"--config.file={path}",
        f"--storage.tsdb.path={scene.folder / 'prometheus-data'}",
        f"--web.listen-address={free_address()}",
    )


def cpu_s(pid: int) -> float:
    """User and system time of all threads (proc(5): fields 14 and 15; the name in field 2 may hold spaces)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def memory_mb(pid: int, field: str) -> float:
    """VmRSS, VmHWM (its peak) or RssAnon (without pages of files)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def scenes(folder: Path, stack: ExitStack) -> Iterator[Scene]:
    def page(handlers: int, gauges: int) -> Page:
        return stack.enter_context(Page(handlers=handlers, gauges=gauges))

    for name in MEMORY_LIMITS:
        (folder / name).mkdir()
    yield Scene("idle", folder / "idle", (page(1, 1),), ())
    rules = write(folder / "loaded" / "rules.yaml", hundred_rules())
    yield Scene("loaded", folder / "loaded", (page(HANDLERS, GAUGES),), (rules,))


async def measure(folder: Path, *, warm_up_s: float, seconds: float, with_prometheus: bool) -> list[Cost]:
    clock = SystemClock()
    with ExitStack() as stack:
        receiver = stack.enter_context(FakeWebhook())
        processes: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        for scene in scenes(folder, stack):
            processes[scene.name, "obskit"] = stack.enter_context(start_obskit(scene, receiver.url))
            if with_prometheus:
                address = free_address()
                alertmanager = start_alertmanager(scene, address, receiver.url)
                processes[scene.name, "alertmanager"] = stack.enter_context(alertmanager)
                processes[scene.name, "prometheus"] = stack.enter_context(start_prometheus(scene, address))
        await clock.sleep(warm_up_s)
        before = {key: cpu_s(alive(process)) for key, process in processes.items()}
        started = clock.monotonic()
        await clock.sleep(seconds)
        took = clock.monotonic() - started
        return [
            Cost(
                *key,
                rss_mb=memory_mb(alive(process), "VmRSS"),
                anonymous_mb=memory_mb(process.pid, "RssAnon"),
                peak_mb=memory_mb(process.pid, "VmHWM"),
                cpu_percent=(cpu_s(process.pid) - before[key]) / took * 100,
            )
            for key, process in processes.items()
        ]


def alive(process: subprocess.Popen[bytes]) -> int:
    """Its id; SystemExit with what it said when it has ended."""
    if process.poll() is not None:
        sys.exit(f"{process.args} ended with {process.returncode}")
    return process.pid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long CPU is measured (default 60)")
    parser.add_argument("--warm-up", type=float, default=30, help="seconds before that (default 30)")
    parser.add_argument("--json", type=Path, help="write the numbers there as well")
    parser.add_argument("--without-prometheus", action="store_true", help="only obskit")
    parser.add_argument("--keep", type=Path, help="work in this new folder, and leave it (default: a temporary one)")
    arguments = parser.parse_args()
    if arguments.keep and arguments.keep.exists():
        parser.error("--keep: the folder is there already, and what is in it would be measured too")
    installed = shutil.which("prometheus") and shutil.which("prometheus-alertmanager")
    if not installed and not arguments.without_prometheus:
        print("prometheus and prometheus-alertmanager are not installed: measuring obskit alone", file=sys.stderr)
    with ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        costs = asyncio.run(
            measure(
                folder.resolve(),
                warm_up_s=arguments.warm_up,
                seconds=arguments.seconds,
                with_prometheus=bool(installed) and not arguments.without_prometheus,
            )
        )
    print(f"{'scene':8} {'process':14} {'RSS MB':>8} {'anon MB':>8} {'peak MB':>8} {'CPU %':>7}")
    for cost in costs:
        memory = f"{cost.rss_mb:8.1f} {cost.anonymous_mb:8.1f} {cost.peak_mb:8.1f}"
        limit = "  over its limit" if cost.too_much else ""
        print(f"{cost.scene:8} {cost.process:14} {memory} {cost.cpu_percent:7.2f}{limit}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(cost) for cost in costs], indent=2) + "\n", encoding="utf-8")
    sys.exit(any(cost.too_much for cost in costs))


if __name__ == "__main__":
    main()
