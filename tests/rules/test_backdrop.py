from __future__ import annotations

from typing import Any

import pytest

from obskit.errors import QueryError
from obskit.logql.parser import parse as parse_logql
from obskit.model.actions import Notice, NoticeReason
from obskit.model.alerts import Alert
from obskit.model.context import UNKNOWN, Context, Limit
from obskit.model.labels import EMPTY, Labels
from obskit.model.results import Matrix, RangeSeries, Result
from obskit.promql.parser import parse
from obskit.rules.backdrop import BEFORE_MS, LONGEST_MS, Backdrop
from obskit.rules.comparison import comparison_of
from obskit.rules.files import load_rules

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
RULES = """
groups:
- name: metrics
  rules:
  - {alert: Deep, expr: depth > 10, labels: {severity: warning}}
  - {alert: Deep, expr: depth > 50 and on (queue) up, labels: {severity: critical}}
  - {alert: Gone, expr: absent(depth)}
- name: logs
  type: loki
  rules:
  - {alert: Errors, expr: 'sum by (app) (count_over_time({app="api"} |= "ERROR" [5m])) > 5'}
"""


class Engine:
    """Answers every range with `series`, and remembers what it was asked."""

    def __init__(self, *series: RangeSeries, error: Exception | None = None) -> None:
        self.series = series
        self.error = error
        self.asked: list[tuple[str, int, int, int]] = []

    def range(self, expr: Any, start: int, end: int, step: int) -> Result:
        self.asked.append((str(expr), start, end, step))
        if self.error:
            raise self.error
        return Result(Matrix(self.series))


def notice(*alerts: Alert, ended: bool = False) -> Notice:
    return Notice("ops", "g", EMPTY, alerts, NoticeReason.ALL_RESOLVED if ended else NoticeReason.FIRST, "i", NOW_MS)


def alert(name: str, *, since_ms: int = NOW_MS - 60_000, ends_ms: int | None = None, **labels: str) -> Alert:
    return Alert(Labels({"alertname": name, **labels}), {}, since_ms, ends_ms, source=f"x.yaml:{name}")


def look(one: Notice, metrics: Engine, logs: Engine | None = None) -> Context:
    read = load_rules(RULES, "x.yaml")
    assert read.usable, read.problems
    return Backdrop(read.groups, metrics, logs or Engine()).look(one)


def test_the_readings_are_those_of_the_alerts_own_series() -> None:
    engine = Engine(
        RangeSeries(Labels({"__name__": "depth", "queue": "b"}), [1], [1.0]),
        RangeSeries(Labels({"__name__": "depth", "queue": "a"}), [1, 2], [9.0, 12.0]),
    )
    known = look(notice(alert("Deep", queue="a", severity="warning")), engine)
    assert known.readings == ((1, 9.0), (2, 12.0))
    assert known.limit == Limit(">", 10.0)
    assert engine.asked[0][0] == "depth"


def test_rules_of_one_name_are_told_apart_by_their_labels() -> None:
    assert look(notice(alert("Deep", queue="a", severity="critical")), Engine()).limit == Limit(">", 50.0)


@pytest.mark.parametrize(
    ("since_ms", "ends_ms", "start_ms", "end_ms"),
    [
        (NOW_MS - 60_000, None, NOW_MS - 60_000 - BEFORE_MS, NOW_MS),
        (NOW_MS - 48 * HOUR_MS, None, NOW_MS - LONGEST_MS, NOW_MS),
        (NOW_MS - 2 * HOUR_MS, NOW_MS - HOUR_MS, NOW_MS - 2 * HOUR_MS - BEFORE_MS, NOW_MS - HOUR_MS),
    ],
)
def test_it_looks_back_half_an_hour_before_the_alert_and_six_hours_at_most(
    since_ms: int, ends_ms: int | None, start_ms: int, end_ms: int
) -> None:
    engine = Engine()
    one = alert("Deep", since_ms=since_ms, ends_ms=ends_ms, queue="a", severity="warning")
    look(notice(one, ended=ends_ms is not None), engine)
    ((_, start, end, step),) = engine.asked
    assert end == end_ms
    assert start_ms <= start < start_ms + step
    assert (end - start) // step < 40


def test_a_log_rule_is_asked_in_its_own_language() -> None:
    logs = Engine(RangeSeries(Labels({"app": "api"}), [1, 2, 3], [1, 2, 9]))
    known = look(notice(alert("Errors", app="api")), Engine(), logs)
    assert known.limit == Limit(">", 5.0)
    assert known.readings[-1] == (3, 9.0)
    ((expr, _, end_ns, _),) = logs.asked
    assert expr == 'sum by (app) (count_over_time({app="api"} |= "ERROR" [5m]))'
    assert end_ns == NOW_MS * 1_000_000


@pytest.mark.parametrize("one", [alert("Gone"), alert("Elsewhere"), alert("Deep", severity="odd")])
def test_where_nothing_is_compared_or_no_rule_is_known_nothing_is_known(one: Alert) -> None:
    assert look(notice(one), Engine()) == UNKNOWN


def test_a_question_without_an_answer_leaves_its_part_empty() -> None:
    broken = Engine(error=QueryError("too many samples"))
    assert look(notice(alert("Errors", app="api")), broken, broken) == Context(limit=Limit(">", 5.0))


@pytest.mark.parametrize(
    ("expr", "bound"),
    [
        ("a > 5", Limit(">", 5)),
        ("5 < a", Limit(">", 5)),
        ("5 >= a", Limit("<=", 5)),
        ("a == (0)", Limit("==", 0)),
        ("a < 2 * 3", None),
        ("a > b", None),
    ],
)
def test_the_limit_is_read_as_it_stands_behind_the_value(expr: str, bound: Limit | None) -> None:
    comparison = comparison_of(parse(expr))
    assert comparison is not None
    assert comparison.bound == bound


def test_the_limit_of_a_log_rule_is_read_too() -> None:
    comparison = comparison_of(parse_logql('5 < sum(rate({app="api"}[5m]))'))
    assert comparison is not None
    assert comparison.bound == Limit(">", 5)
