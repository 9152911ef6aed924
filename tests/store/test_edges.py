"""The edges of windows are what a plain computation over the samples gives, whatever happened to the series."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.model.samples import STALE_NAN, is_stale
from obskit.store.head import MetricHead
from obskit.store.interface import Layout, Samples
from obskit.store.rounds import NEVER, Round
from obskit.store.settings import StoreSettings
from obskit.testing.clock import START_MS, FakeClock, run
from tests.store.shelf import HOUR, MINUTE, Shelf, metric, named, samples

SERIES = [metric(f"m{n % 2}", n=str(n)) for n in range(6)]
LAYOUT = Layout(SERIES)


class Daemon:
    """A head that can be restarted: what it admitted is its disk."""

    def __init__(self, window_ms: int = 300_000) -> None:
        self.head = MetricHead(StoreSettings(memory_window=window_ms))
        self.now = START_MS
        self._ids: dict[Labels, int] = {}
        self._disk: list[Round] = []

    def append(self, batch: Samples) -> None:
        admitted = self.head.admit(batch, self.now)
        slots = admitted.whole.slots.tolist()
        ids = {slot: self._ids.setdefault(self.head.labels_of(slot), len(self._ids) + 1) for slot in slots}
        admitted.ids.update(ids)
        self._disk.append(Round(np.array([ids[slot] for slot in slots], np.int64), *admitted.whole[1:]))
        self.head.apply(admitted, self.now)

    def restart(self) -> None:
        self.head = self.head.successor(self.now, NEVER)
        labels = {number: labels for labels, number in self._ids.items()}
        for rows in self._disk:
            recent = rows.take(rows.times_ms > self.now - self.head.longest_window_ms)
            self.head.restore({number: labels[number] for number in set(recent.slots.tolist())}, recent)


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def series_of(head: MetricHead, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Iterator[tuple]:
    """Labels and samples of each series, from `select`."""
    part, _ = head.select(matchers, start_ms, end_ms)
    ends = np.cumsum(part.counts).tolist()
    for labels, low, high in zip(part.labels, [0, *ends], ends, strict=False):
        yield labels, list(zip(part.times_ms[low:high].tolist(), part.values[low:high].tolist(), strict=True))


def naive_edges(head: MetricHead, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> dict[Labels, tuple]:
    found = {}
    for labels, points in series_of(head, matchers, start_ms, end_ms):
        real = [point for point in points if not is_stale(point[1])]
        if real:
            resets = math.fsum(a for (_, a), (_, b) in itertools.pairwise(real) if b < a)
            found[labels] = (len(real), *real[0], *real[max(-2, -len(real))], *real[-1], resets)
    return found


def edges_by_series(head: MetricHead, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> dict[Labels, tuple]:
    found = head.edges(matchers, start_ms, end_ms)
    assert found is not None
    columns = (
        found.count, found.first_ms, found.first, found.previous_ms,
        found.previous, found.last_ms, found.last, found.resets,
    )  # fmt: skip
    return dict(zip(found.labels, zip(*(column.tolist() for column in columns), strict=True), strict=True))


def check(head: MetricHead, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> None:
    expected = naive_edges(head, matchers, start_ms, end_ms)
    found = edges_by_series(head, matchers, start_ms, end_ms)
    assert list(found) == list(expected)
    for labels, row in expected.items():
        assert [bits(x) for x in found[labels][:-1]] == [bits(x) for x in row[:-1]]
        assert found[labels][-1] == pytest.approx(row[-1])
    newest = head.newest(matchers, start_ms, end_ms)
    assert newest is not None
    last = {labels: points[-1] for labels, points in series_of(head, matchers, start_ms, end_ms)}
    assert [
        (labels, t, bits(v)) for labels, t, v in zip(newest[0], *(c.tolist() for c in newest[1:]), strict=True)
    ] == [(labels, t, bits(v)) for labels, (t, v) in last.items() if not is_stale(v)]


VALUES = st.one_of(st.integers(0, 9).map(float), st.sampled_from([STALE_NAN, math.nan, math.inf, 1e15, -0.0]))
ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(-40, 40), VALUES), min_size=1, max_size=8)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), ROWS),
        st.tuples(st.just("scrape"), st.lists(VALUES, min_size=6, max_size=6)),
        st.tuples(st.just("counters"), st.integers(1, 30)),
        st.tuples(st.just("pass"), st.integers(1, 30)),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("reserve"), st.integers(1, 40)),
    ),
    max_size=40,
)
WINDOWS = st.lists(st.tuples(st.integers(0, 300), st.integers(-60, 200)), min_size=1, max_size=4)
CHOSEN = [
    named("m0"),
    named("m1"),
    (Matcher("n", MatchOp.REGEX, "[1-4]"),),
    (*named("m0"), Matcher("n", MatchOp.NOT_EQUAL, "2")),
]


@given(STEPS, WINDOWS)
@settings(max_examples=80, deadline=None)
def test_edges_are_what_the_samples_say(steps: list[tuple], windows: list[tuple[int, int]]) -> None:
    daemon = Daemon()
    for step, argument in steps:
        take(daemon, step, argument)
        floor = max(daemon.head.select(chosen, 0, 0)[1] for chosen in CHOSEN)
        for length_s, back_s in windows:
            end = max(daemon.now - back_s * 1000, floor)
            start = max(end - length_s * 1000, floor)
            for chosen in CHOSEN:
                check(daemon.head, chosen, start, end)


def take(daemon: Daemon, step: str, argument: object) -> None:
    now = daemon.now
    if step == "append":
        batch = Samples()
        for number, seconds, value in argument:  # type: ignore[attr-defined]
            batch.add(SERIES[number], now + seconds * 1000, value)
        daemon.append(batch)
    elif step == "scrape":
        daemon.append(Samples.laid_out(LAYOUT, [now] * len(SERIES), list(argument)))  # type: ignore[call-overload]
    elif step == "counters":
        for count in range(argument):  # type: ignore[call-overload]
            daemon.now += 7_000
            daemon.append(Samples.laid_out(LAYOUT, [daemon.now] * len(SERIES), [float(count)] * len(SERIES)))
    elif step == "pass":
        daemon.now += argument * 10_000  # type: ignore[operator]
    elif step == "restart":
        daemon.restart()
    else:
        daemon.head.reserve_window("m1", argument * 60_000)  # type: ignore[operator]


def test_a_window_that_reaches_behind_memory_is_left_to_select(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            await shelf.tick(SERIES, 300)
            reader = shelf.store.metrics
            assert reader.edges(named("m0"), shelf.now - 2 * HOUR, shelf.now) is None
            assert reader.newest(named("m0"), shelf.now - 2 * HOUR, shelf.now) is None
            inside = reader.edges(named("m0"), shelf.now - 5 * MINUTE, shelf.now)
            assert inside is not None
            assert inside.count.tolist() == [20] * 3
            assert inside.last.tolist() == [299.0] * 3

    run(scenario())


def test_a_window_read_from_disk_is_then_in_memory(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock) as shelf:
            await shelf.tick(SERIES, 300, every_s=60)
        async with Shelf(tmp_path, clock) as shelf:
            shelf.store.reserve_window("m0", 4 * HOUR)
            start = shelf.now - 4 * HOUR
            assert shelf.store.metrics.edges(named("m0"), start, shelf.now) is None
            assert len(shelf.points("m0", 4 * HOUR)) == 3
            found = shelf.store.metrics.edges(named("m0"), start, shelf.now)
            assert found is not None
            assert found.count.tolist() == [240] * 3

    clock = FakeClock()
    run(scenario(), clock)


def test_labels_stay_the_same_object_while_other_series_come(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            await shelf.tick(SERIES, 2)

            def labels(matchers: Sequence[Matcher]) -> Sequence[Labels]:
                found = shelf.store.metrics.edges(matchers, shelf.now - MINUTE, shelf.now)
                assert found is not None
                return found.labels

            one = (*named("m0"), Matcher("n", MatchOp.EQUAL, "2"))
            before, of_all = labels(one), labels(named("m0"))
            await shelf.store.append(samples((metric("m0", n="new"), shelf.now, 1.0)))
            assert labels(one) is before
            assert list(labels(named("m0"))) == [*of_all, metric("m0", n="new")]

    run(scenario())
