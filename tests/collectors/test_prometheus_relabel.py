from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from obskit_collectors.prometheus_relabel import RelabelRule, relabel

ABC = {"a": "foo", "b": "bar", "c": "baz"}

# The cases of prometheus model/relabel/relabel_test.go that concern semantics, and a few of our own.
CASES: list[tuple[dict[str, str], list[dict[str, Any]], dict[str, str] | None]] = [
    (
        ABC,
        [{"source_labels": ["a"], "regex": "f(.*)", "target_label": "d", "replacement": "ch${1}-ch${1}"}],
        {**ABC, "d": "choo-choo"},
    ),
    (
        ABC,
        [
            {"source_labels": ["a", "b"], "regex": "f(.*);(.*)r", "target_label": "a", "replacement": "b${1}${2}m"},
            {"source_labels": ["c", "a"], "regex": "(b).*b(.*)ba(.*)", "target_label": "d", "replacement": "$1$2$2$3"},
        ],
        {"a": "boobam", "b": "bar", "c": "baz", "d": "boooom"},
    ),
    ({"a": "foo"}, [{"source_labels": ["a"], "regex": ".*o.*", "action": "drop"}], None),
    ({"a": "foo"}, [{"source_labels": ["a"], "regex": "o", "action": "drop"}], {"a": "foo"}),
    ({"a": "foo"}, [{"source_labels": ["a"], "regex": "no-match", "action": "keep"}], None),
    ({"a": "foo"}, [{"source_labels": ["a"], "regex": "f|foo", "action": "KEEP"}], {"a": "foo"}),
    ({"a": "foo"}, [{"source_labels": ["a"], "regex": "f", "target_label": "b", "replacement": "bar"}], {"a": "foo"}),
    ({"a": "foo"}, [{"regex": ".*", "target_label": "a", "replacement": "boo"}], {"a": "boo"}),
    ({"a": "foo"}, [{"target_label": "a", "replacement": ""}], {}),
    (
        {"c": "baz"},
        [{"source_labels": ["c"], "target_label": "d", "action": "hashmod", "modulus": 1000}],
        {"c": "baz", "d": "976"},
    ),
    (
        {"a": "foo\nbar"},
        [{"source_labels": ["a"], "target_label": "b", "action": "hashmod", "modulus": 1000}],
        {"a": "foo\nbar", "b": "734"},
    ),
    (
        {"a": "foo", "b1": "bar", "b2": "baz"},
        [{"regex": "(b.*)", "replacement": "bar_${1}", "action": "labelmap"}],
        {"a": "foo", "b1": "bar", "b2": "baz", "bar_b1": "bar", "bar_b2": "baz"},
    ),
    (
        {"a": "foo", "__meta_my_bar": "aaa", "__meta_my_baz": "bbb", "__meta_other": "ccc"},
        [{"regex": "__meta_(my.*)", "action": "labelmap"}],
        {
            "a": "foo",
            "__meta_my_bar": "aaa",
            "__meta_my_baz": "bbb",
            "__meta_other": "ccc",
            "my_bar": "aaa",
            "my_baz": "bbb",
        },
    ),
    ({"a": "foo", "b1": "bar", "b2": "baz"}, [{"regex": "(b.*)", "action": "labeldrop"}], {"a": "foo"}),
    ({"a": "foo", "b1": "bar"}, [{"regex": "(b.*)", "action": "labelkeep"}], {"b1": "bar"}),
    (
        {"foo": "bAr123Foo"},
        [
            {"source_labels": ["foo"], "target_label": "up", "action": "uppercase"},
            {"source_labels": ["foo"], "target_label": "low", "action": "lowercase"},
        ],
        {"foo": "bAr123Foo", "up": "BAR123FOO", "low": "bar123foo"},
    ),
    (
        {"__tmp_port": "1234", "__port1": "1234", "__port2": "5678"},
        [{"source_labels": ["__tmp_port"], "target_label": "__port1", "action": "keepequal"}],
        {"__tmp_port": "1234", "__port1": "1234", "__port2": "5678"},
    ),
    (
        {"__tmp_port": "1234", "__port1": "1234"},
        [{"source_labels": ["__tmp_port"], "target_label": "__port1", "action": "dropequal"}],
        None,
    ),
    (
        {"a": "some-name-value"},
        [
            {
                "source_labels": ["a"],
                "regex": "some-([^-]+)-([^,]+)",
                "replacement": "${2}",
                "target_label": "${1}",
            }
        ],
        {"a": "some-name-value", "name": "value"},
    ),
    (
        {"a": "x"},
        [{"source_labels": ["a"], "target_label": "b", "replacement": "$1y|$$|$7|${nope}"}],
        {"a": "x", "b": "|$||"},
    ),
    (
        {"a": "x-y"},
        [{"source_labels": ["a"], "regex": "(?P<left>.)-(.)", "target_label": "b", "replacement": "$left${2}"}],
        {"a": "x-y", "b": "xy"},
    ),
    (
        {"a": "one\ntwo"},
        [{"source_labels": ["a"], "regex": "one.two", "target_label": "b", "replacement": "both"}],
        {"a": "one\ntwo", "b": "both"},
    ),
    (ABC, [{"source_labels": ["a", "b"], "separator": "/", "target_label": "d"}], {**ABC, "d": "foo/bar"}),
]


@pytest.mark.parametrize(("labels", "rules", "expected"), CASES)
def test_rules_do_what_prometheus_does(
    labels: dict[str, str], rules: list[dict[str, Any]], expected: dict[str, str] | None
) -> None:
    before = dict(labels)
    assert relabel(labels, [RelabelRule(**rule) for rule in rules]) == expected
    assert labels == before


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"source_labels": ["a"]}, "action replace needs target_label"),
        ({"action": "hashmod", "target_label": "a"}, "action hashmod needs modulus"),
        ({"action": "lowercase", "source_labels": ["a"]}, "action lowercase needs target_label"),
        ({"action": "labeldrop", "regex": "a", "target_label": "b"}, "action labeldrop takes no target_label"),
        ({"action": "keepequal", "target_label": "b", "regex": "x"}, "action keepequal takes no regex"),
        ({"action": "keep", "regex": "("}, "regex: not an RE2 pattern"),
        ({"action": "keep", "regex": "(?=a)"}, "regex: not an RE2 pattern"),
        ({"action": "explode"}, "action"),
        ({"action": "keep", "sorce_labels": ["a"]}, "sorce_labels"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_with_the_reason(rule: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RelabelRule(**rule)
    assert says in str(caught.value)


@given(st.text(), st.text())
def test_any_replacement_gives_a_result(replacement: str, value: str) -> None:
    rule = RelabelRule(source_labels=("a",), target_label="b", replacement=replacement)
    assert relabel({"a": value}, [rule]) is not None
