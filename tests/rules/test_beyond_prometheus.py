"""What rules can do beyond Prometheus: the value at the end, `on_missing`, `resolve_expr`. Over real queries."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from obskit.model.alerts import ActiveAlert, AlertState, ResolveReason
from obskit.model.labels import Labels
from obskit.model.samples import STALE_NAN
from obskit.promql.engine import Engine
from obskit.rules import ledger
from obskit.rules.evaluation import Evaluator, Outcome, Standing
from obskit.rules.files import load_rules
from obskit.rules.groups import AlertRule, Group
from obskit.rules.state import KEPT_MISSING_MS, NO_DATA_FOR_MS, Active
from obskit.store.schema import MIGRATIONS
from obskit.testing.store import MemoryMetrics

SLOT = 60_000
GONE = "gone"
MAIL = Labels({"alertname": "Deep", "queue": "mail", "severity": "page"})
SMS = MAIL.updated({"queue": "sms"})


def group_of(expr: str = "depth > 50", **fields: Any) -> Group:
    rule = {
        "alert": "Deep",
        "expr": expr,
        "labels": {"severity": "page"},
        "annotations": {"summary": "Queue {{ $labels.queue }}: {{ $value }} % full (limit 50 %)", "action": "look"},
        **fields,
    }
    read = load_rules(json.dumps({"groups": [{"name": "g", "interval": "1m", "rules": [rule]}]}), "x.yaml")
    assert read.usable, read.problems
    return read.groups[0]


def alert_rule(group: Group) -> AlertRule:
    (rule,) = group.rules
    assert isinstance(rule, AlertRule)
    return rule


class Life:
    """One rule over a store in memory, a slot a minute."""

    def __init__(self, group: Group) -> None:
        self.metrics = MemoryMetrics()
        self.group = group
        self.evaluator = Evaluator(Engine(self.metrics), Engine(self.metrics))
        self.standing = Standing()
        self.t_ms = 0
        self.told: list[str] = []

    def put(self, **depths: float | str | None) -> None:
        """A sample of each queue: a depth, its end, or nothing."""
        for queue, depth in depths.items():
            if depth is not None:
                value = STALE_NAN if depth == GONE else float(depth)
                self.metrics.add(Labels({"__name__": "depth", "queue": queue}), [self.t_ms], [value])

    def slot(self, **depths: float | str | None) -> Active:
        """The next slot, with the samples before it."""
        self.t_ms += SLOT
        self.put(**depths)
        return self._take(self.evaluator.at_slot(self.group, self.group.rules[0], self.standing, self.t_ms))

    def arrival(self, after_ms: int, **depths: float | str | None) -> Active:
        """Samples between two slots."""
        self.t_ms += after_ms
        self.put(**depths)
        rule = alert_rule(self.group)
        active = self._take(self.evaluator.on_arrival(self.group, rule, self.standing, self.t_ms))
        self.t_ms -= after_ms
        return active

    def restart(self) -> None:
        with sqlite3.connect(":memory:") as tx:
            tx.executescript("".join(MIGRATIONS))
            ledger.save_alerts(tx, "k", {}, self.standing.active)
            self.standing = replace(self.standing, active=ledger.load(tx).alerts.get("k", {}))
        tx.close()

    def _take(self, outcome: Outcome) -> Active:
        assert not outcome.error
        self.standing = outcome.standing
        for transition in outcome.transitions:
            ended = transition.alert.resolve_reason
            name = transition.alert.labels.get("queue") or transition.alert.labels.get("reason")
            self.told.append(f"{name} {transition.kind.value}" + (f" ({ended.value})" if ended else ""))
        return outcome.standing.active


def firing(active: Active) -> set[Labels]:
    return {labels for labels, alert in active.items() if alert.state is AlertState.FIRING}


# The value at the end


def test_a_recovered_alert_carries_the_value_of_the_measured_side() -> None:
    life = Life(group_of())
    life.slot(mail=97, sms=80)
    alert = life.slot(mail=12, sms=80)[MAIL]
    assert (alert.value, alert.resolved_value) == (97, 12)
    assert alert.resolved_summary == "Queue mail: 12 % full (limit 50 %)"
    assert alert.annotations["summary"] == "Queue mail: 97 % full (limit 50 %)"


def test_the_value_is_found_on_arrival_and_survives_a_restart() -> None:
    life = Life(group_of())
    life.slot(mail=97)
    assert life.arrival(10_000, mail=12)[MAIL].resolved_value == 12
    life.restart()
    assert life.standing.active[MAIL].resolved_value == 12
    again = life.slot(mail=90)[MAIL]
    assert (again.state, again.resolved_value, again.resolved_summary) == (AlertState.FIRING, None, "")


def test_two_vectors_are_matched_as_the_comparison_does() -> None:
    life = Life(group_of("depth > on (queue) group_left () limit"))
    life.metrics.add(Labels({"__name__": "limit", "queue": "mail"}), [0, SLOT, 2 * SLOT], [50, 50, 50])
    life.slot(mail=97)
    assert life.slot(mail=12)[MAIL].resolved_value == 12


def test_labels_that_the_rule_gives_do_not_hide_the_value() -> None:
    life = Life(group_of(labels={"severity": "page", "queue": "{{ $labels.queue }}!"}))
    life.slot(mail=97)
    (alert,) = life.slot(mail=12).values()
    assert (alert.labels.get("queue"), alert.resolved_value) == ("mail!", 12)


def test_a_value_that_cannot_be_told_is_left_out() -> None:
    life = Life(group_of(labels={"queue": "some"}))
    life.slot(mail=97, sms=3)
    (alert,) = life.slot(mail=12, sms=3).values()
    assert (alert.resolve_reason, alert.resolved_value) == (ResolveReason.RECOVERED, None)


# Why it ended, and on_missing


def test_one_of_many_whose_data_are_gone_ends_for_lack_of_data() -> None:
    life = Life(group_of())
    life.slot(mail=97, sms=90)
    life.slot(mail=GONE, sms=20)
    assert life.told[2:] == ["mail resolved (no data)", "sms resolved (recovered)"]


def test_a_limit_that_is_gone_is_missing_data_too() -> None:
    life = Life(group_of("depth > on (queue) limit"))
    life.metrics.add(Labels({"__name__": "limit", "queue": "mail"}), [SLOT, 2 * SLOT], [50, STALE_NAN])
    life.slot(mail=97)
    life.slot(mail=97)
    assert life.told[-1] == "mail resolved (no data)"


@pytest.mark.parametrize("expr", ["count by (queue) (depth > 50) > 0", "depth > 50 or depth > 60"])
def test_what_a_filter_leaves_out_has_recovered(expr: str) -> None:
    life = Life(group_of(expr))
    life.slot(mail=97)
    life.slot(mail=12)
    assert life.told[-1] == "mail resolved (recovered)"


def test_a_kept_alert_fires_on_while_its_data_are_missing_and_goes_on_with_them() -> None:
    life = Life(group_of(on_missing="keep"))
    life.slot(mail=97)
    since = life.slot(mail=GONE)[MAIL].missing_since_ms
    assert since == 2 * SLOT
    assert firing(life.arrival(5_000, sms=1)) == {MAIL}
    assert life.slot()[MAIL].missing_since_ms == since
    assert life.slot(mail=96)[MAIL].missing_since_ms is None
    life.slot(mail=4)
    assert life.told == ["mail fired", "mail changed", "mail resolved (recovered)"]


def test_a_kept_alert_ends_when_its_data_have_been_missing_for_a_day() -> None:
    life = Life(group_of(on_missing="keep", keep_firing_for="2m"))
    life.slot(mail=97)
    life.slot(mail=GONE)
    life.t_ms += KEPT_MISSING_MS - 2 * SLOT
    assert firing(life.slot()) == {MAIL}
    for _ in range(4):
        life.slot()
    assert life.told == ["mail fired", "mail resolved (no data)"]


@given(st.integers(1, 6), st.lists(st.sampled_from([97, 12, GONE, None]), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_kept_alert_survives_a_restart_at_any_slot(at: int, history: Sequence[float | str | None]) -> None:
    through, restarted = Life(group_of(on_missing="keep")), Life(group_of(on_missing="keep"))
    for index, depth in enumerate([97, *history]):
        through.slot(mail=depth)
        restarted.slot(mail=depth)
        if index == at:
            restarted.restart()
        assert restarted.standing.active == through.standing.active
    assert restarted.told == through.told


def test_an_alert_of_its_own_takes_over_from_one_whose_data_are_gone() -> None:
    life = Life(group_of(on_missing="alert", **{"for": "2m"}))
    for _ in range(3):
        life.slot(mail=97, sms=3)
    active = life.slot(mail=GONE, sms=3)
    blind = MAIL.updated({"reason": "no data"})
    assert firing(active) == {blind}
    assert active[blind].annotations == {
        "action": "look",
        "summary": "No data for queue mail: Deep cannot tell how it stands",
        "description": "Nothing is found by depth > 50",
    }
    assert firing(life.slot(sms=3)) == {blind}
    life.restart()
    assert firing(life.slot(sms=3)) == {blind}
    assert firing(life.slot(mail=97, sms=3)) == set()
    assert life.told == ["mail fired", "mail fired", "mail resolved (no data)", "mail resolved (recovered)"]


def test_a_rule_without_any_data_tells_so_after_five_minutes() -> None:
    life = Life(group_of(on_missing="alert"))
    blind = Labels({"alertname": "Deep", "severity": "page", "reason": "no data"})
    for _ in range(NO_DATA_FOR_MS // SLOT):
        assert life.slot()[blind].state is AlertState.PENDING
    assert firing(life.slot()) == {blind}
    assert firing(life.slot()) == {blind}
    assert firing(life.arrival(5_000, mail=3)) == set()
    life.slot()
    assert life.told == ["no data fired", "no data resolved (recovered)"]


def test_a_short_gap_is_not_told() -> None:
    life = Life(group_of(on_missing="alert"))
    life.slot(mail=3)
    for _ in range(3):
        life.slot(mail=GONE)
    assert life.slot(mail=3) == {}
    assert life.told == []


# resolve_expr


def test_a_firing_alert_resolves_when_resolve_expr_finds_it() -> None:
    life = Life(group_of(resolve_expr="depth < 30"))
    for depth in (97, 45, 60, 31, 29):
        life.slot(mail=depth)
    assert life.told == ["mail fired", "mail changed", "mail resolved (recovered)"]
    assert life.standing.active[MAIL].resolved_value == 29


def test_an_arrival_resolves_only_what_resolve_expr_finds_and_that_stays_resolved() -> None:
    life = Life(group_of(resolve_expr="depth < 30"))
    life.slot(mail=97)
    assert firing(life.arrival(5_000, mail=45)) == {MAIL}
    assert firing(life.arrival(10_000, mail=20)) == set()
    assert firing(life.slot(mail=45)) == set()
    assert life.told == ["mail fired", "mail resolved (recovered)"]


def test_each_alert_is_released_by_its_own_labels() -> None:
    life = Life(group_of(resolve_expr="depth < 30"))
    life.slot(mail=97, sms=97)
    assert firing(life.slot(mail=45, sms=20)) == {MAIL}


def test_missing_data_release_what_resolve_expr_would_hold_for_ever() -> None:
    life = Life(group_of(resolve_expr="depth < 30"))
    life.slot(mail=97)
    life.slot(mail=GONE)
    assert life.told[-1] == "mail resolved (no data)"


def test_a_resolve_expr_without_an_answer_fails_the_rule_and_keeps_the_alert() -> None:
    life = Life(group_of(resolve_expr="depth < on () group_left () (depth or vector(1))"))
    life.slot(mail=97)
    life.t_ms += SLOT
    life.put(mail=45, sms=20)
    outcome = life.evaluator.at_slot(life.group, life.group.rules[0], life.standing, life.t_ms)
    assert "many" in outcome.error
    assert firing(outcome.standing.active) == {MAIL}


EVENTS = st.lists(
    st.tuples(st.sampled_from([97, 60, 45, 20, GONE, None]), st.sampled_from([None, 97, 45, 20])),
    min_size=2,
    max_size=10,
)


@given(EVENTS, st.sampled_from(["0s", "2m"]), st.sampled_from(["0s", "2m"]), st.sampled_from(["resolve", "keep"]))
@example([(97, None), (45, None), (45, None), (45, 97), (20, None)], "0s", "2m", "resolve")
@settings(max_examples=100, deadline=None)
def test_nothing_resolves_earlier_because_of_resolve_expr(
    events: Sequence[tuple[Any, Any]], for_: str, keep_firing_for: str, on_missing: str
) -> None:
    fields = {"for": for_, "keep_firing_for": keep_firing_for, "on_missing": on_missing}
    plain, held = Life(group_of(**fields)), Life(group_of(resolve_expr="depth < 30", **fields))
    for at_slot, between in events:
        assert firing(plain.slot(mail=at_slot)) <= firing(held.slot(mail=at_slot))
        if between is not None:
            assert firing(plain.arrival(5_000, mail=between)) <= firing(held.arrival(5_000, mail=between))


def test_what_only_resolve_expr_held_is_kept_firing_anew_when_it_is_seen_again() -> None:
    fields = {"keep_firing_for": "2m"}
    plain, held = Life(group_of(**fields)), Life(group_of(resolve_expr="depth < 30", **fields))
    for life in (plain, held):
        for depth in (97, 45, 45, 45):
            life.slot(mail=depth)
        life.arrival(5_000, mail=97)
        assert [firing(life.slot(mail=20)) for _ in range(3)] == [{MAIL}, {MAIL}, set()]
    assert plain.told == ["mail fired", "mail resolved (recovered)", "mail fired", "mail resolved (recovered)"]
    assert held.told == ["mail fired", "mail resolved (recovered)"]


def test_what_is_known_of_an_alert_survives_the_ledger() -> None:
    life = Life(group_of())
    alert = ActiveAlert(
        MAIL, {}, AlertState.INACTIVE, 1.0, 5, 6, 7, 8, ResolveReason.RECOVERED, 0.5, "half", missing_since_ms=9
    )
    life.standing = Standing({MAIL: alert})
    life.restart()
    assert life.standing.active == {MAIL: alert}
