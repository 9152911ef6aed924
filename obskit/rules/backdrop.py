"""What the store knows around a notice: how the rule's value went, and its limit.

Best effort and read only; a question without an answer leaves its part empty. Not for several threads at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from obskit.errors import ObskitError
from obskit.model.actions import Notice
from obskit.model.alerts import Alert
from obskit.model.context import UNKNOWN, Context
from obskit.model.results import Matrix, Result
from obskit.model.severity import rank
from obskit.rules.comparison import Side, comparison_of
from obskit.rules.evidence import own_labels
from obskit.rules.groups import AlertRule, Group

POINTS: Final = 40
BEFORE_MS: Final = 30 * 60_000
LONGEST_MS: Final = 6 * 3_600_000
SHORTEST_STEP_MS: Final = 15_000
_NS_PER_MS: Final = 1_000_000


class Engine(Protocol):
    """A query engine: obskit.promql's takes Unix milliseconds, obskit.logql's nanoseconds."""

    def range(self, expr: Any, start: int, end: int, step: int, /) -> Result:
        """A matrix."""
        ...


@dataclass(frozen=True, slots=True)
class _Span:
    """From when to when, and how far apart the points are (milliseconds)."""

    start_ms: int
    end_ms: int
    step_ms: int


class Backdrop:
    """Knows the rules by their source, and asks two engines."""

    def __init__(self, groups: Iterable[Group], promql: Engine, logql: Engine) -> None:
        self._promql = promql
        self._logql = logql
        self._rules: dict[str, list[tuple[Group, AlertRule]]] = {}
        for group in groups:
            for rule in group.rules:
                if isinstance(rule, AlertRule):
                    self._rules.setdefault(rule.source, []).append((group, rule))

    def look(self, notice: Notice) -> Context:
        """What is known around the worst alert of the notice."""
        worst = min(notice.firing or notice.alerts, key=lambda alert: (-rank(alert), alert.starts_ms), default=None)
        found = self._rule_of(worst) if worst else None
        if worst is None or found is None:
            return UNKNOWN
        group, rule = found
        comparison = comparison_of(rule.query)
        if comparison is None:
            return UNKNOWN
        span = _span(notice, worst)
        return Context(
            limit=comparison.bound,
            readings=self._readings(group, rule, comparison.measured, worst, span),
        )

    def _rule_of(self, alert: Alert) -> tuple[Group, AlertRule] | None:
        """Rules of one name differ by their labels: by severity, mostly."""
        for group, rule in self._rules.get(alert.source, ()):
            if all(alert.labels.get(name) == value for name, value in rule.labels.items() if "{{" not in value):
                return group, rule
        return None

    def _readings(
        self, group: Group, rule: AlertRule, side: Side, alert: Alert, span: _Span
    ) -> tuple[tuple[int, float], ...]:
        try:
            result = self._range(group, side.query, span)
        except ObskitError:
            return ()
        if not isinstance(result.value, Matrix):
            return ()
        wanted = own_labels(rule, side, alert.labels)
        for series in result.value.series:
            if own_labels(rule, side, series.labels) == wanted:
                return tuple(zip(series.times_ms, map(float, series.values), strict=True))
        return ()

    def _range(self, group: Group, query: Any, span: _Span) -> Result:
        if group.type.reads_logs:
            times = (span.start_ms, span.end_ms, span.step_ms)
            return self._logql.range(query, *(ms * _NS_PER_MS for ms in times))
        return self._promql.range(query, span.start_ms, span.end_ms, span.step_ms)


def _span(notice: Notice, alert: Alert) -> _Span:
    """From half an hour before the alert until now, or its end; the last hours of it when that is long."""
    end_ms = notice.decided_ms if notice.firing or alert.ends_ms is None else alert.ends_ms
    start_ms = max(min(alert.starts_ms, end_ms) - BEFORE_MS, end_ms - LONGEST_MS)
    step_ms = max(SHORTEST_STEP_MS, (end_ms - start_ms) // (POINTS - 1))
    points = (end_ms - start_ms) // step_ms
    return _Span(end_ms - points * step_ms, end_ms, step_ms)
