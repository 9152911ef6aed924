"""Real jobs and workers of task frameworks: each app in apps/ can `fill` a queue, `work`, and `look` as its own tool does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

APPS = Path(__file__).parent / "apps"


class Jobs:
    """One app on one server; `held_at` is the Redis where jobs wait for the test, where that is another one."""

    def __init__(self, app: str, url: str, held_at: str = "") -> None:
        if find_spec(app) is None:
            reason = f"needs {app}: it is in pyproject.toml's group dev"
            if os.environ.get("OBSKIT_SERVERS_REQUIRED"):
                pytest.fail(reason)
            pytest.skip(reason)
        self._command = [sys.executable, f"{app}_app.py"]
        self._url = url
        self._env = {**os.environ, "REDIS_URL": held_at or url}

    def fill(self) -> None:
        """Put the app's jobs in."""
        subprocess.run([*self._command, "fill", self._url], cwd=APPS, env=self._env, check=True, timeout=60)

    @contextmanager
    def working(self) -> Iterator[None]:
        """A worker runs meanwhile; then it is killed, with what it holds."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        worker = subprocess.Popen(
            [*self._command, "work", self._url], cwd=APPS, env=self._env, start_new_session=True, **quiet
        )  # type: ignore[call-overload]
        try:
            yield
        finally:
            os.killpg(worker.pid, signal.SIGKILL)  # its children too
            worker.wait()

    def look(self) -> Any:
        """What the framework itself says."""
        done = subprocess.run(
            [*self._command, "look", self._url], cwd=APPS, env=self._env, check=True, timeout=60, capture_output=True
        )
        return json.loads(done.stdout)
