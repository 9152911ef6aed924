"""Runs unit tests of rules (promtool test rules) through our own engines and state machine, and says what differs.

Every group is evaluated at start + k · evaluation_interval, whatever its own interval, in promtool's order; an alert
test looks at the last evaluation that is not after its time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from obskit.clock import NS_PER_MS
from obskit.errors import QueryError
from obskit.gotemplate.printing import format_float
from obskit.model.alerts import AlertState
from obskit.model.durations import format_duration
from obskit.model.histograms import NativeHistogram
from obskit.model.labels import Labels
from obskit.model.patterns import compile_pattern
from obskit.model.problems import Problem
from obskit.model.results import Element, Scalar, Vector
from obskit.promql.engine import Engine as PromQLEngine
from obskit.promql.families import Answer
from obskit.rules.batches import Batches, Sharing
from obskit.rules.evaluation import Engine, Evaluator, Outcome, Standing, has_nothing_to_say, reads, writes
from obskit.rules.foresight import Foresight, foreseeable
from obskit.rules.groups import AlertRule, Group, Rule
from obskit.rules.unit_test_data import GivenMetrics
from obskit.rules.unit_test_files import AlertTest, Case, ExprTest, TestFile, UnitTests, read_test_file

if TYPE_CHECKING:
    from obskit.model.records import Record

NOTHING_YET: Final = Standing()
"""Where a rule stands before its first evaluation."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How one test went: passed when nothing failed. Each failure is a few lines for a person."""

    name: str
    failures: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.failures


@dataclass(frozen=True, slots=True)
class TestReport:
    """How a file of tests went. `warnings` are about the file itself, such as an alert that no rule has."""

    __test__ = False  # pytest takes every Test* for its own

    file: str
    cases: tuple[CaseResult, ...]
    warnings: tuple[Problem, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether all tests passed."""
        return all(case.passed for case in self.cases)


def run_test_file(path: Path | str, *, run: str | None = None) -> TestReport:
    """Run the tests of a file, or only those whose name has a match of the pattern `run`.

    Raises ConfigError when the file or one of its rule files is wrong, PatternError when `run` is.
    """
    wanted = compile_pattern(run) if run is not None else None
    file = read_test_file(Path(path))
    groups = _Groups(_ordered(file))
    cases = tuple(
        CaseResult(case.name or f"test {number}", tuple(_Run(case, file.tests, groups).failures()))
        for number, case in enumerate(file.tests.tests, 1)
        if wanted is None or wanted.search(case.name) is not None
    )
    return TestReport(file.file, cases, file.warnings)


def _ordered(file: TestFile) -> list[Group]:
    """The groups of all rule files: those not named in `group_eval_order` first, then the named ones in that order."""
    groups = [group for rule_file in file.rules for group in rule_file.groups]
    order = {name: at for at, name in enumerate(file.tests.group_eval_order)}
    return sorted(groups, key=lambda group: order.get(group.name, -1))


class _Groups:
    """What all tests of a file evaluate, in this order, and what can be told of it without their data."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups
        self.foreseeable = foreseeable(groups)
        self._batches: dict[str, Batches] = {}
        self._reads: dict[str, frozenset[str] | None] = {}

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups)

    @property
    def rules(self) -> Iterator[Rule]:
        """All rules, in order."""
        return (rule for group in self._groups for rule in group.rules)

    def batches(self, group: Group) -> Batches:
        """What rules of a group are asked together, slot by slot."""
        if group.key not in self._batches:
            self._batches[group.key] = Batches.of(group)
        return self._batches[group.key]

    def reads(self, group: Group, rule: Rule) -> frozenset[str] | None:
        """The metrics a rule asks for; None when that cannot be told."""
        if rule.key not in self._reads:
            self._reads[rule.key] = reads(group, rule)
        return self._reads[rule.key]


class _Run:
    """One test: its own data, its own alerts."""

    def __init__(self, case: Case, tests: UnitTests, groups: _Groups) -> None:
        self._case = case
        self._tests = tests
        self._groups = groups
        self._standing = dict.fromkeys((rule.key for rule in groups.rules), NOTHING_YET)
        self._has_to_say = {rule.key for rule in groups.rules if not has_nothing_to_say(rule, NOTHING_YET)}
        self._interval_ms = case.interval or tests.evaluation_interval
        self._metrics = self._given_metrics()
        self._promql = PromQLEngine(self._metrics)
        self._foresight = Foresight(
            self._promql,
            groups.foreseeable,
            end_ms=case.start_timestamp + case.last_ms,
            step_ms=tests.evaluation_interval,
        )
        self._evaluator = Evaluator(
            self._promql,
            self._log_engine(),
            external_labels=Labels(case.external_labels),
            external_url=case.external_url,
        )

    def _log_engine(self) -> Engine:
        """Where rules over logs ask; others need no engine for them, and may find the one for metrics there."""
        if not any(group.type.reads_logs for group in self._groups):
            return self._promql
        from obskit.logql.engine import Engine as LogQLEngine  # noqa: PLC0415 - whose rules ask metrics never loads it
        from obskit.store.listed_logs import ListedLogs  # noqa: PLC0415 - as above

        return LogQLEngine(ListedLogs(self._given_records()))

    def _given_metrics(self) -> GivenMetrics:
        metrics = GivenMetrics()
        for given in self._case.input_series:
            metrics.give(given.series, self._case.start_timestamp, self._interval_ms, given.values)
        return metrics

    def _given_records(self) -> Iterator[Record]:
        from obskit.model.records import Record  # noqa: PLC0415 - as above

        for given in self._case.input_logs:
            stream = Labels(given.stream)
            for step, count in enumerate(given.values):
                t_ms = self._case.start_timestamp + step * self._interval_ms
                for number in range(int(count or 0)):
                    yield Record(stream, t_ms * NS_PER_MS + number, given.line, given.metadata)

    def failures(self) -> Iterator[str]:
        """What was not as expected, in order of time; then the queries."""
        every_ms = self._tests.evaluation_interval
        for offset_ms in range(0, self._case.last_ms + 1, every_ms):
            errors = list(self._evaluate(offset_ms))
            if errors:
                yield from errors
                return
            for test in self._case.alert_rule_test:
                if offset_ms <= test.eval_time < offset_ms + every_ms:
                    yield from self._check_alerts(test)
        for query in self._case.promql_expr_test:
            yield from self._check_query(query)

    def _evaluate(self, offset_ms: int) -> Iterator[str]:
        """Evaluate every rule once, in order, each seeing what those before it have written."""
        slot_ms = self._case.start_timestamp + offset_ms
        foreseen = self._foresight.at(slot_ms)
        for group in self._groups:
            for rule, outcome in self._outcomes(group, slot_ms, foreseen):
                if outcome.error:
                    yield f"rule {rule.name} ({rule.place}) failed at {format_duration(offset_ms)}: {outcome.error}"
                self._stands(rule, outcome.standing)

    def _stands(self, rule: Rule, standing: Standing) -> None:
        self._standing[rule.key] = standing
        if has_nothing_to_say(rule, standing):
            self._has_to_say.discard(rule.key)
        else:
            self._has_to_say.add(rule.key)

    def _outcomes(self, group: Group, slot_ms: int, foreseen: Mapping[str, Answer]) -> Iterator[tuple[Rule, Outcome]]:
        """Evaluate the rules of a group, but for those that are foreseen to find nothing and have nothing to say."""
        asking = _Asking(self._evaluator, group, self._groups, slot_ms)
        known, has_to_say = self._foresight.keys, self._has_to_say
        for rule in group.rules:
            key = rule.key
            if key not in known:
                outcome = self._evaluator.at_slot(group, rule, self._standing[key], slot_ms, asking.sharing(rule))
            elif key in foreseen or key in has_to_say:
                outcome = self._evaluator.answered(group, rule, self._standing[key], slot_ms, foreseen.get(key, ()))
            else:
                continue
            if outcome.samples:
                self._metrics.append(outcome.samples)
                asking.wrote(rule)
            yield rule, outcome

    def _check_alerts(self, test: AlertTest) -> Iterator[str]:
        expected = [
            (Labels({**alert.exp_labels, "alertname": test.alertname}), alert.exp_annotations)
            for alert in test.exp_alerts
        ]
        got = [
            (alert.labels, alert.annotations)
            for rule in self._groups.rules
            if _is_alert(rule, test.alertname)
            for alert in self._standing[rule.key].active.values()
            if alert.state is AlertState.FIRING
        ]
        if lines := list(_alert_differences(expected, got)):
            yield "\n".join([f"alert {test.alertname} at {format_duration(test.eval_time)}:", *lines])

    def _check_query(self, test: ExprTest) -> Iterator[str]:
        title = f"query {test.expr} at {format_duration(test.eval_time)}:"
        try:
            result = self._promql.instant(test.expr, self._case.start_timestamp + test.eval_time).value
        except QueryError as error:
            yield f"{title}\n  {error}"
            return
        if isinstance(result, Scalar):
            elements: Sequence[Element] = [Element(Labels(), result.value, result.t_ms)]
        elif isinstance(result, Vector):
            elements = result.elements
        else:
            yield f"{title}\n  only numbers and instant vectors can be tested"
            return
        got = sorted((_sampled(one.labels, one.value, one.histogram) for one in elements), key=_by_labels)
        expected = sorted((_sampled(one.labels, one.value, one.histogram) for one in test.exp_samples), key=_by_labels)
        if not _same_samples(expected, got, fuzzy=self._tests.fuzzy_compare):
            yield "\n".join([title, *_sample_differences(expected, got, fuzzy=self._tests.fuzzy_compare)])


class _Asking:
    """What the rules of a group share at one slot: all that is not asked for after one of them has written it."""

    def __init__(self, evaluator: Evaluator, group: Group, groups: _Groups, slot_ms: int) -> None:
        self._evaluator = evaluator
        self._group = group
        self._groups = groups
        self._slot_ms = slot_ms
        self._sharing: Sharing | None = None
        self._written: set[str] = set()

    def sharing(self, rule: Rule) -> Sharing | None:
        """What a rule shares with those before it."""
        read = self._groups.reads(self._group, rule)
        if self._sharing is None or (self._written and (read is None or not self._written.isdisjoint(read))):
            batches = self._groups.batches(self._group)
            self._sharing = self._evaluator.sharing(self._group, batches, self._slot_ms, seconds=lambda: 0.0)
            self._written = set()
        if self._sharing is not None:
            self._sharing.prepare(rule)
        return self._sharing

    def wrote(self, rule: Rule) -> None:
        """A rule has written something."""
        self._written |= writes(rule)


def _is_alert(rule: Rule, name: str) -> bool:
    return isinstance(rule, AlertRule) and rule.name == name


Alerts = Iterable[tuple[Labels, Mapping[str, str]]]
Sampled = tuple[tuple[tuple[str, str], ...], float | NativeHistogram]


def _alert_differences(expected: Alerts, got: Alerts) -> Iterator[str]:
    """`-` was expected, `+` was found; alerts with the same labels are compared by annotation."""
    missing, unexpected = dict(expected), dict(got)
    for labels in sorted(missing.keys() & unexpected.keys(), key=lambda one: one.pairs):
        before, after = missing.pop(labels), unexpected.pop(labels)
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        if names:
            yield f"    {labels}"
        for name in names:
            yield from (
                f"  {sign}   {name}: {texts[name]}" for sign, texts in (("-", before), ("+", after)) if name in texts
            )
    for sign, alerts in (("-", missing), ("+", unexpected)):
        for labels in sorted(alerts, key=lambda one: one.pairs):
            yield f"  {sign} {labels}"
            yield from (f"  {sign}   {name}: {text}" for name, text in sorted(alerts[labels].items()))


def _sampled(labels: Labels, value: float, histogram: NativeHistogram | None) -> Sampled:
    return labels.pairs, value if histogram is None else histogram


def _by_labels(sample: Sampled) -> tuple[tuple[tuple[str, str], ...], float]:
    labels, value = sample
    return labels, value.count if isinstance(value, NativeHistogram) else value


def _same_samples(expected: Sequence[Sampled], got: Sequence[Sampled], *, fuzzy: bool) -> bool:
    return len(expected) == len(got) and all(
        before[0] == after[0] and _same_value(before[1], after[1], fuzzy=fuzzy)
        for before, after in zip(expected, got, strict=True)
    )


def _same_value(expected: float | NativeHistogram, got: float | NativeHistogram, *, fuzzy: bool) -> bool:
    """Exactly equal (NaN never is); fuzzy: or the next float in either direction. Histograms: the same buckets."""
    if isinstance(expected, NativeHistogram) or isinstance(got, NativeHistogram):
        return expected == got
    near = (math.nextafter(expected, math.inf), math.nextafter(expected, -math.inf)) if fuzzy else ()
    return expected == got or got in near


def _sample_differences(expected: Sequence[Sampled], got: Sequence[Sampled], *, fuzzy: bool) -> Iterator[str]:
    left = list(got)
    for before in expected:
        same = next((after for after in left if _same_samples([before], [after], fuzzy=fuzzy)), None)
        if same is None:
            yield f"  - {_sample_text(before)}"
        else:
            left.remove(same)
    for after in left:
        yield f"  + {_sample_text(after)}"


def _sample_text(sample: Sampled) -> str:
    value = sample[1]
    shown = str(value) if isinstance(value, NativeHistogram) else format_float(value)
    return f"{Labels(sample[0])} {shown}"
