"""The only file that reads the time or sleeps. Everything else takes `now` or a Clock.

asyncio is imported by what waits, which has a loop: who only reads the time is spared 20 ms of start.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """Wall time for stamps, monotonic time for waiting: a wall clock may jump, a deadline must not."""

    def now_ns(self) -> int:
        """Unix time in nanoseconds."""
        ...

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary point, never going back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` (at once, but yielding, when not positive)."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        return time.time_ns()

    def now_ms(self) -> int:
        return time.time_ns() // NS_PER_MS

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await _sleep(seconds)


class FasterClock:
    """The machine's clock, running `speed` times as fast from now on: a day of alerting in minutes, for demonstrations."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._start_ns = time.time_ns()
        self._start = time.monotonic()

    def now_ns(self) -> int:
        return self._start_ns + round(self.monotonic() * NS_PER_S)

    def now_ms(self) -> int:
        return self.now_ns() // NS_PER_MS

    def monotonic(self) -> float:
        return (time.monotonic() - self._start) * self._speed

    async def sleep(self, seconds: float) -> None:
        await _sleep(seconds / self._speed)


async def _sleep(seconds: float) -> None:
    import asyncio  # noqa: PLC0415 - see above

    await asyncio.sleep(max(0.0, seconds))


class SteadyTime:
    """Unix milliseconds for stored deadlines: the wall clock's time at the start, the monotonic one's pace from then on.

    A wall clock that is set back or forward neither delays nor hurries what waits for such a deadline.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start_ms = clock.now_ms()
        self._start_s = clock.monotonic()

    def now_ms(self) -> int:
        """Never goes back."""
        return self._start_ms + int((self._clock.monotonic() - self._start_s) * 1000)


def worked_s() -> float:
    """CPU seconds that the calling thread has used: what its work costs, however busy the machine is meanwhile."""
    return time.thread_time()


async def wait_for(clock: Clock, event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set or the clock has moved on by `seconds`, whichever is first."""
    import asyncio  # noqa: PLC0415 - see above

    if event.is_set():
        return
    waiter = asyncio.ensure_future(event.wait())
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait((waiter, timer), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
        timer.cancel()


async def bounded(clock: Clock, seconds: float, work: Awaitable[T]) -> T:
    """The result of `work`; TimeoutError when it takes longer. The work is cancelled then."""
    import asyncio  # noqa: PLC0415 - see above

    task = asyncio.ensure_future(work)
    alarm = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait((task, alarm), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise TimeoutError
    finally:
        for pending in (task, alarm):
            pending.cancel()
        await asyncio.gather(task, alarm, return_exceptions=True)
