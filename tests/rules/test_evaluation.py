"""One rule at one time, with an engine whose answers are given."""

from __future__ import annotations

import math
from typing import Any

import pytest

from obskit.errors import QueryError
from obskit.model.alerts import AlertState
from obskit.model.labels import EMPTY, Labels
from obskit.model.results import Element, Result, Scalar, String, Vector
from obskit.model.samples import is_stale
from obskit.rules.evaluation import Evaluator, Outcome, Standing, reads, writes
from obskit.rules.files import load_rules
from obskit.rules.groups import Group

A = Labels({"__name__": "depth", "queue": "a"})
B = Labels({"__name__": "depth", "queue": "b"})


class Answers:
    """An engine that answers what it was given, then nothing, and remembers when it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[int] = []

    def instant(self, expr: Any, at: int, /) -> Result:
        self.asked.append(at)
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, dict):
            return Result(Vector(tuple(Element(labels, value, at) for labels, value in answer.items())))
        return Result(answer)


def group_of(rule: str, **fields: Any) -> Group:
    more = "".join(f"  {name}: {value}\n" for name, value in fields.items())
    read = load_rules(f"groups:\n- name: g\n{more}  rules:\n  - {rule}\n", "x.yaml")
    assert read.usable, read.problems
    return read.groups[0]


def evaluate(group: Group, *answers: Any, standing: Standing | None = None) -> list[Outcome]:
    evaluator = Evaluator(Answers(*answers), Answers())
    outcomes = []
    standing = standing or Standing()
    for index, _ in enumerate(answers):
        outcomes.append(evaluator.at_slot(group, group.rules[0], standing, 60_000 * (index + 1)))
        standing = outcomes[-1].standing
    return outcomes


def written(outcome: Outcome) -> dict[str, float | str]:
    return {str(s.labels): "stale" if is_stale(s.value) else s.value for s in outcome.samples}


def test_a_recording_rule_writes_its_elements_under_its_name_and_labels() -> None:
    (outcome,) = evaluate(group_of("{record: copy, expr: depth, labels: {tier: gold, queue: ''}}"), {A: 5.0})
    assert written(outcome) == {'copy{tier="gold"}': 5.0}
    assert outcome.samples.times_ms == [60_000]


def test_the_labels_of_a_series_stay_the_same_object() -> None:
    first, second = evaluate(group_of("{record: copy, expr: depth}"), {A: 5.0}, {A: 6.0})
    assert first.samples.labels[0] is second.samples.labels[0]


def test_a_series_that_is_not_written_any_more_ends() -> None:
    *_, second, third = evaluate(group_of("{record: copy, expr: depth}"), {A: 5.0, B: 1.0}, {B: 2.0}, {B: 3.0})
    assert written(second) == {'copy{queue="b"}': 2.0, 'copy{queue="a"}': "stale"}
    assert written(third) == {'copy{queue="b"}': 3.0}


def test_a_failed_evaluation_in_between_ends_no_series_and_forgets_none() -> None:
    _, failed, third = evaluate(group_of("{record: copy, expr: depth}"), {A: 5.0}, QueryError("too much"), {})
    assert (failed.error, len(failed.samples)) == ("too much", 0)
    assert written(third) == {'copy{queue="a"}': "stale"}


def test_a_scalar_is_one_element_without_labels() -> None:
    (outcome,) = evaluate(group_of("{record: one, expr: '1'}"), Scalar(1.0, 0))
    assert written(outcome) == {"one": 1.0}


@pytest.mark.parametrize(
    ("rule", "answer", "error"),
    [
        ("{record: r, expr: up}", String("x", 0), "rule result is not a vector or scalar"),
        (
            "{record: r, expr: up, labels: {queue: ''}}",
            {A: 1.0, B: 2.0},
            "vector contains metrics with the same labelset after applying rule labels",
        ),
        ("{record: r, expr: up}", {A: 1.0, B: 2.0}, "exceeded limit of 1 with 2 series"),
        ("{alert: r, expr: up, labels: {severity: x}}", {A: 1.0, B: 2.0}, "exceeded limit of 1 with 2 alerts"),
    ],
)
def test_a_rule_fails_for_a_reason(rule: str, answer: Any, error: str) -> None:
    (outcome,) = evaluate(group_of(rule, limit=1), answer)
    assert outcome.error == error
    assert len(outcome.samples) == 0


def test_an_alert_writes_its_state_and_its_beginning() -> None:
    rule = "{alert: Full, expr: depth > 3, for: 1m, labels: {severity: page}}"
    pending, firing, gone = evaluate(group_of(rule), {A: 5.0}, {A: 6.0}, {A.updated({"queue": "c"}): math.nan})
    rest = 'alertname="Full", {}queue="a", severity="page"'
    for_state = "ALERTS_FOR_STATE{" + rest.format("") + "}"
    alerts = {state: "ALERTS{" + rest.format(f'alertstate="{state}", ') + "}" for state in ("pending", "firing")}
    assert written(pending) == {alerts["pending"]: 1.0, for_state: 60.0}
    assert written(firing) == {alerts["firing"]: 1.0, alerts["pending"]: "stale", for_state: 60.0}
    assert written(gone)[alerts["firing"]] == "stale"


def test_an_offset_moves_question_and_answer_but_not_the_alert() -> None:
    group = group_of("{alert: Full, expr: depth > 3}", query_offset="30s")
    answers = Answers({A: 5.0})
    outcome = Evaluator(answers, Answers()).at_slot(group, group.rules[0], Standing(), 60_000)
    assert answers.asked == [30_000]
    assert set(outcome.samples.times_ms) == {30_000}
    assert [alert.active_ms for alert in outcome.standing.active.values()] == [60_000]


def test_an_arrival_writes_no_series() -> None:
    group = group_of("{alert: Full, expr: depth > 3}")
    rule = group.rules[0]
    outcome = Evaluator(Answers({A: 5.0}), Answers()).on_arrival(group, rule, Standing(), 61_000)  # type: ignore[arg-type]
    assert [alert.state for alert in outcome.standing.active.values()] == [AlertState.FIRING]
    assert len(outcome.samples) == 0


def test_an_arrival_of_records_includes_the_whole_millisecond() -> None:
    text = "groups: [{name: g, type: loki, rules: [{alert: A, expr: \"count_over_time({app='x'} [1m]) > 0\"}]}]"
    group = load_rules(text.replace("'", '\\"'), "x.yaml").groups[0]
    answers = Answers({EMPTY: 1.0})
    Evaluator(Answers(), answers).on_arrival(group, group.rules[0], Standing(), 61_000)  # type: ignore[arg-type]
    assert answers.asked == [61_000_999_999]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{record: r, expr: a + b}", {"a", "b"}),
        ("{record: r, expr: time()}", set()),
        ("{record: r, expr: '{job=\"x\"}'}", None),
        ("{alert: r, expr: a, annotations: {x: '{{ query \"b\" }}'}}", None),
    ],
)
def test_it_is_known_what_a_rule_reads(rule: str, expected: set[str] | None) -> None:
    group = group_of(rule)
    assert reads(group, group.rules[0]) == (None if expected is None else frozenset(expected))


def test_it_is_known_what_a_rule_writes() -> None:
    assert writes(group_of("{record: r, expr: a}").rules[0]) == {"r"}
    assert writes(group_of("{alert: r, expr: a}").rules[0]) == {"ALERTS", "ALERTS_FOR_STATE"}
