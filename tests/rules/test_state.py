"""One alert's life: the transition table of obskit/rules/state.py, and what must hold for every history."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.errors import QueryError
from obskit.model.alerts import AlertState, ResolveReason, Transition, TransitionKind
from obskit.model.labels import Labels
from obskit.model.results import Element
from obskit.rules import ledger
from obskit.rules.expansion import Surroundings, generator_url
from obskit.rules.groups import AlertRule
from obskit.rules.state import Active, Occasion, Step, abandon, arrive, resume, step
from obskit.rules.template import compile_template
from obskit.store.schema import MIGRATIONS

MINUTE = 60_000
SLOT = 15_000
UP = Labels({"__name__": "queue_depth", "queue": "mail"})
ALERT = Labels({"alertname": "Backlog", "queue": "mail", "severity": "page"})

INACTIVE, PENDING, FIRING = AlertState.INACTIVE, AlertState.PENDING, AlertState.FIRING
FIRED, CHANGED, RESOLVED = TransitionKind.FIRED, TransitionKind.CHANGED, TransitionKind.RESOLVED


def alert_rule(**fields: Any) -> AlertRule:
    fields.setdefault("labels", {"severity": "page"})
    texts = [*fields["labels"].values(), *fields.get("annotations", {}).values()]
    templates = {text: compile_template(text) for text in texts if "{{" in text}
    return AlertRule(key="k", name="Backlog", expr="queue_depth > 5", query=None, templates=templates, **fields)


def slots(rule: AlertRule, history: Sequence[float | None], active: Active | None = None) -> list[Step]:
    """One step per value, 15 seconds apart from 0; None is an empty result."""
    steps: list[Step] = []
    now: Active = active or {}
    for index, value in enumerate(history):
        vector = [] if value is None else [(UP, value)]
        steps.append(step(rule, now, vector, Occasion(t_ms=index * SLOT, last_slot_ms=(index - 1) * SLOT)))
        now = steps[-1].active
    return steps


def states(steps: Sequence[Step]) -> list[str]:
    return [step.active[ALERT].state.value if ALERT in step.active else "-" for step in steps]


def told(steps: Sequence[Step]) -> list[str]:
    return ["+".join(t.kind.value for t in step.transitions) for step in steps]


@pytest.mark.parametrize(
    ("fields", "history", "expected", "expected_told"),
    [
        ({}, [6, 6, None], "firing firing inactive", ["fired", "", "resolved"]),
        ({}, [6, 7, 7], "firing firing firing", ["fired", "changed", ""]),
        ({}, [math.nan, math.nan], "firing firing", ["fired", ""]),
        ({"for_ms": 2 * SLOT}, [6, 6, 6, 6], "pending pending firing firing", ["", "", "fired", ""]),
        ({"for_ms": SLOT - 1}, [6, 6], "pending firing", ["", "fired"]),
        ({"for_ms": 2 * SLOT}, [6, 6, None, 6, 6, 6], "pending pending - pending pending firing", None),
        ({"for_ms": SLOT}, [6, 6, None, 6, 6], "pending firing inactive pending firing", None),
        ({"keep_firing_for_ms": 2 * SLOT}, [6, None, None, None], "firing firing firing inactive", None),
        (
            {"keep_firing_for_ms": 2 * SLOT},
            [6, None, 6, None, None, None],
            "firing firing firing firing firing inactive",
            None,
        ),
        ({"keep_firing_for_ms": SLOT, "for_ms": SLOT}, [6, None, None], "pending - -", None),
        ({}, [None, None], "- -", ["", ""]),
    ],
)
def test_an_alert_goes_through_its_states(
    fields: dict[str, Any], history: list[float | None], expected: str, expected_told: list[str] | None
) -> None:
    steps = slots(alert_rule(**fields), history)
    assert states(steps) == expected.split()
    assert expected_told is None or told(steps) == expected_told


def test_a_fired_alert_says_when_and_how_much() -> None:
    steps = slots(alert_rule(for_ms=SLOT), [6, 7])
    (transition,) = steps[1].transitions
    assert transition.kind is FIRED
    assert transition.alert.labels == ALERT
    assert (transition.alert.starts_ms, transition.alert.ends_ms, transition.alert.value) == (SLOT, None, 7)
    assert steps[1].active[ALERT].active_ms == 0


def test_a_resolved_alert_says_when_and_why() -> None:
    (transition,) = slots(alert_rule(), [6, None])[1].transitions
    assert (transition.alert.starts_ms, transition.alert.ends_ms) == (0, SLOT)
    assert transition.alert.resolve_reason is ResolveReason.RECOVERED


def test_a_resolved_alert_is_kept_for_fifteen_minutes() -> None:
    rule = alert_rule()
    active = slots(rule, [6, None])[1].active
    kept = step(rule, active, [], Occasion(t_ms=SLOT + 15 * MINUTE)).active
    assert kept[ALERT].state is INACTIVE
    assert step(rule, kept, [], Occasion(t_ms=SLOT + 15 * MINUTE + 1)).active == {}


def test_a_reload_that_raises_for_makes_a_young_alert_pending_again() -> None:
    active = slots(alert_rule(for_ms=SLOT), [6, 6])[1].active
    after = step(alert_rule(for_ms=5 * MINUTE), active, [(UP, 6.0)], Occasion(t_ms=2 * SLOT))
    assert after.active[ALERT].state is PENDING
    assert [(t.kind, t.alert.resolve_reason) for t in after.transitions] == [(RESOLVED, ResolveReason.RULE_CHANGED)]


def test_rule_labels_win_over_the_elements_and_empty_ones_remove_them() -> None:
    rule = alert_rule(labels={"severity": "{{ $labels.queue }}-page", "queue": "", "alertname": "Other"})
    assert list(slots(rule, [6])[0].active) == [Labels({"alertname": "Backlog", "severity": "mail-page"})]


def test_templates_see_the_element_the_value_and_the_surroundings() -> None:
    rule = alert_rule(
        annotations={
            "summary": '{{ $labels.queue }} is at {{ $value }} ({{ query "x" | first | value }})',
            "where": "{{ $externalLabels.region }} {{ $externalURL }}",
            "plain": "as it stands",
        }
    )
    around = Surroundings(Labels({"region": "fra"}), "http://obskit", lambda expr: [Element(UP, 3.0, 0)])
    alert = step(rule, {}, [(UP, 6.0)], Occasion(t_ms=0, around=around)).active[ALERT]
    assert alert.annotations == {"summary": "mail is at 6 (3)", "where": "fra http://obskit", "plain": "as it stands"}


def test_a_template_that_fails_says_so_and_the_alert_still_fires() -> None:
    def unanswerable(expr: str) -> list[Element]:
        raise QueryError("too many samples")

    rule = alert_rule(annotations={"summary": '{{ query "x" }}', "other": "{{ index }}"})
    around = Surroundings(query=unanswerable)
    (transition,) = step(rule, {}, [(UP, 6.0)], Occasion(t_ms=0, around=around)).transitions
    assert transition.alert.annotations["summary"].startswith("<error expanding template: query: too many samples")
    assert transition.alert.annotations["other"].startswith("<error expanding template: ")


def test_two_elements_with_the_same_alert_labels_fail_the_rule() -> None:
    rule = alert_rule(labels={"queue": ""})
    vector = [(UP, 6.0), (UP.updated({"queue": "sms"}), 7.0)]
    active = slots(rule, [6])[0].active
    failed = step(rule, active, vector, Occasion(t_ms=SLOT))
    assert failed.error == "vector contains metrics with the same labelset after applying alert labels"
    assert (failed.active, failed.transitions) == (active, ())
    assert arrive(rule, active, vector, Occasion(t_ms=SLOT)) == Step(active)


def test_more_alerts_than_the_limit_fail_the_rule_and_end_what_fired() -> None:
    rule = alert_rule()
    active = slots(rule, [6])[0].active
    vector = [(UP, 6.0), (UP.updated({"queue": "sms"}), 7.0)]
    failed = step(rule, active, vector, Occasion(t_ms=SLOT, limit=1))
    assert failed.error == "exceeded limit of 1 with 2 alerts"
    assert failed.active == {}
    assert [(t.kind, t.alert.resolve_reason) for t in failed.transitions] == [(RESOLVED, ResolveReason.EXPIRED)]
    assert arrive(rule, active, vector, Occasion(t_ms=SLOT, limit=1)).active == active


def test_a_clock_that_was_set_back_does_not_hold_an_alert_in_the_future() -> None:
    rule = alert_rule(for_ms=SLOT)
    pending = step(rule, {}, [(UP, 6.0)], Occasion(t_ms=60 * MINUTE)).active
    again = step(rule, pending, [(UP, 6.0)], Occasion(t_ms=0, last_slot_ms=60 * MINUTE)).active
    assert step(rule, again, [(UP, 6.0)], Occasion(t_ms=SLOT, last_slot_ms=0)).active[ALERT].state is FIRING


# Arrivals


def test_an_arrival_fires_at_once_when_there_is_no_for() -> None:
    after = arrive(alert_rule(), {}, [(UP, 6.0)], Occasion(t_ms=7_000, last_slot_ms=0))
    assert [t.kind for t in after.transitions] == [FIRED]
    assert (after.active[ALERT].active_ms, after.active[ALERT].fired_ms) == (7_000, 7_000)


def test_an_arrival_begins_no_pending_alert_and_ends_none() -> None:
    rule = alert_rule(for_ms=SLOT)
    assert arrive(rule, {}, [(UP, 6.0)], Occasion(t_ms=7_000)) == Step({})
    pending = slots(rule, [6])[0].active
    assert arrive(rule, pending, [], Occasion(t_ms=7_000)) == Step(pending)


def test_an_arrival_fires_a_pending_alert_whose_time_has_come() -> None:
    rule = alert_rule(for_ms=SLOT - 5_000)
    pending = slots(rule, [6])[0].active
    assert arrive(rule, pending, [(UP, 6.0)], Occasion(t_ms=9_999)).active == pending
    after = arrive(rule, pending, [(UP, 6.0)], Occasion(t_ms=10_000))
    assert (after.active[ALERT].state, after.active[ALERT].active_ms) == (FIRING, 0)
    assert after.active[ALERT].fired_ms == 10_000


def test_an_arrival_resolves_what_nothing_holds() -> None:
    rule = alert_rule()
    after = arrive(rule, slots(rule, [6])[0].active, [], Occasion(t_ms=7_000))
    assert [(t.kind, t.alert.ends_ms) for t in after.transitions] == [(RESOLVED, 7_000)]


def test_an_arrival_leaves_the_first_miss_to_the_slots() -> None:
    rule = alert_rule(keep_firing_for_ms=2 * SLOT)
    firing = slots(rule, [6])[0].active
    assert arrive(rule, firing, [], Occasion(t_ms=7_000)) == Step(firing)
    missed = step(rule, firing, [], Occasion(t_ms=SLOT, last_slot_ms=0)).active
    assert arrive(rule, missed, [], Occasion(t_ms=3 * SLOT - 1)).active == missed
    assert arrive(rule, missed, [], Occasion(t_ms=3 * SLOT)).active[ALERT].state is INACTIVE


def test_a_dip_between_two_slots_does_not_cost_the_alert_its_for() -> None:
    rule = alert_rule(for_ms=SLOT)
    firing = slots(rule, [6, 6])[1].active
    dipped = arrive(rule, firing, [], Occasion(t_ms=SLOT + 5_000, last_slot_ms=SLOT))
    assert [t.kind for t in dipped.transitions] == [RESOLVED]
    back = step(rule, dipped.active, [(UP, 6.0)], Occasion(t_ms=2 * SLOT, last_slot_ms=SLOT))
    assert [(t.kind, t.alert.starts_ms) for t in back.transitions] == [(FIRED, 2 * SLOT)]
    assert back.active[ALERT].active_ms == 0


def test_a_dip_that_the_slot_sees_too_is_told_once_with_the_earlier_time() -> None:
    rule = alert_rule(for_ms=SLOT)
    dipped = arrive(rule, slots(rule, [6, 6])[1].active, [], Occasion(t_ms=SLOT + 5_000, last_slot_ms=SLOT))
    after = step(rule, dipped.active, [], Occasion(t_ms=2 * SLOT, last_slot_ms=SLOT))
    assert after.transitions == ()
    assert after.active[ALERT].resolved_ms == SLOT + 5_000
    again = step(rule, after.active, [(UP, 6.0)], Occasion(t_ms=3 * SLOT, last_slot_ms=2 * SLOT))
    assert again.active[ALERT].state is PENDING


def test_an_alert_without_for_that_dips_between_slots_is_the_same_alert_to_the_slots() -> None:
    rule = alert_rule(keep_firing_for_ms=5_000)
    missed = step(rule, slots(rule, [6])[0].active, [], Occasion(t_ms=SLOT, last_slot_ms=0)).active
    dipped = arrive(rule, missed, [], Occasion(t_ms=SLOT + 5_000, last_slot_ms=SLOT)).active
    back = arrive(rule, dipped, [(UP, 6.0)], Occasion(t_ms=SLOT + 10_000, last_slot_ms=SLOT))
    assert [(t.kind, t.alert.starts_ms) for t in back.transitions] == [(FIRED, SLOT + 10_000)]
    after = step(rule, back.active, [], Occasion(t_ms=2 * SLOT, last_slot_ms=SLOT))
    assert [t.kind for t in after.transitions] == [RESOLVED]


# Restarts and reloads


@pytest.mark.parametrize(
    ("pause_ms", "expected_active_ms"),
    [(SLOT, 0), (2 * SLOT, 0), (10 * MINUTE, 10 * MINUTE - SLOT), (3 * 60 * MINUTE, None)],
)
def test_the_clock_of_for_stands_still_while_nobody_looks(pause_ms: int, expected_active_ms: int | None) -> None:
    pending = slots(alert_rule(for_ms=5 * MINUTE), [6])[0].active
    resumed = resume(pending, last_slot_ms=0, now_ms=pause_ms, interval_ms=SLOT)
    assert (resumed[ALERT].active_ms if ALERT in resumed else None) == expected_active_ms


def test_a_firing_alert_outlives_any_pause() -> None:
    firing = slots(alert_rule(), [6])[0].active
    assert resume(firing, last_slot_ms=0, now_ms=24 * 60 * MINUTE, interval_ms=SLOT) == firing


def test_an_alert_whose_rule_is_gone_ends_if_it_fired() -> None:
    firing = slots(alert_rule(), [6])[0].active[ALERT]
    ended = abandon(firing, "queues.yaml:Backlog", MINUTE)
    assert ended is not None
    assert (ended.kind, ended.alert.ends_ms) == (RESOLVED, MINUTE)
    assert ended.alert.resolve_reason is ResolveReason.RULE_CHANGED
    assert abandon(replace(firing, state=PENDING), "queues.yaml:Backlog", MINUTE) is None


def test_the_link_leads_to_the_expressions_table() -> None:
    assert generator_url("http://o/", "up == 0") == "http://o/graph?g0.expr=up+%3D%3D+0&g0.tab=1"
    assert generator_url("", "up == 0") == ""


# Properties: any history of slots and of arrivals between them, for three queues

QUEUES = ("mail", "sms", "push")
VECTORS = st.dictionaries(st.sampled_from(QUEUES), st.sampled_from([6.0, 7.0, math.nan]))
EVENTS = st.lists(st.tuples(VECTORS, st.lists(VECTORS, max_size=2)), min_size=1, max_size=12)
RULES = st.builds(
    alert_rule,
    for_ms=st.sampled_from([0, SLOT // 3, SLOT, 2 * SLOT + 1]),
    keep_firing_for_ms=st.sampled_from([0, SLOT // 3, SLOT, 2 * SLOT + 1]),
    annotations=st.just({"summary": "{{ $labels.queue }}: {{ $value }}"}),
)


def elements(values: dict[str, float]) -> list[tuple[Labels, float]]:
    return [(Labels({"queue": queue}), value) for queue, value in values.items()]


def play(
    rule: AlertRule, events: list[tuple[dict[str, float], list[dict[str, float]]]], *, arrivals: bool, carry: Any = None
) -> list[Step]:
    """The steps of a history: a slot every 15 seconds, and behind each its arrivals, 5 seconds apart."""
    steps: list[Step] = []
    active: Active = {}
    for index, (vector, between) in enumerate(events):
        t_ms, last_ms = index * SLOT, (index - 1) * SLOT if index else None
        steps.append(step(rule, active, elements(vector), Occasion(t_ms=t_ms, last_slot_ms=last_ms)))
        active = carry(steps[-1].active) if carry else steps[-1].active
        for number, arrived in enumerate(between if arrivals else (), start=1):
            occasion = Occasion(t_ms=t_ms + number * 5_000, last_slot_ms=t_ms)
            steps.append(arrive(rule, active, elements(arrived), occasion))
            active = carry(steps[-1].active) if carry else steps[-1].active
    return steps


@cache
def empty_database() -> bytes:
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript("".join(MIGRATIONS))
        return database.serialize()


def through_the_ledger(active: Active) -> Active:
    with sqlite3.connect(":memory:") as tx:
        tx.deserialize(empty_database())
        ledger.save_alerts(tx, "k", {}, active)
        loaded = ledger.load(tx).alerts.get("k", {})
    tx.close()
    return loaded


def shown(steps: list[Step]) -> list[str]:
    """Steps as text: NaN is unequal to itself, and the order of a mapping means nothing."""
    return [repr((sorted(s.active.items(), key=lambda item: item[0]), s.transitions, s.error)) for s in steps]


@given(RULES, EVENTS)
def test_a_restart_between_any_two_steps_changes_nothing(rule: AlertRule, events: Any) -> None:
    restarted = play(rule, events, arrivals=True, carry=through_the_ledger)
    assert shown(restarted) == shown(play(rule, events, arrivals=True))


@given(RULES, EVENTS)
def test_the_order_of_elements_does_not_matter(rule: AlertRule, events: Any) -> None:
    turned = [(dict(reversed(v.items())), [dict(reversed(a.items())) for a in b]) for v, b in events]
    assert shown(play(rule, turned, arrivals=True)) == shown(play(rule, events, arrivals=True))


@given(RULES, EVENTS)
def test_nothing_fires_before_its_for(rule: AlertRule, events: Any) -> None:
    for one in play(rule, events, arrivals=True):
        for alert in one.active.values():
            assert alert.fired_ms is None or alert.fired_ms - alert.active_ms >= rule.for_ms


@given(RULES, EVENTS)
def test_arrivals_never_make_an_alert_fire_or_resolve_later(rule: AlertRule, events: Any) -> None:
    alone = play(rule, events, arrivals=False)
    both = play(rule, events, arrivals=True)
    at_slots = iter(both)
    firing_before: set[Labels] = set()
    for (_, between), plain in zip(events, alone, strict=True):
        mixed = next(at_slots)
        firing = {labels for labels, alert in plain.active.items() if alert.state is FIRING}
        mixed_firing = {labels for labels, alert in mixed.active.items() if alert.state is FIRING}
        assert firing <= mixed_firing
        assert not (firing_before - firing) & mixed_firing
        firing_before = firing
        for _ in between:
            next(at_slots)


@given(RULES, EVENTS)
def test_what_is_told_alternates_and_matches_the_state(rule: AlertRule, events: Any) -> None:
    on: dict[Labels, Transition] = {}
    for one in play(rule, events, arrivals=True):
        for transition in one.transitions:
            labels = transition.alert.labels
            assert (transition.kind is FIRED) == (labels not in on)
            if transition.kind is RESOLVED:
                del on[labels]
            else:
                on[labels] = transition
        assert set(on) == {labels for labels, alert in one.active.items() if alert.state is FIRING}


@settings(max_examples=50)
@given(RULES, EVENTS)
def test_a_pending_alert_counts_the_same_with_and_without_arrivals(rule: AlertRule, events: Any) -> None:
    alone = play(rule, events, arrivals=False)
    both = iter(play(rule, events, arrivals=True))
    for (_, between), plain in zip(events, alone, strict=True):
        mixed = next(both)
        for labels, alert in mixed.active.items():
            if alert.state is PENDING:
                assert plain.active[labels].active_ms == alert.active_ms
        for _ in between:
            next(both)
