"""Where Prometheus' own doing decides: order among equals, signs of zero, what it forgets. Seen in 2.42 too."""

from __future__ import annotations

import math

import pytest

from obskit.errors import QueryError, QuerySyntaxError
from obskit.model.labels import Labels
from obskit.model.results import Matrix, Vector
from obskit.promql.engine import Engine
from obskit.testing.store import MemoryMetrics

MINUTE = 60_000
AT = 30 * MINUTE


def engine(**values: float) -> Engine:
    """One sample of a series `x` for each of these apps."""
    store = MemoryMetrics()
    for app, value in values.items():
        store.add(Labels({"__name__": "x", "app": app}), [AT], [value])
    return Engine(store)


def apps(result: object) -> list[str]:
    assert isinstance(result, Vector)
    return [element.labels.get("app") for element in result.elements]


@pytest.mark.parametrize(
    ("query", "values", "kept"),
    [
        ("topk(2, x)", {"a": 1, "b": 1, "c": 1}, ["a", "b"]),
        ("topk(2, x)", {"a": 1, "b": 1, "c": 2}, ["c", "b"]),  # c takes the root's place, and that is a
        ("bottomk(2, x)", {"a": 2, "b": 2, "c": 1}, ["c", "b"]),
        ("topk(3, x)", {"a": 2, "b": 1, "c": 2, "d": 2}, ["d", "a", "c"]),
        ("topk(1, x)", {"a": math.nan, "b": math.nan, "c": -1}, ["c"]),
        ("topk(3, x)", {"a": math.nan, "b": 1, "c": math.nan}, ["b", "a", "c"]),
    ],
)
def test_topk_keeps_of_equals_what_the_heap_keeps(query: str, values: dict[str, float], kept: list[str]) -> None:
    assert apps(engine(**values).instant(query, AT).value) == kept


@pytest.mark.parametrize(("op", "first"), [("topk", 20.0), ("bottomk", 1.0)])
def test_many_equals_are_sorted_too(op: str, first: float) -> None:
    values = {f"a{number}": float(number // 2) for number in range(2, 42)}
    found = engine(**values).instant(f"{op}(15, x)", AT).value
    assert isinstance(found, Vector)
    ranked = [element.value for element in found.elements]
    assert len(ranked) == 15
    assert ranked[0] == first
    assert ranked == sorted(ranked, reverse=op == "topk")


def test_over_a_range_topk_keeps_at_each_step_what_it_keeps_there_alone() -> None:
    store = MemoryMetrics()
    for app, values in {"a": [1, 3], "b": [1, 1], "c": [2, 3], "d": [1, 3]}.items():
        store.add(Labels({"__name__": "x", "app": app}), [AT, AT + MINUTE], [float(value) for value in values])
    asked = Engine(store)
    whole = asked.range("topk(2, x)", AT, AT + MINUTE, MINUTE).value
    assert isinstance(whole, Matrix)
    for at_ms in (AT, AT + MINUTE):
        there = {one.labels.get("app") for one in whole.series if at_ms in one.times_ms}
        assert there == set(apps(asked.instant("topk(2, x)", at_ms).value))


def two_sides() -> Engine:
    store = MemoryMetrics()
    for app, shard in (("b", "1"), ("a", "1"), ("b", "2")):
        store.add(Labels({"__name__": "many", "app": app, "shard": shard}), [AT], [1])
    for app in ("a", "b"):
        store.add(Labels({"__name__": "one", "app": app}), [AT], [2])
    return Engine(store)


def test_group_right_answers_in_the_order_of_the_right_side() -> None:
    found = two_sides().instant("one * on (app) group_right many", AT).value
    assert isinstance(found, Vector)
    shards = [element.labels.get("app") + element.labels.get("shard") for element in found.elements]
    assert shards == ["b1", "a1", "b2"]


@pytest.mark.parametrize(
    "query", ["sum by (app) (x > 1)", "topk by (app) (1, x > 1)", "quantile by (app) (0.5, x > 1)"]
)
def test_groups_come_in_the_order_of_their_first_elements(query: str) -> None:
    store = MemoryMetrics()
    for app, shard, value in (("a", "1", 1), ("b", "1", 2), ("a", "2", 2)):
        store.add(Labels({"__name__": "x", "app": app, "shard": shard}), [AT], [value])
    assert apps(Engine(store).instant(query, AT).value) == ["b", "a"]


@pytest.mark.parametrize(
    ("offset", "times"),
    [
        ("1m", [AT - MINUTE]),  # read up to there, so that is the newest
        ("-1m", [AT]),  # the offset is forgotten
        ("5m", []),
        ("-5m", []),
    ],
)
def test_timestamp_forgets_the_offset_of_what_has_an_at(offset: str, times: list[int]) -> None:
    store = MemoryMetrics()
    store.add(Labels({"__name__": "x"}), list(range(0, 2 * AT, MINUTE)), [float(i) for i in range(2 * AT // MINUTE)])
    found = Engine(store).instant(f"timestamp(x @ {AT // 1000} offset {offset})", 2 * AT).value
    assert isinstance(found, Vector)
    assert [element.value * 1000 for element in found.elements] == times


def test_at_start_may_stand_before_a_range_and_a_time_may_not() -> None:
    asked = engine(a=1)
    before = asked.range("count_over_time(x @ start()[5m])", AT, AT + 10 * MINUTE, MINUTE)
    behind = asked.range("count_over_time(x[5m] @ start())", AT, AT + 10 * MINUTE, MINUTE)
    assert before.value == behind.value
    with pytest.raises(QuerySyntaxError, match="no @ modifiers allowed before range"):
        asked.instant("count_over_time(x @ 5[5m])", AT)


@pytest.mark.parametrize(
    ("query", "sign"),
    [("sum(x)", 1.0), ("avg(x)", 1.0), ("sum_over_time(x[5m])", 1.0), ("max(x)", -1.0), ("-abs(x)", -1.0)],
)
def test_sums_begin_at_zero_so_that_they_have_no_negative_one(query: str, sign: float) -> None:
    found = engine(a=-0.0).instant(query, AT).value
    assert isinstance(found, Vector)
    assert math.copysign(1.0, found.elements[0].value) == sign


def test_series_that_become_one_keep_the_sign_of_zero() -> None:
    store = MemoryMetrics()
    store.add(Labels({"__name__": "x"}), [AT], [-0.0])
    store.add(Labels({"__name__": "y"}), [AT + 10 * MINUTE], [1])
    found = Engine(store).range('{__name__=~"x|y"} * 1', AT, AT + 10 * MINUTE, 10 * MINUTE).value
    assert isinstance(found, Matrix)
    (series,) = found.series
    assert [math.copysign(1.0, value) for value in series.values] == [-1.0, 1.0]


def test_a_minus_refuses_series_that_differ_by_name_alone_wherever_they_lie() -> None:
    store = MemoryMetrics()
    store.add(Labels({"__name__": "x"}), [AT], [1])
    store.add(Labels({"__name__": "y"}), [AT + 10 * MINUTE], [2])
    asked = Engine(store)
    with pytest.raises(QueryError, match="same labelset"):
        asked.range('-{__name__=~"x|y"}', AT, AT + 10 * MINUTE, MINUTE)
    assert len(asked.range('0 - {__name__=~"x|y"}', AT, AT + 10 * MINUTE, MINUTE).value.series) == 1  # type: ignore[union-attr]  # a matrix
