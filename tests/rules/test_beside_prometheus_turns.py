"""A reload, missed evaluations and a kill: our rule runner beside a real Prometheus."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from obskit.model.labels import Labels
from tests.rules.beside_prometheus import Points, Script, Timeline, Turn, record_obskit, record_prometheus

BEFORE = """\
groups:
- name: changing
  rules:
  - {record: "tick:changing", expr: top}
  - {alert: OfTheNext, expr: 'count by (queue) (ALERTS{alertname="Added"})'}
  - {alert: Shortened, expr: depth > 5, for: 6s}
  - {alert: Lengthened, expr: depth > 5, for: 2s}
  - {alert: Reworded, expr: depth > 5, annotations: {text: 'was {{ $value }}'}}
  - {alert: Relabelled, expr: depth > 5, for: 1s, labels: {tier: one}}
  - {alert: Rewritten, expr: depth > 5, for: 3s}
  - {alert: Dropped, expr: depth > 5, labels: {tier: one}}
  - {alert: Twice, expr: depth > 5}
  - {alert: Twice, expr: depth > 8}
  - {alert: Moved, expr: depth > 5, for: 1s}
  - {alert: Held, expr: depth > 8, keep_firing_for: 6s}
  - {alert: ValueNamed, expr: depth > 5, labels: {depth: '{{ $value }}'}}
  - {alert: AllTheSame, expr: depth > 5, labels: {queue: any}}
  - {alert: OneOfThem, expr: 'depth{queue="mail"} > 5', labels: {queue: any}}
  - {record: "dropped:depth", expr: depth}
  - {record: "renamed:depth", expr: depth}
  - {record: "relabelled:depth", expr: depth, labels: {tier: one}}
  - {record: "clash:depth", expr: max(depth)}
  - {record: "clash:depth", expr: min(depth)}
  - {record: "moved:depth", expr: depth}
- name: leaving
  rules:
  - {record: "tick:leaving", expr: top}
  - {alert: Gone, expr: depth > 5}
  - {record: "gone:depth", expr: depth}
- name: limited
  limit: 1
  rules:
  - {record: "tick:limited", expr: top}
  - {alert: Limited, expr: depth > 5, for: 1s}
- name: staying
  rules:
  - {record: "tick:staying", expr: top}
  - {alert: Stays, expr: depth > 5, for: 2s}
  - {alert: Slow, expr: depth > 5, for: 16s}
  - {alert: Patient, expr: depth > 5, for: 8s}
  - {alert: AtOnce, expr: depth > 5}
"""
AFTER = """\
groups:
- name: added
  rules:
  - {record: "tick:added", expr: top}
  - {alert: Moved, expr: depth > 5, for: 1s}
  - {record: "moved:depth", expr: depth}
- name: staying
  rules:
  - {record: "tick:staying", expr: top}
  - {alert: Stays, expr: depth > 5, for: 2s}
  - {alert: Slow, expr: depth > 5, for: 16s}
  - {alert: Patient, expr: depth > 5, for: 8s}
  - {alert: AtOnce, expr: depth > 5}
- name: limited
  limit: 2
  rules:
  - {record: "tick:limited", expr: top}
  - {alert: Limited, expr: depth > 5, for: 1s}
- name: changing
  rules:
  - {record: "tick:changing", expr: top}
  - {alert: OfTheNext, expr: 'count by (queue) (ALERTS{alertname="Added"})'}
  - {alert: Added, expr: depth > 5, for: 1s}
  - {alert: Twice, expr: depth > 8}
  - {alert: Twice, expr: depth > 5}
  - {alert: Shortened, expr: depth > 5, for: 2s}
  - {alert: Lengthened, expr: depth > 5, for: 5s}
  - {alert: Reworded, expr: depth > 5, annotations: {text: 'is {{ $value }}'}}
  - {alert: Relabelled, expr: depth > 5, for: 1s, labels: {tier: two}}
  - {alert: Rewritten, expr: depth > 2, for: 3s}
  - {alert: Held, expr: depth > 8, keep_firing_for: 3s}
  - {alert: ValueNamed, expr: depth > 5, labels: {depth: '{{ $value }}'}}
  - {alert: AllTheSame, expr: depth > 5, labels: {queue: any}}
  - {alert: OneOfThem, expr: 'depth{queue="mail"} > 5', labels: {queue: any}}
  - {record: "renamed:queue_depth", expr: depth}
  - {record: "relabelled:depth", expr: depth, labels: {tier: two}}
  - {record: "clash:depth", expr: max(depth)}
  - {record: "clash:depth", expr: min(depth)}
"""
SAMPLES = """
top 10x25
depth{queue="mail"} 1 1 7 7 9 9 9 9 9 7 9 9 9 9 6 9 9 9 9 9 9 9 9 9 9 9
depth{queue="sms"} 1 1 3 3 3 1 6 6 6 8 8 1 1 1 3 6 6 3 3 3 stale _ _ 6 6 6
"""
RELOADED, HELD, KILLED = 7, 12, 16
TURNS = {RELOADED: Turn(rules=AFTER), HELD: Turn(held=2), KILLED: Turn(gone=3)}
ATTEMPTS = 3
OTHERWISE = {"Slow", "Twice", "OfTheNext"}
"""Alerts that are otherwise after the kill; the last tests say how and why."""


def ticks(timeline: Timeline) -> dict[str, set[int]]:
    """The steps in which each group was evaluated, by the part of its name that its recording rule says."""
    return {labels.name: set(points) for labels, points in timeline.series.items() if labels.name.startswith("tick:")}


def due(script: Script) -> dict[str, set[int]]:
    """The steps in which each group should have been. A late evaluation is dated by its slot, in the step before."""
    back = KILLED + script.turns[KILLED].gone
    steps = {*range(KILLED), *range(back, script.steps)} - {HELD}
    return {
        **{f"tick:{name}": steps for name in ("changing", "limited", "staying")},
        "tick:leaving": {*range(RELOADED)},
        "tick:added": steps - {*range(RELOADED)},
    }


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Script, Timeline]:
    for _ in range(ATTEMPTS):
        script, timeline = record_prometheus(tmp_path_factory.mktemp("prometheus"), BEFORE, SAMPLES, TURNS)
        if ticks(timeline) == due(script):
            return script, timeline
    pytest.fail("Prometheus missed evaluations: this machine is too busy to be compared on")


@dataclass(frozen=True, slots=True)
class Beside:
    """What the two sides made of the script. `sooner` are alerts that data on arrival turn on before Prometheus'."""

    script: Script
    theirs: Timeline
    ours: Timeline
    sooner: frozenset[str]

    def settled(self) -> set[int]:
        """The steps that are compared: Prometheus writes and restores nothing until its third evaluation."""
        back = KILLED + self.script.turns[KILLED].gone
        return {*range(KILLED), *range(back + 2, self.script.steps)}

    def is_alike(self, labels: Labels, step: int) -> bool:
        """Whether there is no reason for a difference."""
        name = labels.get("alertname")
        if step == RELOADED and "Moved" in (name, labels.name.partition(":")[0].title()):
            return False  # in Prometheus the group that comes last in this second decides whether the series ends
        return name not in self.sooner and (step < KILLED or name not in OTHERWISE)

    def alike(self, points: dict[Labels, Points]) -> dict[tuple[Labels, int], float]:
        """What is compared of the points."""
        return {
            (labels, step): value
            for labels, of_one in points.items()
            for step, value in of_one.items()
            if step in self.settled() and self.is_alike(labels, step)
        }


@pytest.fixture(scope="module", params=["slots", "arrivals"])
def beside(
    recorded: tuple[Script, Timeline], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Beside:
    script, theirs = recorded
    arrivals = request.param == "arrivals"
    ours = record_obskit(tmp_path_factory.mktemp("obskit"), BEFORE, script, arrivals=arrivals)
    return Beside(script, theirs, ours, frozenset({"OfTheNext"} if arrivals else ()))


pytestmark = [pytest.mark.slow, pytest.mark.server("prometheus")]


def test_what_is_written_and_where_it_ends_is_the_same(beside: Beside) -> None:
    assert beside.alike(beside.ours.series) == beside.alike(beside.theirs.series)
    assert beside.alike(beside.ours.visible) == beside.alike(beside.theirs.visible)


def test_states_are_the_same(beside: Beside) -> None:
    late = HELD + TURNS[HELD].held  # two evaluations lie in this step, and who asks sees the one or the other
    for group, by_step in beside.theirs.alerts.items():
        for step in by_step.keys() & beside.settled() - {late}:
            found = beside.ours.alerts.get(group, {}).get(step, {})
            alike = [one for one in by_step[step].keys() | found.keys() if beside.is_alike(one, step)]
            assert {one: found.get(one) for one in alike} == {one: by_step[step].get(one) for one in alike}, (
                group,
                step,
            )


def fires(timeline: Timeline, alert: str) -> int:
    (points,) = [
        points
        for labels, points in timeline.series.items()
        if labels.get("alertname") == alert and labels.get("alertstate") == "firing"
    ]
    return min(points)


def test_a_pending_alert_loses_the_time_that_nobody_watched_and_in_prometheus_two_evaluations_more(
    beside: Beside,
) -> None:
    script, theirs, ours = beside.script, beside.theirs, beside.ours
    active, for_steps, gone = 2, 16, script.turns[KILLED].gone
    assert fires(ours, "Slow") in (active + for_steps + gone - 1, active + for_steps + gone)
    assert fires(theirs, "Slow") == active + for_steps + gone + 3


def test_a_firing_alert_fires_on_through_the_kill(beside: Beside) -> None:
    script, ours = beside.script, beside.ours
    back = KILLED + script.turns[KILLED].gone
    (points,) = [
        points
        for labels, points in ours.series.items()
        if labels.get("alertname") == "AtOnce" and labels.get("queue") == "mail" and "alertstate" in labels
    ]
    assert {*range(back, script.steps)} <= points.keys()


def test_two_rules_of_one_name_are_told_apart_after_the_kill(beside: Beside) -> None:
    """In Prometheus both take up the one ALERTS_FOR_STATE that they shared."""
    last = beside.script.steps - 1
    since = {
        side: alert.since
        for side, timeline in (("theirs", beside.theirs), ("ours", beside.ours))
        for labels, alert in timeline.alerts["changing"][last].items()
        if labels == Labels({"alertname": "Twice", "queue": "mail"})
    }
    assert since["ours"] < since["theirs"]
