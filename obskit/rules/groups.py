"""What a rule file says once it is read: groups of alerting and recording rules, frozen and ready to evaluate.

Reading is left to files.py, evaluating to evaluation.py, the states of alerts to state.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from obskit.model.labels import Labels
from obskit.model.problems import Place
from obskit.rules.template import Template

if TYPE_CHECKING:  # it brings pydantic, which whose rules have no hours need not load
    from obskit.rules.active_hours import ActiveHours


class GroupType(StrEnum):
    """The language of a group's expressions, and the data they read."""

    PROMETHEUS = "prometheus"
    LOKI = "loki"
    EVENTS = "events"

    @property
    def reads_logs(self) -> bool:
        """Whether the expressions are LogQL (an event is a record of the stream `{source="event"}`)."""
        return self is not GroupType.PROMETHEUS


class OnMissing(StrEnum):
    """What becomes of a firing alert when there is nothing left to judge it by."""

    RESOLVE = "resolve"
    KEEP = "keep"
    ALERT = "alert"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """One alerting rule. `labels` include the group's; an empty value removes the element's label of that name.

    `query` is the parsed `expr`: a tree of obskit.promql or obskit.logql, by the group's type. `templates` holds the
    compiled form of those texts of labels and annotations that have an action in them, by text. `key` names the rule
    across reloads and restarts: its alerts are carried over for as long as file, group, name and labels stay.
    `resolve_query` is the parsed `resolve_expr`, if there is one: what must find a firing alert before it may resolve.
    Outside the hours of `during` the rule finds nothing.
    """

    key: str
    name: str
    expr: str
    query: Any
    for_ms: int = 0
    keep_firing_for_ms: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    templates: Mapping[str, Template] = field(default_factory=dict)
    on_missing: OnMissing = OnMissing.RESOLVE
    resolve_query: Any = None
    during: ActiveHours | None = None
    place: Place = field(default=Place(""))

    @property
    def queries(self) -> tuple[Any, ...]:
        """What its evaluation may ask, parsed."""
        return (self.query,) if self.resolve_query is None else (self.query, self.resolve_query)

    @property
    def source(self) -> str:
        """The rule as a person finds it: `queues.yaml:QueueBacklog`."""
        return f"{PurePath(self.place.file).name}:{self.name}" if self.place.file else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingRule:
    """One recording rule: the result of `query` is stored as series `name`, with `labels` on top."""

    key: str
    name: str
    expr: str
    query: Any
    labels: Mapping[str, str] = field(default_factory=dict)
    place: Place = field(default=Place(""))

    @property
    def queries(self) -> tuple[Any, ...]:
        """What its evaluation asks, parsed."""
        return (self.query,)


Rule = AlertRule | RecordingRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rules that are evaluated in order at one timestamp, every `interval_ms`. `limit` 0 is none."""

    file: str
    name: str
    interval_ms: int
    rules: tuple[Rule, ...]
    type: GroupType = GroupType.PROMETHEUS
    query_offset_ms: int = 0
    limit: int = 0

    @property
    def key(self) -> str:
        """The group's name everywhere, in Prometheus' form: `file;name`."""
        return f"{self.file};{self.name}"

    @property
    def offset_ms(self) -> int:
        """Where in the interval the group's slots lie: a hash of file and name spreads the groups over it."""
        return int(Labels({"file": self.file, "name": self.name}).fingerprint(), 16) % self.interval_ms

    def slot_at(self, now_ms: int) -> int:
        """The newest slot that is not after `now_ms` (prometheus rules/group.go, EvalTimestamp)."""
        return now_ms - (now_ms - self.offset_ms) % self.interval_ms


_as_json: Final[Callable[[Any], str]] = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def rule_key(group: tuple[str, str], name: str, labels: Mapping[str, str], index: int) -> str:
    """The stable key of a rule; `group` is (file, name), `index` tells apart rules of equal name and labels."""
    return _as_json([*group, name, dict(sorted(labels.items())), index])


def group_of_rule(key: str) -> str:
    """The key of the group that the rule of this key belongs to."""
    file, group, *_ = json.loads(key)
    return f"{file};{group}"


def source_of_rule(key: str) -> str:
    """The rule of this key as a person finds it, also when the rule itself is gone."""
    file, _, name, *_ = json.loads(key)
    return f"{PurePath(file).name}:{name}"
