"""Follows a store's lines as they are appended, beside the daemon that writes it, through its restarts.

A pipe gets every line. A terminal gets as much as can be read, and how much was skipped.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final

import click

from obskit.cli.interruption import reader_is_gone
from obskit.cli.log_output import Printer, form_of, name_of
from obskit.cli.log_selection import DAY_NS, EVERYTHING, parse_selection
from obskit.cli.state import last_seen_ms, runs
from obskit.cli.store import open_configured
from obskit.cli.tables import count, listed
from obskit.clock import NS_PER_MS, Clock, SystemClock
from obskit.logql.engine import Engine, LogLine
from obskit.logql.log_nodes import LogQuery
from obskit.logql.pipeline import Pipeline
from obskit.logql.stages import Demands
from obskit.store.embedded import EmbeddedStore

POLL_S: Final = 0.2
PER_POLL: Final = 200
"""How many lines a terminal is given at once."""
ALL: Final = 2**62
_AHEAD_NS: Final = 600_000_000_000
"""Collectors let a source's clock be this far ahead."""
_LATE_NS: Final = 5_000_000_000
"""Where lines are read by time, those that came this late are among them."""
_KNOWN: Final = 1_000_000
_NAMED: Final = 8


class Tail:
    """The lines of a query: first `past`, then `new` again and again."""

    def __init__(self, store: EmbeddedStore, query: LogQuery, clock: Clock) -> None:
        self._store = store
        self._query = query
        self._clock = clock
        self._engine = Engine(store.logs, max_lines=ALL)
        self._pipeline = Pipeline(query, Demands(now_ns=clock.now_ns()))
        self._position = 0
        self._looked_ns = 0
        self._known: deque[tuple[int, int]] = deque(maxlen=_KNOWN)
        """Times and hashes of what was given out lately: read by time, it may be met again by position."""
        self._doubtful: Counter[tuple[int, int]] = Counter()
        self.behind = False
        """Whether lines had to be read by time, because they came faster than they were taken."""

    def past(self, start_ns: int, limit: int | None) -> Iterator[LogLine]:
        """The lines since a time, oldest first; with a limit the newest of them."""
        if limit is None:
            yield from self._by_time(start_ns)
            return
        self._position, end_ns = self._here()
        newest = self._engine.lines(self._query, start_ns, end_ns, limit=limit, newest_first=True)
        yield from self._given(iter(list(newest)[::-1]))
        self._doubtful = Counter(self._known)

    def new(self) -> Iterator[LogLine]:
        """What was appended since; by time where the head has let go of some of it."""
        looked_ns, since_ns = self._clock.now_ns(), self._looked_ns
        more = True
        while more:
            arrived = self._store.arrivals.after(
                self._position, self._query.matchers, containing=self._pipeline.containing
            )
            self._position, more = arrived.position, arrived.more
            if arrived.missed:
                self.behind = True
                self._doubtful = Counter(self._known)
                yield from self._by_time(since_ns - _LATE_NS)
                return
            yield from self._given(map(LogLine.of, self._pipeline.ordered(arrived.blocks, newest_first=False)))
        self._looked_ns = looked_ns
        self._doubtful.clear()
        while self._known and self._known[0][0] < looked_ns - 2 * _LATE_NS:
            self._known.popleft()

    def _by_time(self, start_ns: int) -> Iterator[LogLine]:
        self._position, end_ns = self._here()
        yield from self._given(self._engine.lines(self._query, start_ns, end_ns, limit=ALL, newest_first=False))
        self._doubtful = Counter(self._known)

    def _here(self) -> tuple[int, int]:
        """The position of now, and a time behind all lines."""
        self._looked_ns = self._clock.now_ns()
        return self._store.arrivals.position(), self._looked_ns + _AHEAD_NS

    def _given(self, lines: Iterator[LogLine]) -> Iterator[LogLine]:
        """Those that were not given out before."""
        for line in lines:
            key = line.t_ns, hash((line.line, line.stream))
            if self._doubtful[key] > 0:
                self._doubtful[key] -= 1
                continue
            if line.t_ns >= self._looked_ns - 2 * _LATE_NS:
                self._known.append(key)
            yield line


def tail_store(config_path: Path, selection: str, *, since_ms: int, limit: int | None, output: str) -> None:
    """What `obskit logs tail` does: the past, then what comes, until it is interrupted."""
    clock = SystemClock()
    terminal = sys.stdout.isatty()
    printer = Printer(form_of(output, terminal=terminal), clock)
    with open_configured(config_path, patient=True) as (_, store):
        query = parse_selection(selection, store.logs, clock.now_ns())
        _note_silence(store, query, clock.now_ms())
        tail = Tail(store, query, clock)
        printer.show(tail.past(since_ms * NS_PER_MS, limit))
        asyncio.run(follow(tail, (_Terminal if terminal else _Pipe)(printer), clock))


class _Terminal:
    """Shows the newest of what comes at once."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer

    def __call__(self, tail: Tail) -> None:
        skipped, lines = newest(tail.new(), PER_POLL)
        if skipped:
            click.secho(f"… {count(skipped, 'line')} skipped: more than can be read", dim=True)
        self._printer.show(lines)
        sys.stdout.flush()


class _Pipe:
    """Writes everything, as fast as it is taken, as long as somebody takes it."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer
        self._told = False

    def __call__(self, tail: Tail) -> None:
        self._printer.show(tail.new())
        sys.stdout.flush()
        if tail.behind and not self._told:
            self._told = True
            click.echo("lines come faster than they are taken: those that come late may be missing", err=True)
        if reader_is_gone():
            raise BrokenPipeError


def _note_silence(store: EmbeddedStore, query: LogQuery, now_ms: int) -> None:
    """Say why there may be nothing to see: on stderr, it is no line."""
    seen_ms = last_seen_ms(store, now_ms)
    if not runs(seen_ms, now_ms):
        click.echo("obskit watch does not run: lines will come once it does", err=True)
    now_ns = now_ms * NS_PER_MS
    if query.matchers != EVERYTHING and not store.logs.streams(query.matchers, now_ns - DAY_NS, now_ns):
        names = sorted({name_of(labels) for labels in store.logs.streams(EVERYTHING, now_ns - DAY_NS, now_ns)})
        known = f"; there are {listed(names[:_NAMED])}{', …' if len(names) > _NAMED else ''}" if names else ""
        selector = LogQuery(query.matchers, ())
        click.echo(f"no stream of the last day matches {selector}{known}", err=True)


async def follow(tail: Tail, show: Callable[[Tail], None], clock: Clock) -> None:
    """Show what is new, for ever."""
    while True:
        show(tail)
        await clock.sleep(POLL_S)


def newest(lines: Iterator[LogLine], most: int) -> tuple[int, Iterator[LogLine]]:
    """How many lines are skipped so that no more than so many are left, and those."""
    kept: deque[LogLine] = deque(maxlen=most)
    count = 0
    for line in lines:
        kept.append(line)
        count += 1
    return count - len(kept), chain(kept)
