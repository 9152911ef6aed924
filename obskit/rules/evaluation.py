"""One rule at one time: ask the engine, step the alerts or build the series, and say what is to be written.

It reads the store and changes nothing: when to evaluate and what to commit is left to runner.py (and unittest.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from obskit.errors import QueryError
from obskit.model.alerts import ActiveAlert, AlertState, Transition
from obskit.model.histograms import NativeHistogram
from obskit.model.labels import EMPTY, NAME, Labels
from obskit.model.matchers import Matcher, exact_name
from obskit.model.results import Element, Result, Scalar, Vector
from obskit.model.samples import STALE_NAN
from obskit.promql.engine import Engine as PromQLEngine
from obskit.promql.nodes import Expr, VectorSelector
from obskit.promql.parser import parse
from obskit.rules.batches import Batches, Sharing
from obskit.rules.evidence import Evidence
from obskit.rules.expansion import ALERTNAME, Elements, Sampled, Surroundings
from obskit.rules.groups import AlertRule, Group, OnMissing, RecordingRule, Rule
from obskit.rules.state import NO_EVIDENCE, Active, Occasion, Step, arrive, step
from obskit.store.interface import Samples

if TYPE_CHECKING:  # whose rules are all over metrics never loads LogQL
    from obskit.rules.sample_lines import SampleLines

ALERTS: Final = "ALERTS"
ALERTS_FOR_STATE: Final = "ALERTS_FOR_STATE"
NS_PER_MS: Final = 1_000_000
NOTHING: Final = Samples()
"""What a rule writes that has nothing to say; nobody adds to it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a rule stands after its last evaluation.

    `series` are what it wrote then, each mapped to itself: the store finds a Labels object it knows by identity.
    """

    active: Active = field(default_factory=dict)
    series: Mapping[Labels, Labels] = field(default_factory=dict)
    last_slot_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one evaluation of one rule asks to be written. With an `error` nothing but `standing` is."""

    rule: Rule
    standing: Standing
    samples: Samples = field(default_factory=Samples)
    transitions: tuple[Transition, ...] = ()
    error: str = ""


class Engine(Protocol):
    """A query engine: obskit.promql's takes Unix milliseconds, obskit.logql's nanoseconds."""

    def instant(self, expr: Any, at: int, /) -> Result:
        """The value of an expression at one time; QueryError when it has none."""
        ...


class Evaluator:
    """Evaluates rules with two engines. Not for several threads at once."""

    def __init__(
        self,
        promql: Engine,
        logql: Engine,
        *,
        external_labels: Labels = EMPTY,
        external_url: str = "",
        lines: SampleLines | None = None,
    ) -> None:
        self._promql = promql
        self._logql = logql
        self._lines = lines
        self._external_labels = external_labels
        self._external_url = external_url
        self._quiet = Standing()

    def sharing(self, group: Group, batches: Batches, t_ms: int, *, seconds: Callable[[], float]) -> Sharing | None:
        """What rules of a group share at one time; None when the engine asks somebody else."""
        if not isinstance(self._promql, PromQLEngine) or group.type.reads_logs:
            return None
        return Sharing(self._promql, batches, t_ms - group.query_offset_ms, seconds=seconds)

    def at_slot(
        self, group: Group, rule: Rule, standing: Standing, slot_ms: int, sharing: Sharing | None = None
    ) -> Outcome:
        """One evaluation in the group's turn. A query that fails is an outcome with an error, not an exception."""
        try:
            vector = self._answer(group, rule, slot_ms - group.query_offset_ms, sharing)
        except QueryError as error:
            return Outcome(rule, standing, error=str(error))
        return self.answered(group, rule, standing, slot_ms, vector)

    def answered(self, group: Group, rule: Rule, standing: Standing, slot_ms: int, vector: Elements) -> Outcome:
        """As `at_slot`, of a rule whose query is known to answer `vector`."""
        if not vector and has_nothing_to_say(rule, standing):
            return Outcome(rule, self._quiet_since(slot_ms), NOTHING)
        if isinstance(rule, RecordingRule):
            return _record(group, rule, standing, vector, slot_ms)
        try:
            stepped = step(rule, standing.active, vector, self._occasion(group, rule, standing, slot_ms))
        except QueryError as error:
            return Outcome(rule, standing, error=str(error))
        stepped = self._with_lines(group, rule, stepped, (slot_ms - group.query_offset_ms) * NS_PER_MS)
        return _alert_outcome(rule, standing, stepped, slot_ms, slot_ms - group.query_offset_ms)

    def on_arrival(
        self, group: Group, rule: AlertRule, standing: Standing, t_ms: int, sharing: Sharing | None = None
    ) -> Outcome:
        """One evaluation of an alerting rule because data has come: it changes alerts, and writes no series."""
        try:
            # A time in milliseconds stands for all of it: the record that woke the rule may lie within.
            vector = self._answer(group, rule, t_ms - group.query_offset_ms, sharing, extra_ns=NS_PER_MS - 1)
            if not vector and _is_quiet(rule, standing):
                return Outcome(rule, standing, NOTHING)
            occasion = self._occasion(group, rule, standing, t_ms, extra_ns=NS_PER_MS - 1)
            stepped = arrive(rule, standing.active, vector, occasion)
        except QueryError as error:
            return Outcome(rule, standing, error=str(error))
        stepped = self._with_lines(group, rule, stepped, (t_ms - group.query_offset_ms + 1) * NS_PER_MS - 1)
        return Outcome(rule, replace(standing, active=stepped.active), transitions=stepped.transitions)

    def _with_lines(self, group: Group, rule: AlertRule, stepped: Step, at_ns: int) -> Step:
        if self._lines is None or not stepped.transitions or not group.type.reads_logs:
            return stepped
        return replace(stepped, transitions=self._lines.told(rule, stepped.transitions, at_ns))

    def _quiet_since(self, slot_ms: int) -> Standing:
        """Where all rules stand that have nothing to say at this slot: one value for all of them."""
        if self._quiet.last_slot_ms != slot_ms:
            self._quiet = Standing(last_slot_ms=slot_ms)
        return self._quiet

    def _answer(self, group: Group, rule: Rule, at_ms: int, sharing: Sharing | None, *, extra_ns: int = 0) -> Elements:
        """What the rule's own query gives, asked together with others where that is possible."""
        if sharing is None:
            vector = self._vector(group, rule.query, at_ms, extra_ns=extra_ns)
            hours = rule.during if isinstance(rule, AlertRule) else None
            return vector if not vector or hours is None or hours.cover(at_ms) else ()
        answer = sharing.answer(rule)
        return _elements(sharing.instant(rule)) if answer is None else answer

    def _vector(self, group: Group, query: Any, at_ms: int, *, extra_ns: int = 0) -> Elements:
        if group.type.reads_logs:
            result = self._logql.instant(query, at_ms * NS_PER_MS + extra_ns)
        else:
            result = self._promql.instant(query, at_ms)
        return _elements(result)

    def _occasion(self, group: Group, rule: AlertRule, standing: Standing, t_ms: int, *, extra_ns: int = 0) -> Occasion:
        asked_ms = t_ms - group.query_offset_ms
        doubtful = bool(standing.active) or rule.on_missing is OnMissing.ALERT
        return Occasion(
            t_ms=t_ms,
            last_slot_ms=standing.last_slot_ms,
            limit=group.limit,
            around=Surroundings(self._external_labels, self._external_url, self._asking(asked_ms)),
            evidence=Evidence(rule, lambda query: self._vector(group, query, asked_ms, extra_ns=extra_ns))
            if doubtful
            else NO_EVIDENCE,
        )

    def _asking(self, at_ms: int) -> Callable[[str], Sequence[Element]]:
        def query(expr: str) -> list[Element]:
            result = self._promql.instant(parse(expr), at_ms)
            return [_element(labels, value, at_ms) for labels, value in _elements(result)]

        return query


def _is_quiet(rule: Rule, standing: Standing) -> bool:
    """Whether an empty answer changes nothing: no alert is on, and none comes of missing data."""
    return not standing.active and not (isinstance(rule, AlertRule) and rule.on_missing is OnMissing.ALERT)


def has_nothing_to_say(rule: Rule, standing: Standing) -> bool:
    """Whether an empty answer neither changes an alert nor ends a series."""
    return _is_quiet(rule, standing) and not standing.series


def _elements(result: Result) -> Elements:
    """The elements of a vector; a scalar is one element without labels (Prometheus rules/manager.go)."""
    if isinstance(result.value, Vector):
        return [
            (element.labels, element.value if element.histogram is None else element.histogram)
            for element in result.value.elements
        ]
    if isinstance(result.value, Scalar):
        return [(EMPTY, result.value.value)]
    raise QueryError("rule result is not a vector or scalar")


def _element(labels: Labels, value: Sampled, t_ms: int) -> Element:
    """An element as templates see it."""
    if isinstance(value, NativeHistogram):
        return Element(labels, math.nan, t_ms, value)
    return Element(labels, value, t_ms)


def _record(group: Group, rule: RecordingRule, standing: Standing, vector: Elements, slot_ms: int) -> Outcome:
    series: dict[Labels, Labels] = {}
    samples = Samples()
    at_ms = slot_ms - group.query_offset_ms
    for element, value in vector:
        built = element.updated({**rule.labels, NAME: rule.name})
        labels = standing.series.get(built, built)
        series[labels] = labels
        if isinstance(value, NativeHistogram):
            samples.add_histogram(labels, at_ms, value)
        else:
            samples.add(labels, at_ms, value)
    if len(series) < len(vector):
        error = "vector contains metrics with the same labelset after applying rule labels"
        return Outcome(rule, standing, error=error)
    if group.limit and len(vector) > group.limit:
        return Outcome(rule, standing, error=f"exceeded limit of {group.limit} with {len(vector)} series")
    _end(standing.series, series, samples, at_ms)
    return Outcome(rule, Standing(series=series, last_slot_ms=slot_ms), samples)


def _alert_outcome(rule: AlertRule, standing: Standing, stepped: Step, slot_ms: int, at_ms: int) -> Outcome:
    if stepped.error:
        kept = replace(standing, active=stepped.active)
        return Outcome(rule, kept, transitions=stepped.transitions, error=stepped.error)
    series: dict[Labels, Labels] = {}
    samples = Samples()
    for alert in stepped.active.values():
        if alert.state is AlertState.INACTIVE:
            continue
        for built, value in _alert_series(alert):
            labels = standing.series.get(built, built)
            series[labels] = labels
            samples.add(labels, at_ms, value)
    _end(standing.series, series, samples, at_ms)
    return Outcome(rule, Standing(stepped.active, series, slot_ms), samples, stepped.transitions)


def _alert_series(alert: ActiveAlert) -> Iterable[tuple[Labels, float]]:
    yield alert.labels.updated({NAME: ALERTS, "alertstate": alert.state.value}), 1.0
    yield alert.labels.updated({NAME: ALERTS_FOR_STATE}), float(alert.active_ms // 1000)


def _end(before: Mapping[Labels, Labels], now: Mapping[Labels, Labels], samples: Samples, at_ms: int) -> None:
    """A series that was written at the last evaluation and is not written now ends here."""
    for labels in before:
        if labels not in now:
            samples.add(labels, at_ms, STALE_NAN)


def reads(group: Group, rule: Rule) -> frozenset[str] | None:
    """The metrics a rule asks for; None when that cannot be told by name."""
    if isinstance(rule, AlertRule) and any("query" in text for text in rule.templates):
        return None
    if group.type.reads_logs:
        return frozenset()
    names = [exact_name(matchers) for query in rule.queries for matchers in metric_selectors(query)]
    return None if None in names else _set_of(tuple(name for name in names if name))


@lru_cache(maxsize=1024)
def _set_of(names: tuple[str, ...]) -> frozenset[str]:
    """One object for all rules that read the same metrics."""
    return frozenset(names)


def writes(rule: Rule) -> frozenset[str]:
    """The metrics a rule's evaluation may write."""
    return frozenset((rule.name,) if isinstance(rule, RecordingRule) else (ALERTS, ALERTS_FOR_STATE))


def may_write(rule: Rule, series: Labels) -> bool:
    """Whether a rule's evaluation may write this very series, by its name and those labels that are no templates."""
    if isinstance(rule, RecordingRule):
        named, own = series.name == rule.name, rule.labels
    else:
        named = series.name in writes(rule) and series.get(ALERTNAME) == rule.name
        own = {name: text for name, text in rule.labels.items() if text not in rule.templates}
    return named and all(series.get(name) == text for name, text in own.items())


def metric_selectors(query: Expr) -> list[tuple[Matcher, ...]]:
    """The matchers of every selector of a PromQL expression."""
    return [node.matchers for node in query.walk() if isinstance(node, VectorSelector)]
