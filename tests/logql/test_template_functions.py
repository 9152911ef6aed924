"""Loki's template functions: whatever they get, they answer or say why not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.gotemplate.functions import call_function
from obskit.gotemplate.problems import ValueProblem
from obskit.gotemplate.times import Instant
from obskit.logql.template_functions import LOKI_FUNCTIONS, MAX_TEXT, LineData

DATA = LineData("the line", 1_700_000_000_123_456_789, 1_700_000_060_000_000_000)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5) | st.floats() | st.booleans() | st.none()
TEXTS = st.text(max_size=12) | st.sampled_from(
    ["2006-01-02", "1h", "5KB", "[1,{}]", "a*", "(", "%zz", "aGk=", "0x1f", "-7", "1e9"]
)
VALUES = NUMBERS | TEXTS | st.lists(NUMBERS, max_size=2) | st.dictionaries(st.text(max_size=2), NUMBERS, max_size=2)
VALUES |= st.builds(Instant, st.integers(-(2**62), 2**62), st.sampled_from(["UTC", "Europe/Berlin", "+05:30"]))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(LOKI_FUNCTIONS)), st.lists(VALUES, max_size=4))
def test_a_function_answers_or_says_why_not(name: str, arguments: list[object]) -> None:
    try:
        result = call_function(name, LOKI_FUNCTIONS[name], arguments, DATA, MAX_TEXT)
    except ValueProblem:
        return
    assert not isinstance(result, str) or len(result) <= MAX_TEXT


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("int", ["0x1f"], 31),
        ("int", ["017"], 15),
        ("int", ["12.0"], 12),
        ("int", [3.9], 3),
        ("int", ["9" * 30], 0),
        ("float64", ["1_0"], 0.0),
        ("add", [2**63 - 1, 1], -(2**63)),
        ("div", [-7, 2], -3),
        ("mod", [-7, 2], -1),
        ("round", [2.5, 0], 3.0),
        ("round", [123.555, 2, 0.6], 123.55),
        ("substr", [-1, 3, "abcdef"], "abc"),
        ("substr", [2, -1, "abcdef"], "cdef"),
        ("trunc", [-20, "abc"], "abc"),
        ("b64dec", ["?"], "illegal base64 data: Only base64 data is allowed"),
        ("default", ["x", 0], "x"),
        ("default", ["x", "y"], "y"),
        ("unixToTime", ["1700000000123"], Instant(1_700_000_000_123_000_000)),
        ("unixToTime", ["19000"], Instant(19000 * 86_400 * 1_000_000_000)),
        ("now", [], Instant(DATA.now_ns)),
        ("__timestamp__", [], Instant(DATA.t_ns)),
        ("__line__", [], "the line"),
    ],
)
def test_a_function_gives_what_lokis_gives(name: str, arguments: list[object], result: object) -> None:
    assert call_function(name, LOKI_FUNCTIONS[name], arguments, DATA, MAX_TEXT) == result


@pytest.mark.parametrize(
    ("name", "arguments"), [("div", [1, "x"]), ("divf", [1, 0]), ("fromJson", ["{"]), ("unixToTime", ["12"])]
)
def test_what_cannot_be_told_is_a_problem(name: str, arguments: list[object]) -> None:
    with pytest.raises(ValueProblem):
        call_function(name, LOKI_FUNCTIONS[name], arguments, DATA, MAX_TEXT)
