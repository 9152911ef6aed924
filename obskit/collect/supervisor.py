"""Supervisor: keeps every configured collector running. It decides about restarts and reloads, not about reads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from obskit.clock import Clock
from obskit.collect.books import Book, TargetStatus
from obskit.collect.contract import Collector, Kind, Source
from obskit.collect.feed import Feed
from obskit.collect.listening import Listener, listener_of
from obskit.collect.table import find_kind
from obskit.errors import CollectorError
from obskit.model.telemetry import REGISTRY, Counter
from obskit.store.interface import Intake

log = logging.getLogger(__name__)

RESTARTS: Final = Counter(
    "obskit_collector_restarts_total",
    "Times a collector ended and was started again.",
    ("collector",),
    registry=REGISTRY,
)
RESTART_WAIT_S: Final = (1.0, 2.0, 5.0, 15.0, 60.0)
STEADY_S: Final = 300.0
"""A collector that ran this long before it crashed starts again with the shortest pause."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    source: Source
    build: Callable[[], Collector]
    name: str


@dataclass(slots=True)
class _Running:
    source: Source
    feed: Feed
    task: asyncio.Task[None]
    collector: list[Collector]
    """The one that runs; a crash replaces it."""


class Supervisor:
    """Runs collectors as tasks of the current event loop.

    `await reload(sources)` starts and changes the set, `await stop()` ends it. A collector that crashes is started again
    with backoff; it never takes another one with it.
    """

    def __init__(self, intake: Intake, clock: Clock, *, find: Callable[[str], Kind[Any]] = find_kind) -> None:
        self._intake = intake
        self._clock = clock
        self._find = find
        self._running: list[_Running] = []

    async def reload(self, sources: Sequence[Source]) -> None:
        """Make the running set equal to `sources`. Equal ones go on undisturbed, with their state.

        Everything new is built first: an error (CollectorError) leaves the old set as it was.
        """
        leaving = list(self._running)
        staying: list[_Running] = []
        wanted: list[_Prepared] = []
        for source in sources:
            same = next((running for running in leaving if running.source == source), None)
            if same is None:
                wanted.append(self._prepared(source))
            else:
                leaving.remove(same)
                staying.append(same)
        names = {running.feed.collector for running in staying} | {prepared.name for prepared in wanted}
        for running in leaving:
            running.feed.retired = running.feed.collector not in names
        await self._end(leaving)
        self._running = staying + [self._start(prepared) for prepared in wanted]

    async def stop(self) -> None:
        """End every collector and wait until each has let go of its connections."""
        leaving, self._running = self._running, []
        await self._end(leaving)

    def status(self) -> list[TargetStatus]:
        """A row for each target of each collector; a collector without a target yet has one empty row."""
        rows: list[TargetStatus] = []
        for running in self._running:
            rows += running.feed.status() or [Book(running.feed.collector, "", self._clock).status()]
        return rows

    def listener(self, path: str) -> tuple[Listener, str] | None:
        """The running collector to which a path belongs, and what follows its own part of it."""
        return listener_of(path, (collector for running in self._running for collector in running.collector))

    def _prepared(self, source: Source) -> _Prepared:
        build = partial(self._find(source.kind).build, source.settings)
        return _Prepared(source, build, build().name)

    def _start(self, prepared: _Prepared) -> _Running:
        feed = Feed(prepared.name, self._intake, self._clock)
        current: list[Collector] = []
        task = asyncio.create_task(self._keep_running(prepared.build, feed, current), name=f"collector {prepared.name}")
        return _Running(prepared.source, feed, task, current)

    async def _end(self, leaving: Sequence[_Running]) -> None:
        for running in leaving:
            running.task.cancel()
        await asyncio.gather(*(running.task for running in leaving), return_exceptions=True)
        for running in leaving:
            running.feed.close()

    async def _keep_running(self, build: Callable[[], Collector], feed: Feed, current: list[Collector]) -> None:
        """Run the collector, and after each crash a new one: what a crash left behind in the old one is not known."""
        crashes, known = 0, ""
        while True:
            started = self._clock.monotonic()
            problem = CollectorError("ended by itself", reason="crash")
            try:
                current[:] = [build()]
                await current[0].run(feed)
            except CollectorError as error:
                problem = error
            except Exception as error:  # the loop: one bad collector must not take the others with it
                problem = CollectorError(f"crashed: {type(error).__name__}", reason="crash")
                if str(problem) != known:
                    log.exception("collector crashed: collector=%s", feed.collector)
            known = str(problem)
            current.clear()
            feed.down(problem)
            RESTARTS.labels(feed.collector).inc()
            if self._clock.monotonic() - started > STEADY_S:
                crashes = 0
            pause_s = RESTART_WAIT_S[min(crashes, len(RESTART_WAIT_S) - 1)]
            await self._clock.sleep(max(problem.retry_after or 0.0, pause_s))
            crashes += 1
