"""Reads of the Cloudflare collector's polled parts, one at a time: as at a start, from the cursors that were kept."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from obskit.collect import Feed, Several
from obskit.errors import CollectorError
from obskit.store.interface import Intake
from obskit.testing.cloudflare import FakeCloudflare
from obskit_collectors.cloudflare_polled import Polled
from tests.collectors.cloudflare import Kept, Patient, collector_for


async def read_into(
    intake: Intake, fake: FakeCloudflare, clock: Patient, times: int = 1, **sections: Any
) -> list[CollectorError]:
    """Start every part where its cursor says, let each read so many times a minute apart; what went wrong."""
    wrong: list[CollectorError] = []
    feed = Feed("cloudflare", intake, clock)
    whole = collector_for(fake, **sections)
    assert isinstance(whole, Several)
    parts = [part for part in whole.parts if isinstance(part, Polled)]
    for part in parts:
        if part._place is not None:
            part._place.resume(await feed.cursor(part._place.owner))
    for turn in range(times):
        clock.advance(60 if turn else 0)
        for part in parts:
            try:
                await part.once(feed)
            except CollectorError as error:
                wrong.append(error)
    return wrong


def read(intake: Intake, fake: FakeCloudflare, clock: Patient, times: int = 1, **sections: Any) -> list[CollectorError]:
    """The same, by a process of its own as it were."""
    return asyncio.run(read_into(intake, fake, clock, times, **sections))


def newest(kept: Kept, name: str, **labels: str) -> float:
    """The newest value of a series; nan: there is none."""
    found = [
        (sample.t_ms, sample.value)
        for batch in kept.batches
        for sample in batch.samples
        if {"__name__": name, **labels}.items() <= dict(sample.labels).items()
    ]
    return max(found)[1] if found else math.nan
