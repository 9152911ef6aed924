"""A Prometheus of our own on a free loopback port: it takes samples by remote write and answers queries."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.promql.differential.data import Series
from tests.promql.differential.remote_write import request_body
from tests.servers import free_port, wait_for_port

HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


class RefusedError(Exception):
    """Prometheus answered with an error."""


class Prometheus:
    """A running server; a context manager that ends it. `config` is the text of prometheus.yml."""

    def __init__(self, folder: Path, config: str = "{}", *flags: str) -> None:
        self.port = free_port()
        self._folder = folder
        file = folder / "prometheus.yml"
        file.write_text(config)
        self._command = [
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-remote-write-receiver",
            "--web.enable-lifecycle",
            *flags,
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Start it, or start it again after `kill`, and wait until it is ready."""
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_for_port(self.port, self._process)
        while True:  # it listens before it is ready; a process that ended refuses the connection
            with suppress(urllib.error.HTTPError):
                self._open("/-/ready", None).close()
                return
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        self._process.kill()
        self._process.wait()

    def hold(self) -> None:
        """Stop it from doing anything until `release`."""
        self._process.send_signal(signal.SIGSTOP)

    def release(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def reload(self) -> None:
        """Have it read its config and its rule files again."""
        self._open("/-/reload", b"").close()

    def write(self, series: Iterable[Series]) -> None:
        """Store series, in this order."""
        self._open("/api/v1/write", request_body(series), HEADERS).close()

    def instant(self, query: str, at_ms: int) -> dict[str, Any]:
        """`data` of an instant query's answer; RefusedError with Prometheus' words."""
        return self.get("query", query=query, time=f"{at_ms / 1000:.3f}")

    def range(self, query: str, start_ms: int, end_ms: int, step_ms: int) -> dict[str, Any]:
        """`data` of a range query's answer; RefusedError with Prometheus' words."""
        times = {"start": f"{start_ms / 1000:.3f}", "end": f"{end_ms / 1000:.3f}", "step": f"{step_ms / 1000:.3f}"}
        return self.get("query_range", query=query, **times)

    def get(self, path: str, **form: str) -> dict[str, Any]:
        """`data` of an answer of the API."""
        try:
            with self._open(f"/api/v1/{path}", urllib.parse.urlencode(form).encode() if form else None) as answer:
                data: dict[str, Any] = json.load(answer)["data"]
                return data
        except urllib.error.HTTPError as error:
            with error:
                raise RefusedError(json.load(error)["error"]) from None

    def _open(self, path: str, body: bytes | None, headers: Mapping[str, str] | None = None) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, dict(headers or {}))
        return urllib.request.urlopen(request, timeout=60)
