"""The part of LogQL's syntax tree that is about numbers: ranges of lines and what is made of them.

`str` of a node is its canonical text, which parses to an equal node. A LogQuery (log_nodes.py) answers lines, everything
else (`MetricExpr`) numbers; an `Expr` is either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from obskit.logql.log_nodes import LINE_READERS, CompareOp, Condition, FormatStage, LineFormatStage, LogQuery, Stage
from obskit.logql.units import NS_PER_MS
from obskit.model.durations import format_duration
from obskit.model.labels import quote
from obskit.model.matchers import Matcher


@dataclass(frozen=True, slots=True)
class Unwrap:
    """`| unwrap duration(took) | __error__=""`: the label whose value is the sample; `conversion` may be empty."""

    label: str
    conversion: str = ""
    filters: tuple[Condition, ...] = ()

    def __str__(self) -> str:
        source = f"{self.conversion}({self.label})" if self.conversion else self.label
        return " ".join([f"| unwrap {source}", *(f"| {condition}" for condition in self.filters)])


@dataclass(frozen=True, slots=True)
class LogRange:
    """Lines, or what is unwrapped from them, of the window `(t - range, t]`, moved back by the offset."""

    query: LogQuery
    range_ns: int
    offset_ns: int = 0
    unwrap: Unwrap | None = None

    def __str__(self) -> str:
        offset = f" offset {_duration(self.offset_ns)}" if self.offset_ns else ""
        unwrap = f" {self.unwrap}" if self.unwrap else ""
        return f"{self.query}{unwrap} [{_duration(self.range_ns)}]{offset}"


@dataclass(frozen=True, slots=True)
class Grouping:
    """`by (a, b)` or `without (a, b)`."""

    labels: tuple[str, ...]
    without: bool = False

    @property
    def nothing(self) -> bool:
        """Whether all series fall into one group without labels."""
        return not self.labels and not self.without

    def __str__(self) -> str:
        return f"{'without' if self.without else 'by'} ({', '.join(self.labels)})"


@dataclass(frozen=True, slots=True)
class RangeAggregation:
    """`rate({...}[5m])`: one number per series and window."""

    op: str
    source: LogRange
    parameter: float | None = None
    grouping: Grouping | None = None

    def __str__(self) -> str:
        parameter = f"{format_number(self.parameter)}, " if self.parameter is not None else ""
        grouping = f" {self.grouping}" if self.grouping else ""
        return f"{self.op}({parameter}{self.source}){grouping}"


@dataclass(frozen=True, slots=True)
class VectorAggregation:
    """`sum by (app) (...)`: series of one time put together."""

    op: str
    operand: MetricExpr
    parameter: int | None = None
    grouping: Grouping | None = None

    def __str__(self) -> str:
        parameter = f"{self.parameter}, " if self.parameter is not None else ""
        grouping = f" {self.grouping} " if self.grouping else ""
        return f"{self.op}{grouping}({parameter}{self.operand})"


@dataclass(frozen=True, slots=True)
class Matching:
    """Which series of the two sides belong together: `on (labels)` or `ignoring (labels)`, and who may be many."""

    labels: tuple[str, ...] = ()
    on: bool = False
    group: str = ""
    include: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{'on' if self.on else 'ignoring'} ({', '.join(self.labels)})"
        return f"{text} {self.group} ({', '.join(self.include)})" if self.group else text


@dataclass(frozen=True, slots=True)
class Binary:
    """`left op right`. A comparison filters, or with `bool` answers 0 or 1."""

    op: str
    left: MetricExpr
    right: MetricExpr
    returns_bool: bool = False
    matching: Matching | None = None

    def __str__(self) -> str:
        words = [self.op] + ["bool"] * self.returns_bool + [str(self.matching)] * bool(self.matching)
        return f"{_operand(self, self.left, right=False)} {' '.join(words)} {_operand(self, self.right, right=True)}"


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it stands in the query."""

    value: float

    def __str__(self) -> str:
        return format_number(self.value)


@dataclass(frozen=True, slots=True)
class VectorOf:
    """`vector(0)`: a series without labels."""

    value: float

    def __str__(self) -> str:
        return f"vector({format_number(self.value)})"


@dataclass(frozen=True, slots=True)
class LabelReplace:
    """`label_replace(v, "dst", "$1", "src", "regex")`."""

    operand: MetricExpr
    target: str
    replacement: str
    source: str
    pattern: str

    def __str__(self) -> str:
        texts = ", ".join(quote(text) for text in (self.target, self.replacement, self.source, self.pattern))
        return f"label_replace({self.operand}, {texts})"


MetricExpr: TypeAlias = RangeAggregation | VectorAggregation | Binary | Number | VectorOf | LabelReplace
Expr: TypeAlias = LogQuery | MetricExpr

PRECEDENCE: Final = {
    "or": 1,
    **dict.fromkeys(("and", "unless"), 2),
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), 3),
    **dict.fromkeys("+-", 4),
    **dict.fromkeys("*/%", 5),
    "^": 6,
}
COMPARISONS: Final = frozenset(op.value for op in CompareOp)
SET_OPERATORS: Final = frozenset({"and", "or", "unless"})


def is_scalar(expr: Expr) -> bool:
    """Whether the expression is a number and not a vector."""
    if isinstance(expr, Binary):
        return is_scalar(expr.left) and is_scalar(expr.right)
    return isinstance(expr, Number)


def log_ranges(expr: Expr) -> Iterator[LogRange]:
    """Every range the expression reads, from left to right."""
    match expr:
        case RangeAggregation():
            yield expr.source
        case VectorAggregation() | LabelReplace():
            yield from log_ranges(expr.operand)
        case Binary():
            yield from log_ranges(expr.left)
            yield from log_ranges(expr.right)
        case _:
            return


def stream_selectors(expr: Expr) -> list[tuple[Matcher, ...]]:
    """The stream matchers of every place where the expression reads lines, each once."""
    if isinstance(expr, LogQuery):
        return [expr.matchers]
    return list(dict.fromkeys(source.query.matchers for source in log_ranges(expr)))


def without_idle_formats(source: LogRange) -> LogRange:
    """The range less the line_formats whose line nobody reads, where the length of lines does not count."""
    stages: list[Stage] = []
    line_read = False
    for stage in reversed(source.query.stages):
        if isinstance(stage, LineFormatStage) and not line_read:
            continue
        line_read = (
            line_read or isinstance(stage, LINE_READERS) or (isinstance(stage, FormatStage) and stage.reads_line)
        )
        stages.append(stage)
    if len(stages) == len(source.query.stages):
        return source
    return replace(source, query=LogQuery(source.query.matchers, tuple(reversed(stages))))


def longest_range_ns(expr: Expr) -> int:
    """How far back of its evaluation time the expression looks: the longest range with its offset; 0 for a LogQuery."""
    return max((source.range_ns + max(source.offset_ns, 0) for source in log_ranges(expr)), default=0)


def format_number(value: float) -> str:
    """A number as LogQL reads it back."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _duration(ns: int) -> str:
    if ns % NS_PER_MS:
        return f"{ns}ns"
    return format_duration(ns // NS_PER_MS)


def _operand(parent: Binary, child: MetricExpr, *, right: bool) -> str:
    """A side in parentheses where it would otherwise bind elsewhere. Only `^` binds to the right."""
    if not isinstance(child, Binary):
        return str(child)
    mine, its = PRECEDENCE[parent.op], PRECEDENCE[child.op]
    loose = its < mine or (its == mine and right != (parent.op == "^"))
    return f"({child})" if loose else str(child)
