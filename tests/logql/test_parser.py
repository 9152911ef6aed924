from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.errors import QuerySyntaxError
from obskit.logql.engine import Engine, longest_range_ns, stream_selectors
from obskit.logql.log_nodes import (
    Both,
    Compare,
    CompareIp,
    CompareOp,
    DecolorizeStage,
    DropStage,
    Either,
    Extraction,
    FormatStage,
    IpRange,
    JsonStage,
    KeepStage,
    LabelFilter,
    LabelFormat,
    LineFilter,
    LineFormatStage,
    LineOp,
    LogfmtStage,
    LogQuery,
    PatternStage,
    RegexpStage,
    Stage,
    Text,
    UnpackStage,
)
from obskit.logql.metric_nodes import (
    Binary,
    Expr,
    Grouping,
    LabelReplace,
    LogRange,
    Matching,
    MetricExpr,
    Number,
    RangeAggregation,
    Unwrap,
    VectorAggregation,
    VectorOf,
    without_idle_formats,
)
from obskit.logql.parser import parse
from obskit.model.matchers import Matcher, MatchOp
from obskit.testing.logs import MemoryLogs

S = 1_000_000_000


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ('{app = "a" , env=~`b\\d` }', '{app="a", env=~"b\\\\d"}'),
        ('({app="a"}) # a comment', '{app="a"}'),
        ('{app="a"}|="x"or"y"!="z"', '{app="a"} |= "x" or "y" != "z"'),
        ('{a="b"} | JSON a, b="c.d" | logfmt --strict --keep-empty x',
         '{a="b"} | json a="a", b="c.d" | logfmt --strict --keep-empty x="x"'),
        ('{a="b"} | x=1, y!="2" z>1.5h or w<=10MiB and ip=ip("::1")',
         '{a="b"} | x==1 and y!="2" and (z>1.5h or w<=10MiB and ip=ip("::1"))'),
        ('{a="b"} | json != "x"', '{a="b"} | json != "x"'),
        ('{a="b"} | drop x != "y", z', '{a="b"} | drop x!="y", z'),
        ('sum(rate({a="b"}[1h30m] offset -5m)) by (x,)', 'sum by (x) (rate({a="b"} [1h30m] offset -5m))'),
        ('rate(({a="b"} |= "x")[5m])', 'rate({a="b"} |= "x" [5m])'),
        ('rate({a="b"}[5m] |= "x" | unwrap duration_seconds(y) | y>1)',
         'rate({a="b"} |= "x" | unwrap duration_seconds(y) | y>1 [5m])'),
        ("(1 + 2) * 3 - 4 - 5", "(1 + 2) * 3 - 4 - 5"),
        ("1 - (2 - 3)", "1 - (2 - 3)"),
        ("2 ^ 3 ^ 2", "2 ^ 3 ^ 2"),
        ("(2 ^ 3) ^ 2", "(2 ^ 3) ^ 2"),
        ("1 - -2", "1 - -2"),
        ("vector( +1.5e3 )", "vector(1500)"),
        ("vector(1)==bool on(a,b)group_left(c)vector(2)", "vector(1) == bool on (a, b) group_left (c) vector(2)"),
        ("vector(1) OR vector(2) And vector(3)", "vector(1) or vector(2) and vector(3)"),
        ('count_over_time({rate="x", json="y", by="z"}[1m])', 'count_over_time({rate="x", json="y", by="z"} [1m])'),
        ('{a="\\x41\\u00fc\\n\\101\\U0001F600"}', '{a="Aü\\nA😀"}'),
    ],
)  # fmt: skip
def test_a_query_has_one_canonical_text(written: str, canonical: str) -> None:
    assert str(parse(written)) == canonical
    assert parse(canonical) == parse(written)


@pytest.mark.parametrize(
    ("query", "start", "end"),
    [
        ('{app="a"', 8, 8),
        ('{app="a"} |~ "a("', 13, 17),
        ('{app=~".*"}', 0, 11),
        ('{app="a', 5, 7),
        ('{app="a\\q"}', 7, 9),
        ('{app="a"} | size>1mb', 17, 20),
        ('{app="a"} | json x="["', 19, 22),
        ('sum(nope({app="a"}[5m]))', 4, 8),
        ('sum_over_time({a="b"}[5m])', 0, 26),
        ('topk(0, rate({a="b"}[5m]))', 5, 6),
        ('rate({a="b"}[5m]) +', 19, 19),
        ("1 & 2", 2, 3),
        ("", 0, 0),
        ("1 2", 2, 3),
        ("vector(1e999)", 7, 12),
        ("vector(0x1p99999)", 7, 16),
        ("vector(0x10)", 7, 11),
        ('rate({a="b"}[999999y])', 13, 20),
        ('rate({a="b"}[1y] offset 200y)', 24, 28),
        ('rate({a="b"}[5m] offset 5)', 24, 25),
        ('{a="b"} | line_format "{{.x"', 22, 28),
        ('{a="b"} | label_format x="{{.y"', 10, 31),
    ],
)
def test_an_error_points_at_what_is_wrong(query: str, start: int, end: int) -> None:
    with pytest.raises(QuerySyntaxError) as caught:
        parse(query)
    assert (caught.value.start, caught.value.end) == (start, end)


@pytest.mark.parametrize(
    "query",
    [
        "(" * 5000 + "1",
        "sum(" * 5000,
        '{a="b"} | ' + "(" * 5000 + "x=1",
        "(" * 5000 + '{a="b"}',
        "rate(" + "(" * 5000 + '{a="b"}',
        "1" + " ^ 1" * 5000,
        "1" + " + 1" * 5000,
        '{a="b"} | x=1' + " or x=1" * 5000,
    ],
)
def test_what_is_nested_too_deep_is_refused(query: str) -> None:
    with pytest.raises(QuerySyntaxError):
        parse(query)


def test_a_query_that_is_too_long_is_refused() -> None:
    with pytest.raises(QuerySyntaxError):
        parse('{a="' + "x" * 140_000 + '"}')


@pytest.mark.parametrize(
    "query",
    [
        "1" + " + 1" * 250,
        "1" + " ^ 1" * 90,
        "sum(" * 90 + "vector(1)" + ")" * 90,
        '{a="b"} | x=1' + " or x=1" * 240,
        '{a="b"} | ' + "(" * 90 + "x=1" + ")" * 90,
    ],
)
def test_what_is_long_is_parsed_printed_and_evaluated(query: str) -> None:
    expr = parse(query)
    assert parse(str(expr)) == expr
    engine = Engine(MemoryLogs())
    if isinstance(expr, LogQuery):
        assert list(engine.lines(expr, 0, 1, limit=1, newest_first=True)) == []
    else:
        engine.instant(expr, 0)


def test_the_rule_runner_learns_which_streams_and_how_far_back() -> None:
    expr = parse('sum(rate({a="b"}[5m])) / sum(rate({a="b"}[1h] offset 1d)) > on () rate({c="d"}[2h] offset -1h)')
    assert [[str(matcher) for matcher in matchers] for matchers in stream_selectors(expr)] == [['a="b"'], ['c="d"']]
    assert longest_range_ns(expr) == 25 * 3600 * S
    assert stream_selectors(parse('{a="b"}')) == [(Matcher("a", MatchOp.EQUAL, "b"),)]
    assert longest_range_ns(parse('{a="b"}')) == 0
    assert stream_selectors(parse("vector(1)")) == []


NAMES = st.sampled_from(["app", "level", "rate", "status_code", "_x", "A9"])
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=8)
MATCHERS = st.builds(Matcher, NAMES, st.sampled_from([MatchOp.EQUAL, MatchOp.NOT_EQUAL]), TEXTS) | st.builds(
    Matcher, NAMES, st.sampled_from([MatchOp.REGEX, MatchOp.NOT_REGEX]), st.sampled_from(["a.*", "x|y", "(?i)\\d+"])
)
SELECTORS = st.lists(MATCHERS, max_size=2).map(lambda more: (Matcher("job", MatchOp.EQUAL, "x"), *more))
IPS = st.sampled_from(["10.0.0.1", "10.0.0.0/8", "::1"]).map(IpRange)
COMPARES = st.tuples(
    NAMES,
    st.sampled_from(CompareOp),
    st.sampled_from([("number", 5.0, "5"), ("duration", 90.0, "1m30s"), ("bytes", 2e6, "2MB")]),
).map(lambda parts: Compare(parts[0], parts[1], *parts[2]))
CONDITIONS = st.recursive(
    MATCHERS | COMPARES | st.builds(CompareIp, NAMES, st.booleans(), IPS),
    lambda inner: st.builds(Both, inner, inner) | st.builds(Either, inner, inner),
    max_leaves=4,
)
LINE_FILTERS = (
    st.builds(LineFilter, st.sampled_from(LineOp), st.just((Text("a"),)))
    | st.builds(LineFilter, st.just(LineOp.CONTAINS), st.lists(TEXTS.map(Text) | IPS, min_size=1, max_size=3).map(tuple))
)  # fmt: skip
EXTRACTIONS = st.lists(st.builds(Extraction, NAMES, st.sampled_from(["a", "b"])), max_size=2).map(tuple)
PICKS = st.lists(NAMES | MATCHERS, min_size=1, max_size=3).map(tuple)
STAGES: st.SearchStrategy[Stage] = st.one_of(
    LINE_FILTERS,
    st.builds(JsonStage, EXTRACTIONS),
    st.builds(LogfmtStage, EXTRACTIONS, st.booleans(), st.booleans()),
    st.just(RegexpStage("(?P<x>\\d+)")),
    st.just(PatternStage('<ip> - "<_>"')),
    st.just(UnpackStage()),
    st.just(DecolorizeStage()),
    st.builds(DropStage, PICKS),
    st.builds(KeepStage, PICKS),
    st.just(LineFormatStage("{{.a}} {{ __line__ }}")),
    st.just(FormatStage((LabelFormat("a", "b"), LabelFormat("c", "{{.a}}", is_template=True)))),
    st.builds(LabelFilter, CONDITIONS),
)


def _can_be_written(stages: list[Stage]) -> bool:
    """In `| drop x != "y"` the end is a matcher: a bare name there and then a line filter cannot be written."""
    return not any(
        isinstance(stage, DropStage | KeepStage)
        and isinstance(stage.names[-1], str)
        and isinstance(following, LineFilter)
        and following.op.negative
        for stage, following in pairwise(stages)
    )


LOG_QUERIES = st.builds(LogQuery, SELECTORS, st.lists(STAGES, max_size=4).filter(_can_be_written).map(tuple))
DURATIONS = st.sampled_from([1_000_000, 5 * 60 * S, 90 * S, 36 * 3600 * S])
OFFSETS = st.sampled_from([0, 300 * S, -60 * S])
RANGES = st.builds(LogRange, LOG_QUERIES, DURATIONS, OFFSETS).map(without_idle_formats)
UNWRAPS = st.builds(
    Unwrap,
    NAMES,
    st.sampled_from(["", "bytes", "duration", "duration_seconds"]),
    st.lists(CONDITIONS, max_size=2).map(tuple),
)
UNWRAPPED = st.builds(LogRange, LOG_QUERIES, DURATIONS, OFFSETS, UNWRAPS).map(without_idle_formats)
GROUPINGS = st.none() | st.builds(Grouping, st.lists(NAMES, max_size=2).map(tuple), st.booleans())
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
LEAVES: st.SearchStrategy[MetricExpr] = st.one_of(
    st.builds(RangeAggregation, st.sampled_from(["rate", "count_over_time", "absent_over_time"]), RANGES),
    st.builds(RangeAggregation, st.just("avg_over_time"), UNWRAPPED, st.none(), GROUPINGS),
    st.builds(RangeAggregation, st.just("quantile_over_time"), UNWRAPPED, st.floats(0, 1), GROUPINGS),
    st.builds(VectorOf, NUMBERS),
)
MATCHINGS = st.none() | st.builds(
    Matching, st.just(("app",)), st.booleans(), st.sampled_from(["", "group_left"]), st.just(())
)


def _larger(inner: st.SearchStrategy[MetricExpr]) -> st.SearchStrategy[MetricExpr]:
    return st.one_of(
        st.builds(VectorAggregation, st.sampled_from(["sum", "count"]), inner, st.none(), GROUPINGS),
        st.builds(VectorAggregation, st.just("topk"), inner, st.integers(1, 9), GROUPINGS),
        st.builds(VectorAggregation, st.just("sort"), inner),
        st.builds(LabelReplace, inner, NAMES, TEXTS, NAMES, st.just("(.*)")),
        st.builds(Binary, st.sampled_from(["and", "or", "unless"]), inner, inner),
        st.builds(Binary, st.sampled_from(["+", "-", "*", "/", "%", "^"]), inner | st.builds(Number, NUMBERS), inner),
        st.builds(Binary, st.sampled_from(["==", "!=", "<", ">="]), inner, inner, st.booleans(), MATCHINGS),
    )


METRICS = st.recursive(LEAVES, _larger, max_leaves=5)


@settings(max_examples=200, deadline=None)
@given(LOG_QUERIES | METRICS)
def test_the_text_of_a_tree_parses_to_the_same_tree(expr: Expr) -> None:
    assert parse(str(expr)) == expr


TOKENS = st.sampled_from(
    ["{", "}", "(", ")", "[5m]", "app", '"a"', "=", "=~", "|", "|=", "json", "unwrap", "sum", "by", "rate", "or", "1", "5m", ","]
)  # fmt: skip


@settings(max_examples=200)
@given(st.text(max_size=40) | st.lists(TOKENS, max_size=14).map(" ".join))
def test_garbage_is_refused_with_a_place(query: str) -> None:
    with suppress(QuerySyntaxError):
        parse(query)
