"""Type checks at parse time, with Prometheus' wording (promql/parser/parse.go, checkAST)."""

from __future__ import annotations

from typing import NoReturn

from obskit.errors import QuerySyntaxError
from obskit.promql.nodes import (
    COMPARISONS,
    SET_OPERATORS,
    Aggregate,
    Binary,
    Call,
    Cardinality,
    Expr,
    MatrixSelector,
    Modifier,
    Unary,
    ValueType,
    VectorSelector,
    bare,
)
from obskit.promql.signatures import ANCHORED_FUNCTIONS, PARAMETER_TYPES, SIGNATURES, SMOOTHED_FUNCTIONS


class Checker:
    """Checks one node at a time, when the parser has built it: its children are right already."""

    def __init__(self, query: str) -> None:
        self.query = query

    def fail(self, message: str, expr: Expr) -> NoReturn:
        """Raise at the expression."""
        raise QuerySyntaxError(message, self.query, expr.start, expr.end)

    def _expect(self, expr: Expr, wanted: ValueType, where: str) -> None:
        if expr.type is not wanted:
            self.fail(f"expected type {wanted} in {where}, got {expr.type}", expr)

    def aggregate(self, expr: Aggregate) -> None:
        """Argument and parameter of an aggregation."""
        if expr.op in PARAMETER_TYPES:
            assert expr.param is not None
            self._expect(expr.expr, ValueType.VECTOR, "aggregation expression")
            self._expect(expr.param, PARAMETER_TYPES[expr.op], "aggregation parameter")
        else:
            self._expect(expr.expr, ValueType.VECTOR, "aggregation expression")

    def call(self, expr: Call) -> None:
        """Number and types of a function's arguments."""
        signature = SIGNATURES[expr.name]
        count = len(expr.args)
        if signature.optional == 0 and count != len(signature.args):
            self.fail(f'expected {len(signature.args)} argument(s) in call to "{expr.name}", got {count}', expr)
        if count < signature.minimum:
            self.fail(f'expected at least {signature.minimum} argument(s) in call to "{expr.name}", got {count}', expr)
        if signature.maximum is not None and count > signature.maximum:
            self.fail(f'expected at most {signature.maximum} argument(s) in call to "{expr.name}", got {count}', expr)
        for position, arg in enumerate(expr.args):
            self._expect(arg, signature.type_of(position), f'call to function "{expr.name}"')
        self._modifiers(expr)
        if expr.name == "info" and count == 2 and not isinstance(bare(expr.args[1]), VectorSelector):
            self.fail("expected label selectors as the second argument to info function", expr.args[1])

    def _modifiers(self, expr: Call) -> None:
        for arg in map(bare, expr.args):
            modifier = arg.vector.modifier if isinstance(arg, MatrixSelector) else Modifier.NONE
            allowed = SMOOTHED_FUNCTIONS if modifier is Modifier.SMOOTHED else ANCHORED_FUNCTIONS
            if modifier and expr.name not in allowed:
                names = ", ".join(allowed)
                self.fail(f"{modifier} modifier can only be used with: {names} - not with {expr.name}", arg)

    def unary(self, expr: Unary) -> None:
        """A sign goes before numbers and vectors."""
        if expr.type not in (ValueType.SCALAR, ValueType.VECTOR):
            self.fail(
                f'unary expression only allowed on expressions of type scalar or instant vector, got "{expr.type}"',
                expr,
            )

    def binary(self, expr: Binary) -> None:
        """Operand types, `bool`, and what the matching modifiers may be used with."""
        scalars = (expr.lhs.type is ValueType.SCALAR, expr.rhs.type is ValueType.SCALAR)
        if expr.bool and expr.op not in COMPARISONS:
            self.fail("bool modifier can only be used on comparison operators", expr)
        if expr.op in COMPARISONS and all(scalars) and not expr.bool:
            self.fail("comparisons between scalars must use BOOL modifier", expr)
        for side in (expr.lhs, expr.rhs):
            if side.type not in (ValueType.SCALAR, ValueType.VECTOR):
                self.fail("binary expression must contain only scalar and instant vector types", side)
        if expr.op in SET_OPERATORS and any(scalars):
            self.fail(f'set operator "{expr.op}" not allowed in binary scalar expression', expr)
        self._matching(expr, vectors=not any(scalars))

    def _matching(self, expr: Binary, *, vectors: bool) -> None:
        matching = expr.matching
        if matching is None:
            return
        if not vectors and matching.labels:  # `on ()` says nothing, and upstream does not mind
            self.fail("vector matching only allowed between instant vectors", expr)
        if not vectors and (matching.fill_left is not None or matching.fill_right is not None):
            self.fail("filling in missing series only allowed between instant vectors", expr)
        grouped = matching.cardinality in (Cardinality.MANY_TO_ONE, Cardinality.ONE_TO_MANY)
        if matching.on:
            for label in matching.labels:
                if label in matching.include:
                    self.fail(f'label "{label}" must not occur in ON and GROUP clause at once', expr)
        if expr.op in SET_OPERATORS and grouped:
            self.fail(f'no grouping allowed for "{expr.op}" operation', expr)
        if expr.op in SET_OPERATORS and (matching.fill_left is not None or matching.fill_right is not None):
            self.fail("filling in missing series not allowed for set operators", expr)
