from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.model.exposition import ExpositionParser
from obskit.model.labels import EMPTY, Labels, is_label_name, is_metric_name

SETS = st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=5)


def test_an_empty_value_is_an_absent_label() -> None:
    labels = Labels({"a": "1", "b": ""})
    assert labels == Labels({"a": "1"})
    assert "b" not in labels
    assert labels.get("b") == ""
    assert len(labels) == 1
    with pytest.raises(KeyError):
        labels["b"]


@given(SETS)
def test_order_does_not_matter(pairs: dict[str, str]) -> None:
    labels, other = Labels(pairs), Labels(reversed(pairs.items()))
    assert labels == other
    assert hash(labels) == hash(other)
    assert labels.fingerprint() == other.fingerprint()
    assert list(labels) == sorted(labels)


@given(SETS, SETS)
def test_what_is_laid_on_top_wins(below: dict[str, str], above: dict[str, str]) -> None:
    assert Labels(below).updated(above) == Labels({**below, **above})


@given(SETS, st.sets(st.text(min_size=1, max_size=2)))
def test_only_and_without_are_the_two_parts_of_a_set(pairs: dict[str, str], names: set[str]) -> None:
    labels = Labels(pairs)
    kept, rest = labels.only(*names), labels.without(*names)
    assert kept.updated(rest) == labels
    assert not set(kept) & set(rest)
    assert set(kept) <= names


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        ({}, "{}"),
        ({"__name__": "up"}, "up"),
        ({"b": "2", "a": "1"}, '{a="1", b="2"}'),
        ({"__name__": "up", "job": 'x"y\\z\n'}, 'up{job="x\\"y\\\\z\\n"}'),
        ({"__name__": "my.metric", "l.x": "1"}, '{"my.metric", "l.x"="1"}'),
    ],
)
def test_labels_are_printed_as_prometheus_prints_them(pairs: dict[str, str], text: str) -> None:
    assert str(Labels(pairs)) == text


@given(SETS.map(Labels), st.text(min_size=1, max_size=5))
def test_what_is_printed_is_a_series_on_a_metrics_page(labels: Labels, name: str) -> None:
    series = labels.updated({"__name__": name})
    page = ExpositionParser().parse(f"{series} 1\n".encode(), "text/plain", now_ms=0)
    assert page.labels == [series]


@pytest.mark.parametrize(
    ("pairs", "fingerprint"),
    [({}, "cbf29ce484222325"), ({"a": "b"}, "d2b371819297f98a")],
)
def test_the_fingerprint_is_fnv_over_names_and_values(pairs: dict[str, str], fingerprint: str) -> None:
    assert Labels(pairs).fingerprint() == fingerprint


@given(SETS.map(Labels), SETS.map(Labels))
def test_labels_compare_by_their_pairs(left: Labels, right: Labels) -> None:
    assert (left < right) == (left.pairs < right.pairs)
    assert (left == right) == (left.pairs == right.pairs)


def test_labels_are_not_equal_to_a_plain_dict() -> None:
    assert Labels({"a": "1"}) != {"a": "1"}
    assert EMPTY.name == ""


@pytest.mark.parametrize(
    ("name", "label", "metric"),
    [("up", True, True), ("a:b", False, True), ("1a", False, False), ("", False, False), ("a-b", False, False),
     ("\u00e4", False, False), ("_", True, True), ("a\n", False, False)],
)  # fmt: skip
def test_plain_names_are_told_from_those_that_need_quotes(name: str, label: bool, metric: bool) -> None:
    assert (is_label_name(name), is_metric_name(name)) == (label, metric)
