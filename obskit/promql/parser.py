"""Text to syntax tree: recursive descent, precedence climbing. Types are checked as nodes are built.

The grammar is Prometheus' (promql/parser/generated_parser.y), with its messages where they are known. Selectors and
durations stand in modules of their own.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import Final

from obskit.errors import QuerySyntaxError
from obskit.promql.checks import Checker
from obskit.promql.lexer import AGGREGATIONS, WORD_OPERATORS, Kind
from obskit.promql.nodes import (
    PRECEDENCE,
    SET_OPERATORS,
    UNARY_PRECEDENCE,
    Aggregate,
    Binary,
    Call,
    Cardinality,
    Duration,
    Expr,
    Matching,
    MatrixSelector,
    Modifier,
    Number,
    Paren,
    Shift,
    String,
    Subquery,
    Unary,
    ValueType,
    VectorSelector,
)
from obskit.promql.parse_selectors import SelectorParser
from obskit.promql.signatures import PARAMETER_TYPES, SIGNATURES

MAX_DEPTH: Final = 100
MAX_CHAIN: Final = 300
"""Deeper nesting and longer chains of operators are refused: a query from outside must not exhaust the stack."""

_RESERVED: Final = frozenset({"on", "ignoring", "group_left", "group_right", *WORD_OPERATORS})
_UNMATCHED: Final = {cardinality: Matching(cardinality=cardinality) for cardinality in Cardinality}
"""What matches without `on` or `ignoring`: the same few objects for all expressions."""
_FILLS: Final = frozenset({"fill", "fill_left", "fill_right"})


@lru_cache(maxsize=4096)
def parse(text: str) -> Expr:
    """The tree of a PromQL expression. QuerySyntaxError says what is wrong and where."""
    return Parser(text).run()


class Parser(SelectorParser):
    """One text. Each method takes the tokens of its rule and gives the node."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.check = Checker(text)
        self.depth = 0

    def run(self) -> Expr:
        """The whole text as one expression."""
        if len(self.tokens) == 1 and self.token.kind is Kind.END:
            raise QuerySyntaxError("no expression found in input", self.text, 0, 1)
        expr = self.expression()
        if self.token is not self.tokens[-1] or self.token.kind is Kind.ERROR:
            self.unexpected()
        return expr

    def expression(self, minimum: int = 1) -> Expr:
        """Operands joined by operators that bind at least as tight as `minimum`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail_here("expression is nested too deeply")
        left, links = self.operand(), 0
        while (op := self.binary_operator()) is not None and PRECEDENCE[op] >= minimum:
            links += 1
            if links > MAX_CHAIN:
                self.fail_here("expression is too long")
            self.advance()
            left = self.binary(op, left)
        self.depth -= 1
        return left

    def binary_operator(self) -> str | None:
        """The operator at hand, if there is one."""
        word = self.token.word or self.token.text
        return word if word in PRECEDENCE else None

    def binary(self, op: str, left: Expr) -> Expr:
        """The rest of a binary expression, behind its operator."""
        returns_bool = self.take_word("bool")
        matching = self.matching(op)
        # `^` is right-associative, everything else left.
        right = self.expression(PRECEDENCE[op] + (op != "^"))
        vectors = left.type is ValueType.VECTOR and right.type is ValueType.VECTOR
        written = matching not in _UNMATCHED.values()
        expr = Binary(
            op=op,
            lhs=left,
            rhs=right,
            matching=matching if vectors or written else None,
            bool=returns_bool,
            start=left.start,
            end=right.end,
        )
        self.check.binary(expr)
        return expr

    def matching(self, op: str) -> Matching:
        """`on (…)` / `ignoring (…)`, `group_left (…)` / `group_right (…)`, `fill…(…)`."""
        many = Cardinality.MANY_TO_MANY if op in SET_OPERATORS else Cardinality.ONE_TO_ONE
        matching = _UNMATCHED[many]
        if self.token.word in ("on", "ignoring"):
            word = self.advance().word
            matching = replace(matching, on=word == "on", labels=self.names("grouping opts"))
            if self.token.word in ("group_left", "group_right"):
                side = Cardinality.MANY_TO_ONE if self.advance().word == "group_left" else Cardinality.ONE_TO_MANY
                include = self.names("grouping opts") if self.token.text == "(" else ()
                matching = replace(matching, cardinality=side, include=include)
        while self.token.word in _FILLS and self.peek().text == "(" and self.peek(2).text != ")":
            matching = self.fill(matching)
        return matching

    def fill(self, matching: Matching) -> Matching:
        """`fill(v)`, `fill_left(v)`, `fill_right(v)`: what stands in for a missing side."""
        word = self.advance().word
        self.expect_operator("(", "fill")
        sign = self.sign()
        token = self.expect(Kind.NUMBER, "fill", "number")
        self.expect_operator(")", "fill")
        value = float(token.value)
        value = math.nan if math.isnan(value) else sign * value  # one object: equal trees compare equal
        if word != "fill_right":
            matching = replace(matching, fill_left=value)
        if word != "fill_left":
            matching = replace(matching, fill_right=value)
        return matching

    def operand(self) -> Expr:
        """A signed or plain operand with its modifiers."""
        if self.token.kind is Kind.OPERATOR and self.token.text in "+-":
            token = self.advance()
            inner = self.expression(UNARY_PRECEDENCE + 1)
            if isinstance(inner, Number):
                value = -inner.value if token.text == "-" and not math.isnan(inner.value) else inner.value
                return replace(inner, value=value, start=token.start)
            expr = Unary(op=token.text, expr=inner, start=token.start, end=inner.end)
            self.check.unary(expr)
            return expr
        return self.modified(self.primary())

    def primary(self) -> Expr:
        """A literal, a parenthesis, a call, an aggregation or a selector."""
        token = self.token
        if token.kind is Kind.NUMBER:
            self.advance()
            return Number(value=float(token.value), start=token.start, end=token.end)
        if token.kind is Kind.STRING:
            self.advance()
            return String(value=str(token.value), start=token.start, end=token.end)
        if token.text == "(":
            return self.parenthesis()
        if token.text == "{" and token.kind is Kind.OPERATOR:
            return self.selector()
        if token.kind is not Kind.NAME or token.word in _RESERVED:
            self.unexpected()
        following = self.peek()
        if token.word in AGGREGATIONS and (following.text == "(" or following.word in ("by", "without")):
            return self.aggregation()
        if following.text == "(" and token.word != "bool":
            return self.call()
        return self.selector()

    def parenthesis(self) -> Expr:
        """`( expr )`."""
        opening = self.advance()
        inner = self.expression()
        closing = self.expect_operator(")", "")
        return Paren(expr=inner, start=opening.start, end=closing.end)

    def arguments(self, context: str) -> tuple[Expr, ...]:
        """`( expr, … )`, without a trailing comma."""
        self.expect_operator("(", context)
        args: list[Expr] = []
        while self.token.text != ")" or args:
            self.empty_allowed = context == "info" and len(args) == 1
            args.append(self.expression())
            self.empty_allowed = False
            if self.token.text != ",":
                break
            self.advance()
        self.expect_operator(")", context)
        return tuple(args)

    def call(self) -> Expr:
        """`name(args)`."""
        token = self.advance()
        # In durations and after `@` these are keywords, which do not mind case; as functions they are names.
        if token.text not in SIGNATURES:
            self.fail_at(f'unknown function with name "{token.text}"', token)
        args = self.arguments("info" if token.text == "info" else "function call")
        expr = Call(
            name=token.text, args=args, result=SIGNATURES[token.text].returns, start=token.start, end=self.last_end
        )
        self.check.call(expr)
        return expr

    def aggregation(self) -> Expr:
        """`op by (…) (…)` or `op(…) by (…)`."""
        token = self.advance()
        clause = self.grouping()
        args = self.arguments("aggregation")
        if clause is None:
            clause = self.grouping()
        without, grouping = clause or (False, ())
        wanted = 2 if token.word in PARAMETER_TYPES else 1
        if not args:
            self.fail_span("no arguments for aggregate expression provided", token.start, self.last_end)
        if len(args) != wanted:
            message = f"wrong number of arguments for aggregate expression provided, expected {wanted}, got {len(args)}"
            self.fail_span(message, token.start, self.last_end)
        expr = Aggregate(
            op=token.word,
            expr=args[-1],
            param=args[0] if wanted == 2 else None,
            grouping=grouping,
            without=without,
            start=token.start,
            end=self.last_end,
        )
        self.check.aggregate(expr)
        return expr

    def grouping(self) -> tuple[bool, tuple[str, ...]] | None:
        """`by (…)` or `without (…)`, if it stands here."""
        if self.token.word not in ("by", "without"):
            return None
        without = self.advance().word == "without"
        return without, self.names("grouping opts")

    def modified(self, expr: Expr) -> Expr:
        """The operand with `[range]`, `[range:step]`, `offset`, `@`, `anchored`, `smoothed` behind it."""
        while True:
            word = self.token.word
            if self.token.text == "[":
                expr = self.ranged(expr)
            elif word == "offset":
                self.advance()
                expr = self.with_offset(expr)
            elif self.token.text == "@":
                self.advance()
                expr = self.with_at(expr)
            elif word in ("anchored", "smoothed"):
                expr = self.with_modifier(expr)
            else:
                return expr

    def ranged(self, expr: Expr) -> Expr:
        """`[range]` makes a range selector, `[range:step]` a subquery."""
        opening = self.advance()
        span = self.duration()
        self.positive(span, opening)
        if self.token.text != ":":
            return self.matrix(expr, span)
        self.advance()
        step = None if self.token.text == "]" else self.duration()
        if step is not None:
            self.positive(step, opening)
        self.expect_operator("]", "subquery selector")
        if expr.type is not ValueType.VECTOR:
            self.check.fail(f"subquery is only allowed on instant vector, got {expr.type} instead", expr)
        return Subquery(expr=expr, range=span, step=step, start=expr.start, end=self.last_end)

    def matrix(self, expr: Expr, span: Duration) -> Expr:
        """The rest of a range selector."""
        self.expect_operator("]", "subquery or range selector")
        if not isinstance(expr, VectorSelector):
            self.check.fail("ranges only allowed for vector selectors", expr)
        if expr.shift.offset != 0.0:
            self.check.fail("no offset modifiers allowed before range", expr)
        if isinstance(expr.shift.at, float):  # upstream looks for a time only: `x @ start()[5m]` passes
            self.check.fail("no @ modifiers allowed before range", expr)
        return MatrixSelector(vector=expr, range=span, start=expr.start, end=self.last_end)

    def with_offset(self, expr: Expr) -> Expr:
        """`offset <duration>` behind a selector or subquery."""
        offset = self.offset()
        shift = self.shift_of(expr, "offset modifier")
        if shift.offset != 0.0:
            self.check.fail("offset may not be set multiple times", expr)
        return self.shifted(expr, replace(shift, offset=offset))

    def with_at(self, expr: Expr) -> Expr:
        """`@ <time>`, `@ start()`, `@ end()` behind a selector or subquery."""
        at = self.at()
        shift = self.shift_of(expr, "@ modifier")
        if shift.at is not None:
            self.check.fail("@ <timestamp> may not be set multiple times", expr)
        return self.shifted(expr, replace(shift, at=at))

    def with_modifier(self, expr: Expr) -> Expr:
        """`anchored` or `smoothed` behind a selector."""
        token = self.advance()
        modifier = Modifier(token.word)
        vector = expr.vector if isinstance(expr, MatrixSelector) else expr
        if not isinstance(vector, VectorSelector):
            self.fail_at(f"{modifier} modifier not implemented", token)
        if vector.modifier:
            self.fail_at("anchored and smoothed modifiers cannot be used together", token)
        if modifier is Modifier.ANCHORED and vector is expr:
            self.fail_at("anchored modifier can only be used with range vectors", token)
        changed = replace(vector, modifier=modifier)
        if isinstance(expr, MatrixSelector):
            return replace(expr, vector=changed, end=token.end)
        return replace(changed, end=token.end)

    def shift_of(self, expr: Expr, what: str) -> Shift:
        """The shift of what a modifier stands behind."""
        if isinstance(expr, MatrixSelector):
            return expr.vector.shift
        if not isinstance(expr, VectorSelector | Subquery):
            self.check.fail(
                f"{what} must be preceded by an instant vector selector or range vector selector or a subquery", expr
            )
        return expr.shift

    def shifted(self, expr: Expr, shift: Shift) -> Expr:
        """The expression with another shift."""
        if isinstance(expr, MatrixSelector):
            return replace(expr, vector=replace(expr.vector, shift=shift), end=self.last_end)
        assert isinstance(expr, VectorSelector | Subquery)
        return replace(expr, shift=shift, end=self.last_end)
