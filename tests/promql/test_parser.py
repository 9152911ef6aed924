"""The parser: canonical forms, exact places, and Prometheus' words for what is wrong."""

from __future__ import annotations

import math

import pytest

from obskit.errors import QuerySyntaxError
from obskit.model.matchers import Matcher, MatchOp
from obskit.promql.nodes import Aggregate, Binary, Call, MatrixSelector, Number, Subquery, ValueType, VectorSelector
from obskit.promql.parser import MAX_CHAIN, MAX_DEPTH, parse

CANONICAL = [
    ("SUM BY (a,) (x)", "sum by (a) (x)"),
    ("sum(x) by (a, b)", "sum by (a, b) (x)"),
    ("sum by () (x)", "sum(x)"),
    ("sum without () (x)", "sum without () (x)"),
    ("topk(3, x)", "topk(3, x)"),
    ("x{a='b',}", 'x{a="b"}'),
    ('{__name__="x", a=~"b.*"}', 'x{a=~"b.*"}'),
    ('{"my.metric", "a.b"!="c"}', '{"my.metric","a.b"!="c"}'),
    ('sum by ("a.b") (x)', 'sum by ("a.b") (x)'),
    ("x[300]", "x[5m]"),
    ("x[5m*2]", "x[10m]"),
    ("x[step()+1]", "x[(step() + 1s)]"),
    ("x offset -5m @ 10", "x @ 10.000 offset -5m"),
    ("x[5m:] @ start()", "x[5m:] @ start()"),
    ("x offset 2 ^ 2", "x offset 2s ^ 2"),
    ("a AND ON (b) c", "a and on (b) c"),
    ("a * on (b) group_left (c) d", "a * on (b) group_left (c) d"),
    ("a + fill(0) b", "a + fill_left (0) fill_right (0) b"),
    ("a > BOOL 1", "a > bool 1"),
    ("-1 ^ 2", "-1 ^ 2"),
    ("+x", "+x"),
    ("0x1F + 017 + 1_000 + .5 + 1e3", "31 + 15 + 1000 + 0.5 + 1000"),
    ("1h30m", "5400"),
    ("inf - NaN", "+Inf - NaN"),
    (r'"a\x41\101\u0041\n" ', r'"aAAA\n"'),
    ("`raw\\n`", r'"raw\\n"'),
    ("# first\nx # last", "x"),
    ("rate(x[1m] anchored)", "rate(x[1m] anchored)"),
    ("a:b:c[1m]", "a:b:c[1m]"),
    ("x[(step() / 2) ^ 2 % 7 - range()]", "x[((((step() / 2s) ^ 2s) % 7s) - range())]"),
    ("x @ -1.5", "x @ -1.500"),
    ("1e30", "1e+30"),
]


@pytest.mark.parametrize(("text", "canonical"), CANONICAL)
def test_it_prints_the_canonical_form(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical
    assert parse(canonical) == parse(text)


@pytest.mark.parametrize(
    "word",
    ["sum", "by", "without", "bool", "offset", "start", "end", "step", "range", "fill", "topk", "anchored", "group"],
)
def test_keywords_may_be_names(word: str) -> None:
    assert parse(word) == VectorSelector(name=word, matchers=(Matcher("__name__", MatchOp.EQUAL, word),))
    assert str(parse(f'{word}{{on="x"}} + x')) == f'{word}{{on="x"}} + x'


ERRORS = [
    ("", 1, "no expression found in input"),
    ("(", 2, "unclosed left parenthesis"),
    ("sum(x", 6, "unclosed left parenthesis"),
    ("(1))", 4, "unexpected right parenthesis ')'"),
    ("*1", 1, "unexpected <op:*>"),
    ("1 +", 4, "unexpected end of input"),
    ("1 == 1", 1, "comparisons between scalars must use BOOL modifier"),
    ("foo + bool bar", 1, "bool modifier can only be used on comparison operators"),
    ('-"s"', 1, 'unary expression only allowed on expressions of type scalar or instant vector, got "string"'),
    ("foo and 1", 1, 'set operator "and" not allowed in binary scalar expression'),
    ("foo or on (a) group_left (b) bar", 1, 'no grouping allowed for "or" operation'),
    ("foo == on (a) group_left (a) bar", 1, 'label "a" must not occur in ON and GROUP clause at once'),
    ("1 + on (a) foo", 1, "vector matching only allowed between instant vectors"),
    ("{}", 1, "vector selector must contain at least one non-empty matcher"),
    ('{a=~".*"}', 1, "vector selector must contain at least one non-empty matcher"),
    ('foo{__name__="bar"}', 5, 'metric name must not be set twice: "foo" or "bar"'),
    ("foo{", 5, "unexpected end of input inside braces"),
    ("foo{1}", 5, "unexpected character inside braces: '1'"),
    ("foo}", 4, "unexpected character: '}'"),
    ("foo{a=b}", 7, 'unexpected identifier "b" in label matching, expected string'),
    ("foo{a}", 6, 'unexpected "}" in label matching, expected label matching operator'),
    ("foo offset", 11, "unexpected end of input in offset, expected number, duration, step(), or range()"),
    ("foo offset 5m offset 1m", 1, "offset may not be set multiple times"),
    ("foo @ 1 @ 2", 1, "@ <timestamp> may not be set multiple times"),
    ("(a + b)[5m]", 1, "ranges only allowed for vector selectors"),
    ("foo offset 1m [5m]", 1, "no offset modifiers allowed before range"),
    ("foo[5m", 7, "unclosed left bracket"),
    ("foo[0m]", 4, "duration must be greater than 0"),
    ("foo[1.5h]", 5, 'bad number or duration syntax: "1.5h"'),
    ("foo[1m][1m]", 1, "ranges only allowed for vector selectors"),
    ("1[5m:1m]", 1, "subquery is only allowed on instant vector, got scalar instead"),
    ("rate(x)", 6, 'expected type range vector in call to function "rate", got instant vector'),
    ("floor()", 1, 'expected 1 argument(s) in call to "floor", got 0'),
    ("hour(a, b)", 1, 'expected at most 1 argument(s) in call to "hour", got 2'),
    ("label_join(a)", 1, 'expected at least 3 argument(s) in call to "label_join", got 1'),
    ("nosuch(x)", 1, 'unknown function with name "nosuch"'),
    ("VECTOR(1)", 1, 'unknown function with name "VECTOR"'),
    ("topk(a, b)", 6, "expected type scalar in aggregation parameter, got instant vector"),
    ("topk(a)", 1, "wrong number of arguments for aggregate expression provided, expected 2, got 1"),
    ("sum()", 1, "no arguments for aggregate expression provided"),
    ("sum x by (a)", 5, 'unexpected identifier "x"'),
    ("sum(x) by a", 11, 'unexpected identifier "a" in grouping opts, expected "("'),
    ("floor(x,)", 9, 'unexpected ")"'),
    ('"abc', 1, "unterminated quoted string"),
    ('"\\q"', 1, "unknown escape sequence 'q'"),
    ("a = b", 3, 'unexpected "="'),
    ("a - on (b) ignoring (c) d", 12, "unexpected <ignoring>"),
    ("x anchored", 3, "anchored modifier can only be used with range vectors"),
    ("(x) smoothed", 5, "smoothed modifier not implemented"),
    ("foo @ 1 [5m]", 1, "no @ modifiers allowed before range"),
    (
        "sum(x) offset 1m",
        1,
        "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    ),
    ("x[1m/0]", 5, "division by zero"),
    ("x[1e300]", 3, "duration out of range"),
    ("x @ 1e300", 5, "timestamp out of bounds for @ modifier: 1e300"),
    ("sum by (1) (x)", 9, 'unexpected number "1" in grouping opts, expected label'),
    ('"\\777"', 1, "octal escape above 255"),
    ('"\\ud800"', 1, "escape sequence is an invalid Unicode code point"),
    ("0x" + "f" * 400, 1, 'bad number or duration syntax: "0x' + "f" * 400 + '"'),
    ("x smoothed anchored", 12, "anchored and smoothed modifiers cannot be used together"),
    (
        "deriv(x[3m] smoothed)",
        7,
        "smoothed modifier can only be used with: delta, increase, rate - not with deriv",
    ),
]


@pytest.mark.parametrize(("text", "column", "message"), ERRORS)
def test_it_says_what_is_wrong_and_where(text: str, column: int, message: str) -> None:
    with pytest.raises(QuerySyntaxError) as caught:
        parse(text)
    assert (caught.value.message, caught.value.column) == (message, column)


def test_an_error_names_line_and_column() -> None:
    with pytest.raises(QuerySyntaxError, match=r"^2:5: parse error: unexpected <op:/>$"):
        parse("sum(\n    / 2)")


def test_the_first_error_is_reported() -> None:
    with pytest.raises(QuerySyntaxError, match="unexpected <op:/>"):
        parse('sum(/ "never closed')


def test_a_wrong_pattern_is_refused_at_its_place() -> None:
    with pytest.raises(QuerySyntaxError, match="error parsing regexp") as caught:
        parse('foo{a=~"("}')
    assert (caught.value.start, caught.value.end) == (7, 10)


def test_deep_nesting_is_refused_instead_of_exhausting_the_stack() -> None:
    with pytest.raises(QuerySyntaxError, match="nested too deeply"):
        parse("(" * (MAX_DEPTH + 1) + "1" + ")" * (MAX_DEPTH + 1))
    with pytest.raises(QuerySyntaxError, match="nested too deeply"):
        parse("-" * 5000 + "1")


def test_a_chain_of_operators_has_an_end_too() -> None:
    assert parse("x" + " or x" * MAX_CHAIN)
    with pytest.raises(QuerySyntaxError, match="expression is too long"):
        parse("x" + " or x" * (MAX_CHAIN + 1))


def test_every_node_knows_its_place() -> None:
    text = 'sum by (a) (rate(x{b="c"}[5m] offset 1m)) / 2 > bool max_over_time(y[1h:1m])'
    places = {type(node): text[node.start : node.end] for node in parse(text).walk()}
    assert places[Aggregate] == 'sum by (a) (rate(x{b="c"}[5m] offset 1m))'
    assert places[MatrixSelector] == 'x{b="c"}[5m] offset 1m'
    assert places[Number] == "2"
    assert places[Subquery] == "y[1h:1m]"
    assert places[VectorSelector] == "y"
    assert places[Call] == "max_over_time(y[1h:1m])"


def test_operators_bind_as_in_prometheus() -> None:
    tree = parse("a or b and c > d + e * f ^ g ^ h")
    assert isinstance(tree, Binary)
    shape = []
    while isinstance(tree, Binary):
        shape.append(tree.op)
        tree = tree.rhs
    assert shape == ["or", "and", ">", "+", "*", "^", "^"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1 + 1", ValueType.SCALAR),
        ("1 + x", ValueType.VECTOR),
        ("x[5m]", ValueType.MATRIX),
        ('"s"', ValueType.STRING),
        ("time()", ValueType.SCALAR),
        ("(vector(1))", ValueType.VECTOR),
    ],
)
def test_types_are_known_before_evaluation(text: str, kind: ValueType) -> None:
    assert parse(text).type is kind


def test_nan_is_one_object_so_that_equal_trees_are_equal() -> None:
    number = parse("NaN")
    assert isinstance(number, Number)
    assert number == Number(value=math.nan)
