"""Whatever is asked: an answer or a QueryError, and one moment gives the same alone as within a range."""

from __future__ import annotations

import math

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from obskit.errors import QueryError
from obskit.model.labels import Labels
from obskit.model.results import Matrix, Vector
from obskit.model.samples import STALE_NAN
from obskit.promql.engine import Engine
from obskit.testing.store import MemoryMetrics
from tests.promql.expressions import VECTORS

NAMES = ["x", "sum", "a:b", "by", "http_requests_total"]
VALUES = st.one_of(
    st.integers(-5, 20).map(float),
    st.floats(-1e6, 1e6),
    st.sampled_from([math.nan, math.inf, -math.inf, STALE_NAN, 0.0, 1e300]),
)
SERIES = st.fixed_dictionaries(
    {"name": st.sampled_from(NAMES), "a": st.sampled_from(["", "1", "2"]), "le": st.sampled_from(["", "1", "+Inf"])}
)
STORES = st.lists(st.tuples(SERIES, st.lists(VALUES, min_size=1, max_size=12), st.integers(0, 14_999)), max_size=6)
STEP_MS = 60_000
AT_MS = 6 * STEP_MS


def store_of(series: list[tuple[dict[str, str], list[float], int]]) -> MemoryMetrics:
    """The series at about every half minute, each on a clock of its own."""
    metrics = MemoryMetrics()
    for labels, values, offset in series:
        times = [offset + 30_000 * place for place in range(len(values))]
        metrics.add(Labels({"__name__": labels["name"], "a": labels["a"], "le": labels["le"]}), times, values)
    return metrics


def moment(engine: Engine, query: str) -> dict[Labels, float] | None:
    """The answer at one moment; None when it is refused."""
    try:
        value = engine.instant(query, AT_MS).value
    except QueryError:
        return None
    assert isinstance(value, Vector)
    return {element.labels: element.value for element in value.elements}


def within_range(engine: Engine, query: str) -> dict[Labels, float] | None:
    """The answer at the same moment, as a step of a range query."""
    try:
        value = engine.range(query, AT_MS - STEP_MS, AT_MS + STEP_MS, STEP_MS).value
    except QueryError:
        return None
    assert isinstance(value, Matrix)
    rows = {one.labels: dict(zip(one.times_ms, one.values, strict=True)) for one in value.series}
    return {labels: points[AT_MS] for labels, points in rows.items() if AT_MS in points}


def alike(one: float, other: float) -> bool:
    """Equal up to the order in which things were added."""
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)


@settings(max_examples=200, deadline=None)
@given(STORES, VECTORS)
def test_a_moment_gives_the_same_alone_and_within_a_range(
    series: list[tuple[dict[str, str], list[float], int]], query: str
) -> None:
    # What depends on the query's own range or step differs, and is meant to.
    assume(not any(word in query for word in ("step()", "range()", "start()")))
    for delayed in (False, True):
        engine = Engine(store_of(series), delayed_name_removal=delayed)
        alone, inside = moment(engine, query), within_range(engine, query)
        # A range may be refused for what another of its steps has.
        if alone is None or inside is None:
            assert alone is None or inside is None
            continue
        assert alone.keys() == inside.keys()
        assert all(alike(alone[labels], inside[labels]) for labels in alone)


@settings(max_examples=100, deadline=None)
@given(STORES, VECTORS)
def test_asking_again_gives_the_same(series: list[tuple[dict[str, str], list[float], int]], query: str) -> None:
    engine = Engine(store_of(series))
    first, again = moment(engine, query), moment(engine, query)
    assert (first is None) == (again is None)
    assert first is None or again is None or first.keys() == again.keys()
    fresh = moment(Engine(store_of(series)), query)
    assert (first is None) == (fresh is None)
    assert first is None or fresh is None or all(alike(first[labels], fresh[labels]) for labels in fresh)
