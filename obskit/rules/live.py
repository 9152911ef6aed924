"""A group while it runs: where its rules stand, what of that is saved, and how their last evaluation went.

Also what others may see of it (the rules page, the rules API): frozen copies. The loop itself is runner.py's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from obskit.model.alerts import ActiveAlert
from obskit.rules.batches import Batches
from obskit.rules.evaluation import Outcome, Standing, reads
from obskit.rules.groups import Group, Rule, group_of_rule
from obskit.rules.ledger import Ledger
from obskit.rules.state import resume


class RuleHealth(StrEnum):
    """How a rule's last evaluation went, in the words of Prometheus' rules API."""

    UNKNOWN = "unknown"
    OK = "ok"
    ERR = "err"


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """One rule as others see it. Alerts are pending, firing, or resolved within the last 15 minutes."""

    rule: Rule
    health: RuleHealth
    last_error: str
    last_evaluation_ms: int | None
    duration_s: float
    alerts: tuple[ActiveAlert, ...]


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """One group as others see it."""

    group: Group
    last_evaluation_ms: int | None
    duration_s: float
    rules: tuple[RuleStatus, ...]


@dataclass(slots=True)
class LiveRule:
    """One rule while it runs. `saved` is what the store has of it, `standing` what is true.

    `reads` are the metrics it asks for; None when they are not known by name.
    """

    rule: Rule
    standing: Standing = field(default=Standing())
    saved: Standing = field(default=Standing())
    reads: frozenset[str] | None = None
    health: RuleHealth = RuleHealth.UNKNOWN
    last_error: str = ""
    last_evaluation_ms: int | None = None
    duration_s: float = 0.0

    def judge(self, outcome: Outcome, *, slot_ms: int, duration_s: float) -> bool:
        """Note how an evaluation went; whether the health changed."""
        health = RuleHealth.ERR if outcome.error else RuleHealth.OK
        changed = health is not self.health and RuleHealth.ERR in (health, self.health)
        self.health, self.last_error = health, outcome.error
        self.last_evaluation_ms, self.duration_s = slot_ms, duration_s
        return changed

    def status(self) -> RuleStatus:
        """A frozen copy, alerts in order of labels."""
        alerts = tuple(alert for _, alert in sorted(self.standing.active.items()))
        return RuleStatus(self.rule, self.health, self.last_error, self.last_evaluation_ms, self.duration_s, alerts)


@dataclass(slots=True)
class LiveGroup:
    """One group while it runs. Who evaluates any of its rules, or replaces it, holds `lock`.

    `waits` is there while a slot that has come waits for lines that are late; it is set when it must wait no longer.
    """

    group: Group
    rules: dict[str, LiveRule]
    batches: Batches = field(default=Batches())
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    last_slot_ms: int | None = None
    last_arrival_ms: int = 0
    next_slot_ms: int | None = None
    waits: asyncio.Event | None = None
    duration_s: float = 0.0

    def status(self) -> GroupStatus:
        """A frozen copy."""
        rules = tuple(rule.status() for rule in self.rules.values())
        return GroupStatus(self.group, self.last_slot_ms, self.duration_s, rules)

    def slot_is_due(self, now_ms: int) -> bool:
        """Whether the slot it waits for has come, and waits for no lines."""
        waits = self.waits is not None and not self.waits.is_set()
        return self.next_slot_ms is not None and self.next_slot_ms <= now_ms and not waits

    def first_slot_ms(self, now_ms: int) -> int:
        """The slot to begin with: the one a reload found it waiting for, or the first after `now_ms`."""
        if self.next_slot_ms is not None:
            return self.next_slot_ms
        return self.group.slot_at(now_ms) + self.group.interval_ms


@dataclass(frozen=True, slots=True)
class Known:
    """What was known of a rule: where it stood, and what of that is saved."""

    standing: Standing
    saved: Standing


UNKNOWN: Final = Known(Standing(), Standing())
"""What is known of a rule that is new."""


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots of a group: the last one that was evaluated, and the one it waits for."""

    last_ms: int | None
    next_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """What was known before a start or a reload, by the keys of rules and groups, which outlive both."""

    rules: Mapping[str, Known] = field(default_factory=dict)
    groups: Mapping[str, Slots] = field(default_factory=dict)

    @classmethod
    def of_groups(cls, groups: Iterable[LiveGroup]) -> Past:
        """What the running groups know."""
        lives = list(groups)
        rules = {key: Known(rule.standing, rule.saved) for live in lives for key, rule in live.rules.items()}
        return cls(rules, {live.group.key: Slots(live.last_slot_ms, live.next_slot_ms) for live in lives})

    @classmethod
    def of_ledger(cls, ledger: Ledger) -> Past:
        """What the last process saved."""
        series = {key: of_rule for row in ledger.groups.values() for key, of_rule in row.series.items()}
        rules = {}
        for key in ledger.alerts.keys() | series.keys():
            row = ledger.groups.get(group_of_rule(key))
            standing = Standing(
                ledger.alerts.get(key, {}),
                {labels: labels for labels in series.get(key, ())},
                None if row is None else row.last_slot_ms,
            )
            rules[key] = Known(standing, standing)
        return cls(rules, {name: Slots(row.last_slot_ms) for name, row in ledger.groups.items()})

    def after_pause(self, groups: Iterable[Group], now_ms: int) -> Past:
        """The same when a process starts again: the clocks of `for` stood still meanwhile."""
        rules = dict(self.rules)
        for group in groups:
            slots = self.groups.get(group.key)
            if slots is None or slots.last_ms is None:
                continue
            for rule in group.rules:
                if rule.key in rules:
                    known = rules[rule.key]
                    active = resume(known.standing.active, slots.last_ms, now_ms, group.interval_ms)
                    rules[rule.key] = replace(known, standing=replace(known.standing, active=active))
        return replace(self, rules=rules)

    def continue_in(self, group: Group) -> LiveGroup:
        """The group, begun where it was left."""
        slots = self.groups.get(group.key, Slots(None))
        live = LiveGroup(group, {}, Batches.of(group), last_slot_ms=slots.last_ms)
        if slots.next_ms is not None and slots.next_ms == group.slot_at(slots.next_ms):
            live.next_slot_ms = slots.next_ms
        for rule in group.rules:
            known = self.rules.get(rule.key, UNKNOWN)
            live.rules[rule.key] = LiveRule(rule, known.standing, known.saved, reads(group, rule))
        return live
