"""A real Prometheus for benchmarks: started on a free port, filled by remote write, asked for what it measured of itself."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from bench.embedded import rss_mb
from obskit.model.labels import Labels
from obskit.testing.remote_write import ONE, bytes_field, labels_fields, packed, sample_fields

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SERIES_PER_REQUEST = 2_000


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def version(program: str = "prometheus") -> str:
    """What the program calls itself; empty when it is not installed."""
    if not shutil.which(program):
        return ""
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return (text.stdout + text.stderr).split(",")[1].strip().removeprefix("version ").split()[0].rstrip(",")


def write_requests(
    labels: list[Labels], times_ms: NDArray[np.int64], values: NDArray[np.float64], scraped: NDArray[np.bool_]
) -> Iterator[bytes]:
    """The bodies that send columns [round, series] of samples."""
    for start in range(0, len(labels), SERIES_PER_REQUEST):
        parts = []
        for place in range(start, min(start + SERIES_PER_REQUEST, len(labels))):
            there = scraped[:, place]
            samples = zip(times_ms[there, place].tolist(), values[there, place].tolist(), strict=True)
            parts.append(
                labels_fields(labels[place]) + b"".join(bytes_field(2, sample_fields(*one)) for one in samples)
            )
        yield packed(b"".join(bytes_field(1, part) for part in parts))


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self._process = process
        self._client = httpx.Client(base_url=url, timeout=120)

    def write(self, bodies: Iterable[bytes]) -> None:
        """Remote write."""
        for body in bodies:
            self._client.post("/api/v1/write", content=body, headers=ONE).raise_for_status()

    def metric(self, name: str) -> dict[str, float]:
        """A metric of its own page: the value by the first label's value."""
        page = self._client.get("/metrics").text
        found = re.findall(rf'^{name}\{{[^"]*"(?:[^";]*;)?([^"]*)"[^}}]*\}} (\S+)$', page, re.MULTILINE)
        return {label: float(value) for label, value in found}

    def query_ms(self, query: str, start_s: float, end_s: float, step_s: int) -> float:
        """How long it says a range query took, without writing the answer."""
        params: dict[str, Any] = {"query": query, "start": start_s, "end": end_s, "step": step_s, "stats": "true"}
        answer = self._client.get("/api/v1/query_range", params=params)
        answer.raise_for_status()
        return float(answer.json()["data"]["stats"]["timings"]["execTotalTime"]) * 1000

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def cpu_s(self) -> float:
        """User and system time so far."""
        return cpu_s(self.pid)

    @property
    def rss_mb(self) -> float:
        """Resident memory (2^20 bytes)."""
        return rss_mb(self._process.pid)


@contextmanager
def prometheus(folder: Path, *, rules: str = "", scrape: str = "") -> Iterator[Prometheus]:
    """A Prometheus over an empty folder, with a rule file and the text of `scrape_configs`."""
    folder.mkdir(parents=True)
    (folder / "rules.yml").write_text(rules or "groups: []\n", encoding="utf-8")
    config = f"rule_files: [rules.yml]\nscrape_configs: [{scrape}]\n"
    (folder / "prometheus.yml").write_text(config, encoding="utf-8")
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        "--query.max-samples=200000000",
        "--log.level=error",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(f"{url}/-/ready", process)
        yield Prometheus(url, process)
    finally:
        process.terminate()
        process.wait(30)


def wait_until(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when a server answers 200 there; RuntimeError when it ends instead, or time runs out."""
    for _ in range(300):
        with suppress(httpx.TransportError):
            if httpx.get(url).status_code == httpx.codes.OK:
                return
        with suppress(subprocess.TimeoutExpired):
            raise RuntimeError(f"{process.args} ended with {process.wait(0.1)}")
    raise RuntimeError(f"{url} is not ready")
