"""Log rules without re-querying: what was appended goes once through the sieve into the leaves, and rules are answered
from these. While a leaf is cold or too large for memory, its rules are answered by the store.

Everything but `offer` and `told` happens in the rules' worker thread. When to evaluate is left to runner.py.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from obskit.clock import NS_PER_MS, Clock
from obskit.errors import QueryError
from obskit.logql.engine import Engine, Reading
from obskit.logql.metric_nodes import Expr
from obskit.logql.samples import Extraction, SampleSeries
from obskit.model.records import Record
from obskit.model.results import Result
from obskit.rules import telemetry
from obskit.rules.groups import AlertRule, Group
from obskit.rules.leaves import MAX_SAMPLES, SLACK_NS, Leaf, LeafState, Taken
from obskit.rules.shortcuts import NO_ELEMENTS, Shortcuts
from obskit.rules.sieve import Kind, Sieve
from obskit.rules.warming import Warming, by_matchers
from obskit.rules.watermarks import Watermarks, source_of
from obskit.store.log_interface import LogReader, Records
from obskit.store.text_search import TextSearch

MAX_BACKLOG: Final = 50_000
"""Lines that may wait to be looked at; when there are more, they are read from the store instead."""
MAX_TOTAL: Final = 1_500_000
MAX_DELAY_MS: Final = SLACK_NS // NS_PER_MS - 5_000
"""How long a slot may wait for lines at most: memory reaches no further back."""
_SWEEP_S: Final = 10.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Wanted:
    """What rules want of a leaf."""

    lookback_ns: int = 0
    users: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    compared: bool = False


@dataclass(frozen=True, slots=True)
class _Query:
    """A query of a rule, known by identity: to look at the whole of it each time would cost more than its answer."""

    query: Expr
    known: Shortcuts
    leaves: list[tuple[Leaf, int]]


class _NotKept(Exception):  # noqa: N818 - no error: the store is asked
    """Not all of it is in memory."""


@dataclass(slots=True)
class _Backlog:
    """Records that were told of and not yet looked at. Filled in the event loop, emptied in the worker thread."""

    batches: deque[tuple[int, Records]] = field(default_factory=deque)
    told: int = 0
    offered: int = 0
    looked_at: int = 0
    lost_at: int = 0


class LogWindows:
    """The windows of all log rules: an Engine for them (`instant`), and a SampleSource for its own."""

    def __init__(
        self,
        reader: LogReader,
        clock: Clock,
        *,
        max_delay_ms: int = MAX_DELAY_MS,
        search: TextSearch | None = None,
    ) -> None:
        self._reader = reader
        self._search = search
        self._clock = clock
        self._stored = Engine(reader)
        self._kept = Engine(reader, samples=self)
        self._leaves: dict[Extraction, Leaf] = {}
        self._by_kind: dict[Kind, Leaf] = {}
        self._groups: dict[Kind, set[str]] = {}
        self._sieve = Sieve(())
        self._queries: dict[int, _Query] = {}
        self._backlog = _Backlog()
        self._lost = 0
        self._watches = False
        self._watermarks = Watermarks(min(max_delay_ms, MAX_DELAY_MS))
        self._warmings: deque[Warming] = deque()
        self._reading: Warming | None = None
        self._swept_s = -math.inf

    # Rules

    def watch(self, groups: Iterable[Group]) -> None:
        """Go on with the rules of these groups: leaves that some of them had are kept."""
        shortcuts: list[tuple[Expr, Shortcuts]] = []
        wanted: dict[Extraction, _Wanted] = {}
        for group in (group for group in groups if group.type.reads_logs):
            late_ns = (group.interval_ms + group.query_offset_ms) * NS_PER_MS
            for rule in group.rules:
                # An offset asks for lines that came a while ago: what comes now says nothing to such a group.
                listens = isinstance(rule, AlertRule) and group.query_offset_ms == 0
                for query in rule.queries:
                    known = Shortcuts.of(query, self._reader)
                    shortcuts.append((query, known))
                    for asked in known.asked:
                        leaf = wanted.setdefault(asked.extraction, _Wanted())
                        leaf.lookback_ns = max(leaf.lookback_ns, asked.lookback_ns + late_ns)
                        leaf.users |= {rule.key} if listens else set()
                        leaf.groups.add(group.key)
                        leaf.compared |= known.compares
        self._leaves = {extraction: self._leaf(extraction, leaf) for extraction, leaf in wanted.items()}
        self._queries = {
            id(query): _Query(
                query, known, [(self._leaves[asked.extraction], asked.lookback_ns) for asked in known.asked]
            )
            for query, known in shortcuts
        }
        self._by_kind = {leaf.kind: leaf for leaf in self._leaves.values()}
        self._groups = {self._leaves[extraction].kind: leaf.groups for extraction, leaf in wanted.items()}
        before, self._sieve = self._sieve, Sieve(list(self._by_kind))
        if self._search is not None:
            self._search.ask(self._sieve.question, instead_of=before.question)
        self._watches = True
        self._begin_warming()

    def _leaf(self, extraction: Extraction, wanted: _Wanted) -> Leaf:
        known = self._leaves.get(extraction)
        if known is None or wanted.lookback_ns > known.lookback_ns or wanted.compared > known.compared:
            known = Leaf(Kind(extraction) if known is None else known.kind)
        known.lookback_ns, known.users = wanted.lookback_ns, frozenset(wanted.users)
        known.compared = wanted.compared
        return known

    # Lines

    @property
    def told(self) -> int:
        """How many batches the store has told of."""
        return self._backlog.told

    def offer(self, records: Sequence[Record]) -> None:
        """Records that were committed, each once; in the event loop."""
        backlog = self._backlog
        backlog.told += 1
        if self._watches and not self._leaves:
            return
        backlog.offered += len(records)
        if backlog.offered - backlog.looked_at > MAX_BACKLOG + len(records):
            backlog.lost_at = backlog.told
            backlog.batches.clear()
            backlog.offered = backlog.looked_at
        else:
            backlog.batches.append((backlog.told, Records.of(records)))

    def take_in(self, until_s: float = math.inf) -> dict[str, int]:
        """Look at the backlog, at most until a monotonic time: which rules may be concerned, and by lines of when."""
        woken: dict[str, int] = {}
        backlog = self._backlog
        if self._lost != backlog.lost_at:
            self._lost = backlog.lost_at
            woken = self._catch_up()
        while True:
            try:
                number, records = backlog.batches.popleft()
            except IndexError:
                break
            self._take(number, records, woken)
            backlog.looked_at += len(records)
            if self._clock.monotonic() >= until_s:
                break
        if self._clock.monotonic() >= self._swept_s + _SWEEP_S:
            self._sweep()
        return woken

    @property
    def behind(self) -> bool:
        """Whether lines wait to be looked at."""
        return bool(self._backlog.batches) or self._lost != self._backlog.lost_at

    def ready_at_ms(self, group: str, t_ms: int) -> int:
        """When the lines up to a time may be expected to be there that a group looks at."""
        return self._watermarks.ready_at_ms(group, t_ms, self._clock.now_ms())

    def lag_ms(self, group: str) -> int:
        """How late the lines come that a group looks at."""
        return self._watermarks.lag_ms(group, self._clock.now_ms())

    def judged(self, group: str, t_ms: int) -> None:
        """A group has been judged for a time."""
        self._watermarks.judged(group, t_ms)

    def _note_sources(self, records: Records, times_ns: NDArray[np.int64]) -> None:
        groups: dict[str, set[str]] = {}
        kinds = self._sieve.concerned(records)
        names = {number: source_of(stream) for number, (stream, _) in kinds.items()}
        for number, (_, concerned) in kinds.items():
            for kind in concerned:
                groups.setdefault(names[number], set()).update(self._groups[kind])
        now_ms = self._clock.now_ms()
        if len(groups) == 1 and len(set(names.values())) == 1:
            ((name, of_groups),) = groups.items()
            self._watermarks.note(name, times_ns, of_groups, now_ms)
            return
        owners = _owners(records, names)
        for number, name in enumerate(dict.fromkeys(names.values())):
            if name in groups:
                self._watermarks.note(name, times_ns[owners == number], groups[name], now_ms)

    def _take(self, number: int, records: Records, woken: dict[str, int]) -> None:
        times_ns = np.array(records.times_ns, np.int64)
        self._note_sources(records, times_ns)
        for kind, of_kind in self._sieve.sift(records).items():
            leaf = self._by_kind[kind]
            newest_ns = max(records.times_ns[found.places[-1]] for found in of_kind.values())
            for labels, found in of_kind.items():
                leaf.take(Taken(number, labels, times_ns[found.places], found.values))
            if leaf.samples > MAX_SAMPLES or leaf.overfull:
                self._give_up(leaf)
            for key in leaf.users:
                woken[key] = max(woken.get(key, 0), newest_ns // NS_PER_MS)

    def _catch_up(self) -> dict[str, int]:
        """Lines were not looked at: read all windows again, and let every rule look at the store."""
        telemetry.LOG_BACKLOG_LOST.inc()
        log.warning("log rules fell behind and are read from the store again: lines=%d", MAX_BACKLOG)
        for leaf in self._leaves.values():
            if leaf.state is not LeafState.GIVEN_UP:
                leaf.chill()
        self._begin_warming()
        now_ms = self._clock.now_ms()
        return {key: now_ms for leaf in self._leaves.values() for key in leaf.users}

    def _sweep(self) -> None:
        """Forget what no window reaches any more, and keep to the limit."""
        self._swept_s, now_ns = self._clock.monotonic(), self._clock.now_ns()
        for leaf in self._leaves.values():
            leaf.forget(now_ns - leaf.reach_ns)
        for leaf in [leaf for leaf in self._leaves.values() if leaf.overfull]:
            self._give_up(leaf)
        by_size = sorted(self._leaves.values(), key=lambda leaf: leaf.samples)
        total = sum(leaf.samples for leaf in by_size)
        while total > MAX_TOTAL:
            largest = by_size.pop()
            total -= largest.samples
            self._give_up(largest)
        again = [leaf for leaf in by_size if leaf.state is LeafState.GIVEN_UP and leaf.retry_ns <= now_ns]
        for leaf in again:
            leaf.chill()
        if again:
            self._begin_warming()
        telemetry.LOG_SAMPLES.set(total)
        for state, count in self.states().items():
            telemetry.LOG_LEAVES.labels(state.value).set(count)

    def _give_up(self, leaf: Leaf) -> None:
        log.warning("a log rule's window is too large for memory: query=%s", leaf.kind.extraction.query)
        leaf.give_up(self._clock.now_ns())

    def states(self) -> Mapping[LeafState, int]:
        """How many leaves are in each state."""
        counted = Counter(leaf.state for leaf in self._leaves.values())
        return {state: counted[state] for state in LeafState}

    # Answers

    def instant(self, query: Any, at_ns: int) -> Result:
        """The value of an expression at one time; QueryError when it has none."""
        try:
            if self._quiet(query, at_ns):
                return NO_ELEMENTS
            return self._kept.instant(query, at_ns)
        except _NotKept:
            telemetry.LOG_REQUERIES.inc()
            return self._stored.instant(query, at_ns)

    def _quiet(self, query: Any, at_ns: int) -> bool:
        """Whether there are too few samples for any answer."""
        of_query = self._queries.get(id(query))
        if of_query is None:
            return False
        known, leaves = of_query.known, of_query.leaves
        for leaf, lookback_ns in leaves:
            self._check(leaf, at_ns - lookback_ns + 1)
        if known.enough is not None and leaves[0][0].samples <= known.enough and not leaves[0][0].has_errors:
            return True
        return known.empty and not any(leaf.samples for leaf, _ in leaves)

    def samples(self, reading: Reading) -> Sequence[SampleSeries]:
        """What a leaf has."""
        leaf = self._leaves.get(reading.extraction)
        if leaf is None:
            raise _NotKept
        self._check(leaf, reading.start_ns)
        return leaf.series()

    def _check(self, leaf: Leaf, start_ns: int) -> None:
        """Whether a leaf has all samples from a time on; _NotKept when it has not."""
        if leaf.state is not LeafState.WARM:
            raise _NotKept
        if start_ns < leaf.floor_ns:  # the clock went back
            leaf.chill()
            self._begin_warming()
            raise _NotKept

    # Warming

    @property
    def cold(self) -> bool:
        """Whether something is to be read from the store."""
        return bool(self._warmings)

    def _begin_warming(self) -> None:
        cold = [leaf for leaf in self._leaves.values() if leaf.state is LeafState.COLD]
        self._reading = None
        self._warmings = deque(
            Warming(
                leaves,
                self._reader,
                now_ns=self._clock.now_ns(),
                told=lambda: self.told,
                seconds=self._clock.monotonic,
            )
            for leaves in by_matchers(cold)
        )

    def read_piece(self) -> None:
        """Read a part of what cold leaves lack. Then let the store tell of all that is committed, and `judge_piece`."""
        self._reading = self._warmings[0] if self._warmings else None
        if self._reading is None:
            return
        try:
            self._reading.read()
        except QueryError as error:
            for leaf in self._reading.leaves:
                log.warning("a log rule's window cannot be read: query=%s reason=%s", leaf.kind.extraction.query, error)
                leaf.give_up(self._clock.now_ns())
            self._warmings.popleft()
            self._reading = None

    def judge_piece(self) -> tuple[dict[str, int], bool]:
        """Take what was read, if nothing came between: the rules that lines found meanwhile concern, and whether."""
        woken = self.take_in()
        warming, self._reading = self._reading, None
        if warming is None:
            return woken, True
        kept = warming.judge()
        if warming.over:
            self._warmings.remove(warming)
        elif not kept:
            self._warmings.rotate(-1)
        return woken, kept


def _owners(records: Records, names: Mapping[int, str]) -> NDArray[np.int32]:
    """Per record the number of its source, by the identity of its stream: sources are numbered as they come there."""
    of_name = {name: number for number, name in enumerate(dict.fromkeys(names.values()))}
    of_stream = {key: of_name[name] for key, name in names.items()}
    if not records.texts:
        return np.array([of_stream[id(stream)] for stream in records.streams], np.int32)
    owners = np.empty(len(records), np.int32)
    for text in records.texts:
        owners[text.order] = np.repeat([of_stream[id(stream)] for stream in text.streams], np.diff(text.edges))
    return owners
