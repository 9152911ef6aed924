"""Expressions of one shape, asked as one: the same answers as one by one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.errors import QueryError
from obskit.model.labels import Labels
from obskit.model.results import Vector
from obskit.promql.engine import Engine
from obskit.promql.families import families
from obskit.promql.parser import parse
from obskit.promql.ticks import Tick
from tests.promql.test_engine_properties import AT_MS, STORES, alike, store_of

SHAPES = [
    'x{{a="{a}"}} > {t}',
    '{t} >= x{{le!="1", a="{a}"}}',
    'x{{a="{a}", le="{b}"}}',
    'sum(rate(x{{a="{a}"}}[5m])) > {t}',
    'sum by (le) (rate(x{{a="{a}"}}[5m] offset 1m)) > {t}',
    'sum without (le) (x{{a="{a}"}}) * {n} <= {t}',
    'avg_over_time(x{{a="{a}"}}[3m]) / avg_over_time(sum{{a="{b}"}}[3m]) > {t}',
    'x{{a="{a}"}} / on (le) group_left (a) sum{{a="{b}"}} != {t}',
    'x{{a="{a}"}} > {n} and sum{{a="{b}"}} < {t}',
    'x{{a="{a}"}} or sum{{a="{b}"}} > {t}',
    'x{{a="{a}"}} unless on (le) sum > {n}',
    'topk(1, {{__name__=~"x|sum", a="{a}"}}) > {t}',
    'bottomk by (le) (1, x{{a="{a}"}}) > {t}',
    'quantile(0.5, x{{a="{a}"}}) > {t}',
    'histogram_quantile(0.9, x{{a="{a}"}}) > {t}',
    '-abs(x{{a="{a}"}}) ^ {n} > {t}',
    'clamp_max(x{{a="{a}"}}, 5) - {n} > bool {t}',
    'time() - timestamp(x{{a="{a}"}}) > {t}',
    'label_replace(x{{a="{a}"}}, "b", "$1", "le", "(.*)") > {t}',
    'quantile_over_time(0.5, x{{a="{a}"}}[4m]) > {t}',
    '{{__name__=~"x|by", a="{a}"}} + 1 > {t}',
    'x{{a="{a}"}} @ 200 > {t}',
    '(({n} - (x{{a="{a}"}} % {n}))) < {t}',
    "sum(x) + {n} > {t}",
]
VALUES = st.sampled_from(["", "1", "2", "none", "a|b.*", "ü "])
NUMBERS = st.sampled_from([0, 1, 2.5, 10])
FILLINGS = st.lists(
    st.fixed_dictionaries({"a": VALUES, "b": VALUES, "n": NUMBERS, "t": NUMBERS}), min_size=2, max_size=5
)


def one_by_one(engine: Engine, query: str) -> list[tuple[Labels, float]] | None:
    try:
        value = engine.instant(query, AT_MS).value
    except QueryError:
        return None
    assert isinstance(value, Vector)
    return [(element.labels, element.value) for element in value.elements]


@settings(max_examples=200, deadline=None)
@given(STORES, st.sampled_from(SHAPES), FILLINGS, st.booleans())
def test_a_family_answers_what_its_members_answer(
    series: list[tuple[dict[str, str], list[float], int]], shape: str, fillings: list[dict[str, object]], delayed: bool
) -> None:
    engine = Engine(store_of(series), delayed_name_removal=delayed)
    queries = [shape.format(**filling) for filling in fillings]
    (family,) = families([parse(query) for query in queries])
    alone = [one_by_one(engine, query) for query in queries]
    try:
        answers = engine.answers(family, AT_MS, Tick())
    except QueryError:
        return  # they are asked one by one
    for member, expected in enumerate(alone):
        got = answers.get(member, [])
        assert expected is not None
        assert [labels for labels, _ in got] == [labels for labels, _ in expected]
        assert all(alike(one, other) for (_, one), (_, other) in zip(got, expected, strict=True))


@settings(max_examples=200, deadline=None)
@given(STORES, st.sampled_from(SHAPES), FILLINGS, st.integers(1, 130))
def test_what_a_family_answers_ahead_is_what_it_answers_at_each_moment(
    series: list[tuple[dict[str, str], list[float], int]], shape: str, fillings: list[dict[str, object]], step_s: int
) -> None:
    engine, step_ms = Engine(store_of(series)), step_s * 1000
    queries = [shape.format(**filling) for filling in fillings[:3]]
    (family,) = families([parse(query) for query in queries], at_least=1)
    try:
        ahead = engine.answers_ahead(family, AT_MS - 7 * step_ms, AT_MS, step_ms)
    except QueryError:
        return  # they are asked one by one
    moments = [engine.answers(family, at_ms) for at_ms in range(AT_MS - 7 * step_ms, AT_MS + 1, step_ms)]
    assert [repr(dict(sorted(one.items()))) for one in ahead] == [repr(dict(sorted(one.items()))) for one in moments]


@pytest.mark.parametrize(
    "query",
    [
        'absent(x{{a="{a}"}})',
        'scalar(x{{a="{a}"}}) > bool 1',
        'max_over_time(rate(x{{a="{a}"}}[5m])[1h:1m]) > 1',
        'vector(1) + on () x{{a="{a}"}}',
        'count_values("v", x{{a="{a}"}})',
        'x{{a="{a}"}} > scalar(x)',
        'limit_ratio(0.5, x{{a="{a}"}})',
        "{a}",
    ],
)
def test_what_is_not_the_same_for_each_variant_is_asked_one_by_one(query: str) -> None:
    assert families([parse(query.format(a=value)) for value in (1, 2)]) == []


def test_shapes_that_differ_in_more_than_values_are_apart() -> None:
    texts = ["x > 1", "x >= 1", "x > 2", "1 < x", 'x{a="1"} > 1', 'x{b="1"} > 1', "y > 1", "rate(x[1m]) > 1"]
    assert [family.members for family in families([parse(text) for text in texts])] == [(0, 2)]


def test_more_values_than_a_pattern_takes_are_found_too() -> None:
    store = store_of([({"name": "x", "a": "", "le": ""}, [1.0] * 12, 0)])
    store.add(Labels({"__name__": "x", "a": "7"}), [AT_MS], [5.0])
    engine = Engine(store)
    (family,) = families([parse(f'x{{a="{number}"}} > 1') for number in range(3000)])
    assert engine.answers(family, AT_MS) == {7: [(Labels({"__name__": "x", "a": "7"}), 5.0)]}
    assert families([parse(f'{{a="{number}"}} > 1') for number in range(3000)]) == []


def test_an_expression_is_read_once_per_tick() -> None:
    store = store_of([({"name": "x", "a": "1", "le": ""}, [1.0] * 12, 0)])
    engine, tick = Engine(store), Tick()
    queries = ["sum(rate(x[5m])) > 0", "sum(rate(x[5m])) * 2", "max(rate(x[5m]))"]
    before = [engine.instant(query, AT_MS).value for query in queries]
    assert [engine.instant(query, AT_MS, tick).value for query in queries] == before
    store.add(Labels({"__name__": "x", "a": "1"}), [AT_MS], [math.inf])
    assert [engine.instant(query, AT_MS, tick).value for query in queries] == before
    assert [engine.instant(query, AT_MS, Tick()).value for query in queries] != before
