"""Inhibition: which alerts keep others quiet; pure.

Keys and meaning are Alertmanager's (inhibit/): a target is quiet while a source of the same rule fires and the labels
in `equal` have the same values (a missing label is an empty one). An alert that matches both sides is not kept quiet
by others that do. A source that is silenced, or kept quiet itself, counts all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pydantic import Field, field_validator

from obskit.model.alert_matchers import AlertMatcher
from obskit.model.alerts import Alert
from obskit.model.labels import Labels
from obskit.model.matchers import match_all
from obskit.model.settings import Settings
from obskit.routing.match_settings import MatcherLine, Patterns, written_matchers


class InhibitRuleSettings(Settings):
    """An entry of `inhibit_rules:`, with Alertmanager's keys."""

    source_matchers: list[MatcherLine] = Field([], description="which alerts keep others quiet; all must match")
    target_matchers: list[MatcherLine] = Field([], description="which alerts are kept quiet; all must match")
    equal: list[str] = Field([], description="labels that both must have with the same value")
    source_match: dict[str, str] = Field({}, description="labels and their values (the old form)")
    source_match_re: Patterns = Field({}, description="labels and patterns (the old form)")
    target_match: dict[str, str] = Field({}, description="labels and their values (the old form)")
    target_match_re: Patterns = Field({}, description="labels and patterns (the old form)")

    @field_validator("equal")
    @classmethod
    def _named(cls, names: list[str]) -> list[str]:
        if "" in names:
            raise ValueError("a label of equal is empty")
        return names

    def rule(self) -> InhibitRule:
        """As routing asks it."""
        return InhibitRule(
            sources=written_matchers(self.source_match, self.source_match_re, self.source_matchers),
            targets=written_matchers(self.target_match, self.target_match_re, self.target_matchers),
            equal=tuple(self.equal),
        )


@dataclass(frozen=True, slots=True)
class InhibitRule:
    """One rule: who keeps whom quiet."""

    sources: tuple[AlertMatcher, ...]
    targets: tuple[AlertMatcher, ...]
    equal: tuple[str, ...] = ()

    def values(self, labels: Labels) -> tuple[str, ...]:
        """What both sides must have alike."""
        return tuple(labels.get(name) for name in self.equal)


@dataclass(slots=True, eq=False)
class _Sources:
    """The firing alerts on one rule's source side, by their values of `equal`: is each a target as well?"""

    rule: InhibitRule
    found: dict[tuple[str, ...], dict[str, bool]] = field(default_factory=dict)

    def note(self, alert: Alert) -> bool:
        """Whether that changes who keeps others quiet."""
        if not match_all(self.rule.sources, alert.labels):
            return False
        values = self.rule.values(alert.labels)
        same = self.found.get(values, {})
        if alert.firing == (alert.fingerprint in same):
            return False
        if alert.firing:
            self.found.setdefault(values, {})[alert.fingerprint] = match_all(self.rule.targets, alert.labels)
            return True
        del same[alert.fingerprint]
        if not same:
            del self.found[values]
        return True

    def inhibiting(self, labels: Labels) -> list[str]:
        same = self.found.get(self.rule.values(labels))
        if not same or not match_all(self.rule.targets, labels):
            return []
        if not match_all(self.rule.sources, labels):
            return list(same)
        return [fingerprint for fingerprint, two_sided in same.items() if not two_sided]


class Inhibitor:
    """The firing sources of every rule. Alerts are noted as they change; with each `version` the answers may be others."""

    def __init__(self, rules: Sequence[InhibitRule], alerts: Iterable[Alert] = ()) -> None:
        self._sources = [_Sources(rule) for rule in rules]
        self.version = 0
        for alert in alerts if rules else ():
            self.note(alert)

    def note(self, alert: Alert) -> None:
        """The alert as it is now; one that is over keeps nobody quiet."""
        for each in self._sources:
            self.version += each.note(alert)

    def inhibiting(self, labels: Labels) -> tuple[str, ...]:
        """The fingerprints of the alerts that keep one with these labels quiet."""
        return tuple(dict.fromkeys(found for each in self._sources for found in each.inhibiting(labels)))
