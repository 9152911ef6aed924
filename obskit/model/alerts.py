"""Alerts: what the rules decide about, and the Transition they hand to routing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from obskit.model.labels import Labels

LOG_LINES: Final = "log_lines"
"""The annotation in which a log alert carries sample lines, one in each line."""


class AlertState(StrEnum):
    """The states of one alert (prometheus rules/alerting.go)."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"


class ResolveReason(StrEnum):
    """Why an alert stopped firing: each with the words a person reads."""

    RECOVERED = "recovered"
    NO_DATA = "no data"
    RULE_CHANGED = "rule changed"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class ActiveAlert:
    """One alert of one rule: its labels, where it stands, and since when (all times Unix milliseconds).

    `labels` are final (rule labels and `alertname` included). An inactive one is kept for a while after
    `resolved_ms` so that its end is told even across a restart. `resolved_value` is what the rule measured when the
    alert recovered, if that is known, and `resolved_summary` its summary with that value in it. `missing_since_ms`
    is since when there is nothing to judge a firing alert by, while the rule's `on_missing` counts that time.
    """

    labels: Labels
    annotations: Mapping[str, str]
    state: AlertState
    value: float
    active_ms: int
    fired_ms: int | None = None
    resolved_ms: int | None = None
    keep_firing_since_ms: int | None = None
    resolve_reason: ResolveReason | None = None
    resolved_value: float | None = None
    resolved_summary: str = ""
    missing_since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as routing and receivers know it, whoever decided it (a rule, or a POST to the Alertmanager API).

    `ends_ms` is None while it fires. Times are Unix milliseconds. `source` is the rule as a person finds it
    (`queues.yaml:QueueBacklog`), `generator_url` a link to its expression. `resolved_value` is what the rule measured
    when the alert recovered, `resolved_summary` the summary with that value in it; both may be unknown. One that others
    post is over at `expires_ms` unless they say so again; `timed_out` when that is our guess and not their word.
    `fingerprint` is that of the labels, and slow to find: whoever knows it gives it (`replace` does), else "".
    """

    labels: Labels
    annotations: Mapping[str, str]
    starts_ms: int
    ends_ms: int | None = None
    value: float = float("nan")
    generator_url: str = ""
    source: str = ""
    resolve_reason: ResolveReason | None = None
    resolved_value: float | None = None
    resolved_summary: str = ""
    expires_ms: int | None = None
    timed_out: bool = False
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", self.labels.fingerprint())

    @property
    def firing(self) -> bool:
        """Whether the alert is on."""
        return self.ends_ms is None

    @property
    def name(self) -> str:
        """The alert's name."""
        return self.labels.get("alertname")


class TransitionKind(StrEnum):
    """What happened to an alert."""

    FIRED = "fired"
    CHANGED = "changed"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Transition:
    """An alert began to fire, fires on with other annotations or another value, or stopped."""

    kind: TransitionKind
    alert: Alert
