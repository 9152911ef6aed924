"""Pushover: a push per state. An emergency (priority 2) rings until somebody confirms it on the phone; its receipt is
kept, so that it stops ringing when the incident is over. https://pushover.net/api
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Self
from urllib.parse import urlencode

from pydantic import Field, model_validator

from obskit.model.actions import Notice, NoticeReason, Outcome, OutcomeReason
from obskit.model.settings import Duration, Secret
from obskit.notify import drawing, text
from obskit.notify.base import Kind, Notifier, Request, Response, Step, Transport, plainer
from obskit.notify.http import USER_AGENT, HttpTransport, classify_status, json_object
from obskit.notify.settings import NotifierSettings, NotYet, OneLine, WebUrl, Words
from obskit.notify.text import Card, Tone
from obskit.notify.wording import worded
from obskit.outbound import httpx

PUSH: Final = "push"
CANCEL: Final = "cancel"
_TITLE_LIMIT, _MESSAGE_LIMIT, _URL_LIMIT = 250, 1_024, 512
_EMERGENCY: Final = 2
_PRIORITIES: Final = {Tone.CRITICAL: 2, Tone.WARNING: 0, Tone.INFO: -1, Tone.RESOLVED: 0, Tone.ENDED: -1}
_SHORTEST_RETRY_MS: Final = 30_000
_LONGEST_EXPIRE_MS: Final = 10_800_000


class PushoverSettings(NotifierSettings):
    """One entry of `pushover_configs`."""

    user_key: Secret = Field(description="the user's or the group's key")
    token: Secret = Field(description="the application's token")
    priority: int | None = Field(
        None, ge=-2, le=2, description="for what fires; default: 2 (rings until confirmed) if critical, 0 for warnings"
    )
    retry: Duration = Field(60_000, ge=_SHORTEST_RETRY_MS, description="how often an emergency rings")
    expire: Duration = Field(3_600_000, gt=0, le=_LONGEST_EXPIRE_MS, description="when it gives up")
    ttl: Duration | None = Field(None, gt=0, description="when a push that is no emergency is removed from the phone")
    device: OneLine = Field("", description="to one device alone")
    sound: OneLine = Field("", description="Pushover's name of a sound")
    html: bool = Field(False, description="send HTML: bold summaries and short links")
    url_title: Annotated[OneLine, Field(max_length=100)] = Field("", description="words of the link")
    api_url: WebUrl = Field("https://api.pushover.net/1/", description="where the API is")

    title: Words = Field("", description="instead of obskit's title; may be a template")
    message: Words = Field("", description="instead of obskit's text; may be a template")
    url: Words = Field("", description="the link; may be a template. Default: the runbook")

    http_config: NotYet = None
    monospace: NotYet = None

    DEFAULT_TEXTS: ClassVar = {key: f"pushover.default.{key}" for key in ("title", "message", "url")}

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.expire < self.retry:
            raise ValueError("expire must not be shorter than retry")
        return self


class Pushover:
    """messages.json; receipts/…/cancel.json before whatever follows an emergency."""

    min_interval_s = 1.0

    def __init__(self, settings: PushoverSettings) -> None:
        self._settings = settings
        self._base_url = settings.api_url.rstrip("/")

    def steps(self, notice: Notice) -> Sequence[Step]:
        """A push; what rings for an older state is silenced first."""
        push = Step(PUSH, coalesce=f"{notice.incident}:{notice.status}", handle_key=notice.incident)
        if notice.reason is NoticeReason.FIRST:
            return [push]
        return [Step(CANCEL, coalesce=f"{notice.incident}:{CANCEL}", handle_key=notice.incident), push]

    def render(self, notice: Notice, step: str, handle: Mapping[str, str] | None, degraded: bool) -> Request | None:
        """The push, or the end of the ringing when something rings."""
        if step == CANCEL:
            receipt = (handle or {}).get("receipt", "")
            form = {"token": self._settings.token.reveal()}
            return _form(f"{self._base_url}/receipts/{receipt}/cancel.json", form) if receipt else None
        return _form(f"{self._base_url}/messages.json", self._push(notice, degraded))

    def classify(self, response: Response, step: str) -> Outcome:
        """A receipt is the handle. 429 is the month's quota: the day may bring more, an hour hardly."""
        answer = json_object(response)
        detail = f"HTTP {response.status}: {response.excerpt}"
        if step == CANCEL and (200 <= response.status < 300 or response.status in (400, 404)):
            return Outcome.sent({"receipt": ""})  # confirmed, expired or forgotten: nothing rings
        if response.status == 400 and {"user", "token"} & answer.keys():
            return Outcome.permanent(OutcomeReason.CREDENTIAL, detail)  # "user": "invalid" names the wrong key
        if response.status in (400, 413, 422):
            return plainer(detail)
        outcome = classify_status(response)
        if step == PUSH and 200 <= response.status < 300 and answer.get("receipt"):
            return Outcome.sent({"receipt": str(answer["receipt"])})
        return outcome

    def _push(self, notice: Notice, degraded: bool) -> dict[str, Any]:
        shown = text.card(notice)
        markup = drawing.HTML if self._settings.html and not degraded else drawing.PLAIN
        given = self._settings
        own = "" if degraded else drawing.fitted(given.message, _MESSAGE_LIMIT)
        message = own or drawing.body(notice, shown, markup, _MESSAGE_LIMIT)
        said: dict[str, Any] = {
            "token": self._settings.token.reveal(),
            "user": self._settings.user_key.reveal(),
            "title": text.clip(given.title, _TITLE_LIMIT) or drawing.heading(shown, _TITLE_LIMIT),
            "message": message or shown.title,
            "timestamp": notice.decided_ms // 1000,
            **self._urgency(notice, shown),
        }
        if not degraded:
            said |= {"device": self._settings.device, "sound": self._settings.sound, **self._link(shown)}
            said |= {"html": 1} if markup is drawing.HTML else {}
        return {name: value for name, value in said.items() if value != ""}

    def _urgency(self, notice: Notice, shown: Card) -> dict[str, int]:
        configured = self._settings.priority if notice.firing else None
        priority = _PRIORITIES[shown.tone] if configured is None else configured
        if priority == _EMERGENCY:
            return {"priority": 2, "retry": self._settings.retry // 1000, "expire": self._settings.expire // 1000}
        ttl = {"ttl": self._settings.ttl // 1000} if self._settings.ttl else {}
        return {"priority": priority, **ttl}

    def _link(self, shown: Card) -> dict[str, str]:
        link = next((link for link in shown.links if link.text == "Runbook"), None)
        url = self._settings.url or (link.url if link else shown.title_url)
        if not url or len(url) > _URL_LIMIT:
            return {}
        return {"url": url, "url_title": self._settings.url_title or (link.text if link else "Open")}


def _form(url: str, fields: Mapping[str, Any]) -> Request:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": USER_AGENT}
    return Request("POST", url, urlencode(fields).encode(), headers)


def _connect(settings: PushoverSettings, http: httpx.AsyncClient) -> tuple[Notifier, Transport]:
    return worded(settings, Pushover, html=("message",) if settings.html else ()), HttpTransport(http, settings)


PUSHOVER: Final = Kind("pushover", PushoverSettings, _connect)
