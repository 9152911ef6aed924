"""An intake that outlives collectors, for tests that kill them."""

from __future__ import annotations

from obskit.collect import Captured
from obskit.store.interface import Batch, Refused


class Kept(Captured):
    """An intake that outlives the collector: what it took, and the cursor behind it."""

    cursors: dict[str, str]

    def __init__(self) -> None:
        super().__init__()
        self.cursors = {}

    async def append(self, batch: Batch) -> Refused:
        refused = await super().append(batch)
        if batch.cursor:
            self.cursors[batch.cursor.owner] = batch.cursor.value
        return refused

    async def cursor(self, owner: str) -> str | None:
        return self.cursors.get(owner)

    @property
    def lines(self) -> list[str]:
        return [record.line for record in self.records]
