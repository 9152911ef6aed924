"""A day's file as Parquet files: source by source, some megabytes at a time, at one state of the file.

Blocks are taken in the order of their times, so a row group spans little time; in it, lines are by stream and time.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from obskit.store.cold.parquet import GROUP_ROWS, ParquetWriter
from obskit.store.cold.parts import day_text
from obskit.store.cold.rows import Rows
from obskit.store.day_files import DayFiles
from obskit.store.record_block import Packed, RecordBlock, streams_in

GROUP_BYTES: Final = 3_000_000
"""About the most text of a row group."""
PART_BYTES: Final = 24 * 1024 * 1024
"""About the size of a file; a source with more of a day gets several."""
_LONGEST_NAME: Final = 100
_NO_SOURCE: Final = "__HIVE_DEFAULT_PARTITION__"


class _Block(NamedTuple):
    id: int
    lines: int
    raw_bytes: int
    streams: bytes


class FrozenDay:
    """A day's file at one state. `head` and `listing` tell which."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        (self.head,) = connection.execute("SELECT head FROM sealed").fetchone()
        rows = connection.execute("SELECT id, n, raw_bytes, streams FROM block ORDER BY t0_ns, id").fetchall()
        self._blocks = [_Block(*row) for row in rows]
        self._labels: dict[int, str] = dict(connection.execute("SELECT id, labels FROM stream").fetchall())
        digest = hashlib.sha256(repr([self.head, [block[:3] for block in self._blocks]]).encode())
        self.listing = digest.hexdigest()[:32]

    def sources(self, without: Collection[str]) -> dict[str, dict[int, str]]:
        """The streams of each source that is to be copied, by number, with their labels."""
        here = {number for block in self._blocks for number in streams_in(block.streams)}
        found: dict[str, dict[int, str]] = {}
        for number in sorted(here):
            labels = self._labels.get(number, "{}")
            source = json.loads(labels).get("source", "")
            if source not in without:
                found.setdefault(source, {})[number] = labels
        return dict(sorted(found.items()))

    def begins(self, streams: Collection[int], after: int) -> int:
        """The place of the next block, from one place on, that has lines of these streams; -1 when there is none."""
        for place in range(after, len(self._blocks)):
            if not set(streams_in(self._blocks[place].streams)).isdisjoint(streams):
                return place
        return -1

    def take(self, streams: Mapping[int, str], place: int) -> tuple[list[tuple[int, Packed]], int]:
        """Blocks with lines of these streams from a place on, enough for a row group; and the place after them."""
        taken: list[tuple[int, Packed]] = []
        lines = size = 0
        while place < len(self._blocks):
            block = self._blocks[place]
            if not set(streams_in(block.streams)).isdisjoint(streams):
                if taken and (lines + block.lines > GROUP_ROWS or size + block.raw_bytes > GROUP_BYTES):
                    break
                lines, size = lines + block.lines, size + block.raw_bytes
                body = self._connection.execute("SELECT columns, text FROM body WHERE id = ?", (block.id,)).fetchone()
                if body is not None:
                    taken.append((block.id, Packed(block.streams, *body)))
            place += 1
        return taken, place


class PartFile:
    """A file that is being written: lines of some streams of a day."""

    def __init__(self, path: Path, day: int, streams: Mapping[int, str]) -> None:
        self._file = path.open("wb")
        self._day = day
        self._streams = streams
        self.writer = ParquetWriter(self._file)

    @property
    def full(self) -> bool:
        """Whether it has enough."""
        return self.writer.size >= PART_BYTES

    def add(self, taken: list[tuple[int, Packed]], files: DayFiles) -> None:
        """Write the lines of some blocks; one that cannot be read is reported and left out."""
        pieces = []
        for number, packed in sorted(taken):  # in the order in which lines of one time came
            try:
                pieces.append(RecordBlock.unpack(packed))
            except ValueError as error:
                files.report((self._day, number), error)
        rows = Rows.of(pieces, self._streams, self._streams.keys()) if pieces else None
        if rows is not None:
            self.writer.add(rows)

    def finish(self) -> None:
        """Write the footer."""
        self.writer.close()
        self._file.close()

    def close(self) -> None:
        """Let go of the file, be it finished or not."""
        self._file.close()


def part_key(day: int, source: str, store: str, number: int, head: int) -> str:
    """What an object is called: Hive's partitions, and a name that no other copy or store gives."""
    name = quote(source, safe="-_.") or _NO_SOURCE
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}~{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return f"logs/day={day_text(day)}/source={name}/{store[:12]}-{head}-{number}.parquet"
