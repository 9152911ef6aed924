"""Text as Go writes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.model.go_text import go_json, go_quote, rfc3339


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"a": "<b> & é"}, '{"a":"\\u003cb\\u003e \\u0026 é"}\n'),
        (["\u2028\u2029", '\t\n"\\/', "\x01\x7f"], '["\\u2028\\u2029","\\t\\n\\"\\\\/","\\u0001\x7f"]\n'),
        ({"b": None, "a": [True, 1]}, '{"b":null,"a":[true,1]}\n'),
    ],
)
def test_json_is_as_gos_encoder_writes_it(data: Any, text: str) -> None:
    assert go_json(data) == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_it_means_what_it_meant(data: Any) -> None:
    assert json.loads(go_json(data)) == data


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("a b", '"a b"'),
        ('"\\\a\b\f\n\r\t\v', r'"\"\\\a\b\f\n\r\t\v"'),
        ("é\x00\x7f\u200b\U000e0001", r'"é\x00\x7f\u200b\U000e0001"'),
    ],
)
def test_a_string_is_quoted_as_go_quotes_it(text: str, quoted: str) -> None:
    assert go_quote(text) == quoted


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (1_700_000_000_000, "2023-11-14T22:13:20Z"),
        (1_700_000_000_000 + 25, "2023-11-14T22:13:20.025Z"),
        (1_700_000_000_000 + 500, "2023-11-14T22:13:20.5Z"),
    ],
)
def test_times_are_written_as_go_writes_them(ms: int, said: str) -> None:
    assert rfc3339(ms) == said
