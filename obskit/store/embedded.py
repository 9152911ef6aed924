"""The embedded store: one append for everything that belongs together, and readers of what was appended.

It decides the order of things: transaction, COMMIT, memory, subscribers; and what is left when the disk is full. How
samples and records are kept is decided in metrics.py and logs.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from obskit.clock import NS_PER_MS, Clock, SystemClock
from obskit.errors import StoreError, StoreFull
from obskit.model.samples import MetricMeta
from obskit.store import telemetry
from obskit.store.database import Database, Transaction
from obskit.store.head import Admitted
from obskit.store.interface import Batch, MetricReader, Refused, Touched
from obskit.store.log_arrivals import LogArrivals
from obskit.store.log_interface import LogReader
from obskit.store.logs import LogStore, Written
from obskit.store.metrics import MetricStore
from obskit.store.retention import Retention
from obskit.store.settings import StoreSettings
from obskit.store.text_search import TextSearch

__all__ = ["EmbeddedStore", "StoreSettings"]

_JUMP_MS: Final = 2_000
_GIVE_WAY_S: Final = 0.02
"""How long an append of lines is held up when sealing is far behind."""
Also = Callable[[Transaction], object]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Stored:
    """What one append did: applied to memory after the COMMIT."""

    now_ms: int
    admitted: Admitted
    written: Written
    metadata: dict[str, MetricMeta]


class EmbeddedStore:
    """An Intake over one folder. Call `load` once before the first append, run `sealing.run()`, `retention.run()` and `cold.run()` beside it.

    Full disk: records, cursors and whatever else came with them are refused with StoreFull; samples enter memory all
    the same, so rules go on, and an append of samples alone returns as if they were saved (they are counted).
    """

    def __init__(self, database: Database, clock: Clock, limits: StoreSettings) -> None:
        self._database = database
        self._clock = clock
        self._metrics = MetricStore(database, clock, limits)
        self._logs = LogStore(database, clock, limits)
        self._subscribers: list[Callable[[Touched], None]] = []
        self._wall_ahead_ms: float | None = None
        self._full = False
        self.sealing = self._logs.sealing
        self.cold = self._logs.cold.mover
        """Copies log lines to cold storage; None where there is none."""
        self.retention = Retention(database, self._logs.retention, limits, live_ids=self._metrics.live_ids)

    @classmethod
    def open_readonly(cls, folder: Path | str, limits: StoreSettings | None = None) -> Self:
        """Beside a running daemon: sees everything that is committed, cannot append. StoreError when there is none."""
        return cls(Database.open_readonly(folder), SystemClock(), limits or StoreSettings())

    @property
    def metrics(self) -> MetricReader:
        """Reads samples."""
        return self._metrics

    @property
    def logs(self) -> LogReader:
        """Reads records."""
        return self._logs.reading

    @property
    def search(self) -> TextSearch:
        """What is looked for in log lines when they are appended: subscribers find the answers with the texts."""
        return self._logs.search

    @property
    def arrivals(self) -> LogArrivals:
        """Records in the order in which they were appended."""
        return self._logs.arrivals

    @property
    def database(self) -> Database:
        """For the rooms that keep tables of their own in main.db."""
        return self._database

    def load(self) -> None:
        """Bring the memory window back from disk; not for a reader, which would not see later commits in it."""
        if self._database.readonly:
            return
        with self._database.snapshot() as connection:
            self._metrics.replay(connection, self._clock.now_ms())
        self.sealing.load()

    def metric_names(self) -> list[str]:
        """The names of all metrics on disk."""
        return self._metrics.names()

    def reserve_window(self, metric: str | None, window_ms: int) -> None:
        """Rules look back this far, into one metric or (None) into any: keep as much in memory."""
        self._metrics.reserve_window(metric, window_ms)

    def subscribe(self, callback: Callable[[Touched], None]) -> None:
        """Call back in the event loop after every append, with what it touched. It must not block."""
        self._subscribers.append(callback)

    async def append(self, batch: Batch, also: Also | None = None, *, essential: bool = False) -> Refused:
        """Store the batch, its cursor and what `also` writes in one transaction; returning is the acknowledgement.

        `essential` (alert state) may use the space held back for it. Raises StoreFull when there is no room: of
        everything but the samples (see the class) nothing was kept, come back later with the same batch.
        """
        if self._database.readonly:
            raise StoreError("this store was opened for reading")
        started = self._clock.monotonic()
        loop = asyncio.get_running_loop()

        def committed(stored: _Stored) -> None:
            self._apply(stored)
            # From here, so that subscribers hear of it also when the caller is cancelled while it waits.
            loop.call_soon_threadsafe(self._publish, stored)

        if self.sealing.behind and batch.records:
            await self._clock.sleep(_GIVE_WAY_S)
        try:
            stored = await self._database.write(
                lambda tx: self._store(tx, batch, also), essential=essential, committed=committed
            )
            if not essential:
                self._note_space(full=False)
        except StoreFull:
            self._note_space(full=True)
            stored = await self._database.call(lambda: self._keep_in_memory(batch))
            self._publish(stored)
            if batch.records or batch.cursor or also:
                raise
        telemetry.APPEND_SECONDS.observe(self._clock.monotonic() - started)
        return stored.admitted.refused

    async def cursor(self, owner: str) -> str | None:
        """The value last stored for this owner, or None at its first start."""
        rows = self._database.read("SELECT value FROM cursor WHERE owner = ?", (owner,))
        return rows[0][0] if rows else None

    async def close(self) -> None:
        """Finish the appends that were begun, then close the files."""
        self._logs.cold.close()
        await self._database.close()
        self._logs.files.close()

    def _store(self, tx: Transaction, batch: Batch, also: Also | None) -> _Stored:
        now_ms = self._now(tx)
        admitted = self._metrics.admit(batch.samples, now_ms)
        self._metrics.insert(tx, admitted, now_ms)
        metadata = self._metrics.insert_metadata(tx, batch.metadata)
        written = self._logs.insert(tx, batch.records, now_ms)
        if batch.cursor is not None:
            tx.execute(
                "INSERT INTO cursor (owner, value, updated_ms) VALUES (?, ?, ?)"
                " ON CONFLICT (owner) DO UPDATE SET value = excluded.value, updated_ms = excluded.updated_ms",
                (batch.cursor.owner, batch.cursor.value, now_ms),
            )
        if also is not None:
            also(tx)
        return _Stored(now_ms, admitted, written, metadata)

    def _now(self, tx: Transaction) -> int:
        """The time; when the clock went back, what memory has of the time after it is forgotten first.

        Else every series would refuse its samples until the clock is where it was.
        """
        now_ms = self._clock.now_ms()
        ahead_ms = now_ms - self._clock.monotonic() * 1000
        if self._wall_ahead_ms is not None and ahead_ms < self._wall_ahead_ms - _JUMP_MS:
            log.warning("the clock went back: seconds=%.1f", (self._wall_ahead_ms - ahead_ms) / 1000)
            self._metrics.replay(tx, now_ms)
        self._wall_ahead_ms = ahead_ms
        return now_ms

    def _apply(self, stored: _Stored) -> None:
        self._metrics.apply(stored.admitted, stored.now_ms)
        self._metrics.remember_metadata(stored.metadata)
        self._logs.remember(stored.written)

    def _keep_in_memory(self, batch: Batch) -> _Stored:
        now_ms = self._clock.now_ms()
        admitted = self._metrics.admit_unsaved(batch.samples, now_ms)
        stored = _Stored(now_ms, admitted, Written(), {})
        self._apply(stored)
        telemetry.UNSAVED.inc(len(admitted.whole.slots))
        return stored

    def _note_space(self, *, full: bool) -> None:
        if full != self._full:
            self._full = full
            telemetry.DISK_FULL.set(full)
            state = "no space left: samples are kept in memory only" if full else "there is space again"
            log.warning("%s: folder=%s", state, self._database.folder)

    def _publish(self, stored: _Stored) -> None:
        whole, written = stored.admitted.whole, stored.written
        self.sealing.note(written.rows, written.load)
        if not len(whole.slots) and not len(written.records):
            return
        newest_ms = max(int(whole.times_ms.max(initial=0)), written.newest_ns // NS_PER_MS)
        touched = Touched(stored.admitted.names, written.touched, newest_ms, written.records)
        for callback in self._subscribers:
            try:
                callback(touched)
            except Exception:
                # What is stored is acknowledged, whatever a reader makes of it.
                log.exception("a subscriber of the store failed")
