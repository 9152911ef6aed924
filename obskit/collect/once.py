"""One read of one collector, shown instead of stored: `obskit collectors run NAME`."""

from __future__ import annotations

from dataclasses import dataclass, field

from obskit.clock import Clock
from obskit.collect.contract import Source
from obskit.collect.feed import Feed
from obskit.collect.table import find_kind
from obskit.model.records import Record
from obskit.model.samples import Sample
from obskit.store.interface import Batch, Refused


@dataclass(slots=True)
class Captured:
    """An Intake that keeps what it is given. Every collector starts without a cursor."""

    batches: list[Batch] = field(default_factory=list)

    async def append(self, batch: Batch) -> Refused:
        """Keep the batch."""
        self.batches.append(batch)
        return Refused()

    async def cursor(self, owner: str) -> str | None:  # noqa: ARG002 - the Intake's shape
        """None: nothing was read before."""
        return None

    @property
    def samples(self) -> list[Sample]:
        """Every sample, in order."""
        return [sample for batch in self.batches for sample in batch.samples]

    @property
    def records(self) -> list[Record]:
        """Every record, in order."""
        return [record for batch in self.batches for record in batch.records]


async def run_once(source: Source, clock: Clock, captured: Captured | None = None) -> Captured:
    """What one read of this source finds; CollectorError when it cannot be read. Stores nothing, moves no cursor.

    A `captured` of the caller's also holds what was found before an error.
    """
    captured = Captured() if captured is None else captured
    collector = find_kind(source.kind).build(source.settings)
    feed = Feed(collector.name, captured, clock)
    try:
        await collector.once(feed)
    finally:
        feed.close()
    return captured
