"""Actions: what leaves the house. A Notice says what a receiver shall know, an Action is one durable piece of work
in the outbox, an Outcome is what the other side made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from obskit.model.alerts import Alert, ResolveReason
from obskit.model.context import UNKNOWN, UNTOUCHED, Care, Context
from obskit.model.labels import Labels


class NoticeReason(StrEnum):
    """Why a notice goes out; the texts are Alertmanager's (notify/dedup_stage.go), ours after them."""

    FIRST = "first notification"
    NEW_ALERTS = "new alerts added"
    SOME_RESOLVED = "some alerts resolved"
    ALL_RESOLVED = "all alerts resolved"
    REPEAT = "repeat interval elapsed"
    CHANGED = "annotations changed"
    TENDED = "acknowledged or silenced"
    ESCALATED = "escalated"
    CALM = "flapping is over"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Notice:
    """The state of one alert group, for one receiver, at the moment it was decided.

    `incident` names this episode of the group (from its first firing to its full resolve). `changed` holds the
    fingerprints that began or stopped firing since the receiver last heard of the group. `instead`
    says why a receiver is told that stands in for another. `care` is part of what was decided; `context` is looked up when the notice is delivered, and not kept.
    """

    receiver: str
    group_key: str
    group_labels: Labels
    alerts: tuple[Alert, ...]
    reason: NoticeReason
    incident: str
    decided_ms: int
    external_url: str = ""
    changed: frozenset[str] = frozenset()
    instead: str = ""
    care: Care = UNTOUCHED
    context: Context = UNKNOWN

    @property
    def firing(self) -> tuple[Alert, ...]:
        """The alerts that are on."""
        return tuple(alert for alert in self.alerts if alert.firing)

    @property
    def resolved(self) -> tuple[Alert, ...]:
        """The alerts that are over."""
        return tuple(alert for alert in self.alerts if not alert.firing)

    @property
    def status(self) -> str:
        """`firing` while one alert is on, else `resolved`."""
        return "firing" if self.firing else "resolved"

    @property
    def common_labels(self) -> Labels:
        """The labels that every alert has with the same value."""
        return Labels(_common([alert.labels for alert in self.alerts]))

    @property
    def common_annotations(self) -> dict[str, str]:
        """The annotations that every alert has with the same text."""
        return _common([alert.annotations for alert in self.alerts])

    def to_json(self) -> str:
        """The notice as the outbox keeps it."""
        return json.dumps(
            {
                "receiver": self.receiver,
                "group_key": self.group_key,
                "group_labels": dict(self.group_labels),
                "alerts": [_alert_to_dict(alert) for alert in self.alerts],
                "reason": self.reason.value,
                "incident": self.incident,
                "decided_ms": self.decided_ms,
                "external_url": self.external_url,
                "changed": sorted(self.changed),
                **({"instead": self.instead} if self.instead else {}),
                **({"care": self.care.to_dict()} if self.care != UNTOUCHED else {}),
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The notice `to_json` wrote."""
        data = json.loads(text)
        return cls(
            receiver=data["receiver"],
            group_key=data["group_key"],
            group_labels=Labels(data["group_labels"]),
            alerts=tuple(_alert_from_dict(alert) for alert in data["alerts"]),
            reason=NoticeReason(data["reason"]),
            incident=data["incident"],
            decided_ms=data["decided_ms"],
            external_url=data["external_url"],
            changed=frozenset(data["changed"]),
            instead=data.get("instead", ""),
            care=Care.from_dict(data["care"]) if "care" in data else UNTOUCHED,
        )


def _common(maps: list[Any]) -> dict[str, str]:
    shared: dict[str, str] = dict(maps[0]) if maps else {}
    for other in maps[1:]:
        shared = {key: value for key, value in shared.items() if other.get(key) == value}
    return shared


def _alert_to_dict(alert: Alert) -> dict[str, Any]:
    return {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "starts_ms": alert.starts_ms,
        "ends_ms": alert.ends_ms,
        "value": repr(alert.value),
        "generator_url": alert.generator_url,
        "source": alert.source,
        "resolve_reason": alert.resolve_reason.value if alert.resolve_reason else None,
        "resolved_value": None if alert.resolved_value is None else repr(alert.resolved_value),
        "resolved_summary": alert.resolved_summary,
        "fingerprint": alert.fingerprint,
    }


def _alert_from_dict(data: Mapping[str, Any]) -> Alert:
    resolved_value = data.get("resolved_value")  # the outbox may hold notices of the version before
    return Alert(
        labels=Labels(data["labels"]),
        annotations=data["annotations"],
        starts_ms=data["starts_ms"],
        ends_ms=data["ends_ms"],
        value=float(data["value"]),
        generator_url=data["generator_url"],
        source=data["source"],
        resolve_reason=ResolveReason(data["resolve_reason"]) if data["resolve_reason"] else None,
        resolved_value=None if resolved_value is None else float(resolved_value),
        resolved_summary=data.get("resolved_summary", ""),
        fingerprint=data.get("fingerprint", ""),
    )


@dataclass(frozen=True, slots=True)
class Action:
    """One piece of outgoing work, as it stands in the outbox.

    - `kind` picks the handler (`notify`); `payload` is text that the handler understands.
    - `destination` is who receives it (`slack:ops:0`): rate, back-off and health are kept per destination.
    - `lane` keeps order: of the actions of one destination and lane, the next is tried when the one before is done.
    - `coalesce`: an unsent action of the same destination and key is replaced by this one and keeps its place.
    - `handle_key`: where the handle that the destination returns (a Slack `ts`) is kept, and read from.
    - `priority`: of what is due at one destination, the higher goes first (0 to 9; order within a lane stays).
    - `hold_ms`: when its handle was used less than this ago, it waits out the rest, for newer content to take its place.
    """

    kind: str
    destination: str
    lane: str
    payload: str
    step: str = ""
    coalesce: str | None = None
    handle_key: str | None = None
    priority: int = 0
    hold_ms: int = 0


class OutcomeStatus(StrEnum):
    """What became of one attempt."""

    SENT = "sent"
    RETRY = "retry"
    PERMANENT = "permanent"


class OutcomeReason(StrEnum):
    """Why an attempt failed. A closed list: it is a metric label and a column of the outbox."""

    NONE = ""
    RATE_LIMITED = "rate_limited"
    SERVER = "server"
    NETWORK = "network"
    TIMEOUT = "timeout"
    CREDENTIAL = "credential"
    DESTINATION = "destination"
    PAYLOAD = "payload"
    HANDLE_LOST = "handle_lost"
    CONFIG = "config"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one attempt.

    `retry_after_s` is what the destination asked for (None: the outbox backs off by its own schedule). `degrade` asks
    for one more try in plain text, `forget_handle` for one without the stored handle. `called` is False when there was
    nothing left to say, so that no call was made. `detail` holds no secret.
    """

    status: OutcomeStatus
    reason: OutcomeReason = OutcomeReason.NONE
    detail: str = ""
    retry_after_s: float | None = None
    handle: Mapping[str, str] | None = field(default=None)
    degrade: bool = False
    forget_handle: bool = False
    called: bool = True

    @classmethod
    def needless(cls) -> Self:
        """There is nothing left to say: as good as sent."""
        return cls(OutcomeStatus.SENT, called=False)

    @classmethod
    def sent(cls, handle: Mapping[str, str] | None = None) -> Self:
        """It arrived; `handle` is what later actions need to address it."""
        return cls(OutcomeStatus.SENT, handle=handle)

    @classmethod
    def retry(cls, reason: OutcomeReason, detail: str = "", *, after_s: float | None = None) -> Self:
        """It may arrive later."""
        return cls(OutcomeStatus.RETRY, reason, detail, retry_after_s=after_s)

    @classmethod
    def permanent(cls, reason: OutcomeReason, detail: str = "") -> Self:
        """It will never arrive as it is."""
        return cls(OutcomeStatus.PERMANENT, reason, detail)
