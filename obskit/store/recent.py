"""Small head rows that were read lately, opened: a rule that counts lines reads the same ones at every evaluation.

A line that arrives alone is a row of its own, and to open a row costs more than all that is done with its line.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from obskit.model.records import Record

FEW: Final = 16
"""Rows of more records are opened each time: they cost little per record, and much memory."""
_ROOM: Final = 2_000_000
_RECORD_BYTES: Final = 500
"""About what a record takes beside its line."""


class RecentRows:
    """Opened rows by id, the oldest let go first. For every thread."""

    def __init__(self, room: int = _ROOM) -> None:
        self._rows: dict[int, Sequence[tuple[int, Record]]] = {}
        self._room = self._free = room
        self._lock = threading.Lock()

    def get(self, number: int) -> Sequence[tuple[int, Record]] | None:
        """(stream id, record) of each record in the row; None when it has to be opened."""
        return self._rows.get(number)

    def keep(self, number: int, records: Sequence[tuple[int, Record]]) -> None:
        """Remember an opened row. A row never changes, and one that retention deletes is not asked for any more."""
        with self._lock:
            if number in self._rows:
                return
            self._rows[number] = records
            self._free -= _size(records)
            while self._free < 0 and self._rows:
                self._free += _size(self._rows.pop(next(iter(self._rows))))


def _size(records: Sequence[tuple[int, Record]]) -> int:
    metadata = sum(len(value) for _, record in records for value in record.metadata.values())
    return metadata + sum(len(record.line) + _RECORD_BYTES for _, record in records)
