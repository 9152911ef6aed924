"""PagerDuty through Events API v2: an incident is triggered and resolved under one dedup_key, a change is only shown.

The key is Alertmanager's (sha256 of the group key), so incidents that Alertmanager opened are resolved by us.
https://developer.pagerduty.com/docs/events-api-v2-overview. What PagerDuty tells us is pagerduty_hook.py's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from obskit.model.actions import Notice, Outcome, OutcomeReason
from obskit.model.alerts import Alert
from obskit.model.go_text import rfc3339
from obskit.model.settings import Secret, Settings
from obskit.notify import text
from obskit.notify.base import Heard, Hook, Kind, Notifier, Request, Response, Step, Transport, plainer
from obskit.notify.http import HttpTransport, classify_status, json_request
from obskit.notify.settings import NotifierSettings, NotYet, UrlWords, WebUrl, Words
from obskit.notify.wording import worded
from obskit.outbound import httpx
from obskit.store.database import Database

TRIGGER: Final = "trigger"
RESOLVE: Final = "resolve"
CHANGE: Final = "change"

_EVENT_LIMIT: Final = 512_000
_SUMMARY_LIMIT: Final = 1_024
_EVENTS_PATH: Final = "/v2/enqueue"
_CHANGES_PATH: Final = "/v2/change/enqueue"
_RATE_WAIT_S: Final = 30.0  # what the documentation asks for after a 429 that names no time
_SEVERITIES: Final = {
    "emergency": "critical", "critical": "critical", "page": "critical", "error": "error", "high": "error",
    "warning": "warning", "warn": "warning", "info": "info",
}  # fmt: skip


def _refuse_old_key(_: Any) -> None:
    raise ValueError("this is the key of PagerDuty's Events API v1: make an Events API v2 integration, use routing_key")


OldKey = Annotated[None, BeforeValidator(_refuse_old_key)]


def _a_severity(text: str) -> str:
    if text and "{{" not in text and text not in _SEVERITIES.values():
        raise ValueError("must be critical, error, warning or info, or a template of it")
    return text


class ImageSettings(Settings):
    """A picture in the incident."""

    src: UrlWords = Field(description="where it is; PagerDuty shows https only")
    href: UrlWords = Field("", description="where a click on it leads")
    alt: Words = Field("", description="what it shows, in words")


class LinkSettings(Settings):
    """A link in the incident."""

    href: UrlWords = Field(description="where it leads")
    text: Words = Field("", description="its words")


class PagerDutySettings(NotifierSettings):
    """One entry of `pagerduty_configs`. Without `severity` the alerts' own label decides; `details` are added."""

    routing_key: Secret = Field(description="integration key of an Events API v2 integration")
    url: WebUrl = Field(
        "https://events.pagerduty.com/v2/enqueue", description="where events are sent; EU accounts have another host"
    )
    dedup: Literal["group", "alert"] = Field(
        "group", description="one incident per group, or one per alert of it: then none hides behind another"
    )
    send_as: Literal["incident", "change"] = Field(
        "incident",
        description="`change`: what fires is shown as a change (a deploy, say) beside incidents, and pages nobody",
    )
    severity: Annotated[Words, AfterValidator(_a_severity)] = Field(
        "",
        description="for every event: critical, error, warning or info, or a template of it; default: the alert's"
        " `severity` label",
    )
    description: Words = Field(
        "",
        description="the incident's title; default: state, count, name and summary. May be a template, as all texts here",
    )
    client: Words = Field("obskit", description="who sends")
    client_url: UrlWords = Field("", description="link behind the client's name; default: `global.external_url`")
    source: Words = Field("", description="what is broken; default: what the alerts have in common")
    class_: Words = Field("", alias="class", description="PagerDuty's class; default: the alert's name")
    component: Words = Field("", description="PagerDuty's component")
    group: Words = Field("", description="PagerDuty's group")
    details: dict[str, Words] = Field({}, description="more custom details")
    images: list[ImageSettings] = Field([], description="pictures in every incident")
    links: list[LinkSettings] = Field([], description="links in every incident, after those of the alerts")
    webhook_secret: Secret | None = Field(
        None,
        description="the secret of a v3 webhook to `/hooks/pagerduty`, for acknowledgements; two with a space between them"
        " while it is changed",
    )
    api_key: Secret | None = Field(
        None, description="a read-only REST key: finds the group of a webhook that does not name it"
    )
    api_url: WebUrl = Field("https://api.pagerduty.com", description="the REST API; EU accounts have another host")

    http_config: NotYet = None
    service_key: OldKey = None
    service_key_file: OldKey = None

    DEFAULT_TEXTS: ClassVar = {"description": "pagerduty.default.description", "client": "pagerduty.default.client"}

    @model_validator(mode="after")
    def _changes_need_a_service(self) -> Self:
        if self.send_as == CHANGE and self.routing_key.reveal().startswith("R"):
            raise ValueError("PagerDuty takes changes with a service's integration key, not with a ruleset's (R…)")
        return self


class PagerDuty:
    """One event per notice; with `dedup: alert` one per alert of it that changed."""

    min_interval_s = 0.5  # about 120 events a minute and key

    def __init__(self, settings: PagerDutySettings) -> None:
        self._settings = settings

    def steps(self, notice: Notice) -> Sequence[Step]:
        """Trigger or resolve. Each replaces only its like: a resolve must still follow the trigger it ends."""
        if self._settings.send_as == CHANGE:
            return [_step(notice, CHANGE)] if notice.firing else []
        if self._settings.dedup == "group":
            return [_step(notice, TRIGGER if notice.firing else RESOLVE)]
        return [
            _step(notice, f"{TRIGGER if alert.firing else RESOLVE}:{alert.fingerprint}")
            for alert in notice.alerts
            if alert.fingerprint in notice.changed or (alert.firing and not notice.changed)
        ]

    def render(self, notice: Notice, step: str, _handle: Mapping[str, str] | None, degraded: bool) -> Request | None:
        """The event; degraded, or when over 512 KB, without its details."""
        action, _, fingerprint = step.partition(":")
        if fingerprint:
            notice = replace(notice, alerts=tuple(one for one in notice.alerts if one.fingerprint == fingerprint))
        request = self._event(notice, action, dedup_key(notice.group_key, fingerprint), detailed=not degraded)
        if len(request.body or b"") > _EVENT_LIMIT:
            return self._event(notice, action, dedup_key(notice.group_key, fingerprint), detailed=False)
        return request

    def classify(self, response: Response, _step: str) -> Outcome:
        """202 is accepted, 429 not taken in, 400 a refused event; a refused key is no matter of form."""
        if response.status == 429 and "retry-after" not in response.headers:
            return Outcome.retry(OutcomeReason.RATE_LIMITED, f"HTTP 429: {response.excerpt}", after_s=_RATE_WAIT_S)
        if response.status == 400 and "routing" in response.excerpt.lower():
            return Outcome.permanent(OutcomeReason.CREDENTIAL, f"HTTP 400: {response.excerpt}")
        if response.status == 400:
            return plainer(f"HTTP 400: {response.excerpt}")
        return classify_status(response)

    def _event(self, notice: Notice, action: str, key: str, *, detailed: bool) -> Request:
        event: dict[str, Any] = {"routing_key": self._settings.routing_key.reveal()}
        if action == CHANGE:
            event |= self._change(notice, detailed=detailed)
            return json_request("POST", self._settings.url.replace(_EVENTS_PATH, _CHANGES_PATH), event)
        event |= {"dedup_key": key, "event_action": action}
        if action == TRIGGER:
            event |= self._trigger(notice, detailed=detailed)
        return json_request("POST", self._settings.url, event)

    def _trigger(self, notice: Notice, *, detailed: bool) -> dict[str, Any]:
        shown, given = text.card(notice), self._settings
        return {
            "payload": _present(
                summary=text.clip(given.description, _SUMMARY_LIMIT) or _summary(notice, shown),
                source=given.source or shown.scope or given.client,
                severity=_SEVERITIES.get((given.severity or shown.severity).lower(), "error"),
                timestamp=rfc3339(shown.since_ms),
                component=given.component,
                group=given.group,
                **{"class": given.class_ or text.clip(shown.title, 255)},
                custom_details=self._details(notice, shown) if detailed else _counts(notice),
            ),
            **_present(
                links=self._links(shown) if detailed else [],
                images=[
                    _present(src=each.src, href=each.href, alt=each.alt)
                    for each in given.images
                    if detailed and _is_web(each.src)
                ],
                client=given.client,
                client_url=given.client_url or notice.external_url,
            ),
        }

    def _change(self, notice: Notice, *, detailed: bool) -> dict[str, Any]:
        shown, given = text.card(notice), self._settings
        said = ": ".join(part for part in (shown.title, shown.summary) if part)
        payload = _present(
            summary=text.clip(given.description or said, _SUMMARY_LIMIT),
            source=given.source or shown.scope or given.client,
            timestamp=rfc3339(shown.since_ms),
            custom_details=dict(notice.common_labels) | given.details if detailed else {},
        )
        return {"payload": payload, **_present(links=self._links(shown) if detailed else [])}

    def _links(self, shown: text.Card) -> list[dict[str, str]]:
        own = [_present(href=link.href, text=link.text) for link in self._settings.links if _is_web(link.href)]
        return [*({"href": link.url, "text": link.text} for link in shown.links), *own]

    def _details(self, notice: Notice, shown: text.Card) -> dict[str, str]:
        return {
            **_present(summary=shown.summary, description=shown.detail, do_first=shown.action, rule=shown.source),
            **_present(log_lines="\n".join(shown.samples), instead=notice.instead),
            **_counts(notice),
            "firing": "\n".join(_listing(alert) for alert in notice.firing),
            "resolved": "\n".join(_listing(alert) for alert in notice.resolved),
            **self._settings.details,
        }


def dedup_key(group_key: str, fingerprint: str = "") -> str:
    """Alertmanager's key of a group (notify/util.go, hashKey); of one alert of it, with the alert's fingerprint."""
    group = hashlib.sha256(group_key.encode()).hexdigest()
    return f"{group}-{fingerprint}" if fingerprint else group


def _step(notice: Notice, name: str) -> Step:
    return Step(name, coalesce=f"{notice.incident}:{name}")


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


def _is_web(url: str) -> bool:
    """Whether there is a link after all: a template of one may come to nothing."""
    return url.startswith(("http://", "https://"))


def _present(**facts: Any) -> dict[str, Any]:
    return {name: fact for name, fact in facts.items() if fact}


def _connect(settings: PagerDutySettings, http: httpx.AsyncClient) -> tuple[Notifier, Transport]:
    return worded(settings, PagerDuty), HttpTransport(http, settings)


def _listen(
    settings: Sequence[PagerDutySettings], http: httpx.AsyncClient, database: Database, heard: Heard
) -> Hook | None:
    if all(each.webhook_secret is None for each in settings):
        return None
    from obskit.notify.pagerduty_hook import PagerDutyHook  # noqa: PLC0415 - most only send

    return PagerDutyHook(settings, http, database, heard)


PAGERDUTY: Final = Kind("pagerduty", PagerDutySettings, _connect, _listen)
