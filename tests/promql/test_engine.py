"""The engine: what it keeps, what it refuses, and how it answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from obskit.errors import QueryError, QuerySyntaxError
from obskit.model.labels import Labels
from obskit.model.matchers import Matcher
from obskit.model.results import Matrix, RangeSeries, Result, Scalar, String, Vector
from obskit.promql.engine import Engine
from obskit.promql.parser import parse
from obskit.promql.selection import KnownSets, Limits
from obskit.store.interface import SeriesWindow
from obskit.testing.clock import FakeClock
from obskit.testing.store import MemoryMetrics

MINUTE = 60_000


def metrics(*names: str, apps: int = 2) -> MemoryMetrics:
    """Counters that grow by 1 every 15 s for ten minutes."""
    store = MemoryMetrics()
    times = list(range(0, 10 * MINUTE + 1, 15_000))
    for name in names:
        for app in range(apps):
            store.add(Labels({"__name__": name, "app": f"a{app}"}), times, [float(i) for i in range(len(times))])
    return store


def test_an_instant_query_answers_a_vector_stamped_with_its_time() -> None:
    result = Engine(metrics("x_total", apps=1)).instant("x_total", 5 * MINUTE + 7)
    assert isinstance(result.value, Vector)
    (element,) = result.value.elements
    assert (str(element.labels), element.value, element.t_ms) == ('x_total{app="a0"}', 20.0, 5 * MINUTE + 7)


def test_scalars_and_strings_are_answered_as_such() -> None:
    engine = Engine(MemoryMetrics())
    assert engine.instant("1 + 1", 1000).value == Scalar(2.0, 1000)
    assert engine.instant('"text"', 1000).value == String("text", 1000)
    assert engine.range("time()", 0, 2000, 1000).value == Matrix(
        (RangeSeries(Labels(), [0, 1000, 2000], [0.0, 1.0, 2.0]),)
    )


def test_a_range_vector_is_answered_with_its_samples() -> None:
    result = Engine(metrics("x_total", apps=1)).instant("x_total[30s]", 5 * MINUTE)
    assert result.value == Matrix(
        (RangeSeries(Labels({"__name__": "x_total", "app": "a0"}), [285_000, 300_000], [19.0, 20.0]),)
    )


def test_functions_of_ranges_refuse_series_that_differ_by_name_alone_wherever_they_lie() -> None:
    store = MemoryMetrics()
    store.add(Labels({"__name__": "x"}), [0, 1000], [1, 2])
    store.add(Labels({"__name__": "y"}), [600_000, 601_000], [3, 4])
    query = '{__name__=~"x|y"}'
    with pytest.raises(QueryError, match="same labelset"):
        Engine(store).range(f"rate({query}[10s])", 5000, 605_000, 300_000)
    assert len(rows(Engine(store).range(f"abs({query})", 5000, 605_000, 300_000))) == 1


def rows(result: Result) -> tuple[RangeSeries, ...]:
    assert isinstance(result.value, Matrix)
    return tuple(result.value.series)


def test_a_range_query_is_ordered_by_labels_and_leaves_gaps_out() -> None:
    store = MemoryMetrics()
    store.add(Labels({"__name__": "x", "k": "b"}), [0, 600_000], [1, 2])
    store.add(Labels({"__name__": "x", "k": "a"}), [0], [3])
    value = Engine(store).range("x", 0, 600_000, 300_000).value
    assert isinstance(value, Matrix)
    assert [(one.labels["k"], list(one.times_ms), list(one.values)) for one in value.series] == [
        ("a", [0], [3.0]),
        ("b", [0, 600_000], [1.0, 2.0]),
    ]


@pytest.mark.parametrize("expr", ["x_total[5m]", '"text"'])
def test_a_range_query_takes_scalars_and_vectors_only(expr: str) -> None:
    with pytest.raises(QueryError, match="for range query, must be Scalar or instant Vector"):
        Engine(MemoryMetrics()).range(expr, 0, 1000, 1000)


@pytest.mark.parametrize(
    ("start", "end", "step", "message"),
    [
        (0, 1000, 0, "zero or negative query resolution step"),
        (1000, 0, 1000, "end timestamp must not be before start time"),
        (0, 11_001, 1, "exceeded maximum resolution of 11,000 points"),
    ],
)
def test_impossible_ranges_are_refused(start: int, end: int, step: int, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        Engine(MemoryMetrics()).range("1", start, end, step)


def test_a_query_may_not_load_more_samples_than_allowed() -> None:
    engine = Engine(metrics("x_total"), limits=Limits(max_samples=50))
    assert engine.instant("sum(x_total)", 5 * MINUTE).value
    with pytest.raises(QueryError, match="query processing would load too many samples into memory"):
        engine.instant("sum(rate(x_total[10m]))", 10 * MINUTE)


def test_a_subquery_counts_its_steps_against_the_limit() -> None:
    engine = Engine(MemoryMetrics(), limits=Limits(max_samples=1000))
    with pytest.raises(QueryError, match="too many samples"):
        engine.instant("max_over_time(vector(1)[1d:1s])", 0)


def test_equal_label_sets_after_dropping_names_are_refused() -> None:
    engine = Engine(metrics("x_total", "y_total"))
    with pytest.raises(QueryError, match="vector cannot contain metrics with the same labelset"):
        engine.instant('abs({__name__=~".+_total"})', MINUTE)


def test_series_that_follow_each_other_become_one_after_dropping_names() -> None:
    store = MemoryMetrics()
    store.add(Labels({"__name__": "old"}), [0], [1])
    store.add(Labels({"__name__": "new"}), [600_000], [2])
    value = Engine(store).range('abs({__name__=~"old|new"})', 0, 600_000, 600_000).value
    assert isinstance(value, Matrix)
    assert [(one.labels, list(one.times_ms), list(one.values)) for one in value.series] == [
        (Labels(), [0, 600_000], [1.0, 2.0])
    ]


@pytest.mark.parametrize(("delayed", "groups"), [(False, [""]), (True, ["x_total"])])
def test_names_are_dropped_at_once_or_at_the_end_of_the_query(delayed: bool, groups: list[str]) -> None:
    engine = Engine(metrics("x_total"), delayed_name_removal=delayed)
    value = engine.instant(
        'count_values("name", label_replace(rate(x_total[5m]), "n", "$1", "__name__", "(.*)"))', 5 * MINUTE
    )
    joined = engine.instant('label_replace(rate(x_total[5m]), "n", "$1", "__name__", "(.*)")', 5 * MINUTE).value
    assert value
    assert isinstance(joined, Vector)
    assert sorted({element.labels.get("n") for element in joined.elements}) == groups


def test_delayed_names_may_still_be_grouped_by() -> None:
    engine = Engine(metrics("x_total", "y_total", apps=1), delayed_name_removal=True)
    with pytest.raises(QueryError, match="same labelset"):
        engine.instant('sum by (__name__) (rate({__name__=~".+_total"}[5m]))', 5 * MINUTE)
    value = engine.instant('count(sum by (__name__) (rate({__name__=~".+_total"}[5m])))', 5 * MINUTE).value
    assert isinstance(value, Vector)
    assert value.elements[0].value == 2.0


def test_times_beyond_all_reason_find_nothing() -> None:
    engine = Engine(metrics("x_total"))
    assert engine.range("x_total @ 9e14", 0, 120_000, 60_000).value == Matrix(())
    assert engine.range("rate(x_total[200y] @ 9e14 offset -200y)", 0, 120_000, 60_000).value == Matrix(())


def test_annotations_come_once_with_their_place() -> None:
    result = Engine(metrics("x")).instant("sum(\n  rate(x[5m])) + sum(rate(x[5m]))", 5 * MINUTE)
    assert result.warnings == ()
    message = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket"
    assert result.infos == (f'PromQL info: {message}: "x" (2:8)', f'PromQL info: {message}: "x" (2:27)')


def test_a_tree_may_be_evaluated_instead_of_its_text() -> None:
    engine = Engine(metrics("x_total"))
    tree = parse("sum(x_total)")
    assert engine.instant(tree, MINUTE) == engine.instant("sum(x_total)", MINUTE)


def test_a_wrong_text_is_a_syntax_error() -> None:
    with pytest.raises(QuerySyntaxError, match="1:5: parse error: unclosed left parenthesis"):
        Engine(MemoryMetrics()).instant("sum(", 0)


def test_new_series_are_seen_by_the_next_evaluation() -> None:
    store = metrics("x_total")
    engine = Engine(store)
    query = 'sum by (app) (x_total) * on (app) group_left count by (app) ({__name__=~"x.*"})'
    before = engine.instant(query, MINUTE).value
    store.add(Labels({"__name__": "x_total", "app": "a9"}), [MINUTE], [5])
    store.add(Labels({"__name__": "x_total", "app": "a0", "pod": "p"}), [MINUTE], [5])
    after = engine.instant(query, MINUTE).value
    assert isinstance(before, Vector)
    assert isinstance(after, Vector)
    assert {e.labels["app"]: e.value for e in before.elements} == {"a0": 4.0, "a1": 4.0}
    assert {e.labels["app"]: e.value for e in after.elements} == {"a0": 18.0, "a1": 4.0, "a9": 5.0}


def test_label_sets_are_known_again_by_sequence_and_by_rows() -> None:
    known = KnownSets()
    one, two = Labels({"a": "1"}), Labels({"a": "2"})
    rows = [one, two]
    sets = known.of(rows)
    assert known.of(rows) is sets
    assert known.of([one, two]) is sets
    assert known.of([two, one]) is not sets
    rows.append(Labels({"a": "3"}))
    assert known.of(rows).size == 3


def test_no_more_label_sets_are_held_than_allowed() -> None:
    known = KnownSets(max_rows=4)
    rows = [tuple(Labels({"a": str(i), "b": str(j)}) for j in range(2)) for i in range(3)]
    first = known.of(rows[0])
    known.of(rows[1])
    assert known.of(rows[0]) is not first
    last = known.of(rows[2])
    assert known.of(rows[2]) is last


def test_pinned_parts_are_the_same_at_every_step() -> None:
    engine = Engine(metrics("x_total"))
    pinned = engine.range("sum(rate(x_total[5m] @ 300)) + x_total{app='a0'} * 0", 0, 600_000, 60_000).value
    plain = engine.instant("sum(rate(x_total[5m]))", 300_000).value
    assert isinstance(pinned, Matrix)
    assert isinstance(plain, Vector)
    assert not pinned.series or math.isclose(pinned.series[0].values[0], plain.elements[0].value)


def test_an_empty_store_answers_empty_everything() -> None:
    engine = Engine(MemoryMetrics())
    for query in (
        "x", "rate(x[5m])", "sum by (a) (x)", "topk(1, x)", "quantile(0.5, x)", "count_values('a', x)", "x + y",
        "x or y", "x and y", "histogram_quantile(0.5, x)", "sort(x)", "label_replace(x, 'a', 'b', 'c', 'd')",
        "max_over_time(x[1h:1m])", "x > 1", "stddev_over_time(x[5m])", "timestamp(x)", "x * on () group_left y",
    ):  # fmt: skip
        assert engine.instant(query, 0).value == Vector(()), query
        assert engine.range(query, 0, 120_000, 60_000).value == Matrix(()), query


def test_too_many_series_at_once_are_refused() -> None:
    engine = Engine(metrics("x_total"), limits=Limits(max_series=1))
    with pytest.raises(QueryError, match=r"more than the limit of 1$"):
        engine.instant("sum(rate(x_total[5m]))", 5 * MINUTE)


@pytest.mark.parametrize("query", ["sum(x_total)", "quantile_over_time(0.5, x_total[5m])", "sum(rate(x_total[5m]))"])
def test_a_query_that_takes_too_long_is_refused(query: str) -> None:
    clock = FakeClock()

    class Slow(MemoryMetrics):
        def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> SeriesWindow:
            clock.advance(2)
            return super().select(matchers, start_ms, end_ms)

    store = Slow()
    store.add(Labels({"__name__": "x_total"}), range(0, 600_000, 15_000), range(40))
    engine = Engine(store, limits=Limits(timeout_s=3, clock=clock))
    engine.range(query, 300_000, 600_000, 1000)
    with pytest.raises(QueryError, match="timed out after 3 s"):
        engine.range(f"{query} + {query.replace('x_', 'y_')}", 300_000, 600_000, 1000)
