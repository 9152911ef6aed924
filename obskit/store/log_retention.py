"""What is too old or too much in the day files goes: whole files where possible, else blocks.

A source (the label `source` of a stream) may have an age and a size of its own. Off the append path; nothing here holds up
an append, which writes to main.db alone.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from obskit.clock import NS_PER_MS
from obskit.model.matchers import Matcher, MatchOp
from obskit.store.block_cutting import blocks_of
from obskit.store.day_file import DAY_NS, Unmade
from obskit.store.day_files import DayFiles
from obskit.store.log_streams import Streams
from obskit.store.record_block import RecordBlock, streams_in
from obskit.store.sealing import Sealing
from obskit.store.settings import RetentionSettings

if TYPE_CHECKING:  # a store without cold storage never loads it
    from obskit.store.cold.moving import Mover

T = TypeVar("T")
_SLICE_BLOCKS: Final = 100


class _Stored(NamedTuple):
    """A block of a source: `shared` with others or not, and about how many bytes on disk are its."""

    day: int
    id: int
    t1_ns: int
    bytes: float
    shared: bool


class LogRetention:
    """Deletes from the day files."""

    def __init__(
        self, files: DayFiles, streams: Streams, sealing: Sealing, limits: RetentionSettings, cold: Mover | None
    ) -> None:
        self._files = files
        self._streams = streams
        self._sealing = sealing
        self._limits = limits
        self._cold = cold
        self._released: set[int] = set()

    async def once(self, now_ms: int) -> None:
        """Delete what is older than it may be, and what sources have too much."""
        cutoff_ns = (now_ms - self._limits.logs) * NS_PER_MS
        for day in self._files.days():
            if (day + 1) * DAY_NS <= cutoff_ns:
                await self._let_go(day, now_ms)
        for source in self._limits.sources:
            await self._limit_source(source, now_ms)

    def file_bytes(self) -> int:
        """Bytes of the day files."""
        return self._files.bytes()

    def first_ms(self) -> int | None:
        """The end of the oldest block."""
        for day in self._files.days():
            blocks = self._blocks(day)
            if blocks:
                return blocks[0][1] // NS_PER_MS
        return None

    async def delete_before(self, before_ms: int) -> None:
        """Delete the blocks that end before a time, and files of which nothing is left."""
        for day in self._files.days():
            if day * DAY_NS >= before_ms * NS_PER_MS:
                return
            blocks = self._blocks(day)
            if blocks is None:
                continue
            gone = [number for number, t1_ns, _, _ in blocks if t1_ns < before_ms * NS_PER_MS]
            if gone and await self._give_up(day):
                return
            if len(gone) == len(blocks):
                await self._alone(lambda day=day: self._files.delete(day))  # type: ignore[misc]  # bound per day
            else:
                await self._delete(day, gone)

    async def _let_go(self, day: int, now_ms: int) -> None:
        """Delete a day's file that is older than files may be; with cold storage, once its lines are there.

        Queries that began before it was released may be reading it still, so it is deleted a round later.
        """
        too_old = (day + 1) * DAY_NS <= (now_ms - max(self._limits.logs, self._limits.cold)) * NS_PER_MS
        async with self._sealing.files:
            if self._cold is not None and not too_old:
                if not await self._cold.release(day):
                    return
                if day not in self._released:
                    self._released.add(day)
                    return
            self._released.discard(day)
            await asyncio.to_thread(self._files.delete, day)

    async def _give_up(self, day: int) -> bool:
        """Delete the whole file of a day that was copied: its lines are read from cold storage then."""
        async with self._sealing.files:
            if self._cold is None or not await self._cold.release(day, at_once=True):
                return False
            await asyncio.to_thread(self._files.delete, day)
            return True

    async def _limit_source(self, source: str, now_ms: int) -> None:
        limits = self._limits.sources[source]
        numbers = self._streams.matching([Matcher("source", MatchOp.EQUAL, source)]).keys()
        if not numbers:
            return
        stored = await asyncio.to_thread(lambda: list(self._stored(numbers)))
        cutoff_ns = (now_ms - limits.age) * NS_PER_MS if limits.age else 0
        left = sum(one.bytes for one in stored)
        gone: dict[int, list[_Stored]] = {}
        for one in stored:
            too_much = limits.max_size is not None and left > limits.max_size
            if one.t1_ns >= cutoff_ns and not too_much:
                break
            left -= one.bytes
            gone.setdefault(one.day, []).append(one)
        for day, blocks in gone.items():
            await self._delete(day, [one.id for one in blocks if not one.shared])
            for one in blocks:
                if one.shared:
                    await self._alone(lambda one=one: self._take_out(one, numbers))  # type: ignore[misc]  # bound per block

    def _stored(self, numbers: Collection[int]) -> Iterator[_Stored]:
        """The blocks of a source, the oldest first."""
        for day in self._files.days():
            for number, t1_ns, size, streams in self._blocks(day) or ():
                ids = streams_in(streams)
                own = sum(one in numbers for one in ids)
                if own:
                    yield _Stored(day, number, t1_ns, size * own / len(ids), own < len(ids))

    def _take_out(self, one: _Stored, numbers: Collection[int]) -> None:
        """Write a shared block anew without the lines of some streams."""
        file = self._files.get(one.day)
        for number, packed in file.bodies([one.id]):
            try:
                block = RecordBlock.unpack(packed)
            except ValueError as error:
                self._files.report((one.day, number), error)
                continue
            left = block.without(numbers)
            file.replace([number], blocks_of([left]) if left is not None else ())

    async def _delete(self, day: int, numbers: list[int]) -> None:
        for start in range(0, len(numbers), _SLICE_BLOCKS):
            part = numbers[start : start + _SLICE_BLOCKS]
            await self._alone(lambda part=part: self._files.get(day).replace(part))  # type: ignore[misc]  # bound per part

    async def _alone(self, work: Callable[[], T]) -> T:
        """Run it in a thread, while nobody else writes to a day file."""
        async with self._sealing.files:
            return await asyncio.to_thread(work)

    def _blocks(self, day: int) -> list[tuple[int, int, int, bytes]] | None:
        file = self._files.get(day)
        try:
            return file.stored()
        except Unmade:
            return []
        except sqlite3.DatabaseError as error:
            if file.path.exists():
                self._files.report(file.path.name, error)
            return None
