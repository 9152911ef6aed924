"""PagerDuty through Events API v2: an incident is triggered, acknowledged and resolved under one dedup_key.

The key is Alertmanager's (sha256 of the group key), so incidents that Alertmanager opened are resolved by us.
https://developer.pagerduty.com/docs/events-api-v2-overview
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from obskit import __version__
from obskit.model.actions import Notice, Outcome, OutcomeReason
from obskit.model.alerts import Alert
from obskit.model.settings import Secret
from obskit.notify import text
from obskit.notify.base import (
    HttpTransport,
    Kind,
    Notifier,
    Request,
    Response,
    Step,
    Transport,
    classify_status,
    plainer,
)
from obskit.notify.settings import NotifierSettings, NotYet, PlainText, WebUrl
from obskit.outbound import httpx

TRIGGER: Final = "trigger"
ACKNOWLEDGE: Final = "acknowledge"
RESOLVE: Final = "resolve"

_EVENT_LIMIT: Final = 512_000
_SUMMARY_LIMIT: Final = 1_024
_RATE_WAIT_S: Final = 30.0  # what the documentation asks for after a 429 that names no time
_SEVERITIES: Final = {
    "emergency": "critical", "critical": "critical", "page": "critical", "error": "error", "high": "error",
    "warning": "warning", "warn": "warning", "info": "info",
}  # fmt: skip


def _refuse_old_key(_: Any) -> None:
    raise ValueError("this is the key of PagerDuty's Events API v1: make an Events API v2 integration, use routing_key")


OldKey = Annotated[None, BeforeValidator(_refuse_old_key)]


class PagerDutySettings(NotifierSettings):
    """One entry of `pagerduty_configs`. Without `severity` the alerts' own label decides; `details` are added."""

    routing_key: Secret = Field(description="integration key of an Events API v2 integration")
    url: WebUrl = Field(
        "https://events.pagerduty.com/v2/enqueue", description="where events are sent; EU accounts have another host"
    )
    severity: Literal["critical", "error", "warning", "info"] | None = Field(
        None, description="for every event; default: the alert's `severity` label"
    )
    client: PlainText = Field("obskit", description="who sends")
    client_url: WebUrl | None = Field(None, description="link behind the client's name; default: `global.external_url`")
    source: PlainText = Field("", description="what is broken; default: what the alerts have in common")
    component: PlainText = Field("", description="PagerDuty's component")
    group: PlainText = Field("", description="PagerDuty's group")
    details: dict[str, PlainText] = Field({}, description="more custom details")

    description: NotYet = None
    http_config: NotYet = None
    images: NotYet = None
    links: NotYet = None
    service_key: OldKey = None
    service_key_file: OldKey = None


class PagerDuty:
    """One event per notice."""

    min_interval_s = 0.5  # about 120 events a minute and key

    def __init__(self, settings: PagerDutySettings) -> None:
        self._settings = settings

    def steps(self, notice: Notice) -> Sequence[Step]:
        """Trigger or resolve. Each replaces only its like: a resolve must still follow the trigger it ends."""
        step = TRIGGER if notice.firing else RESOLVE
        return [Step(step, coalesce=f"{notice.incident}:{step}")]

    def render(self, notice: Notice, step: str, _handle: Mapping[str, str] | None, degraded: bool) -> Request | None:
        """The event; degraded, or when over 512 KB, without its details."""
        event: dict[str, Any] = {
            "routing_key": self._settings.routing_key.reveal(),
            "dedup_key": dedup_key(notice.group_key),
            "event_action": step,
        }
        if step == TRIGGER:
            event |= self._trigger(notice, detailed=not degraded)
            if len(_encoded(event)) > _EVENT_LIMIT:
                event |= self._trigger(notice, detailed=False)
        headers = {"Content-Type": "application/json", "User-Agent": f"obskit/{__version__}"}
        return Request("POST", self._settings.url, _encoded(event), headers)

    def classify(self, response: Response, _step: str) -> Outcome:
        """202 is accepted, 429 not taken in, 400 a refused event; a refused key is no matter of form."""
        if response.status == 429 and "retry-after" not in response.headers:
            return Outcome.retry(OutcomeReason.RATE_LIMITED, f"HTTP 429: {response.excerpt}", after_s=_RATE_WAIT_S)
        if response.status == 400 and "routing" in response.excerpt.lower():
            return Outcome.permanent(OutcomeReason.CREDENTIAL, f"HTTP 400: {response.excerpt}")
        if response.status == 400:
            return plainer(f"HTTP 400: {response.excerpt}")
        return classify_status(response)

    def _trigger(self, notice: Notice, *, detailed: bool) -> dict[str, Any]:
        shown = text.card(notice)
        links = [{"href": link.url, "text": link.text} for link in shown.links]
        client_url = self._settings.client_url or notice.external_url
        return {
            "payload": _present(
                summary=_summary(notice, shown),
                source=self._settings.source or shown.scope or self._settings.client,
                severity=self._settings.severity or _SEVERITIES.get(shown.severity.lower(), "error"),
                timestamp=text.rfc3339(shown.since_ms),
                component=self._settings.component,
                group=self._settings.group,
                **{"class": text.clip(shown.title, 255)},
                custom_details=self._details(notice, shown) if detailed else _counts(notice),
            ),
            **_present(links=links if detailed else [], client=self._settings.client, client_url=client_url),
        }

    def _details(self, notice: Notice, shown: text.Card) -> dict[str, str]:
        return {
            **_present(summary=shown.summary, description=shown.detail, do_first=shown.action, rule=shown.source),
            **_counts(notice),
            "firing": "\n".join(_listing(alert) for alert in notice.firing),
            "resolved": "\n".join(_listing(alert) for alert in notice.resolved),
            **self._settings.details,
        }


def dedup_key(group_key: str) -> str:
    """Alertmanager's key of a group (notify/util.go, hashKey)."""
    return hashlib.sha256(group_key.encode()).hexdigest()


def _summary(notice: Notice, shown: text.Card) -> str:
    # One PagerDuty alert stands for the whole group, so the number of alerts must be in its first words.
    parts = " - ".join(part for part in (shown.title, shown.summary) if part)
    where = f" ({shown.scope})" if shown.scope else ""
    return text.clip(f"[{shown.word}:{len(notice.firing)}] {parts}{where}", _SUMMARY_LIMIT)


def _counts(notice: Notice) -> dict[str, str]:
    return {"num_firing": str(len(notice.firing)), "num_resolved": str(len(notice.resolved))}


def _listing(alert: Alert) -> str:
    rows = [f"Labels: {alert.labels}", *(f"{name}: {said}" for name, said in sorted(alert.annotations.items()))]
    if alert.resolved_value is not None:
        rows.append(f"value now: {alert.resolved_value:.6g}")
    return "\n - ".join(rows)


def _present(**facts: Any) -> dict[str, Any]:
    return {name: fact for name, fact in facts.items() if fact}


def _encoded(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def _connect(settings: PagerDutySettings, http: httpx.AsyncClient) -> tuple[Notifier, Transport]:
    return PagerDuty(settings), HttpTransport(http, settings.timeout_s)


PAGERDUTY: Final = Kind("pagerduty", PagerDutySettings, _connect)
