"""What every test of the collector `fly` starts from: settings that lead to a FakeFly, and a collector that runs a while."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from obskit.collect import Captured, Feed, TargetStatus
from obskit.model.records import Record
from obskit.testing.clock import FakeClock
from obskit.testing.fly import ORGANIZATION, TOKEN, FakeFly
from obskit_collectors.fly import KIND
from obskit_collectors.fly_settings import FlySettings

PARTS = {"logs": "off", "machines": False, "releases": "off", "volumes": False, "incidents": False}


def settings(fly: FakeFly, **config: Any) -> FlySettings:
    """Nothing is on but what `config` says."""
    urls = dict.fromkeys(("api_url", "machines_url", "incidents_url"), fly.url)
    return FlySettings.model_validate({"organization": ORGANIZATION, "token": TOKEN, **PARTS, **urls, **config})


async def run_for(seconds: float, settings: FlySettings, intake: Captured, clock: FakeClock) -> Sequence[TargetStatus]:
    """A new collector runs for so long and is killed; its books at that moment."""
    collector = KIND.build(settings)
    feed = Feed(collector.name, intake, clock)
    task = asyncio.create_task(collector.run(feed))
    await clock.sleep(seconds)
    status = feed.status()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    feed.close()
    return status


def lines(intake: Captured) -> list[str]:
    """The texts of what was stored."""
    return [record.line for record in intake.records]


def named(intake: Captured, name: str) -> list[Record]:
    """The events of a name."""
    return [record for record in intake.records if record.metadata.get("name") == name]


def last_values(intake: Captured, metric: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The last value of each series of a metric, by these labels."""
    found = [sample for sample in intake.samples if sample.labels["__name__"] == metric]
    return {tuple(sample.labels.get(label) for label in labels): sample.value for sample in found}
