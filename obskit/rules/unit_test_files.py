"""Unit tests of rules as people write them: promtool's file format, read with the place of everything wrong.

The format is promtool's (docs/configuration/unit_testing_rules.md), plus `input_logs` for rules over logs. Running
the tests is unit_tests.py's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from obskit.errors import ConfigError, PatternError, QuerySyntaxError
from obskit.model.documents import Document, parse_document
from obskit.model.histograms import NativeHistogram
from obskit.model.labels import Labels
from obskit.model.problems import Problem, Severity, did_you_mean
from obskit.model.settings import Duration, Settings
from obskit.promql.literals import parse_number
from obskit.promql.notation import parse_labels, parse_values
from obskit.promql.parser import parse
from obskit.rules.files import RuleFile, load_rules
from obskit.rules.groups import AlertRule

MAX_VALUES: Final = 1_000_000
MAX_SLOTS: Final = 1_000_000
_SECONDS: Final = re.compile(r"-?\d{1,12}(?:\.\d*)?")
_COUNTS: Final = re.compile(r"x(\d+)")


def _number(value: Any) -> float:
    """A number as PromQL writes it, or as YAML does (`.inf`, `-.inf`, `.nan`)."""
    text = str(value)
    sign = -1.0 if text.startswith("-") else 1.0
    digits = text.lstrip("+-")
    return sign * parse_number(digits[1:] if digits.lower() in (".inf", ".nan") else digits)


def _start(value: Any) -> int:
    """Unix milliseconds of seconds or of an RFC 3339 time."""
    text = str(value)
    if _SECONDS.fullmatch(text):
        return round(float(text) * 1000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be Unix seconds or a time like 2026-11-20T14:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError("must name its time zone, like 2026-11-20T14:00:00Z")
    return round(moment.timestamp() * 1000)


def _syntax_as_value_error(read: Callable[[str], Any]) -> Callable[[Any], Any]:
    """pydantic collects ValueErrors; the parsers raise errors of ours."""

    def checked(value: Any) -> Any:
        try:
            return read(str(value))
        except QuerySyntaxError as error:
            raise ValueError(error.message) from None
        except PatternError as error:
            raise ValueError(str(error)) from None

    return checked


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


def _none_as_empty(value: Any) -> Any:
    return value or []


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
    if not text.strip():
        return None
    (found,) = parse_values(text)
    if not isinstance(found, NativeHistogram):
        raise ValueError("must be a histogram, like {{schema:0 count:2 sum:3 buckets:[1 1]}}")
    return found


SeriesName = Annotated[Labels, BeforeValidator(_syntax_as_value_error(_series))]
LabelSet = Annotated[Labels, BeforeValidator(_syntax_as_value_error(_labels))]
Values = Annotated[list[Any], BeforeValidator(_syntax_as_value_error(_values))]
LineCounts = Annotated[list[float | None], BeforeValidator(_syntax_as_value_error(_line_counts))]
Histogram = Annotated[Any, BeforeValidator(_syntax_as_value_error(_histogram))]
Expression = Annotated[str, BeforeValidator(_syntax_as_value_error(_expression))]
Float = Annotated[float, BeforeValidator(_number)]
StartTime = Annotated[int, BeforeValidator(_start)]


class InputSeries(Settings):
    """A series, one value (or gap) per interval."""

    series: SeriesName
    values: Values = []


class InputLogs(Settings):
    """Lines of a log stream: `values` says how many copies of `line` are written at each interval."""

    stream: dict[str, str]
    line: str = "a line"
    metadata: dict[str, str] = {}
    values: LineCounts = []


class ExpectedAlert(Settings):
    """A firing alert; `alertname` is added to the labels."""

    exp_labels: dict[str, str] = {}
    exp_annotations: dict[str, str] = {}


class AlertTest(Settings):
    """All alerts of one name that fire at a time."""

    eval_time: Duration = 0
    alertname: str
    exp_alerts: Annotated[list[ExpectedAlert], BeforeValidator(_none_as_empty)] = []


class ExpectedSample(Settings):
    """One element of a query's result."""

    labels: LabelSet = Labels()
    value: Float = 0.0
    histogram: Histogram = None


class ExprTest(Settings):
    """The result of a query at a time."""

    expr: Expression
    eval_time: Duration = 0
    exp_samples: Annotated[list[ExpectedSample], BeforeValidator(_none_as_empty)] = []


class Case(Settings):
    """One test: what comes in, and what must be seen at which time. Times count from `start_timestamp`."""

    name: str = ""
    interval: Duration = 0
    start_timestamp: StartTime = 0
    input_series: list[InputSeries] = []
    input_logs: list[InputLogs] = []
    alert_rule_test: list[AlertTest] = []
    promql_expr_test: list[ExprTest] = []
    external_labels: dict[str, str] = {}
    external_url: str = ""

    @model_validator(mode="after")
    def _each_series_once(self) -> Self:
        known: set[Labels] = set()
        for given in self.input_series:
            if given.series in known:
                raise ValueError(f"the series {given.series} is given twice")
            known.add(given.series)
        return self

    @property
    def last_ms(self) -> int:
        """The last time something is looked at."""
        alerts = [test.eval_time for test in self.alert_rule_test]
        return max([*alerts, *(test.eval_time for test in self.promql_expr_test)], default=0)


class UnitTests(Settings):
    """A whole file."""

    rule_files: list[str] = []
    evaluation_interval: Annotated[Duration, Field(gt=0)] = 60_000
    group_eval_order: list[str] = []
    fuzzy_compare: bool = False
    tests: list[Case] = []


@dataclass(frozen=True, slots=True)
class TestFile:
    """A file of tests, with the rule files it names. `warnings` are about tests that test nothing."""

    __test__ = False  # pytest takes every Test* for its own

    file: str
    tests: UnitTests
    rules: tuple[RuleFile, ...]
    warnings: tuple[Problem, ...]


def read_test_file(path: Path) -> TestFile:
    """Read a file of tests and its rule files; ConfigError with every problem of all of them."""
    try:
        document = parse_document(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(
            [Document("", str(path)).problem((), "missing-file", f"cannot read the file: {reason}")]
        ) from None
    tests = UnitTests()
    if not document.problems:
        try:
            tests = UnitTests.model_validate(document.data or {})
        except ValidationError as error:
            document.problems.extend(_problems(document, error))
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


def _problems(document: Document, error: ValidationError) -> Iterator[Problem]:
    for found in error.errors(include_url=False, include_input=False):
        path = found["loc"]
        if found["type"] == "extra_forbidden":
            known = _known_keys(path[:-1])
            message = f'unknown key "{path[-1]}"{did_you_mean(str(path[-1]), known)}'
            yield document.problem(path, "unknown-key", message, at_key=True)
        elif found["type"] == "missing":
            yield document.problem(path[:-1], "missing-key", f'the key "{path[-1]}" is missing')
        else:
            yield document.problem(path, "bad-value", found["msg"].removeprefix("Value error, "))


_SECTIONS: Final[dict[str, type[Settings]]] = {
    "tests": Case,
    "input_series": InputSeries,
    "input_logs": InputLogs,
    "alert_rule_test": AlertTest,
    "exp_alerts": ExpectedAlert,
    "promql_expr_test": ExprTest,
    "exp_samples": ExpectedSample,
}


def _known_keys(path: tuple[int | str, ...]) -> list[str]:
    names = [step for step in path if step in _SECTIONS]
    return list((_SECTIONS[str(names[-1])] if names else UnitTests).model_fields)


def _too_long(document: Document, tests: UnitTests) -> Iterator[Problem]:
    for index, case in enumerate(tests.tests):
        if case.last_ms // tests.evaluation_interval > MAX_SLOTS:
            message = f"more than {MAX_SLOTS:,} evaluations until the last eval_time"
            yield document.problem(("tests", index), "bad-value", message)


def _rule_files(document: Document, tests: UnitTests, problems: list[Problem]) -> Iterator[RuleFile]:
    """The rule files that the patterns find beside the test file."""
    folder = Path(document.file).parent
    for index, pattern in enumerate(tests.rule_files):
        found = [Path(pattern)] if Path(pattern).is_absolute() else sorted(folder.glob(pattern))
        found = [path for path in found if path.is_file()]
        if not found:
            message = f'no file matches "{pattern}" (looked for in {folder})'
            problems.append(document.problem(("rule_files", index), "missing-file", message))
        for path in found:
            yield load_rules(path.read_text(encoding="utf-8"), str(path), default_interval_ms=tests.evaluation_interval)
