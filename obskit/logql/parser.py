"""Text to a checked syntax tree. What is wrong is refused here, with its place, so that evaluation meets only data."""

from __future__ import annotations

from typing import Final

from obskit.errors import PatternError
from obskit.logql.binary import folded
from obskit.logql.lexer import Kind, Token, Tokens
from obskit.logql.log_nodes import LogQuery
from obskit.logql.log_parser import LogParser
from obskit.logql.metric_nodes import (
    COMPARISONS,
    PRECEDENCE,
    SET_OPERATORS,
    Binary,
    Expr,
    Grouping,
    LabelReplace,
    LogRange,
    Matching,
    MetricExpr,
    Number,
    RangeAggregation,
    VectorAggregation,
    VectorOf,
    is_scalar,
    without_idle_formats,
)
from obskit.logql.pattern_errors import in_go_words
from obskit.model.patterns import compile_pattern

_NEEDS_UNWRAP: Final = frozenset(
    f"{op}_over_time" for op in ("avg", "sum", "min", "max", "stddev", "stdvar", "quantile", "first", "last")
) | {"rate_counter"}
_REFUSES_UNWRAP: Final = frozenset({"count_over_time", "bytes_over_time", "bytes_rate"})
RANGE_OPERATIONS: Final = _NEEDS_UNWRAP | _REFUSES_UNWRAP | {"rate", "absent_over_time"}
_RANGE_GROUPING: Final = _NEEDS_UNWRAP - {"sum_over_time", "rate_counter"}
_OF_LINES: Final = frozenset({"bytes_over_time", "bytes_rate"})
_RANKED: Final = frozenset({"topk", "bottomk", "approx_topk"})
_UNGROUPED: Final = frozenset({"sort", "sort_desc", "approx_topk"})
VECTOR_OPERATIONS: Final = frozenset({"sum", "avg", "min", "max", "count", "stddev", "stdvar"}) | _RANKED | _UNGROUPED
_BINARY_SIGNS: Final = tuple(op for op in PRECEDENCE if not op.isalpha())
_BINARY_WORDS: Final = tuple(op for op in PRECEDENCE if op.isalpha())
_EXPERIMENTAL: Final = frozenset({"variants", "approx_count_distinct"})
_MAX_NESTING: Final = 100
_MAX_OPERATIONS: Final = 250
"""A chain of operations is a tree as deep as it is long, and trees are walked by recursion."""


def parse(text: str) -> Expr:
    """The tree of a LogQL query: a LogQuery, or a metric expression. QuerySyntaxError says what is wrong, and where."""
    tokens = Tokens(text)
    expr = _MetricParser(tokens).lines_or_numbers()
    if tokens.here.kind is not Kind.END:
        tokens.unexpected()
    return expr


class _MetricParser:
    """Reads the numbers half of the tree by precedence climbing. As in Loki's grammar lines may stand wherever numbers
    may, and are refused for what they are."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._depth = 0
        self._operations = 0

    def expression(self) -> MetricExpr:
        """Numbers, up to what cannot belong to them."""
        found = self.lines_or_numbers()
        if isinstance(found, LogQuery):
            self._tokens.unexpected()
        return found

    def lines_or_numbers(self, loosest: int = 1) -> Expr:
        """What a whole query may be, or a side of an operation."""
        self._depth += 1
        if self._depth > _MAX_NESTING:
            self._tokens.fail("the query is nested too deep", self._tokens.here)
        left = self._operand()
        while (op := self._operator()) and PRECEDENCE[op] >= loosest:
            left = self._binary(left, op)
        self._depth -= 1
        return left

    def _operator(self) -> str:
        tokens = self._tokens
        if tokens.at_sign(*_BINARY_SIGNS) or tokens.at_word(*_BINARY_WORDS):
            return tokens.here.text.lower()
        return ""

    def _binary(self, left: Expr, op: str) -> MetricExpr:
        tokens = self._tokens
        sign = tokens.take()
        self._operations += 1
        if self._operations > _MAX_OPERATIONS:
            tokens.fail(f"more than {_MAX_OPERATIONS} operations in one query", sign)
        returns_bool = tokens.accept_word("bool")
        if returns_bool and op not in COMPARISONS:
            tokens.fail(f"unexpected bool: {op} is not a comparison", returns_bool)
        matching = self._matching(op)
        # Only ^ takes an operator of its own strength to its right.
        right = self.lines_or_numbers(PRECEDENCE[op] + (op != "^"))
        left, right = self._leg(left, "left", op, sign), self._leg(right, "right", op, sign)
        return Binary(op, left, right, returns_bool is not None, matching)

    def _leg(self, side: Expr, name: str, op: str, sign: Token) -> MetricExpr:
        """A side of an operation, unless it is none: lines have no number, and a number is no set."""
        if isinstance(side, LogQuery):
            kind = "PipelineExpr" if side.stages else "MatchersExpr"
            self._tokens.fail(f"unexpected type for {name} leg of binary operation ({op}): *syntax.{kind}", sign)
        if op in SET_OPERATORS and is_scalar(side):
            value = f"{folded(side):f}"
            self._tokens.fail(
                f"unexpected literal for {name} leg of logical/set binary operation ({op}): {value}", sign
            )
        return side

    def _matching(self, op: str) -> Matching | None:
        tokens = self._tokens
        word = tokens.accept_word("on", "ignoring")
        if word is None:
            return None
        labels = self._labels()
        group = tokens.accept_word("group_left", "group_right")
        include = self._labels() if group and tokens.at_sign("(") else ()
        on = word.text.lower() == "on"
        if group and op in SET_OPERATORS:
            tokens.fail(f"no grouping allowed for {op}: it works on sets", group)
        twice = set(labels) & set(include) if on else set()
        if twice and group:
            tokens.fail(f"label {min(twice)} must not stand in both on and {group.text}", group)
        return Matching(labels, on, group.text.lower() if group else "", include)

    def _labels(self) -> tuple[str, ...]:
        tokens = self._tokens
        tokens.expect_sign("(")
        labels: list[str] = []
        while not tokens.at_sign(")"):
            labels.append(tokens.expect(Kind.WORD, ")").text)
            if not tokens.accept_sign(",") and not tokens.at_sign(")"):
                tokens.unexpected(") or ,")
        tokens.take()
        return tuple(labels)

    def _operand(self) -> Expr:
        tokens = self._tokens
        if tokens.accept_sign("("):
            inner = self.lines_or_numbers()
            self._close()
            return inner
        if tokens.at_sign("{"):
            return LogParser(tokens).query()
        if tokens.at_sign("+", "-") or tokens.here.kind is Kind.NUMBER:
            return Number(self._number())
        return self._function()

    def _number(self) -> float:
        tokens = self._tokens
        sign = tokens.accept_sign("+", "-")
        value = float(tokens.expect(Kind.NUMBER).value)
        if abs(value) == float("inf"):
            tokens.fail("the number is too large", tokens.last)
        return -value if sign and sign.text == "-" else value

    def _function(self) -> MetricExpr:
        tokens = self._tokens
        token = tokens.here
        name = token.text.lower() if token.kind is Kind.WORD else ""
        if name in RANGE_OPERATIONS:
            return self._range_aggregation(name)
        if name in VECTOR_OPERATIONS:
            return self._vector_aggregation(name)
        if name == "vector":
            tokens.take()
            tokens.expect_sign("(")
            value = self._number()
            tokens.expect_sign(")")
            return VectorOf(value)
        if name == "label_replace":
            return self._label_replace()
        if name in _EXPERIMENTAL and tokens.ahead().text == "(":
            tokens.fail(f"{name} is experimental in Loki, and obskit does not know it", token)
        return tokens.unexpected()

    def _range_aggregation(self, op: str) -> MetricExpr:
        tokens = self._tokens
        word = tokens.take()
        tokens.expect_sign("(")
        parameter = None
        if tokens.here.kind is Kind.NUMBER:
            parameter = self._parameter_of_range(op)
        elif op == "quantile_over_time":
            if not tokens.at_sign("{", "("):
                tokens.unexpected("NUMBER or { or (")
            tokens.fail("parameter required for operation quantile_over_time", word)
        elif not tokens.at_sign("{", "("):
            tokens.unexpected("NUMBER or { or (")
        log_parser = LogParser(tokens)
        source = log_parser.range()
        if op not in _OF_LINES:
            source = without_idle_formats(source)
        log_parser.check_formats(source.query.stages)
        tokens.expect_sign(")")
        grouping = self._grouping()
        self._check_range(op, source, grouping, word)
        return RangeAggregation(op, source, parameter, grouping)

    def _parameter_of_range(self, op: str) -> float:
        tokens = self._tokens
        start = tokens.here
        value = self._number()
        if op != "quantile_over_time":
            tokens.fail(f"parameter {start.text} not supported for operation {op}", start, tokens.last)
        tokens.expect_sign(",")
        return value

    def _check_range(self, op: str, source: LogRange, grouping: Grouping | None, word: Token) -> None:
        end = self._tokens.last
        if source.unwrap is None and op in _NEEDS_UNWRAP:
            self._tokens.fail(f"invalid aggregation {op} without unwrap", word, end)
        if source.unwrap is not None and op in _REFUSES_UNWRAP:
            self._tokens.fail(f"invalid aggregation {op} with unwrap", word, end)
        if grouping is not None and op not in _RANGE_GROUPING:
            self._tokens.fail(f"grouping not allowed for {op} aggregation", word, end)

    def _grouping(self) -> Grouping | None:
        word = self._tokens.accept_word("by", "without")
        return Grouping(self._labels(), word.text.lower() == "without") if word else None

    def _vector_aggregation(self, op: str) -> MetricExpr:
        tokens = self._tokens
        word = tokens.take()
        grouping = self._grouping()
        tokens.expect_sign("(")
        parameter = self._parameter_of_vector(op)
        operand = self.expression()
        self._close()
        if parameter is None and op in _RANKED:
            tokens.fail(f"parameter required for operation {op}", word, tokens.last)
        if is_scalar(operand):
            tokens.fail(f"{op} needs series, not a number", word, tokens.last)
        if tokens.at_word("by", "without"):
            if grouping is not None:
                tokens.unexpected()
            grouping = self._grouping()
        if grouping is not None and op in _UNGROUPED:
            sorts = op in ("sort", "sort_desc")
            refusal = f"grouping not allowed for {op} aggregation"
            tokens.fail("sort and sort_desc doesn't allow grouping by" if sorts else refusal, word, tokens.last)
        return VectorAggregation(op, operand, parameter, grouping)

    def _parameter_of_vector(self, op: str) -> int | None:
        """The k of topk and its like, where one stands here."""
        tokens = self._tokens
        token = tokens.here
        if token.kind is not Kind.NUMBER or tokens.ahead().text != ",":
            return None
        value = self._number()
        if op not in _RANKED:
            tokens.fail(f"unsupported parameter for operation {op}({token.text},", token)
        if value != int(value):
            tokens.fail(f"invalid parameter {op}({token.text},", token)
        if value < 1:
            tokens.fail(f"invalid parameter (must be greater than 0) {op}({token.text}", token)
        tokens.take()
        return int(value)

    def _close(self) -> None:
        """The parenthesis behind an expression. Much else could stand there: an error names none of it."""
        if not self._tokens.accept_sign(")"):
            self._tokens.unexpected()

    def _label_replace(self) -> MetricExpr:
        tokens = self._tokens
        word = tokens.take()
        tokens.expect_sign("(")
        operand = self.expression()
        if is_scalar(operand):
            tokens.fail("label_replace needs series, not a number", word, tokens.last)
        texts: list[Token] = []
        for _ in range(4):
            if not texts and not tokens.at_sign(","):
                tokens.unexpected()
            tokens.expect_sign(",")
            texts.append(tokens.expect(Kind.STRING))
        tokens.expect_sign(")")
        target, replacement, source, pattern = (str(token.value) for token in texts)
        try:
            compile_pattern(f"^(?:{pattern})$")
        except PatternError as error:
            tokens.fail(f"invalid regex in label_replace: {in_go_words(error)}", texts[3])
        return LabelReplace(operand, target, replacement, source, pattern)
