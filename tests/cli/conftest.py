"""The `obskit` command in this process, and a store that a daemon has left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from obskit.cli.main import main
from obskit.clock import Clock, SystemClock
from obskit.config import load_config
from obskit.model.telemetry import REGISTRY, Gauge
from obskit.testing.clock import FakeClock, run
from obskit.watch import Daemon

Obskit = Callable[..., Result]

RULES = {
    "groups": [
        {
            "name": "shop",
            "rules": [
                {"alert": "Here", "expr": "vector(42)", "labels": {"severity": "critical"}},
                {"alert": "Soon", "expr": "vector(1)", "for": "1h", "labels": {"severity": "info", "team": "web"}},
            ],
        }
    ]
}


@pytest.fixture
def obskit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Obskit]:
    """Run a command as a shell would, without a terminal; what it does to its process is undone."""
    monkeypatch.delenv("OBSKIT_CONFIG", raising=False)
    root, level, ours = logging.getLogger(), logging.getLogger().level, logging.getLogger("obskit")
    handlers, own_handlers = list(root.handlers), list(ours.handlers)
    thresholds = gc.get_threshold()
    yield lambda *arguments: CliRunner().invoke(main, [str(each) for each in arguments], prog_name="obskit")
    root.handlers[:], ours.handlers[:] = handlers, own_handlers
    root.setLevel(level)
    gc.set_threshold(*thresholds)


def write_config(folder: Path, **sections: Any) -> Path:
    """An obskit.yaml with a log to read and two rules; `sections` replace."""
    (folder / "app.log").write_text('{"level":"error","msg":"no stock"}\nplain words\n')
    (folder / "rules.yaml").write_text(json.dumps(RULES))
    whole = {
        "store": {"path": "data"},
        "web": {"listen": "127.0.0.1:0"},
        "collectors": [{"file": {"paths": ["app.log"], "labels": {"app": "shop"}, "start": "beginning"}}],
        "rule_packs": [],
        "rule_files": ["rules.yaml"],
        **sections,
    }
    path = folder / "obskit.yaml"
    path.write_text(json.dumps(whole, indent=1))
    return path


async def _look_once(config: Path, clock: Clock) -> None:
    daemon = Daemon(load_config(config, {}), clock)
    await daemon.start()
    try:
        await daemon.once()
    finally:
        await daemon.close()


def watch_once(config: Path, *, ago_s: float = 0) -> None:
    """What `obskit watch --once` does, now or some time ago, in a process that collected nothing before."""
    for metric in list(REGISTRY._collector_to_names):
        if isinstance(metric, Gauge) and metric._labelnames:
            metric.clear()
    if ago_s:
        clock = FakeClock(SystemClock().now_ms() - round(ago_s * 1000))
        run(_look_once(config, clock), clock)
    else:
        asyncio.run(_look_once(config, SystemClock()))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config without a store yet."""
    return write_config(tmp_path)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config whose store holds a log, a firing and a pending alert, and a message that was sent: for reading.

    Made anew for each module: a store that nobody has written to for a minute is of a daemon that has stopped.
    """
    config = write_config(tmp_path_factory.mktemp("watched"))
    watch_once(config)
    return config
