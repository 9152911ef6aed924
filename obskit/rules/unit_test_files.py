"""Unit tests of rules as people write them: promtool's file format, read with the place of everything wrong.

The format is promtool's (docs/configuration/unit_testing_rules.md), plus `input_logs` for rules over logs. Running
the tests is unit_tests.py's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path as FilePath
from typing import Any, Final, NamedTuple, TypeVar

from obskit.errors import ConfigError, PatternError, QuerySyntaxError
from obskit.model.documents import Document, parse_document
from obskit.model.durations import parse_duration
from obskit.model.histograms import NativeHistogram
from obskit.model.labels import EMPTY, Labels
from obskit.model.problems import Problem, Severity, did_you_mean
from obskit.promql.literals import parse_number
from obskit.promql.notation import parse_labels, parse_values
from obskit.promql.parser import parse
from obskit.rules.fields import Fields, Path
from obskit.rules.files import RuleFile, load_rules
from obskit.rules.groups import AlertRule

Value = TypeVar("Value")

DEFAULT_INTERVAL_MS: Final = 60_000
"""promtool's, also where 0 is written."""
MAX_VALUES: Final = 1_000_000
MAX_SLOTS: Final = 1_000_000
_SECONDS: Final = re.compile(r"-?\d{1,12}(?:\.\d*)?")
_COUNTS: Final = re.compile(r"x(\d+)")
_FLAGS: Final = {
    **dict.fromkeys(("true", "yes", "on", "y"), True),
    **dict.fromkeys(("false", "no", "off", "n"), False),
}


def _number(text: str) -> float:
    """A number as PromQL writes it, or as YAML does (`.inf`, `-.inf`, `.nan`)."""
    sign = -1.0 if text.startswith("-") else 1.0
    digits = text.lstrip("+-")
    return sign * parse_number(digits[1:] if digits.lower() in (".inf", ".nan") else digits)


def _start(text: str) -> int:
    """Unix milliseconds of seconds or of an RFC 3339 time."""
    if _SECONDS.fullmatch(text):
        return round(float(text) * 1000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be Unix seconds or a time like 2026-11-20T14:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError("must name its time zone, like 2026-11-20T14:00:00Z")
    return round(moment.timestamp() * 1000)


def _labels(text: str) -> Labels:
    labels, end = parse_labels(text) if text.strip() else (Labels(), len(text))
    if text[end:].strip():
        raise ValueError(f"unexpected text after the labels: {text[end:].strip()}")
    return labels


def _series(text: str) -> Labels:
    if not (labels := _labels(text)):
        raise ValueError('must be one series, like up{job="api"}')
    return labels


def _expression(text: str) -> str:
    parse(text)
    return text


def _flag(text: str) -> bool:
    """As Go's YAML reads it."""
    if text.lower() not in _FLAGS:
        raise ValueError(f"must be true or false, not {text!r}")
    return _FLAGS[text.lower()]


def _values(text: str) -> list[float | NativeHistogram | None]:
    if sum(int(count) for count in _COUNTS.findall(text)) > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES:,} values")
    return parse_values(text)


def _line_counts(text: str) -> list[float | None]:
    counts = [value for value in _values(text) if not isinstance(value, NativeHistogram)]
    if "{{" in text:
        raise ValueError("lines are counted: a histogram is no number of lines")
    return counts


def _histogram(text: str) -> NativeHistogram | None:
    found = parse_values(text)[0] if text.strip() else None
    if found is not None and not isinstance(found, NativeHistogram):
        raise ValueError("must be a histogram, like {{schema:0 count:2 sum:3 buckets:[1 1]}}")
    return found


# What a file says, in named tuples: their names are the keys that a mapping may have.


class InputSeries(NamedTuple):
    """A series, one value (or gap) per interval."""

    series: Labels
    values: Sequence[float | NativeHistogram | None] = ()


class InputLogs(NamedTuple):
    """Lines of a log stream: `values` says how many copies of `line` are written at each interval."""

    stream: Mapping[str, str]
    line: str
    metadata: Mapping[str, str]
    values: Sequence[float | None]


class ExpectedAlert(NamedTuple):
    """A firing alert; `alertname` is added to the labels."""

    exp_labels: Mapping[str, str]
    exp_annotations: Mapping[str, str]


class AlertTest(NamedTuple):
    """All alerts of one name that fire at a time."""

    eval_time: int
    alertname: str
    exp_alerts: Sequence[ExpectedAlert]


class ExpectedSample(NamedTuple):
    """One element of a query's result."""

    labels: Labels
    value: float
    histogram: NativeHistogram | None


class ExprTest(NamedTuple):
    """The result of a query at a time."""

    expr: str
    eval_time: int
    exp_samples: Sequence[ExpectedSample]


class Case(NamedTuple):
    """One test: what comes in, and what must be seen at which time (ms). Times count from `start_timestamp`."""

    name: str
    interval: int
    start_timestamp: int
    input_series: Sequence[InputSeries]
    input_logs: Sequence[InputLogs]
    alert_rule_test: Sequence[AlertTest]
    promql_expr_test: Sequence[ExprTest]
    external_labels: Mapping[str, str]
    external_url: str

    @property
    def last_ms(self) -> int:
        """The last time something is looked at."""
        alerts = [test.eval_time for test in self.alert_rule_test]
        return max([*alerts, *(test.eval_time for test in self.promql_expr_test)], default=0)


class UnitTests(NamedTuple):
    """A whole file."""

    rule_files: Sequence[str]
    evaluation_interval: int
    group_eval_order: Sequence[str]
    fuzzy_compare: bool
    tests: Sequence[Case]


class _Entry:
    """A mapping of the file: what its keys say, and where."""

    def __init__(self, fields: Fields, path: Path, value: Any, keys: Sequence[str]) -> None:
        self.path = path
        self._fields = fields
        if value is None:
            fields.error(path, "wrong-type", "a mapping (key: value) belongs here")
        self._values = fields.mapping(path, value, keys) or {}

    def text(self, key: str) -> str:
        """A text, empty when it is not there."""
        return self._fields.text((*self.path, key), self._values.get(key))

    def value(self, key: str, read: Callable[[str], Value], default: Value) -> Value:
        """What a text means; what `read` raises is told, and the default stands for it."""
        text = self.text(key)
        if not text:
            return default
        try:
            return read(text)
        except QuerySyntaxError as error:
            self.error(error.message, key)
        except (ValueError, PatternError) as error:
            self.error(str(error), key)
        return default

    def needed(self, key: str) -> bool:
        """Whether a key is there that must be."""
        if key not in self._values:
            self._fields.error(self.path, "missing-key", f'the key "{key}" is missing')
        return key in self._values

    def strings(self, key: str, what: str) -> Mapping[str, str]:
        """Names to texts."""
        return self._fields.strings((*self.path, key), self._values.get(key), what)

    def texts(self, key: str) -> list[str]:
        """A list of texts."""
        path = (*self.path, key)
        items = self._fields.sequence(path, self._values.get(key))
        return [self._fields.text((*path, at), item) for at, item in enumerate(items)]

    def entries(self, key: str, keys: Sequence[str]) -> Iterator[_Entry]:
        """A list of mappings with these keys."""
        path = (*self.path, key)
        items = self._fields.sequence(path, self._values.get(key))
        return (_Entry(self._fields, (*path, at), item, keys) for at, item in enumerate(items))

    def error(self, message: str, *keys: str) -> None:
        """A value that cannot be."""
        self._fields.error((*self.path, *keys), "bad-value", message)


def _unit_tests(document: Document) -> UnitTests:
    """What the document says; its problems are added to."""
    entry = _Entry(Fields(document), (), document.data or {}, UnitTests._fields)
    return UnitTests(
        rule_files=entry.texts("rule_files"),
        evaluation_interval=entry.value("evaluation_interval", parse_duration, 0) or DEFAULT_INTERVAL_MS,
        group_eval_order=entry.texts("group_eval_order"),
        fuzzy_compare=entry.value("fuzzy_compare", _flag, False),
        tests=[_case(case) for case in entry.entries("tests", Case._fields)],
    )


def _case(entry: _Entry) -> Case:
    return Case(
        name=entry.text("name"),
        interval=entry.value("interval", parse_duration, 0),
        start_timestamp=entry.value("start_timestamp", _start, 0),
        input_series=list(_input_series(entry)),
        input_logs=[_input_logs(logs) for logs in entry.entries("input_logs", InputLogs._fields)],
        alert_rule_test=[_alert_test(test) for test in entry.entries("alert_rule_test", AlertTest._fields)],
        promql_expr_test=[_expr_test(test) for test in entry.entries("promql_expr_test", ExprTest._fields)],
        external_labels=entry.strings("external_labels", "label"),
        external_url=entry.text("external_url"),
    )


def _input_series(case: _Entry) -> Iterator[InputSeries]:
    known: set[Labels] = set()
    for entry in case.entries("input_series", InputSeries._fields):
        series = entry.value("series", _series, EMPTY) if entry.needed("series") else EMPTY
        if series and series in known:
            entry.error(f"the series {series} is given twice", "series")
        known.add(series)
        yield InputSeries(series, entry.value("values", _values, []))


def _input_logs(entry: _Entry) -> InputLogs:
    entry.needed("stream")
    return InputLogs(
        stream=entry.strings("stream", "label"),
        line=entry.text("line") or "a line",
        metadata=entry.strings("metadata", "field"),
        values=entry.value("values", _line_counts, []),
    )


def _alert_test(entry: _Entry) -> AlertTest:
    entry.needed("alertname")
    alerts = entry.entries("exp_alerts", ExpectedAlert._fields)
    return AlertTest(
        eval_time=entry.value("eval_time", parse_duration, 0),
        alertname=entry.text("alertname"),
        exp_alerts=[
            ExpectedAlert(alert.strings("exp_labels", "label"), alert.strings("exp_annotations", "annotation"))
            for alert in alerts
        ],
    )


def _expr_test(entry: _Entry) -> ExprTest:
    entry.needed("expr")
    samples = entry.entries("exp_samples", ExpectedSample._fields)
    return ExprTest(
        expr=entry.value("expr", _expression, ""),
        eval_time=entry.value("eval_time", parse_duration, 0),
        exp_samples=[
            ExpectedSample(
                labels=sample.value("labels", _labels, EMPTY),
                value=sample.value("value", _number, 0.0),
                histogram=sample.value("histogram", _histogram, None),
            )
            for sample in samples
        ],
    )


@dataclass(frozen=True, slots=True)
class TestFile:
    """A file of tests, with the rule files it names. `warnings` are about tests that test nothing."""

    __test__ = False  # pytest takes every Test* for its own

    file: str
    tests: UnitTests
    rules: tuple[RuleFile, ...]
    warnings: tuple[Problem, ...]


def read_test_file(path: FilePath) -> TestFile:
    """Read a file of tests and its rule files; ConfigError with every problem of all of them."""
    try:
        document = parse_document(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(
            [Document("", str(path)).problem((), "missing-file", f"cannot read the file: {reason}")]
        ) from None
    tests = _unit_tests(document)
    problems = [*document.problems, *_too_long(document, tests)]
    rules = tuple(_rule_files(document, tests, problems))
    for rule_file in rules:
        problems.extend(problem for problem in rule_file.problems if problem.severity is Severity.ERROR)
    if problems:
        raise ConfigError(problems)
    return TestFile(str(path), tests, rules, tuple(_unknown_alerts(document, tests, rules)))


def _unknown_alerts(document: Document, tests: UnitTests, rules: Sequence[RuleFile]) -> Iterator[Problem]:
    """promtool lets them pass, but a test of an alert that no rule has is a slip of the pen."""
    names = {
        rule.name for file in rules for group in file.groups for rule in group.rules if isinstance(rule, AlertRule)
    }
    for at, case in enumerate(tests.tests):
        for number, test in enumerate(case.alert_rule_test):
            if test.alertname not in names:
                path = ("tests", at, "alert_rule_test", number, "alertname")
                message = f'no rule is called "{test.alertname}"{did_you_mean(test.alertname, names)}'
                yield document.problem(path, "unknown-alert", message, severity=Severity.WARNING)


def _too_long(document: Document, tests: UnitTests) -> Iterator[Problem]:
    for index, case in enumerate(tests.tests):
        if case.last_ms // tests.evaluation_interval > MAX_SLOTS:
            message = f"more than {MAX_SLOTS:,} evaluations until the last eval_time"
            yield document.problem(("tests", index), "bad-value", message)


def _rule_files(document: Document, tests: UnitTests, problems: list[Problem]) -> Iterator[RuleFile]:
    """The rule files that the patterns find beside the test file."""
    folder = FilePath(document.file).parent
    for index, pattern in enumerate(tests.rule_files):
        found = [FilePath(pattern)] if FilePath(pattern).is_absolute() else sorted(folder.glob(pattern))
        found = [path for path in found if path.is_file()]
        if not found:
            message = f'no file matches "{pattern}" (looked for in {folder})'
            problems.append(document.problem(("rule_files", index), "missing-file", message))
        for path in found:
            yield load_rules(path.read_text(encoding="utf-8"), str(path), default_interval_ms=tests.evaluation_interval)
