"""The syntax tree of PromQL. Every node knows where it stands in the text; equality ignores that.

`str(node)` prints the canonical form, and parsing that gives an equal tree. Types are checked by the parser
(obskit.promql.checks), values are computed by obskit.promql.evaluator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from obskit.model.durations import format_duration
from obskit.model.labels import NAME, is_metric_name, quote_name
from obskit.model.matchers import Matcher, MatchOp
from obskit.promql.literals import format_number, quote_string


class ValueType(StrEnum):
    """What an expression evaluates to; the values are the words of Prometheus' messages."""

    SCALAR = "scalar"
    STRING = "string"
    VECTOR = "instant vector"
    MATRIX = "range vector"


COMPARISONS: Final = frozenset({"==", "!=", ">", "<", ">=", "<="})
SET_OPERATORS: Final = frozenset({"and", "or", "unless"})
TRIMS: Final = frozenset({"</", ">/"})

PRECEDENCE: Final = {
    "or": 1,
    **dict.fromkeys(("and", "unless"), 2),
    **dict.fromkeys((*COMPARISONS, "</", ">/"), 3),
    **dict.fromkeys(("+", "-"), 4),
    **dict.fromkeys(("*", "/", "%", "atan2"), 5),
    "^": 6,
}
UNARY_PRECEDENCE: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Expr:
    """A node. `start` and `end` are character offsets into the text it was parsed from."""

    start: int = field(default=0, compare=False, repr=False)
    end: int = field(default=0, compare=False, repr=False)

    @property
    def type(self) -> ValueType:
        """What the node evaluates to."""
        return ValueType.VECTOR

    @property
    def children(self) -> tuple[Expr, ...]:
        """The expressions directly below, in the order of the text."""
        return ()

    def walk(self) -> Iterator[Expr]:
        """This node and everything below it, parents first."""
        waiting: list[Expr] = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(node.children)


@dataclass(frozen=True, slots=True)
class Number(Expr):
    """A number. A duration literal (`5m`) is a number of seconds."""

    value: float

    @property
    def type(self) -> ValueType:
        return ValueType.SCALAR

    def __str__(self) -> str:
        return format_number(self.value)


@dataclass(frozen=True, slots=True)
class String(Expr):
    """A string, unescaped."""

    value: str

    @property
    def type(self) -> ValueType:
        return ValueType.STRING

    def __str__(self) -> str:
        return quote_string(self.value)


@dataclass(frozen=True, slots=True)
class DurationCall:
    """A duration that depends on the query: `step()`, `range()`, `min_of(a, b)`, `max_of(a, b)`."""

    name: str
    args: tuple[Duration, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(print_duration, self.args))})"


@dataclass(frozen=True, slots=True)
class DurationOp:
    """Arithmetic on durations with a part that depends on the query. A unary minus is `0 - x`."""

    op: str
    lhs: Duration
    rhs: Duration

    def __str__(self) -> str:
        return f"({print_duration(self.lhs)} {self.op} {print_duration(self.rhs)})"


Duration = float | DurationCall | DurationOp
"""Seconds, or what will give seconds when step and range of the query are known. Constants are folded."""


def print_duration(duration: Duration) -> str:
    """A duration as it stands in brackets or after `offset`."""
    if not isinstance(duration, float):
        return str(duration)
    ms = duration * 1000
    return format_duration(int(ms)) if ms == int(ms) and abs(ms) < 1 << 53 else format_number(duration)


class Modifier(StrEnum):
    """The experimental range modifiers: how the borders of a range are treated."""

    NONE = ""
    ANCHORED = "anchored"
    SMOOTHED = "smoothed"


@dataclass(frozen=True, slots=True)
class Shift:
    """When a selector looks: `@` (Unix seconds, or `start`/`end` of the query) and `offset`."""

    offset: Duration = 0.0
    at: float | str | None = None

    def __str__(self) -> str:
        text = ""
        if self.at is not None:
            text += f" @ {self.at}()" if isinstance(self.at, str) else f" @ {self.at:.3f}"
        if self.offset != 0.0:
            text += f" offset {print_duration(self.offset)}"
        return text


NO_SHIFT: Final = Shift()


@dataclass(frozen=True, slots=True)
class VectorSelector(Expr):
    """`name{matchers}`. The name, when given, is also the first matcher."""

    name: str
    matchers: tuple[Matcher, ...]
    shift: Shift = NO_SHIFT
    modifier: Modifier = Modifier.NONE

    def __str__(self) -> str:
        return f"{self.bare()}{self.tail()}"

    def bare(self) -> str:
        """The selector without modifiers."""
        rest = [str(m) for m in self.matchers if not (self.name and m.name == NAME and m.op is MatchOp.EQUAL)]
        if self.name and not is_metric_name(self.name):
            return "{" + ",".join([quote_string(self.name), *rest]) + "}"
        return self.name + ("{" + ",".join(rest) + "}" if rest or not self.name else "")

    def tail(self) -> str:
        """The modifiers alone."""
        return (f" {self.modifier}" if self.modifier else "") + str(self.shift)


@dataclass(frozen=True, slots=True)
class MatrixSelector(Expr):
    """`selector[range]`."""

    vector: VectorSelector
    range: Duration

    @property
    def type(self) -> ValueType:
        return ValueType.MATRIX

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.vector,)

    def __str__(self) -> str:
        return f"{self.vector.bare()}[{print_duration(self.range)}]{self.vector.tail()}"


@dataclass(frozen=True, slots=True)
class Subquery(Expr):
    """`expr[range:step]`; without a step the engine's default interval applies."""

    expr: Expr
    range: Duration
    step: Duration | None = None
    shift: Shift = NO_SHIFT

    @property
    def type(self) -> ValueType:
        return ValueType.MATRIX

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.expr,)

    def __str__(self) -> str:
        step = "" if self.step is None else print_duration(self.step)
        return f"{self.expr}[{print_duration(self.range)}:{step}]{self.shift}"


@dataclass(frozen=True, slots=True)
class Call(Expr):
    """A function call. `result` is what the function returns."""

    name: str
    args: tuple[Expr, ...]
    result: ValueType = field(default=ValueType.VECTOR, repr=False)

    @property
    def type(self) -> ValueType:
        return self.result

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.args

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.args))})"


@dataclass(frozen=True, slots=True)
class Aggregate(Expr):
    """`op by (grouping) (param, expr)`; `without` turns the grouping round."""

    op: str
    expr: Expr
    param: Expr | None = None
    grouping: tuple[str, ...] = ()
    without: bool = False

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.expr,) if self.param is None else (self.param, self.expr)

    def __str__(self) -> str:
        clause = ""
        if self.without or self.grouping:
            clause = f" {'without' if self.without else 'by'} ({_names(self.grouping)}) "
        return f"{self.op}{clause}({', '.join(map(str, self.children))})"


class Cardinality(StrEnum):
    """How many elements on each side a match group may have."""

    ONE_TO_ONE = "one-to-one"
    MANY_TO_ONE = "many-to-one"
    ONE_TO_MANY = "one-to-many"
    MANY_TO_MANY = "many-to-many"


@dataclass(frozen=True, slots=True)
class Matching:
    """How the elements of two vectors find each other: `on`/`ignoring`, `group_*`, `fill*`."""

    cardinality: Cardinality = Cardinality.ONE_TO_ONE
    on: bool = False
    labels: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    fill_left: float | None = None
    fill_right: float | None = None

    def __str__(self) -> str:
        side = {Cardinality.MANY_TO_ONE: "group_left", Cardinality.ONE_TO_MANY: "group_right"}.get(self.cardinality)
        parts = []
        if self.on or self.labels or side:
            parts.append(f"{'on' if self.on else 'ignoring'} ({_names(self.labels)})")
        if side:
            parts.append(f"{side} ({_names(self.include)})")
        if self.fill_left is not None:
            parts.append(f"fill_left ({format_number(self.fill_left)})")
        if self.fill_right is not None:
            parts.append(f"fill_right ({format_number(self.fill_right)})")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    """`lhs op rhs`. `matching` is there when both sides are vectors; `bool` makes a comparison answer 0 or 1."""

    op: str
    lhs: Expr
    rhs: Expr
    matching: Matching | None = None
    bool: bool = False

    @property
    def type(self) -> ValueType:
        if self.lhs.type is ValueType.SCALAR and self.rhs.type is ValueType.SCALAR:
            return ValueType.SCALAR
        return ValueType.VECTOR

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.lhs, self.rhs)

    def __str__(self) -> str:
        parts = [str(self.lhs), self.op]
        if self.bool:
            parts.append("bool")
        if self.matching is not None and str(self.matching):
            parts.append(str(self.matching))
        return " ".join([*parts, str(self.rhs)])


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    """`+expr` or `-expr`."""

    op: str
    expr: Expr

    @property
    def type(self) -> ValueType:
        return self.expr.type

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.expr,)

    def __str__(self) -> str:
        return f"{self.op}{self.expr}"


@dataclass(frozen=True, slots=True)
class Paren(Expr):
    """`(expr)`: kept, so that the canonical form reads like what was written."""

    expr: Expr

    @property
    def type(self) -> ValueType:
        return self.expr.type

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.expr,)

    def __str__(self) -> str:
        return f"({self.expr})"


def bare(expr: Expr) -> Expr:
    """The expression without the parentheses around it."""
    while isinstance(expr, Paren):
        expr = expr.expr
    return expr


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(quote_name(name) for name in names)
