"""Sealing: head rows become blocks in the day files, off the append path and a slice at a time.

A slice takes the oldest rows of one day: their blocks and the number of the last of them are committed to the day's file,
then main.db lets go of them. Nothing is done twice after a crash in between: rows at or below the file's number are only
deleted. Rows of days to come (a clock was wrong) wait in the head until their day has come.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final

from obskit.clock import NS_PER_MS, Clock, wait_for
from obskit.errors import StoreFull
from obskit.store import log_head, telemetry
from obskit.store.block_cutting import blocks_of, mixed_up
from obskit.store.cold.parts import give_up_file
from obskit.store.database import Database
from obskit.store.day_file import NewBlock, day_of
from obskit.store.day_files import DayFiles
from obskit.store.recent import RecentBlocks
from obskit.store.record_block import Packed, RecordBlock, streams_in

EVERY_S: Final = 60.0
SEAL_BYTES: Final = 6_000_000
SEAL_ROWS: Final = 1_000
"""The head is sealed when it has this much text, this many rows, or after a minute."""
FOLLOWED_S: Final = 1.0
"""Rows that are sealed stay in the head this long for those who follow it (log_arrivals.py), unless sealing is due again."""
FULL_BYTES: Final = 2 * SEAL_BYTES
"""Appends give way when the head has this much."""
_SLICE_BYTES: Final = 8_000_000
_SLICE_ROWS: Final = 5_000
_FOREVER: Final = 1 << 40
_STREAMS_AT_ONCE: Final = 500

log = logging.getLogger(__name__)


class Sealing:
    """Call `note` after each append, and run `run` beside them."""

    def __init__(self, database: Database, files: DayFiles, recent: RecentBlocks) -> None:
        self._database = database
        self._files = files
        self._recent = recent
        self._due = asyncio.Event()
        self._lock = asyncio.Lock()
        self.files = asyncio.Lock()
        """Held while a day file is written: by sealing, or by retention."""
        self._rows = self._load = 0

    def load(self) -> None:
        """Find out what waits in the head since the last time."""
        self._rows, self._load = log_head.waiting(self._database, _FOREVER)

    def note(self, rows: int, load: int) -> None:
        """Head rows were appended (see log_head.waiting). In the event loop."""
        self._rows += rows
        self._load += load
        if self._load >= SEAL_BYTES or self._rows >= SEAL_ROWS:
            self._due.set()

    @property
    def behind(self) -> bool:
        """Whether the head has more than it should ever have."""
        return self._load >= FULL_BYTES

    async def run(self, clock: Clock) -> None:
        """The loop: whenever it is due, for ever. What fails is tried again."""
        failing = False
        while True:
            await wait_for(clock, self._due, EVERY_S)
            self._due.clear()
            try:
                await self.once(clock.now_ms(), linger=partial(wait_for, clock, self._due, FOLLOWED_S))
                failing = False
            except Exception as error:  # the loop: what could not be sealed must be tried again, or the head only grows
                telemetry.MAINTENANCE_FAILURES.inc()
                if not failing and not isinstance(error, StoreFull):
                    log.exception("log lines could not be sealed, it is tried again: every=%ds", EVERY_S)
                failing = True
                await clock.sleep(1)

    async def once(self, now_ms: int, *, linger: Callable[[], Awaitable[None]] | None = None) -> None:
        """Seal everything that is in the head now. Between a slice's two commits it lingers, if told how."""
        async with self._lock:
            latest = day_of(now_ms * NS_PER_MS) + 1
            failed: list[Exception] = []
            for day, last in log_head.days(self._database, latest):
                try:
                    while await self._slice(day, last, linger):
                        pass
                except (sqlite3.Error, StoreFull) as error:  # other days go on
                    failed.append(error)
            self._rows, self._load = log_head.waiting(self._database, latest)
            telemetry.HEAD_BYTES.set(self._load)
            if failed:
                raise failed[0]

    async def _slice(self, day: int, last: int, linger: Callable[[], Awaitable[None]] | None) -> bool:
        """Seal some rows of a day; whether there may be more up to this one."""
        async with self.files:
            try:
                sealed, lines = await asyncio.to_thread(self._write, day, last)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                await self._database.write(partial(give_up_file, day=day), essential=True)
                log.error("a file of log lines is broken and is put aside: as=%s", self._files.get(day).set_aside())
                self._files.report(day, error)
                return True
        if linger is not None:
            await linger()
        while deleted := await self._database.write(partial(log_head.delete, day=day, until=sealed), essential=True):
            for number in deleted:
                self._recent.forget(number)
        telemetry.SEALED.inc(lines)
        return sealed < last

    def _write(self, day: int, last: int) -> tuple[int, int]:
        """Write the blocks of some rows; up to which row the file goes then, and how many lines were new."""
        file = self._files.get(day)
        sealed, gone = file.sealed(), self._gone(day)
        if 0 < sealed <= gone:
            # The file was given up for its copy in cold storage: late lines begin a new one.
            self._files.delete(day)
            file, sealed = self._files.get(day), 0
        numbers = self._numbers(day, max(sealed, gone), last)
        if not numbers:
            return max(sealed, gone, last), 0  # a crash came between the two files: the rows are only to be deleted
        head = self._head(numbers)
        opened = self._open_blocks(day, sealed) if head else {}
        lines, done = self._told_apart([*opened.values(), *head])
        if len(lines) == len(opened):  # nothing is to be added to those that are not full
            lines, opened = [], {}
        blocks = [*done, *blocks_of(lines)]
        if not file.seal((sealed, numbers[-1]), opened, blocks, self._labels(blocks)):
            return sealed, 0  # the next slice begins where the other sealing ended
        return numbers[-1], sum(block.lines for block in blocks) - sum(map(len, opened.values()))

    def _gone(self, day: int) -> int:
        """Head rows of a day up to this one are in cold storage."""
        rows = self._database.read("SELECT gone FROM cold_day WHERE day = ?", (day,))
        return int(rows[0][0]) if rows else 0

    def _labels(self, blocks: Iterable[NewBlock]) -> list[tuple[int, str]]:
        """The streams of some blocks, with their labels as main.db has them."""
        ids = sorted({number for block in blocks for number in streams_in(block.packed.streams)})
        found: list[tuple[int, str]] = []
        for start in range(0, len(ids), _STREAMS_AT_ONCE):
            part = ids[start : start + _STREAMS_AT_ONCE]
            marks = ",".join("?" * len(part))
            found += self._database.read(f"SELECT id, labels FROM stream WHERE id IN ({marks})", part)  # noqa: S608 - marks only
        return found

    def _numbers(self, day: int, after: int, last: int) -> list[int]:
        """The head rows of a slice."""
        numbers, load = [], 0
        for number, size in log_head.numbers(self._database, day, after, last, _SLICE_ROWS):
            numbers.append(number)
            load += size
            if load >= _SLICE_BYTES:
                break
        return numbers

    def _head(self, numbers: Iterable[int]) -> list[RecordBlock | NewBlock]:
        """Head rows: lines, and blocks that are only to be moved."""
        head: list[RecordBlock | NewBlock] = []
        for number in numbers:
            found: RecordBlock | NewBlock | None = self._recent.get(number)
            if found is None and (row := log_head.row(self._database, number)) is not None:
                found = row.sealed or self._unpacked(("head row", number), row.packed)
            if found is not None:
                head.append(found)
        return head

    def _told_apart(self, pieces: Sequence[RecordBlock | NewBlock]) -> tuple[list[RecordBlock], list[NewBlock]]:
        """The pieces that are to be made blocks of (older ones first), and the blocks that stay as they are."""
        lines: list[RecordBlock] = []
        mixed = mixed_up(pieces)
        for piece in pieces:
            if isinstance(piece, RecordBlock):
                lines.append(piece)
            elif id(piece) in mixed and (block := self._unpacked("head row", piece.packed)) is not None:
                lines.append(block)
        return lines, [piece for piece in pieces if isinstance(piece, NewBlock) and id(piece) not in mixed]

    def _unpacked(self, where: object, packed: Packed) -> RecordBlock | None:
        try:
            return RecordBlock.unpack(packed)
        except ValueError as error:
            self._files.report(where, error)
            return None

    def _open_blocks(self, day: int, sealed: int) -> dict[int, RecordBlock]:
        """The day's blocks that are not full, by id. One that cannot be read stays as it is."""
        found: dict[int, RecordBlock] = {}
        if not sealed:
            return found
        for number, packed in self._files.get(day).open_blocks():
            if (block := self._unpacked((day, number), packed)) is not None:
                found[number] = block
        return found
