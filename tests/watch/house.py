"""A config in a folder, and the daemon on it in this process, under a clock that jumps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from obskit.config import Config, load_config
from obskit.testing.clock import FakeClock
from obskit.watch import Daemon, Options

RULES = {
    "groups": [
        {
            "name": "shop",
            "type": "loki",
            "interval": "5s",
            "rules": [
                {
                    "alert": "Errors",
                    "expr": 'sum by (app) (count_over_time({app="shop"} |= "boom" [10s])) > 0',
                    "labels": {"severity": "critical"},
                    "annotations": {"summary": "{{ $labels.app }} breaks"},
                }
            ],
        },
    ]
}


def write(folder: Path, **sections: Any) -> Path:
    """An obskit.yaml (as JSON, which is YAML) that tails app.log, with rules.yaml beside it; `sections` replace."""
    (folder / "rules.yaml").write_text(json.dumps(RULES))
    (folder / "app.log").touch()
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


def configured(folder: Path, **sections: Any) -> Config:
    """The same, loaded."""
    return load_config(write(folder, **sections), {})


def say(folder: Path, *lines: str) -> None:
    """Add lines to the log."""
    with (folder / "app.log").open("a") as log:
        log.writelines(f"{line}\n" for line in lines)


def webhook(url: str) -> Mapping[str, Any]:
    """A route without waiting, to a receiver that is reached at this URL."""
    return {
        "route": {"receiver": "ops", "group_wait": "0s", "group_interval": "1s"},
        "receivers": [{"name": "ops", "webhook_configs": [{"url": url}]}],
    }


@asynccontextmanager
async def running(config: Config, clock: FakeClock, options: Options | None = None) -> AsyncIterator[Daemon]:
    """The daemon, started and running; stopped in order at the end, which must have been its first."""
    daemon = Daemon(config, clock, options)
    await daemon.start()
    stop = asyncio.Event()
    task = asyncio.create_task(daemon.run(stop))
    await clock.sleep(0.5)
    try:
        yield daemon
    finally:
        stop.set()
        well = await task
        await daemon.close()
    assert well
