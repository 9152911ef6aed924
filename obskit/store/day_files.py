"""The day files of a folder: which there are, and a few of them open.

A file that cannot be read is reported once and left alone; what the others hold is read all the same.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from pathlib import Path
from typing import Final

from obskit.store import telemetry
from obskit.store.database import Transaction
from obskit.store.day_file import DayFile, Unmade, days_in, file_name

_OPEN: Final = 4

log = logging.getLogger(__name__)


def adopt(tx: Transaction, files: DayFiles, now_ms: int) -> None:
    """Bring main.db up to what the day files say, before the first line is appended.

    A main.db that was put back from a copy is behind them: numbers that they use must not be given again, to head rows
    or to streams. A file whose streams are others belongs to another main.db: it is put aside.
    """
    highest = 0
    known: dict[int, str] = dict(tx.execute("SELECT id, labels FROM stream").fetchall())
    named = {labels: number for number, labels in known.items()}
    for day in files.days():
        file = files.get(day)
        try:
            head, streams = file.sealed(), file.streams()
        except Unmade:
            continue
        except sqlite3.DatabaseError as error:
            files.report(file.path.name, error)
            continue
        if any(
            known.get(number, labels) != labels or named.get(labels, number) != number for number, labels in streams
        ):
            log.error("a file of log lines belongs to another main.db and is put aside: as=%s", file.set_aside())
            continue
        missing = [(number, labels, now_ms) for number, labels in streams if number not in known]
        tx.executemany("INSERT INTO stream (id, labels, seen_ms) VALUES (?, ?, ?)", missing)
        known.update(streams)
        named.update((labels, number) for number, labels in streams)
        highest = max(highest, head)
    if highest > tx.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'log_head'").fetchone()[0]:
        tx.execute("DELETE FROM sqlite_sequence WHERE name = 'log_head'")
        tx.execute("INSERT INTO sqlite_sequence VALUES ('log_head', ?)", (highest,))


class DayFiles:
    """The files by day. For every thread; sealing and retention write to one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: dict[int, DayFile] = {}
        self._reported: set[object] = set()

    def days(self) -> list[int]:
        """The days that have a file, ascending."""
        return sorted(days_in(self._folder))

    def get(self, day: int) -> DayFile:
        """A day's file, be it there or not."""
        with self._lock:
            found = self._open.pop(day, None) or DayFile(self._folder / file_name(day))
            self._open[day] = found
            gone = self._open.pop(next(iter(self._open))) if len(self._open) > _OPEN else None
        if gone is not None:
            gone.close()
        return found

    def delete(self, day: int) -> None:
        """Unlink a day's file."""
        with self._lock:
            found = self._open.pop(day, None) or DayFile(self._folder / file_name(day))
        found.delete()

    def bytes(self) -> int:
        """Bytes of all files."""
        total = 0
        for path in self._folder.glob("logs-*.db"):
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                continue
        return total

    def report(self, what: object, error: Exception) -> None:
        """A file or block could not be read: said once for each."""
        telemetry.CORRUPT.inc()
        if what not in self._reported:
            self._reported.add(what)
            log.error("log lines cannot be read, they are left out: where=%s reason=%s", what, error)

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            for file in self._open.values():
                file.close()
            self._open.clear()
