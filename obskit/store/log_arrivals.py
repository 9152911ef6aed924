"""Following the head: lines in the order in which they were appended, for who reads beside the daemon.

Rows leave the head once they are sealed. Who comes too late for some is told so; then they are found by their time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from obskit.model.matchers import Matcher
from obskit.store.database import Database
from obskit.store.day_files import DayFiles
from obskit.store.log_blocks import encoded, lines_holding
from obskit.store.log_interface import LogBlock
from obskit.store.log_streams import Streams
from obskit.store.record_block import Packed, RecordBlock

_AT_ONCE_BYTES: Final = 8_000_000
_AT_ONCE_ROWS: Final = 500


class Arrived(NamedTuple):
    """What came after a position. `position` is where to go on; `more` says that there is more already.

    `missed`: rows in between had left the head before they were read.
    """

    position: int
    blocks: list[LogBlock]
    more: bool
    missed: bool


class LogArrivals:
    """The appended lines by position, which is the number of their head row. Synchronous, as the readers."""

    def __init__(self, database: Database, files: DayFiles, streams: Streams) -> None:
        self._database = database
        self._files = files
        self._streams = streams

    def position(self) -> int:
        """Behind everything that was ever appended."""
        return _newest(self._database.read("SELECT seq FROM sqlite_sequence WHERE name = 'log_head'"))

    def after(self, position: int, matchers: Sequence[Matcher], *, containing: Sequence[str] = ()) -> Arrived:
        """Some of what was appended since, as blocks of the lines that are looked for; see LogReader.blocks."""
        newest, rows = self._rows(position)
        reached = rows[-1][0] if rows else newest
        needles = [encoded(text) for text in containing if text]
        blocks = [block for row in rows if (block := self._block(row, matchers, needles)) is not None]
        blocks.sort(key=lambda block: int(block.times_ns[0]))
        return Arrived(reached, blocks, reached < newest, missed=len(rows) < reached - position)

    def _rows(self, position: int) -> tuple[int, list[tuple[int, bytes, bytes, bytes]]]:
        """The number of the newest row, and the next rows: as many as are read at once."""
        with self._database.snapshot() as connection:
            seq = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log_head'").fetchall()
            sizes = connection.execute(
                "SELECT id, raw_bytes FROM log_head WHERE id > ? ORDER BY id LIMIT ?", (position, _AT_ONCE_ROWS)
            ).fetchall()
            if not sizes:
                return _newest(seq), []
            totals = np.cumsum([size for _, size in sizes])
            taken = max(1, int(np.searchsorted(totals, _AT_ONCE_BYTES, side="right")))
            rows = connection.execute(
                "SELECT id, streams, columns, text FROM log_head WHERE id > ? AND id <= ? ORDER BY id",
                (position, sizes[taken - 1][0]),
            ).fetchall()
            return _newest(seq), rows

    def _block(
        self, row: tuple[int, bytes, bytes, bytes], matchers: Sequence[Matcher], needles: Sequence[bytes]
    ) -> LogBlock | None:
        number, *packed = row
        try:
            block = RecordBlock.unpack(Packed(*packed))
        except ValueError as error:
            self._files.report(("head row", number), error)
            return None
        wanted = self._streams.matching(matchers)
        mask = np.array([stream in wanted for stream in block.ids.tolist()])[block.stream_of]
        for needle in needles:
            mask = lines_holding(block, mask, needle)
        return block.labelled(self._streams.labels(), mask) if mask.any() else None


def _newest(rows: list[tuple[int]]) -> int:
    return rows[0][0] if rows else 0
