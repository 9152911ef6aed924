"""What an evaluation knows besides its arguments: the query's range, the steps at hand, and where to put notes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.errors import QueryError
from obskit.promql.labelsets import Ints
from obskit.promql.literals import format_number
from obskit.promql.nodes import Duration, DurationCall, DurationOp, Expr
from obskit.promql.parse_selectors import duration_arithmetic


@dataclass(slots=True)
class Notes:
    """Annotations of a query: each text once, in the order in which they came up."""

    warnings: dict[str, None] = field(default_factory=dict)
    infos: dict[str, None] = field(default_factory=dict)


class Reading(Enum):
    """What is read of the histograms below a node: nobody said yet, only their counts, or the buckets too."""

    OPEN = auto()
    COUNTS = auto()
    BUCKETS = auto()


READINGS: Final = {
    **dict.fromkeys(("histogram_count", "histogram_sum", "histogram_avg"), Reading.COUNTS),
    **dict.fromkeys(("histogram_quantile", "histogram_quantiles", "histogram_fraction"), Reading.BUCKETS),
}


@dataclass(frozen=True, slots=True)
class Context:
    """One grid of evaluation times within one query.

    `start_ms`, `end_ms` and `step_ms` are the whole query's, also inside a subquery (`@ start()`, `step()`).
    """

    text: str
    start_ms: int
    end_ms: int
    step_ms: int
    at_ms: Ints
    delayed: bool
    notes: Notes
    reading: Reading = Reading.OPEN

    @property
    def steps(self) -> int:
        """How many steps."""
        return len(self.at_ms)

    @property
    def instant(self) -> bool:
        """Whether the query asks for one moment."""
        return self.step_ms == 0

    def at(self, at_ms: Ints) -> Context:
        """The same query on another grid."""
        return replace(self, at_ms=at_ms)

    def below(self, function: str) -> Context:
        """The same query in the arguments of a function. Whoever needs the buckets has the last word."""
        reading = READINGS.get(function)
        if reading is None or self.reading is Reading.BUCKETS:
            return self
        return replace(self, reading=reading)

    def once(self) -> Context:
        """The same query at the first step only."""
        return self.at(self.at_ms[:1])

    def seconds(self) -> NDArray[np.float64]:
        """The evaluation times in seconds."""
        return self.at_ms / 1000

    def milliseconds(self, duration: Duration) -> int:
        """A duration with step() and range() known."""
        try:
            return round(self._resolve(duration) * 1000)
        except (ZeroDivisionError, OverflowError, ValueError):
            # With step() and range() known only now, what the parser refuses in constants comes up here.
            raise QueryError("duration out of range or divided by zero") from None

    def _resolve(self, duration: Duration) -> float:
        if isinstance(duration, float):
            return duration
        if isinstance(duration, DurationOp):
            return duration_arithmetic(duration.op, self._resolve(duration.lhs), self._resolve(duration.rhs))
        return self._resolve_call(duration)

    def _resolve_call(self, call: DurationCall) -> float:
        if call.name == "step":
            return self.step_ms / 1000
        if call.name == "range":
            return (self.end_ms - self.start_ms) / 1000
        chosen = min if call.name == "min_of" else max
        return chosen(self._resolve(arg) for arg in call.args)

    def warn(self, message: str, expr: Expr) -> None:
        """Something the person who wrote the query should know."""
        self.notes.warnings[f"PromQL warning: {message} ({self._where(expr)})"] = None

    def inform(self, message: str, expr: Expr) -> None:
        """Something that may be as intended."""
        self.notes.infos[f"PromQL info: {message} ({self._where(expr)})"] = None

    def check_quantile(self, q: NDArray[np.float64], expr: Expr) -> None:
        """Warn about a quantile outside [0, 1]."""
        for value in sorted(set(q[~((q >= 0) & (q <= 1))].tolist())):
            self.warn(f"quantile value should be between 0 and 1, got {format_number(value)}", expr)

    def _where(self, expr: Expr) -> str:
        line = self.text.count("\n", 0, expr.start) + 1
        return f"{line}:{expr.start - self.text.rfind(chr(10), 0, expr.start)}"
