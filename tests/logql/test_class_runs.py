"""Runs of character classes: every match of their pattern holds them, and they are found wherever they stand."""

from __future__ import annotations

import re
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.errors import PatternError
from obskit.logql.class_runs import Run, RunSearch, required_run
from obskit.logql.log_nodes import LineFilter, LineOp, Text
from obskit.logql.scan import sieves, text_test
from obskit.model.labels import Labels
from obskit.model.patterns import compile_pattern
from obskit.model.records import Record
from obskit.store.log_blocks import TextBlock
from obskit.store.log_interface import Records

ATOMS = st.sampled_from(
    ["[0-9]", "[A-Z]", "[a-f0-9]", r"\d", r"\w", "[A-Fa-f0-9_]", "a", "0", "-", r"\.", ".", "[^0-9]", "^", "$", r"\b", "([0-9])", "(?:a[0-9]{7})", r"(\d{8}-)",
     "(a|[0-9]{6})", "|", "(?i)", "[[:digit:]]", r"\s", "é"]
)  # fmt: skip
QUANTIFIERS = st.sampled_from(["", "", "", "{4}", "{7}", "{5,}", "{4,6}", "{0}", "+", "*", "?", "+?", "{4}?", "{70}"])
PATTERNS = st.lists(st.tuples(ATOMS, QUANTIFIERS), min_size=1, max_size=5).map(
    lambda parts: "".join(atom + quantifier for atom, quantifier in parts)
)
LINES = st.lists(
    st.text(st.sampled_from("0123456789abcdefABCDEF-_. \né"), max_size=30)
    | st.integers(1, 80).map(lambda length: "0123456789" * (length // 10 + 1))
    | st.sampled_from(["ABC123456789XY", "id=0aF9ab12cd, 2026-10-02T12:00:00", "a" * 80, "0" * 75 + "A"]),
    min_size=1,
    max_size=12,
)


def compiles(pattern: str) -> bool:
    try:
        compile_pattern(pattern)
    except PatternError:
        return False
    return True


@settings(max_examples=400, deadline=None)
@given(PATTERNS.filter(compiles), LINES)
def test_lines_that_match_hold_the_run(pattern: str, lines: list[str]) -> None:
    one = LineFilter(LineOp.MATCHES, (Text(pattern),))
    block = TextBlock.of(Records.of([Record(Labels({"app": "a"}), at, line) for at, line in enumerate(lines)]))
    search = compile_pattern(pattern).search
    expected = [at for at, line in enumerate(lines) if search(line.encode())]
    (sieve,) = sieves([one])
    assert sieve(block, block.chosen).tolist() == expected
    worth = text_test([one])
    assert worth is None or worth(block.data) or not expected
    run = required_run(pattern)
    assert not run or all(len(RunSearch(run).places(lines[at].encode())) for at in expected)


RUNS = st.lists(
    st.tuples(st.sampled_from([string.digits, "ABC", "0", "abcdef", "-_0"]), st.integers(1, 9)), min_size=1, max_size=4
).map(lambda parts: tuple("".join(sorted(characters)) for characters, times in parts for _ in range(times)))


@settings(max_examples=200, deadline=None)
@given(RUNS, st.text(st.sampled_from("0000001ABCabc-_\xff"), max_size=200))
def test_a_run_is_found_wherever_it_stands(run: Run, text: str) -> None:
    pattern = re.compile("(?=" + "".join(f"[{re.escape(characters)}]" for characters in run) + ")", re.DOTALL)
    expected = [match.start() for match in pattern.finditer(text)]
    found = RunSearch(run).places(text.encode("latin-1"))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("pattern", "run"),
    [
        ("[A-C]{2}[0-9]{4}", ["ABC"] * 2 + [string.digits] * 4),
        (r"user (?P<id>\d{6})$", [*"user ", *[string.digits] * 6]),
        (r"\d{4,}x", []),
        (r"\d{5,}xy", [*[string.digits] * 5, *"xy"]),
        (r"x\d{5,}y", ["x", *[string.digits] * 5]),
        (r"\d+\d{6}z?", [string.digits] * 7),
        ("(ab)+[0-9]{9}", []),
        ("a|[0-9]{9}", []),
        ("(?i)[0-9]{9}", []),
        ("[0-9]{9}{2}", []),
        ("a{0}[0-9]{6}", [string.digits] * 6),
        ("[0-9]{200}", [string.digits] * 64),
        ("[z-a]{9}", []),
        ("", []),
    ],
)
def test_what_a_pattern_needs_is_told(pattern: str, run: list[str]) -> None:
    assert list(required_run(pattern)) == run
