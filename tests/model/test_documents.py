"""YAML files: scalars keep their text, everything wrong is reported with its place, nothing hostile costs much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.model.documents import Document, parse_document


def read(text: str, **environment: str) -> Document:
    return parse_document(text, "obskit.yaml", environment=environment)


@pytest.mark.parametrize(
    "scalar", ["22:30", "1:30:00", "on", "no", "yes", "0777", "1_000", "2024-01-01", "1e3", "0x1F", ".5"]
)
def test_a_scalar_keeps_the_text_it_was_written_with(scalar: str) -> None:
    document = read(f"key: {scalar}\n")
    assert document.data == {"key": scalar}
    assert document.problems == []


@pytest.mark.parametrize(
    ("written", "value"), [("", None), ("~", None), ("null", None), ("'null'", "null"), ('""', "")]
)
def test_only_a_plain_null_means_nothing(written: str, value: str | None) -> None:
    assert read(f"key: {written}\n").data == {"key": value}


@pytest.mark.parametrize(
    ("text", "id", "place", "message"),
    [
        ("a: 1\na: 2\n", "duplicate-key", "2:1", "already given in line 1"),
        ("a:\n\t- b\n", "yaml-syntax", "2:1", "never with tabs"),
        ("a: [1,\n", "yaml-syntax", "1:6", "did not find"),
        ("a: b: c\n", "yaml-syntax", "1:5", "mapping values are not allowed"),
        ("a: *nothing\n", "yaml-alias", "1:4", "names no anchor"),
        ("a: &a\n  b: *a\n", "yaml-alias", "2:6", "names no anchor"),
        ("a: !!python/object os.system\n", "yaml-tag", "1:4", "tags are not used"),
        ("a: \x01\n", "yaml-syntax", "1:4", "U+0001"),
        ("a: 1\n---\nb: 2\n", "yaml-syntax", "2:1", "one document per file"),
        ("{a: 1}: b\n", "yaml-key", "1:1", "a key must be text"),
        ("<<: 5\nb: 1\n", "yaml-merge", "1:1", "merges a mapping"),
        ("- " * 100 + "x\n", "yaml-too-large", "1:129", "nested deeper than 64"),
    ],
)
def test_what_is_wrong_is_reported_at_its_place(text: str, id: str, place: str, message: str) -> None:
    (problem,) = read(text).problems
    assert (problem.id, str(problem.place)) == (id, f"obskit.yaml:{place}")
    assert message in problem.message


def test_an_alias_bomb_is_refused_without_being_built() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (problem,) = read("\n".join(lines)).problems
    assert problem.id == "yaml-too-large"


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert read("\ufeffa: 1\n").data == {"a": "1"}


def test_merge_keys_give_way_to_the_mappings_own() -> None:
    document = read("base: &base {x: 1, y: 2}\nuse:\n  <<: *base\n  y: 3\nboth:\n  <<: [*base, {x: 9, z: 4}]\n")
    assert document.data["use"] == {"y": "3", "x": "1"}
    assert document.data["both"] == {"x": "1", "y": "2", "z": "4"}


def test_variables_are_replaced_in_values_only() -> None:
    document = read("'${KEY}': '${KEY}/${OTHER:-other} $$5 $1 ${1}'\nempty: ${EMPTY:-full}\n", KEY="key", EMPTY="")
    assert document.data == {"${KEY}": "key/other $5 $1 ${1}", "empty": "full"}


def test_an_unset_variable_is_a_problem_that_says_what_to_do() -> None:
    (problem,) = read("token: ${FLY_API_TOKEN}\n").problems
    assert (problem.id, problem.place.line, problem.place.column) == ("unset-variable", 1, 8)
    assert "FLY_API_TOKEN" in problem.message
    assert "${FLY_API_TOKEN:-default}" in problem.message


def test_a_variable_cannot_inject_yaml() -> None:
    assert read("a: ${X}\n", X="1\nb: 2").data == {"a": "1\nb: 2"}


@pytest.mark.parametrize(
    ("text", "needle", "place"),
    [
        ("e: rate(x[5m])\n", "x[5m]", "1:9"),
        ("e: 'it''s rate(x)'\n", "rate", "1:11"),
        ('e: "a\\tb\\u0041 rate"\n', "rate", "1:16"),
        ("e: |\n  sum by (a) (\n    rate(x)\n  )\n", "rate", "3:5"),
        ("e: |\n  sum by (a) (\n    rate(x)\n  ) > 1\n", "> 1", "4:5"),
        ("e: >-\n  hello\n  world rate(x)\n", "rate", "3:9"),
        ("e: plain\n  over rate(x)\n", "rate", "2:8"),
        ("e: 'quoted\n\n  over rate(x)'\n", "rate", "3:8"),
    ],
)
def test_a_character_of_a_value_is_found_in_the_source(text: str, needle: str, place: str) -> None:
    document = read(text)
    found = document.offset_place(("e",), document.data["e"].index(needle), len(needle))
    assert str(found) == f"obskit.yaml:{place}"
    assert document.source_line(found.line)[found.column - 1 :].startswith(needle)


def test_the_frame_shows_the_line_and_a_caret() -> None:
    document = read('receivers:\n  - chanel: "#ops"\n')
    problem = document.problem(("receivers", 0, "chanel"), "unknown-key", "no such key", at_key=True)
    assert problem.frame() == '    2 |   - chanel: "#ops"\n      |     ^^^^^^'


@given(st.text(max_size=200))
def test_no_text_makes_it_raise(text: str) -> None:
    document = read(text)
    for problem in document.problems:
        assert problem.place.line >= 1
        problem.frame()


_TREES = st.recursive(
    st.text(
        st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufeff\u2028\u2029\x85$"),
        max_size=8,
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(_TREES)
def test_what_another_writer_wrote_is_read_back(tree: object) -> None:
    import json

    document = read(json.dumps(tree, ensure_ascii=False))
    assert document.problems == []
    assert document.data == tree


def test_of_an_item_that_was_read_only_the_place_stays() -> None:
    document = read("items:\n- {name: a}\n- {name: b}\n")
    document.forget(("items", 0))
    assert document.data == {"items": [None, {"name": "b"}]}
    assert document.place(("items", 0, "name")) == document.place(("items", 0))
    assert document.place(("items", 0)).line == 2
    assert document.place(("items", 1, "name")).line == 3


def test_an_item_with_a_name_is_not_forgotten() -> None:
    document = read("items:\n- &a {name: a}\n- *a\n")
    document.forget(("items", 0))
    assert document.data == {"items": [{"name": "a"}, {"name": "a"}]}
