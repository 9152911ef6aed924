"""Paths into JSON: what they find, and where they are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit_collectors.json_path import parse_path

DOCUMENT = {
    "a": {"b": [{"c": 1}, {"c": 2}], "odd name": 3, 'q"x': 4, "none": None},
    "queues": {"mail": {"n": 5}, "jobs": {"n": 6}},
    "n": 7,
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".", [("", DOCUMENT)]),
        (".n", [("", 7)]),
        (".a.b[0].c", [("", 1)]),
        (".a.b[-1].c", [("", 2)]),
        (".a.b.[1].c", [("", 2)]),
        ('.a["odd name"]', [("", 3)]),
        ('.a.["odd name"]', [("", 3)]),
        (r'.a["q\"x"]', [("", 4)]),
        (".a.none", [("", None)]),
        (".a.b[*].c", [("0", 1), ("1", 2)]),
        (".queues[*].n", [("mail", 5), ("jobs", 6)]),
        ("[*].b[*].c", [("0", 1), ("1", 2)]),
        (".missing.deep", []),
        (".a.b[2]", []),
        (".a.b.c", []),
        (".n[0]", []),
        (".n[*]", []),
    ],
)
def test_a_path_finds_values_and_where_their_row_was(path: str, expected: list[tuple[str, Any]]) -> None:
    assert list(parse_path(path).find(DOCUMENT)) == expected


@pytest.mark.parametrize(
    "text", ["", "a", "a.b", ".a..b", ".a[", ".a[x]", ".a[1", '.["a', ". a", ".a|b", "." + "a" * 600]
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="path"):
        parse_path(text)


def test_a_path_is_not_endlessly_deep() -> None:
    with pytest.raises(ValueError, match="32 steps"):
        parse_path(".a" * 33)


@given(st.lists(st.one_of(st.text(min_size=1, max_size=8), st.integers(0, 3)), max_size=5))
def test_every_place_can_be_named(steps: list[str | int]) -> None:
    document: Any = "here"
    for step in reversed(steps):
        document = {step: document} if isinstance(step, str) else [*[None] * step, document]
    quoted = [s.replace("\\", "\\\\").replace('"', '\\"') if isinstance(s, str) else s for s in steps]
    text = "".join(f'["{step}"]' if isinstance(step, str) else f"[{step}]" for step in quoted)
    assert parse_path(text or ".").first(json.loads(json.dumps(document))) == (True, "here")
