"""A store in a folder on a clock of its own, and short ways to fill and read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np

from obskit.model.labels import NAME, Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.model.records import Record
from obskit.store.arrival import Arrival, text_of
from obskit.store.database import RESERVE_BYTES, Database
from obskit.store.embedded import EmbeddedStore
from obskit.store.interface import Batch, Cursor, MetricReader, Samples
from obskit.store.log_blocks import characters
from obskit.store.log_interface import Records
from obskit.store.record_block import RecordBlock
from obskit.store.redaction import Redaction
from obskit.store.settings import RedactionSettings, StoreSettings
from obskit.store.text_search import Question, TextSearch
from obskit.testing.clock import FakeClock

MINUTE = 60_000
HOUR = 60 * MINUTE


def metric(name: str, **labels: str) -> Labels:
    return Labels({NAME: name, **labels})


def named(name: str) -> tuple[Matcher, ...]:
    return (Matcher(NAME, MatchOp.EQUAL, name),)


def samples(*rows: tuple[Labels, int, float]) -> Batch:
    batch = Samples()
    for row in rows:
        batch.add(*row)
    return Batch(batch)


def lines(*rows: tuple[Labels, int, str], cursor: Cursor | None = None) -> Batch:
    return Batch(records=[Record(stream, t_ns, line) for stream, t_ns, line in rows], cursor=cursor)


def day_files(folder: Path) -> list[Path]:
    """The files of sealed lines, by day."""
    return sorted(folder.glob("logs-*.db"))


def points(reader: MetricReader, name: str, start_ms: int, end_ms: int) -> dict[Labels, list[tuple[int, float]]]:
    """What a selector of one metric returns, by series."""
    window = reader.select(named(name), start_ms, end_ms)
    found = {}
    for index, labels in enumerate(window.labels):
        rows = slice(window.starts[index], window.starts[index + 1])
        found[labels] = list(zip(window.times_ms[rows].tolist(), window.values[rows].tolist(), strict=True))
    return found


class Shelf:
    """`async with Shelf(folder) as shelf:` gives a loaded store as `shelf.store`."""

    def __init__(
        self, folder: Path, clock: FakeClock | None = None, *, reserve_bytes: int = RESERVE_BYTES, **settings: object
    ) -> None:
        self.folder = folder
        self.clock = clock or FakeClock()
        self._reserve_bytes = reserve_bytes
        self._limits = StoreSettings.model_validate(settings)

    async def __aenter__(self) -> Self:
        database = Database.open(self.folder, reserve_bytes=self._reserve_bytes)
        self.store = EmbeddedStore(database, self.clock, self._limits)
        self.store.load()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()

    @property
    def now(self) -> int:
        return self.clock.now_ms()

    async def seal(self) -> None:
        """Move all lines to the day files."""
        await self.store.sealing.once(self.now)

    def points(self, name: str, back_ms: int = HOUR) -> dict[Labels, list[tuple[int, float]]]:
        """The metric's samples of the last `back_ms`."""
        return points(self.store.metrics, name, self.now - back_ms, self.now)

    async def put(self, labels: Labels, value: float, *, age_ms: int = 0) -> None:
        """One sample."""
        await self.store.append(samples((labels, self.now - age_ms, value)))

    async def tick(self, series: Iterable[Labels], count: int, *, every_s: float = 15) -> None:
        """Move on and append a sample of each series, `count` times; values count up."""
        known = list(series)
        for number in range(count):
            self.clock.advance(every_s)
            await self.store.append(samples(*((labels, self.now, float(number)) for labels in known)))


def block_of(records: Sequence[Record], ids: Sequence[int]) -> RecordBlock:
    """Records (in order of time) as one block, whatever their streams are."""
    columns = Records.of(records)
    arrival = Arrival(columns, np.array(columns.times_ns, np.int64), np.array(ids, np.int32), characters(columns.lines))
    (piece,) = arrival.pieces(Redaction(RedactionSettings(enabled=False)), TextSearch(Question([])))
    return piece.block


def told_of(records: Records, question: Question) -> Records:
    """Records (in order of time) as subscribers hear of them, when the store was asked this."""
    numbers = {stream: number for number, stream in enumerate(dict.fromkeys(records.streams), start=1)}
    ids = np.array([numbers[stream] for stream in records.streams], np.int32)
    arrival = Arrival(records, np.array(records.times_ns, np.int64), ids, characters(records.lines))
    pieces = arrival.pieces(Redaction(RedactionSettings(enabled=False)), TextSearch(question))
    return replace(records, texts=[text_of(piece, records) for piece in pieces])
