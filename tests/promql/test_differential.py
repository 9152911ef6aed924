"""The engine beside a real Prometheus: 200 generated queries, and one by one what 3.x changed since that Prometheus.

Long campaigns: `python -m tests.promql.differential --seed N --queries 5000`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from obskit.model.labels import Labels
from obskit.promql.engine import Engine
from obskit.store.database import Database
from obskit.store.embedded import EmbeddedStore, StoreSettings
from obskit.store.interface import Batch, Samples
from obskit.testing.clock import FakeClock, run
from tests.promql.differential.answers import Answer, ours, theirs
from tests.promql.differential.beside import Beside, beside, in_memory, make_questions
from tests.promql.differential.data import BASE_MS, SPAN_MS, Series, make_series
from tests.promql.differential.prometheus import Prometheus

SEED = 11
EDGE_MS = BASE_MS + 600_000
TENS = [BASE_MS + 10_000 * step for step in range(61)]
CHANGED = [
    Series(Labels({"__name__": "edge", "k": "a"}), TENS, [float(step) for step in range(61)]),
    Series(Labels({"__name__": "edge", "k": "two\nlines"}), TENS, [1.0] * 61),
    Series(Labels({"__name__": "old"}), [EDGE_MS - 300_000], [7.0]),
    Series(Labels({"__name__": "endless"}), TENS, [float("inf")] * 61),
    # Far from the range's start, and its zero a little more than half an interval before its first sample.
    Series(Labels({"__name__": "late_total"}), TENS[58:], [7.0, 17.0, 27.0]),
]
CHANGES: list[tuple[str, Any, Any]] = [
    ('count_over_time(edge{k="a"}[30s])', [4.0], [3.0]),
    ('count_over_time(edge{k="a"}[1m:10s])', [7.0], [6.0]),
    ("old", [7.0], []),
    ("last_over_time(old[5m])", [7.0], []),
    ('edge{k=~"two.lines"}', [], [1.0]),
    ("increase(late_total[1m])", [27.0], [25.0]),
    ('edge{k="a"} * on () group_left () edge > Inf', "many-to-many matching not allowed", "many-to-many"),
    ('edge < ignoring (k) edge{k="a"}', [1.0], "many-to-one matching must be explicit"),
    ("stddev(endless)", [0.0], [float("nan")]),
    ('edge{k="a"} atan2 0 and on (__name__) edge', [math.pi / 2], []),
    ('holt_winters(edge{k="a"}[1m], 0.5, 0.5)', [60.0], "unknown function"),
    ('double_exponential_smoothing(edge{k="a"}[1m], 0.5, 0.5)', "unknown function", [60.0]),
    ('count_over_time(edge{k="a"}[25])', "parse error", [3.0]),
    ("vector(1_000)", "parse error", [1000.0]),
    ("vector(5m)", "parse error", [300.0]),
    ('label_replace(vector(1), "a b", "x", "", "")', "invalid destination label name", [1.0]),
    ('{"edge", k="a"}', "parse error", [60.0]),
    ('first_over_time(edge{k="a"}[25s])', "unknown function", [58.0]),
]
"""Query at EDGE_MS, what 2.42 answers, what 3.x and obskit answer: values, or a part of the error."""


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    with beside(tmp_path_factory.mktemp("prometheus"), SEED) as both:
        yield both


@pytest.fixture(scope="module")
def old_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with Prometheus(tmp_path_factory.mktemp("prometheus")) as server:
        server.write(CHANGED)
        yield server


@pytest.mark.server("prometheus")
def test_generated_queries_have_prometheus_answers(sides: Beside) -> None:
    found = [finding for question in make_questions(SEED, 200) if (finding := sides.compare(question))]
    unknown = [str(finding) for finding in found if not finding.change]
    assert not unknown, "\n".join(unknown)


def content(answer: Answer) -> list[float] | str:
    return answer.text if answer.kind == "error" else [points[0][1] for _, points in answer.series]


def assert_is(answer: Answer, expected: Any) -> None:
    if isinstance(expected, str):
        assert expected in answer.text
        return
    assert content(answer) == pytest.approx(expected, nan_ok=True)


@pytest.mark.server("prometheus")
@pytest.mark.parametrize(("query", "before", "since"), CHANGES)
def test_what_changed_since_is_answered_as_3_x_does(
    old_prometheus: Prometheus, query: str, before: Any, since: Any
) -> None:
    assert_is(theirs(lambda: old_prometheus.instant(query, EDGE_MS)), before)
    assert_is(ours(lambda: Engine(in_memory(CHANGED)).instant(query, EDGE_MS)), since)


def minutes(series: list[Series]) -> Iterator[Batch]:
    """The series as they would have come, minute by minute."""
    for start in range(BASE_MS, BASE_MS + SPAN_MS + 300_000, 60_000):
        samples = Samples()
        for one in series:
            for t_ms, value in zip(one.times_ms, one.values, strict=True):
                if start <= t_ms < start + 60_000:
                    samples.add(one.labels, t_ms, value)
        yield Batch(samples=samples)


def test_the_embedded_store_gives_the_same_answers(tmp_path: Path) -> None:
    series = make_series(SEED)
    clock = FakeClock(BASE_MS)

    async def scenario() -> list[str]:
        store = EmbeddedStore(Database.open(tmp_path, reserve_bytes=0), clock, StoreSettings())
        store.load()
        store.reserve_window(None, 2 * SPAN_MS)
        for batch in minutes(series):
            await store.append(batch)
            clock.advance(60)
        engines = Engine(store.metrics), Engine(in_memory(series))
        questions = list(make_questions(SEED, 200))
        different = [str(one) for one in questions if one.difference(*(one.answer_of(engine) for engine in engines))]
        await store.close()
        return different

    assert run(scenario(), clock) == []
