"""FakeClock: time that jumps to the next deadline when nothing else is left to do (after trio's MockClock).

    clock = FakeClock()
    run(scenario(clock), clock)      # a scenario of hours ends in milliseconds, in order, without a real sleep

The event loop that `run` makes asks the clock to jump only when no callback is ready, no socket has news and no
thread works for it, so real servers, databases and executors take part without races.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
from collections.abc import Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

START_MS = 1_700_000_000_000


class FakeClock:
    """A Clock for tests. Starts at `start_ms` (Unix milliseconds) and moves only when told, or by jumping in `run`."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self._now_ns = start_ms * 1_000_000
        self._elapsed_ns = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now_ns(self) -> int:
        """Unix time in nanoseconds."""
        return self._now_ns

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return self._now_ns // 1_000_000

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed_ns / 1e9

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has moved this far."""
        if seconds <= 0:
            await asyncio.sleep(0)  # noqa: TID251 - yields; no time passes
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_ns + round(seconds * 1e9), next(self._order), future))
        await future

    def advance(self, seconds: float) -> None:
        """Move on by hand; every sleeper whose deadline is reached wakes."""
        self._move(self._elapsed_ns + round(seconds * 1e9))

    def set_wall(self, now_ms: int) -> None:
        """Make the wall clock jump (forward or back); deadlines do not move."""
        self._now_ns = now_ms * 1_000_000

    def jump(self) -> bool:
        """Move to the next deadline; False when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        if not self._sleepers:
            return False
        self._move(max(self._elapsed_ns, self._sleepers[0][0]))
        return True

    def _move(self, elapsed_ns: int) -> None:
        self._now_ns += elapsed_ns - self._elapsed_ns
        self._elapsed_ns = elapsed_ns
        while self._sleepers and self._sleepers[0][0] <= elapsed_ns:
            future = heapq.heappop(self._sleepers)[2]
            if not future.done():
                future.set_result(None)


class _JumpingSelector:
    """A selector that, when the loop is about to wait, lets the clock jump instead."""

    def __init__(self, clock: FakeClock, patience_s: float) -> None:
        self._selector = selectors.DefaultSelector()
        self._clock = clock
        self._patience_s = patience_s
        self.jobs = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return self._selector.select(0)
        if self.jobs:
            return self._selector.select(timeout)
        watching = len(self._selector.get_map()) > 1  # more than the loop's own wake-up pipe
        patience = self._patience_s if watching else 0.0
        events = self._selector.select(patience if timeout is None else min(patience, timeout))
        if not events and not self._clock.jump():
            return self._selector.select(timeout)
        return events

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._selector.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.modify(fileobj, events, data)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._selector.get_key(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._selector.get_map()

    def close(self) -> None:
        self._selector.close()


class _JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop that knows how many jobs run in threads for it."""

    def __init__(self, selector: _JumpingSelector) -> None:
        super().__init__(selector)  # type: ignore[arg-type]  # has every method the loop calls
        self._jumping = selector

    def run_in_executor(self, executor: Executor | None, func: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        self._jumping.jobs += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._job_done)
        return future

    def _job_done(self, _: asyncio.Future[Any]) -> None:
        self._jumping.jobs -= 1


def run(main: Coroutine[Any, Any, T], clock: FakeClock | None = None, *, patience_s: float = 0.02) -> T:
    """Run `main` to its end, as asyncio.run does, with `clock` jumping whenever everything waits.

    `patience_s` is real time given to open sockets before a jump, so that a server on loopback can answer.
    """
    if clock is None:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=lambda: _JumpingLoop(_JumpingSelector(clock, patience_s))) as runner:
        return runner.run(main)
