"""The real `obskit watch` as a process of its own: started on a config in a folder, waited for, killed, restarted."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, Final, Self

from obskit.clock import SystemClock
from obskit.outbound import httpx
from obskit.store.database import Database
from tests.servers import free_port

clock = SystemClock()

LOOK_S: Final = 0.02
STARTED_S: Final = 20.0
ENVIRONMENT: Final = {name: value for name, value in os.environ.items() if not name.startswith("OBSKIT_")}
_COMMAND: Final = (sys.executable, "-c", "from obskit.cli import run; run()")


def pause(seconds: float) -> None:
    """Let real processes go on for a moment. A test that waits for something uses `eventually`."""
    Event().wait(seconds)


def eventually(condition: Callable[[], object], seconds: float = 15.0) -> bool:
    """Whether the condition comes to hold within so many seconds."""
    until_s = clock.monotonic() + seconds
    while not condition():
        if clock.monotonic() > until_s:
            return False
        pause(LOOK_S)
    return True


def obskit(*arguments: str | Path, folder: Path, seconds: float = 30) -> subprocess.CompletedProcess[str]:
    """An `obskit` command, run to its end in the folder."""
    command = [*_COMMAND, *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=seconds, check=False
    )


class Watch:
    """`obskit watch` on `folder`/obskit.yaml, with its store in `folder`/data and a port of its own."""

    def __init__(self, folder: Path, config: Mapping[str, Any] | None = None, *, port: int = 0) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.config = folder / "obskit.yaml"
        self.stderr = folder / "stderr.log"
        self.stdout = folder / "stdout.log"
        self._process: subprocess.Popen[bytes] | None = None
        if config is not None:
            self.write(config)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    def write(self, config: Mapping[str, Any]) -> None:
        """Write the config, in one step, as JSON (which is YAML); where store and server are is added to it."""
        whole = {"store": {"path": "data"}, "web": {"listen": f"127.0.0.1:{self.port}"}, **config}
        replace(self.config, json.dumps(whole, indent=1))

    def start(self, *flags: str) -> Self:
        """Start it and wait until it is ready; RuntimeError with its log when it ends instead."""
        self.launch(*flags)
        if not eventually(lambda: self.ready() or self.process.poll() is not None, STARTED_S) or not self.ready():
            raise RuntimeError(f"obskit watch is not ready: {self.log()}")
        return self

    def launch(self, *flags: str) -> None:
        """Start it, and do not wait."""
        with self.stderr.open("ab") as stderr, self.stdout.open("ab") as stdout:
            self._process = subprocess.Popen(
                [*_COMMAND, "watch", "--config", str(self.config), *flags],
                cwd=self.folder,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process, running or ended."""
        assert self._process is not None
        return self._process

    def ready(self) -> bool:
        """Whether /readyz says so."""
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                return False
        try:
            return self.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def get(self, path: str, **headers: str) -> httpx.Response:
        """What its server answers."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=5, trust_env=False)

    def metric(self, series: str) -> float | None:
        """A series of its own metrics page, as it is written there; None when it is not there."""
        values = (line.rpartition(" ") for line in self.get("/metrics").text.splitlines())
        return next((float(value) for name, _, value in values if name == series), None)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9, as a crash, an OOM killer or a machine that goes away would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> float:
        """SIGTERM; the seconds it took to end. RuntimeError when it does not end well."""
        began_s = clock.monotonic()
        self.signal(signal.SIGTERM)
        code = self.process.wait(20)
        if code != 0:
            raise RuntimeError(f"obskit watch ended with {code}: {self.log()}")
        return clock.monotonic() - began_s

    def log(self) -> str:
        """Everything it has written to stderr, over all starts."""
        return self.stderr.read_text(encoding="utf-8")

    def messages(self, level: str = "") -> list[str]:
        """The messages of its log, those of one level or all."""
        lines = (json.loads(line) for line in self.log().splitlines() if line.startswith("{"))
        return [line["message"] for line in lines if level in ("", line["level"])]

    def rss_mb(self, field: str = "VmRSS") -> float:
        """Resident memory now (or its peak, VmHWM) in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) * 1024 / 1e6 for line in status.splitlines() if line.startswith(f"{field}:"))

    @contextmanager
    def store(self) -> Iterator[Database]:
        """Its database, for reading."""
        database = Database.open_readonly(self.folder / "data")
        try:
            yield database
        finally:
            database._release()


def replace(path: Path, text: str) -> None:
    """Write a file as careful editors do: nobody sees half of it."""
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
