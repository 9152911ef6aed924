"""Searches over whole blocks find what a look at each line finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.logql.filters import line_predicate, needles
from obskit.logql.literals import required_choices, required_literals
from obskit.logql.log_nodes import LineFilter, LineOp, LogQuery, Text
from obskit.logql.parser import parse
from obskit.logql.pipeline import Pipeline
from obskit.logql.scan import sieves, text_test
from obskit.logql.stages import Demands
from obskit.model.labels import Labels
from obskit.model.patterns import compile_pattern
from obskit.model.records import Record
from obskit.store.log_blocks import TextBlock
from obskit.store.log_interface import Records

LINES = st.lists(
    st.text(st.sampled_from("ab01 \n.^$é\\"), max_size=8)
    | st.sampled_from(["error: disk", "GET /a 200", "x" * 50, "ab\x00c", "\ud800", "timeout after 12ms"]),
    min_size=1,
    max_size=40,
)
PATTERNS = st.sampled_from(
    ["a", "ab", "^a", "b$", "^$", "a.b", "[^a]", "a|b", r"\d+", "(?i)ERROR", "(?s)a.b", r"\Aa", r"b\z", "er+or: d", r"\b0",
     "after [0-9]+ms$", "a{2,}", "(ab)+", r"\.", "é", "", "(?:0|1)b", "[[:alpha:]]b", "a?b*", "x{50}",
     "(error|GET): ?d", "ab0|(b|error)", "(?:timeout|ab)+ a", "(ab|)0", "(?P<x>ab|er{2}or): ", "((ab|ba)|b0)1?", "ab{0}0", "(?:ab){0,2}01"]
)  # fmt: skip
FILTERS = st.builds(
    lambda op, texts: LineFilter(op, tuple(map(Text, texts))),
    st.sampled_from([LineOp.CONTAINS, LineOp.CONTAINS_NOT]),
    st.lists(st.sampled_from(["a", "ab", "", "é", "\n", "error", "0", "GET"]), min_size=1, max_size=2),
) | st.builds(
    lambda op, texts: LineFilter(op, tuple(map(Text, texts))),
    st.sampled_from([LineOp.MATCHES, LineOp.MATCHES_NOT]),
    st.lists(PATTERNS, min_size=1, max_size=2),
) | st.builds(
    lambda op, text: LineFilter(op, (Text(text),)),
    st.sampled_from([LineOp.PATTERN, LineOp.PATTERN_NOT]),
    st.sampled_from(["a<_>", "<_>b", "GET <_> 200", "<_>: <_>", "a", "<_>\n<_>"]),
)  # fmt: skip


def block_of(lines: list[str], chosen: list[bool]) -> TextBlock:
    records = [Record(Labels({"app": "a"}), at, line) for at, line in enumerate(lines)]
    mask = np.array([*chosen, *[True] * len(lines)][: len(lines)])
    return TextBlock.of(Records.of(records)).choosing(mask)


@settings(max_examples=200, deadline=None)
@given(LINES, st.lists(st.booleans(), max_size=40), st.lists(FILTERS, min_size=1, max_size=2))
def test_a_block_is_filtered_as_its_lines_are(lines: list[str], chosen: list[bool], filters: list[LineFilter]) -> None:
    block = block_of(lines, chosen)
    found = block.chosen
    for sieve in sieves(filters):
        found = sieve(block, found)
    predicates = [line_predicate(one) for one in filters]
    expected = [at for at in block.chosen.tolist() if all(accepts(lines[at]) for accepts in predicates)]
    assert found.tolist() == expected
    worth = text_test(filters)
    assert worth is None or worth(block.data) or not expected


@settings(max_examples=200, deadline=None)
@given(LINES, FILTERS)
def test_a_line_that_passes_holds_what_is_asked_of_the_store(lines: list[str], one: LineFilter) -> None:
    accepts = line_predicate(one)
    for line in filter(accepts, lines):
        assert all(needle in line for needle in needles(one))


@pytest.mark.parametrize(
    ("pattern", "literals"),
    [
        ("error.*timeout", ("error", "timeout")),
        (r"took \d+ms", ("took ", "ms")),
        (r"api\.example\.com/v[12]", ("api.example.com/v",)),
        ("a(b|c)def", ("def",)),
        ("(error: )?disk(full)+", ("disk", "full")),
        ("(?:ab){0,2}cd", ("cd",)),
        ("ab)cd", ()),
        ("(" * 5_000, ()),
        ("colou?r", ("colo",)),
        ("fo+bar", ("fo", "bar")),
        ("ab{0,3}cd", ("cd",)),
        ("one|two", ()),
        ("(?i)error", ()),
        ("x(?i:error)y", ()),
        (r"\Qa.b\E", ()),
        (r"[^\]]end", ("end",)),
        (r"\x{41}bc", ()),
        ("", ()),
    ],
)
def test_what_a_pattern_needs_is_found(pattern: str, literals: tuple[str, ...]) -> None:
    assert required_literals(pattern) == literals


@pytest.mark.parametrize(
    ("pattern", "choices"),
    [
        ("one|two", (("one", "two"),)),
        ("(reset|broken pipe|EOF) by [a-z]+", (("reset", "broken pipe", "EOF"), (" by ",))),
        ("(?P<x>foo|bar(baz|qux))+ zip", (("foo", "bar"), (" zip",))),
        ("(ab|)cd", (("cd",),)),
        ("ab||cd", ()),
        ("aa|bb|cc|dd|ee|ff|gg|hh|ii", ()),
    ],
)
def test_of_alternatives_one_must_be_there(pattern: str, choices: tuple[tuple[str, ...], ...]) -> None:
    assert required_choices(pattern) == choices


@settings(max_examples=200)
@given(PATTERNS, LINES)
def test_every_match_holds_the_literals(pattern: str, lines: list[str]) -> None:
    search = compile_pattern(pattern).search
    for line in lines:
        if search(line.encode(errors="surrogatepass")):
            assert all(text in line for text in required_literals(pattern))
            assert all(any(text in line for text in choice) for choice in required_choices(pattern))


STATUS = st.sampled_from(
    ['"status":500', '"status": "503"', '"status":200', '"status" : 404.5', '"status":"abc"', '"\\u0073tatus":500', '"xstatus":600',
     '"http":{"status":500}', '" status ":501', '"status":null', '"status":true', '"status":-1e3', '"level":"error"',
     '"level":"e\\u0072ror"', '"level":"info"', '"status":500,"status":200', 'broken', '"took":"3s"', '"status":[500]']
)  # fmt: skip
JSON_LINES = st.lists(
    st.lists(STATUS, max_size=4).map(lambda members: "{" + ",".join(members) + "}")
    | st.sampled_from(["status=500 level=error", "words", "", '{"status":500', "status=abc took=2s", 'status="500"']),
    min_size=1,
    max_size=12,
)
QUERIES = st.sampled_from(
    [
        "| json | status >= 500",
        "| json | status = 200",
        "| json | status < 0 and level!=\"x\"",
        '| json | level="error"',
        '| json | level=~"err.*"',
        '| json | level=~"err|info"',
        '| json | http_status=500',
        '| json | status>=500 or level="error"',
        '| logfmt | status>=500',
        '| logfmt | level="error" | status=500',
        '| json | took > 1s',
        '| json | logfmt | status>=500',
        '| regexp "(?P<level>error|info)" | level="error"',
        '| json level | level="error"',
        '| json | extra="error"',
        '| json | app="a"',
        '| json | note="error"',
        '| json | note="other"',
        '| json | note=~"e.*r" | extra="other"',
        '| logfmt | note=~".+" | extra="error"',
        '| json | label_format level=status | level="500"',
    ]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(JSON_LINES, QUERIES, st.integers(1, 6))
def test_a_probe_lets_every_line_through_that_the_filters_keep(lines: list[str], stages: str, copies: int) -> None:
    query = parse('{app=~".+"} ' + stages)
    assert isinstance(query, LogQuery)
    streams = [Labels({"app": "a"}), Labels({"app": "a", "extra": "error"})]
    records = [
        Record(streams[at % 2], at, line, {"note": "error"} if at % 3 == 0 else {})
        for at, line in enumerate(lines * copies)
    ]
    block = TextBlock.of(Records.of(records))
    pipeline = Pipeline(query, Demands())
    quick = [(entry.t_ns, entry.line, entry.labels) for entry in pipeline.entries(block)]
    pipeline._probes = []
    slow = [(entry.t_ns, entry.line, entry.labels) for entry in pipeline.entries(block)]
    assert quick == slow


OWN = st.sampled_from(
    ['lvl="warn"', 'lvl!="warn"', 'lvl=""', 'lvl=~"w.*|x"', 'app="a" and lvl!=""', 'lvl="warn" or app="b"', 'none=""', 'none!=""', 'lvl="é"']
)  # fmt: skip
OWN_RECORDS = st.lists(
    st.tuples(
        st.sampled_from([Labels({"app": "a"}), Labels({"app": "b", "lvl": "warn"}), Labels({"app": "c"})]),
        st.sampled_from(
            [{}, {"lvl": "warn"}, {"lvl": "info", "x": "y"}, {"x": "y"}, {"lvl": ""}, {"lvl": "é"}, {"lvl": "\ud800"}]
        ),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(OWN_RECORDS, st.lists(OWN, min_size=1, max_size=2))
def test_filters_of_own_labels_keep_what_the_stages_keep(
    rows: list[tuple[Labels, dict[str, str]]], conditions: list[str]
) -> None:
    query = parse('{app=~".+"} | ' + " | ".join(conditions))
    assert isinstance(query, LogQuery)
    block = TextBlock.of(Records.of([Record(stream, at, "x", metadata) for at, (stream, metadata) in enumerate(rows)]))
    pipeline = Pipeline(query, Demands())
    quick = [entry.t_ns for entry in pipeline.entries(block)]
    pipeline._sieves = []
    assert quick == [entry.t_ns for entry in pipeline.entries(block)]
