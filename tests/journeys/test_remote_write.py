"""A real Prometheus remote-writes to a real obskit, which is killed in between: both have the same data in the end."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from obskit.clock import SystemClock
from obskit.model.histogram_json import as_json
from obskit.model.histograms import NativeHistogram, shortest
from obskit.model.labels import NAME, Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.model.samples import STALE_NAN, Sample, is_stale
from obskit.outbound import httpx
from obskit.store.embedded import EmbeddedStore
from obskit.testing.remote_write import ONE, write_request
from tests.journeys.daemon import Watch, eventually, pause
from tests.servers import free_port, wait_for_port

SERIES = [Labels({NAME: f"metric_{n % 7}", "job": "pushed", "n": str(n)}) for n in range(200)]
LATENCY = Labels({NAME: "latency_seconds", "job": "pushed"})
ROUNDS = 24
Data = dict[Labels, list[tuple[int, Any]]]


class Prometheus:
    """Takes remote write, and passes on to obskit what it took."""

    def __init__(self, folder: Path, watch: Watch) -> None:
        self.port = free_port()
        queue = {"batch_send_deadline": "200ms", "min_backoff": "50ms", "max_backoff": "400ms"}
        target = {
            "url": f"http://127.0.0.1:{watch.port}/api/v1/write",
            "send_native_histograms": True,
            "queue_config": {**queue, "max_samples_per_send": 150},
        }
        (folder / "prometheus.yml").write_text(json.dumps({"remote_write": [target]}))
        command = [
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/prometheus",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-remote-write-receiver",
            "--enable-feature=native-histograms",
        ]
        with (folder / "prometheus.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for_port(self.port, self.process)

    def ready(self) -> bool:
        """Whether it takes data."""
        return httpx.get(f"http://127.0.0.1:{self.port}/-/ready", trust_env=False).status_code == 200

    def push(self, samples: list[Sample]) -> None:
        """Have it take samples."""
        url = f"http://127.0.0.1:{self.port}/api/v1/write"
        httpx.post(url, content=write_request(samples), headers=ONE, trust_env=False).raise_for_status()

    def data(self) -> Data:
        """All that it has."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query"
        answer = httpx.get(url, params={"query": '{job="pushed"}[10m]'}, trust_env=False).json()
        return {
            Labels(series["metric"]): [
                *((round(t_s * 1000), float(value)) for t_s, value in series.get("values", ())),
                *((round(t_s * 1000), histogram) for t_s, histogram in series.get("histograms", ())),
            ]
            for series in answer["data"]["result"]
        }


@pytest.fixture
def prometheus(tmp_path: Path, watch: Watch) -> Iterator[Prometheus]:
    server = Prometheus(tmp_path, watch)
    yield server
    server.process.kill()
    server.process.wait()


def ours(watch: Watch) -> Data:
    """All that is in obskit's store, but for stale markers, which Prometheus does not show either."""
    store = EmbeddedStore.open_readonly(watch.folder / "data")
    now_ms = SystemClock().now_ms()
    window = store.metrics.select([Matcher("job", MatchOp.EQUAL, "pushed")], now_ms - 600_000, now_ms + 1)
    found: Data = {}
    for row, labels in enumerate(window.labels):
        for at in range(int(window.starts[row]), int(window.starts[row + 1])):
            histogram = None if window.histograms is None else window.histograms[at]
            value = float(window.values[at]) if histogram is None else as_json(histogram, shortest)
            if histogram is not None or not is_stale(value):
                found.setdefault(labels, []).append((int(window.times_ms[at]), value))
    return found


def samples_of(number: int, now_ms: int) -> list[Sample]:
    """A round: counters, of which some stay at 0, one that ends in the middle, and a native histogram."""
    found = [Sample(labels, now_ms, float(n % 5 * number)) for n, labels in enumerate(SERIES)]
    found[3] = Sample(SERIES[3], now_ms, STALE_NAN if number == ROUNDS // 2 else 1.5 * number)
    histogram = NativeHistogram.exponential(
        0, count=6.0 + number, sum=7.5, zero=(0.5, 1), positive={0: 2.0 + number, 3: 1}, negative={1: 2}
    )
    return [*found, Sample(LATENCY, now_ms, math.nan, histogram)]


@pytest.mark.slow
@pytest.mark.server("prometheus")
def test_nothing_is_lost_when_obskit_is_killed_while_prometheus_writes(watch: Watch, prometheus: Prometheus) -> None:
    watch.write({"rule_packs": []})
    watch.start()
    assert eventually(prometheus.ready)
    for number in range(ROUNDS):
        prometheus.push(samples_of(number, SystemClock().now_ms()))
        pause(0.1)
        if number == ROUNDS // 3:
            watch.kill()
        elif number == 2 * ROUNDS // 3:
            watch.start()
    theirs = prometheus.data()
    assert len(theirs) == len(SERIES) + 1
    eventually(lambda: ours(watch) == theirs, 20)
    assert ours(watch) == theirs
    taken = watch.metric('obskit_ingest_requests_total{format="remote_write",result="ok"}')
    assert taken is not None
    assert taken > 0
    assert watch.metric('obskit_ingest_refused_total{format="remote_write",reason="out_of_order"}') is None
