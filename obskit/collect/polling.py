"""poll(): makes a collector of a plain function that reads once. It decides when to read, never what.

Reads happen at fixed points of the wall clock, at an offset that follows from the collector's name: collectors do not
all call at once, and a restart keeps the rhythm.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar
from zlib import crc32

from obskit.clock import Clock, bounded
from obskit.collect.feed import Feed
from obskit.errors import CollectorError
from obskit.store.interface import Batch

T = TypeVar("T")

MAX_BACKOFF_S: Final = 60.0


class PartialReadError(CollectorError):
    """A read failed, and left something to store all the same: what could be read, or a `redis_up 0`.

    `poll` books the failure first and appends `batch` then, so that the data's age does not look younger than it is.
    """

    def __init__(self, message: str, batch: Batch, *, reason: str, retry_after: float | None = None) -> None:
        super().__init__(message, reason=reason, retry_after=retry_after)
        self.batch = batch


async def _nothing_to_close() -> None:
    return None


def _no_pause() -> float:
    return 0.0


def poll(
    read: Callable[[int], Awaitable[Batch]],
    *,
    name: str,
    target: str,
    every_ms: int,
    timeout_ms: int | None = None,
    close: Callable[[], Awaitable[None]] = _nothing_to_close,
) -> Poll:
    """A collector that calls `read(now_ms)` every `every_ms` and appends the Batch it returns.

    `target` is the source without its secrets. A read that takes longer than `timeout_ms` (`every_ms`, at most 10 s) is
    cancelled and counts as a time-out. `read` raises CollectorError when the source could not be read: the next read
    then waits longer, up to a minute, or as long as the error's `retry_after`. `close` releases connections.
    """
    deadline_ms = timeout_ms if timeout_ms is not None else min(every_ms, 10_000)
    return Poll(
        name,
        target,
        read=read,
        close=close,
        schedule=Schedule(every_ms, f"{name} {target}"),
        deadline_s=deadline_ms / 1000,
    )


class Poll:
    """The collector that `poll` makes."""

    def __init__(
        self,
        name: str,
        target: str,
        *,
        read: Callable[[int], Awaitable[Batch]],
        close: Callable[[], Awaitable[None]],
        schedule: Schedule,
        deadline_s: float,
    ) -> None:
        self.name = name
        self._target = target
        self._read = read
        self._close = close
        self._schedule = schedule
        self._deadline_s = deadline_s
        self._pause_s: Callable[[], float] = _no_pause

    def paced(self, pause_s: Callable[[], float]) -> Poll:
        """The same, but after each read it stays away for at least so many seconds: a budget that reads must keep."""
        self._pause_s = pause_s
        return self

    async def run(self, feed: Feed) -> None:
        """Read, append, wait, for ever."""
        failures = 0
        try:
            while True:
                try:
                    await self._read_into(feed)
                    failures, at_least_s = 0, 0.0
                except CollectorError as error:
                    failures += 1
                    at_least_s = backoff_s(failures, self._schedule.every_ms / 1000, error.retry_after)
                # `wait` adds half an interval itself.
                at_least_s = max(at_least_s, self._pause_s() - self._schedule.every_ms / 2000)
                await self._schedule.wait(feed.clock, at_least_s)
        finally:
            await self._close()

    async def once(self, feed: Feed) -> None:
        """One read."""
        try:
            await self._read_into(feed)
        finally:
            await self._close()

    async def _read_into(self, feed: Feed) -> None:
        try:
            with feed.book(self._target).call():
                batch = await within(feed.clock, self._deadline_s, self._read(feed.clock.now_ms()))
        except PartialReadError as error:
            await feed.append(error.batch, self._target)
            raise
        await feed.append(batch, self._target)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Every `every_ms`, at an offset that is always the same for `key`."""

    every_ms: int
    key: str

    @property
    def offset_ms(self) -> int:
        """Where in the interval its points lie."""
        return crc32(self.key.encode()) % self.every_ms

    def after(self, now_ms: int) -> int:
        """The next point that is at least half an interval away, so that an early first read is not doubled."""
        earliest = now_ms + self.every_ms // 2
        return earliest + (self.offset_ms - earliest) % self.every_ms

    async def wait(self, clock: Clock, at_least_s: float = 0.0) -> int:
        """Sleep to the next point after at least `at_least_s`, and return that point.

        The pause is worked out anew each time: when the wall clock jumps, one interval is odd and the rest are right.
        """
        now_ms = clock.now_ms()
        due_ms = self.after(now_ms + round(at_least_s * 1000))
        await clock.sleep((due_ms - now_ms) / 1000)
        return due_ms


def backoff_s(failures: int, every_s: float, retry_after: float | None) -> float:
    """How long to stay away at least: doubling from the interval to a minute, never less than the source asks."""
    doubled = every_s * 2.0 ** min(failures - 2, 16) if failures > 1 else 0.0
    return max(min(doubled, max(MAX_BACKOFF_S, every_s)) - every_s / 2, retry_after or 0.0, 0.0)


async def within(clock: Clock, seconds: float, work: Awaitable[T]) -> T:
    """The result of `work`; CollectorError (timeout) when it takes longer. The work is cancelled then."""
    try:
        return await bounded(clock, seconds, work)
    except TimeoutError:
        raise CollectorError(f"no answer within {seconds:g} s", reason="timeout") from None
