"""What is too old or too much is deleted, in slices, oldest first; and head rows are folded when due.

Over the size cap, samples and records give way in proportion: whichever has used up more of its own retention time
(records: of a quarter of it) loses its oldest slice, so a flood of log lines does not cost the metrics' history. Free pages are used again by later
appends; the file itself is shortened only when it is larger than the cap (which was lowered, say). The write-ahead log
has a share of the cap for itself: it grows while rows are deleted, so it cannot tell when to stop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from obskit.clock import NS_PER_MS, Clock
from obskit.errors import StoreFull
from obskit.store import telemetry
from obskit.store.database import Database, Transaction
from obskit.store.disk import SPAN_MS
from obskit.store.fold import fold
from obskit.store.head import LATE_MS
from obskit.store.log_retention import LogRetention
from obskit.store.settings import StoreSettings

EVERY_S: Final = 30.0
RECEIPTS_MS: Final = 7 * 86_400_000
"""How long the outbox's finished rows are kept."""
_UNUSED_MS: Final = 86_400_000
_SLICE_ROWS: Final = 250
_VACUUM_PAGES: Final = 500
_LOG_SHARE_BYTES: Final = 16 * 1024 * 1024
_HOUR_MS: Final = 3_600_000
_LOGS_YIELD: Final = 4
"""Over the size cap, lines of a day count as much as samples of four: there is so much more of them."""

log = logging.getLogger(__name__)


class _Kept(NamedTuple):
    """One table with an age: how long its rows stay, and its slice of oldest rows."""

    retention_ms: int
    table: str
    key: str
    end: str
    unit: int
    """Units of `end` in a millisecond."""


class Retention:
    """The store's housekeeping. `live_ids` are the series in memory, which are not forgotten on disk."""

    def __init__(
        self, database: Database, logs: LogRetention, limits: StoreSettings, *, live_ids: Callable[[], set[int]]
    ) -> None:
        self._database = database
        self._logs = logs
        self._limits = limits
        self._live_ids = live_ids
        self._forgot_ms = 0
        self._folded_span = -1
        metrics_ms, logs_ms = limits.retention.metrics, limits.retention.logs
        chunks = _Kept(metrics_ms, "metric_chunk", "(series_id, t0_ms)", "t1_ms", 1)
        rows = _Kept(metrics_ms, "metric_head", "id", "t1_ms", 1)
        # Late lines of a day that is cold become a file first, to be copied.
        self._lines_ms = max(logs_ms, limits.retention.cold) if limits.cold.enabled else logs_ms
        records = _Kept(self._lines_ms, "log_head", "id", "t1_ns", NS_PER_MS)
        histograms = _Kept(metrics_ms, "histogram", "id", "t_ms", 1)
        yielding = records._replace(retention_ms=logs_ms // _LOGS_YIELD)
        self._sealed = yielding._replace(table="day files")
        self._by_age = (chunks, histograms, records)  # rows become chunks long before they are old
        self._by_size = (chunks, rows, histograms, yielding)

    async def run(self, clock: Clock) -> None:
        """The loop: a round now and then, for ever. A round that fails is counted and tried again."""
        failing = False
        while True:
            try:
                await self.once(clock.now_ms())
                failing = False
            except StoreFull:
                pass  # the append that found out has said so
            except Exception:  # the loop: housekeeping that failed once must be tried again, or the disk fills
                telemetry.MAINTENANCE_FAILURES.inc()
                if not failing:
                    log.exception("the store's housekeeping failed, it is tried again: every=%ds", EVERY_S)
                failing = True
            await clock.sleep(EVERY_S)

    async def once(self, now_ms: int) -> None:
        """One round. Deleting goes first: it needs little space and makes room."""
        for table in self._by_age:
            await self._drain(partial(_delete_before, table=table, before_ms=now_ms - table.retention_ms))
        await self._drain(partial(_delete_receipts, before_ms=now_ms - RECEIPTS_MS))
        await self._logs.once(now_ms)
        await self._shrink(now_ms)
        await self._fold(now_ms)
        await self._forget_names(now_ms)
        telemetry.BYTES.set(self._used() + self._database.log_bytes())

    async def _fold(self, now_ms: int) -> None:
        """Once in every span, as nothing more is due within it; at the start also what a crash left over."""
        span = now_ms // SPAN_MS
        if span != self._folded_span:
            await fold(self._database, now_ms)
            self._folded_span = span

    async def _drain(self, slice_: Callable[[Transaction], int]) -> None:
        while await self._database.write(slice_, essential=True):
            pass

    async def _shrink(self, now_ms: int) -> None:
        """Delete the relatively oldest until the data is below the cap."""
        cap = self._limits.max_size
        cap -= min(_LOG_SHARE_BYTES, cap // 4)
        while self._used() > cap:
            oldest = self._relatively_oldest(now_ms)
            if oldest is None:
                break
            table, end_ms = oldest
            before_ms = end_ms + table.retention_ms // 500
            if table is self._sealed:
                await self._logs.delete_before(before_ms)
            else:
                await self._drain(partial(_delete_before, table=table, before_ms=before_ms))
        while self._database.file_bytes() > cap:
            if not await self._database.write(_shorten, essential=True):
                break

    def _used(self) -> int:
        return self._database.data_bytes() + self._logs.file_bytes()

    def _relatively_oldest(self, now_ms: int) -> tuple[_Kept, int] | None:
        ends = [(table, self._first_end_ms(table)) for table in self._by_size]
        ends.append((self._sealed, self._logs.first_ms()))
        known = [(table, end_ms) for table, end_ms in ends if end_ms is not None]
        return max(known, key=lambda pair: (now_ms - pair[1]) / pair[0].retention_ms, default=None)

    def _first_end_ms(self, table: _Kept) -> int | None:
        ((end,),) = self._database.read(f"SELECT min({table.end}) FROM {table.table}")  # noqa: S608 - names from above
        return None if end is None else int(end) // table.unit

    async def _forget_names(self, now_ms: int) -> None:
        """Once an hour: series without a chunk that were not heard of for a day, and the same for streams."""
        if 0 <= now_ms - self._forgot_ms < _HOUR_MS:
            return
        self._forgot_ms = now_ms
        unused_ms = now_ms - LATE_MS - _UNUSED_MS
        unused = await asyncio.to_thread(_unused_series, self._database, unused_ms)
        live = self._live_ids()
        gone = [number for number in unused if number not in live]
        for start in range(0, len(gone), _SLICE_ROWS):
            part = gone[start : start + _SLICE_ROWS]
            await self._database.write(partial(_forget_series, ids=part, unused_ms=unused_ms), essential=True)
        await self._database.write(
            partial(_forget_starts, before_ms=now_ms - self._limits.retention.metrics), essential=True
        )
        # Lines are kept for whole days, and may be of tomorrow.
        unused_ms = now_ms - self._lines_ms - 3 * _UNUSED_MS
        await self._database.write(partial(_forget_streams, unused_ms=unused_ms), essential=True)


def _delete_before(tx: Transaction, table: _Kept, before_ms: int) -> int:
    statement = (
        f"DELETE FROM {table.table} WHERE {table.key} IN"  # noqa: S608 - names from the table above
        f" (SELECT {table.key.strip('()')} FROM {table.table} WHERE {table.end} < ? ORDER BY {table.end} LIMIT ?)"
    )
    return tx.execute(statement, (before_ms * table.unit, _SLICE_ROWS)).rowcount


def _delete_receipts(tx: Transaction, before_ms: int) -> int:
    return tx.execute(
        "DELETE FROM outbox WHERE id IN"
        " (SELECT id FROM outbox WHERE state <> 'waiting' AND done_ms < ? ORDER BY done_ms LIMIT ?)",
        (before_ms, _SLICE_ROWS),
    ).rowcount


_UNUSED_SERIES: Final = """seen_ms < ? AND NOT EXISTS (SELECT 1 FROM metric_chunk WHERE series_id = series.id)"""


def _unused_series(database: Database, unused_ms: int) -> list[int]:
    with database.snapshot() as connection:
        # The newest stays, so that its number is not given again.
        rows = connection.execute(
            f"SELECT id FROM series WHERE {_UNUSED_SERIES} AND id < (SELECT max(id) FROM series)",  # noqa: S608 - ours
            (unused_ms,),
        )
        return [number for (number,) in rows]


def _forget_series(tx: Transaction, ids: list[int], unused_ms: int) -> None:
    # Asked again: one of them may have come back meanwhile.
    statement = f"DELETE FROM series WHERE id = ? AND {_UNUSED_SERIES}"  # noqa: S608 - ours
    tx.executemany(statement, [(number, unused_ms) for number in ids])


def _forget_starts(tx: Transaction, before_ms: int) -> None:
    """Of series that are gone, and those that a later one replaces for all samples that are kept."""
    tx.execute(
        "DELETE FROM series_start WHERE series_id NOT IN (SELECT id FROM series) OR since_ms <"
        " (SELECT max(since_ms) FROM series_start AS later"
        " WHERE later.series_id = series_start.series_id AND later.since_ms <= ?)",
        (before_ms,),
    )


def _forget_streams(tx: Transaction, unused_ms: int) -> None:
    tx.execute("DELETE FROM stream WHERE seen_ms < ? AND id < (SELECT max(id) FROM stream)", (unused_ms,))


def _shorten(tx: Transaction) -> bool:
    """Give some free pages at the file's end back; whether there were any."""
    (free,) = tx.execute("PRAGMA freelist_count").fetchone()
    for _ in range(min(free, _VACUUM_PAGES)):
        # One step of the statement is one page, and sqlite3 takes a single step of what has no columns.
        tx.execute("PRAGMA incremental_vacuum").fetchall()
    return bool(free)
