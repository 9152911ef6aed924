"""Our rule runner beside a real Prometheus: the same rules, the same samples, the same timeline."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from obskit.model.alerts import TransitionKind
from tests.rules.beside_prometheus import Script, Timeline, record_obskit, record_prometheus

RULES = """\
groups:
- name: states
  rules:
  - {record: "tick:states", expr: limit}
  - {record: "queue:depth:max", expr: max by (queue) (queue_depth), labels: {from: rule}}
  - alert: AtOnce
    expr: queue_depth > 5
    annotations: {summary: '{{ $labels.queue }} {{ $value | humanize }} of {{ $value }}'}
  - alert: Patient
    expr: queue:depth:max > 5
    for: 2s
    annotations: {summary: '{{ with query "limit" }}{{ . | first | value | printf "%.1f" }}{{ end }}'}
  - alert: Kept
    expr: queue_depth > 5
    keep_firing_for: 2s
  - alert: PatientAndKept
    expr: queue_depth > 5
    for: 1s
    keep_firing_for: 1500ms
  - alert: Graded
    expr: queue_depth > 2
    for: 1s
    labels: {severity: '{{ if gt $value 7.0 }}page{{ else }}ticket{{ end }}', queue: '', was: '{{ $labels.queue }}'}
  - alert: OfAlerts
    expr: ALERTS{alertname="AtOnce",alertstate="firing"} == 1
    annotations: {summary: '{{ $labels.alertname }} {{ $labels.alertstate }}'}
  - alert: Gone
    expr: absent(queue_depth{queue="late"}) and on () limit
    for: 1s
    annotations: {summary: '{{ $labels.queue }} is gone'}
  - alert: Odd
    expr: odd
    annotations: {summary: '{{ $value }} {{ humanizePercentage $value }}'}
  - alert: Summed
    expr: sum_over_time(queue_depth[3s]) > 15
  - alert: Broken
    expr: queue_depth * on () group_left () switch > 5
    annotations: {summary: '{{ $value }}'}
  - {record: "broken:product", expr: queue_depth * on () group_left () switch}
  - {record: "same:labels", expr: 'label_replace(queue_depth, "queue", "one", "", "")'}
  - {alert: Template, expr: queue_depth > 8, annotations: {summary: '{{ first (query "nothing_here") }}'}}
- name: limited
  limit: 1
  rules:
  - {record: "tick:limited", expr: limit}
  - {alert: Limited, expr: queue_depth > 5}
  - {record: "limited:depth", expr: queue_depth > 5}
"""
SAMPLES = """
limit 10x12
queue_depth{queue="mail"} 1 9 9 9 9 1 9 1 1 9 9 stale _
queue_depth{queue="sms"} 1 1 6 8 6 8 8 8 1 1 1 1 1
queue_depth{queue="late"} 7 7 _ _ _ _ _ 9 9 9 stale 9 9
switch{x="a"} 1x12
switch{x="b"} _ _ _ _ 1 1 stale _ _ _ _ _ _
odd _ NaN NaN Inf -Inf 0.5 stale _ NaN 1234567 _ _ _
"""
ATTEMPTS = 3


def evaluated_every_step(script: Script, timeline: Timeline) -> bool:
    ticks = [points for labels, points in timeline.series.items() if labels.name.startswith("tick:")]
    return len(ticks) == 2 and all(len(points) == script.steps for points in ticks)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Script, Timeline]:
    for _ in range(ATTEMPTS):
        script, timeline = record_prometheus(tmp_path_factory.mktemp("prometheus"), RULES, SAMPLES)
        if evaluated_every_step(script, timeline):
            return script, timeline
    pytest.fail("Prometheus missed evaluations: this machine is too busy to be compared on")


@pytest.mark.slow  # Prometheus has no other clock than the wall's
@pytest.mark.server("prometheus")
@pytest.mark.parametrize("arrivals", [False, True])
def test_states_values_and_series_are_prometheus_own(
    recorded: tuple[Script, Timeline], arrivals: bool, tmp_path: Path
) -> None:
    script, theirs = recorded
    ours = record_obskit(tmp_path, RULES, script, arrivals=arrivals)
    assert ours.series.keys() == theirs.series.keys()
    for labels, points in theirs.series.items():
        assert ours.series[labels] == pytest.approx(points, nan_ok=True), labels
    for group, by_step in theirs.alerts.items():
        compared = {step: alerts for step, alerts in by_step.items() if 0 <= step < script.steps}
        assert {step: ours.alerts[group][step] for step in compared} == compared


def turns(timeline: Timeline) -> dict[tuple[str, TransitionKind], list[float]]:
    """When each alert fired and was resolved, in steps."""
    found: dict[tuple[str, TransitionKind], list[float]] = {}
    for at, transition in timeline.transitions:
        if transition.kind is not TransitionKind.CHANGED:
            found.setdefault((str(transition.alert.labels), transition.kind), []).append(at)
    return found


def test_arrivals_turn_alerts_on_and_off_in_the_same_steps_but_never_later(tmp_path: Path) -> None:
    script = Script(SAMPLES, 1_700_000_000_000)
    at_slots = turns(record_obskit(tmp_path / "slots", RULES, script, arrivals=False))
    at_once = turns(record_obskit(tmp_path / "arrivals", RULES, script, arrivals=True))
    assert at_once.keys() == at_slots.keys()
    for turn, moments in at_slots.items():
        assert [math.floor(at) for at in at_once[turn]] == [math.floor(at) for at in moments], turn
        assert all(early <= late for early, late in zip(at_once[turn], moments, strict=True)), turn
