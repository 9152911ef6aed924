"""The daemon in the test's own process, on a clock of the test's: hours end in seconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from obskit.config import load_config
from obskit.testing.clock import FakeClock
from obskit.watch import Daemon


@asynccontextmanager
async def running(config: Path, clock: FakeClock) -> AsyncIterator[Daemon]:
    """The daemon in this process."""
    daemon = Daemon(load_config(config), clock)
    await daemon.start()
    ended = asyncio.Event()
    loops = asyncio.ensure_future(daemon.run(ended))
    try:
        yield daemon
    finally:
        ended.set()
        assert await loops
        await daemon.close()


async def within(clock: FakeClock, seconds: int, condition: Callable[[], bool], *, step_s: float = 0.5) -> bool:
    """Whether the condition comes to hold before the clock has moved on so far."""
    for _ in range(round(seconds / step_s)):
        if condition():
            return True
        await clock.sleep(step_s)
    return condition()
