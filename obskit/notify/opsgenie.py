"""Opsgenie, and Jira Service Management, whose integration events take the same calls: one alert per group under
Alertmanager's alias, created, brought up to date and closed. Opsgenie itself ends on 2027-04-05.

https://docs.opsgenie.com/docs/alert-api,
https://developer.atlassian.com/cloud/jira/service-desk-ops/rest/v1/api-group-integration-events
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from obskit.model.actions import Notice, NoticeReason, Outcome
from obskit.model.settings import Secret, Settings
from obskit.model.severity import rank
from obskit.notify import drawing, text
from obskit.notify.base import Kind, Notifier, Request, Response, Step, Transport
from obskit.notify.http import HttpTransport, classify_status, json_request
from obskit.notify.settings import NotifierSettings, NotYet, WebUrl, Words
from obskit.notify.wording import worded
from obskit.outbound import httpx

CREATE: Final = "create"
MESSAGE: Final = "message"
DESCRIPTION: Final = "description"
CLOSE: Final = "close"
_MESSAGE_LIMIT, _DESCRIPTION_LIMIT, _SOURCE_LIMIT, _ENTITY_LIMIT, _DETAIL_LIMIT = 130, 15_000, 100, 512, 8_000
_PRIORITIES: Final = {4: "P1", 3: "P2", 2: "P3", 1: "P5"}

_PRIORITY_NAMES: Final = ("P1", "P2", "P3", "P4", "P5")


def _a_priority(text: str) -> str:
    if text and "{{" not in text and text not in _PRIORITY_NAMES:
        raise ValueError("must be P1 to P5, or a template of it")
    return text


class Responder(Settings):
    """Who is told: one of `id`, `name`, `username`."""

    id: Words = Field("", description="its id")
    name: Words = Field("", description="its name; of `teams`, several with commas between")
    username: Words = Field("", description="a user's address")
    type: Literal["team", "teams", "user", "escalation", "schedule"] = Field(description="what it is")

    @model_validator(mode="after")
    def _is_somebody(self) -> Self:
        if not (self.id or self.name or self.username):
            raise ValueError("give an id, a name or a username")
        return self

    def told(self) -> list[dict[str, str]]:
        """As the API takes it: `teams` are several of type team."""
        if self.type == "teams":
            return [{"name": name, "type": "team"} for name in _listed(self.name)]
        named = {"id": self.id, "name": self.name, "username": self.username}
        return [{**{key: value for key, value in named.items() if value}, "type": self.type}]


class _AlertApiSettings(NotifierSettings):
    """What both services take."""

    api_key: Secret = Field(description="the key of an API integration")
    message: Words = Field("", description="instead of obskit's title; may be a template, as all texts here")
    description: Words = Field("", description="instead of obskit's text")
    source: Words = Field("", description="where it comes from; default: `global.external_url`")
    entity: Words = Field("", description="what it is about; default: what the alerts have in common")
    details: dict[str, Words] = Field({}, description="more details, beside the alerts' common labels")
    responders: list[Responder] = Field([], description="who is told; default: whom the integration names")
    tags: Words = Field("", description="with commas between")
    actions: Words = Field("", description="with commas between")
    note: Words = Field("", description="a note on every new alert")
    priority: Annotated[Words, AfterValidator(_a_priority)] = Field(
        "",
        description="P1 to P5, or a template of it; default: by severity, P1 if critical, P2 if an error, P3 for a"
        " warning, P5 for info",
    )

    http_config: NotYet = None

    DEFAULT_TEXTS: ClassVar = {key: f"opsgenie.default.{key}" for key in ("message", "description", "source")}


class OpsgenieSettings(_AlertApiSettings):
    """One entry of `opsgenie_configs`."""

    api_url: WebUrl = Field("https://api.opsgenie.com/", description="in Europe https://api.eu.opsgenie.com/")
    update_alerts: bool = Field(False, description="bring message and description up to date while it fires")


class JiraServiceManagementSettings(_AlertApiSettings):
    """One entry of `jsm_configs`."""

    api_url: WebUrl = Field("https://api.atlassian.com/jsm/ops/integration/", description="where the API is")


class AlertApi:
    """Calls of `v2/alerts`. All answers are 202: what was wrong with a request, the service tells its own log."""

    min_interval_s = 0.2

    def __init__(self, settings: _AlertApiSettings, *, updates: bool = False) -> None:
        self._settings = settings
        self._updates = updates
        self._url = f"{settings.api_url.rstrip('/')}/v2/alerts"  # type: ignore[attr-defined]  # both subclasses have it

    def steps(self, notice: Notice) -> Sequence[Step]:
        """Create or close. A create for an alias that is open only counts, hence the calls that update."""
        if not notice.firing:
            return [_step(notice, CLOSE)]
        if self._updates and notice.reason not in (NoticeReason.FIRST, NoticeReason.TEST):
            return [_step(notice, name) for name in (CREATE, MESSAGE, DESCRIPTION)]
        return [_step(notice, CREATE)]

    def render(self, notice: Notice, step: str, _handle: Mapping[str, str] | None, degraded: bool) -> Request | None:
        """The call of one step."""
        shown = text.card(notice)
        said = f"[{shown.word}:{len(notice.firing)}] {shown.title}: {shown.summary}"
        message = text.clip(self._settings.message or said, _MESSAGE_LIMIT)
        description = drawing.fitted(self._settings.description, _DESCRIPTION_LIMIT)
        description = description or drawing.body(notice, shown, drawing.PLAIN, _DESCRIPTION_LIMIT)
        if step == CLOSE:
            return self._call("POST", notice, "/close", {"source": self._source(notice)})
        if step == MESSAGE:
            return self._call("PUT", notice, "/message", {"message": message})
        if step == DESCRIPTION:
            return self._call("PUT", notice, "/description", {"description": description})
        alert = {"message": message, "alias": alias(notice.group_key), "description": description}
        alert |= {"source": self._source(notice), "priority": self._priority(notice)}
        return self._call("POST", None, "", alert if degraded else alert | self._more(notice, shown))

    def classify(self, response: Response, _step: str) -> Outcome:
        """By status alone."""
        return classify_status(response)

    def _more(self, notice: Notice, shown: text.Card) -> dict[str, Any]:
        given = self._settings
        more: dict[str, Any] = {
            "entity": text.clip(given.entity or shown.scope, _ENTITY_LIMIT),
            "details": _bounded({**dict(notice.common_labels), **given.details}),
            "responders": [told for responder in given.responders for told in responder.told()],
            "tags": _listed(given.tags),
            "actions": _listed(given.actions),
            "note": given.note,
        }
        return {name: value for name, value in more.items() if value}

    def _source(self, notice: Notice) -> str:
        return text.clip(self._settings.source or notice.external_url or "obskit", _SOURCE_LIMIT)

    def _priority(self, notice: Notice) -> str:
        if self._settings.priority in _PRIORITY_NAMES:
            return self._settings.priority
        return _PRIORITIES[max((rank(alert) for alert in notice.firing), default=2)]

    def _call(self, method: str, of: Notice | None, path: str, body: Mapping[str, Any]) -> Request:
        where = f"/{alias(of.group_key)}{path}?identifierType=alias" if of is not None else ""
        return json_request(
            method, self._url + where, body, Authorization=f"GenieKey {self._settings.api_key.reveal()}"
        )


def alias(group_key: str) -> str:
    """Alertmanager's, so that alerts it opened are closed by us."""
    return hashlib.sha256(group_key.encode()).hexdigest()


def _step(notice: Notice, name: str) -> Step:
    return Step(name, coalesce=f"{notice.incident}:{name}")


def _bounded(details: Mapping[str, str]) -> dict[str, str]:
    """Details up to what all of them may hold together."""
    kept: dict[str, str] = {}
    room = _DETAIL_LIMIT
    for name, value in details.items():
        room -= len(name) + len(value)
        if room < 0:
            break
        kept[name] = value
    return kept


def _listed(words: str) -> list[str]:
    return [word.strip() for word in words.split(",") if word.strip()]


def _connect_opsgenie(settings: OpsgenieSettings, http: httpx.AsyncClient) -> tuple[Notifier, Transport]:
    return worded(settings, partial(AlertApi, updates=settings.update_alerts)), HttpTransport(http, settings)


def _connect_jsm(settings: JiraServiceManagementSettings, http: httpx.AsyncClient) -> tuple[Notifier, Transport]:
    return worded(settings, AlertApi), HttpTransport(http, settings)


OPSGENIE: Final = Kind("opsgenie", OpsgenieSettings, _connect_opsgenie)
JSM: Final = Kind("jsm", JiraServiceManagementSettings, _connect_jsm)
