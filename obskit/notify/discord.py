"""Discord through a channel's webhook: one message per incident, edited for its whole life, and a line when an edit
would be too quiet. Text of alerts goes into embeds, where mentions are never told to anybody.

https://discord.com/developers/docs/resources/webhook, topics/rate-limits
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import Field

from obskit.model.actions import Notice, Outcome, OutcomeReason
from obskit.model.go_text import rfc3339
from obskit.notify import drawing, text
from obskit.notify.base import Kind, Notifier, Request, Response, Step, Transport, handle_lost
from obskit.notify.edited import LINE, ROOT, edited_steps, has_said, is_loud, told
from obskit.notify.http import HttpTransport, bounded_wait_s, classify_status, json_object, json_request, retry_after_s
from obskit.notify.settings import NotifierSettings, NotYet, OneLine, PlainText, SecretUrl, WebUrl, Words
from obskit.notify.text import Card, Tone
from obskit.notify.wording import worded
from obskit.outbound import httpx

_COLORS: Final = {
    Tone.CRITICAL: 0x992D22,  # Alertmanager's for firing and resolved
    Tone.WARNING: 0xE67E22,
    Tone.INFO: 0x3498DB,
    Tone.ACKED: 0x8250DF,
    Tone.SILENCED: 0x95A5A6,
    Tone.FLAPPING: 0xBC4C00,
    Tone.RESOLVED: 0x2ECC71,
    Tone.ENDED: 0x95A5A6,
}
_TITLE_LIMIT: Final = 256
_BODY_LIMIT: Final = 4_000  # of 4,096; with the title far below the 6,000 of all embeds
_SILENT: Final = 1 << 12  # SUPPRESS_NOTIFICATIONS
_UNKNOWN_MESSAGE: Final = 10_008
_MARKDOWN: Final = re.compile(r"([\\*_~`|<>\[\]])")
_MENTIONED: Final = re.compile(r"<@(&?)!?(\d+)>")


class DiscordSettings(NotifierSettings):
    """One entry of `discord_configs`. Nobody is mentioned but whom `content` names."""

    webhook_url: SecretUrl = Field(description="the channel's webhook; with `?thread_id=…` it writes into a thread")
    content: Annotated[PlainText, Field(max_length=1_500)] = Field(
        "", description="said above the message while it fires: whom to mention, such as `<@&ROLE_ID>`"
    )
    username: Annotated[OneLine, Field(max_length=80)] = Field("", description="shown instead of the webhook's name")
    avatar_url: WebUrl | None = Field(None, description="shown instead of the webhook's picture")

    title: Words = Field("", description="instead of obskit's title; may be a template")
    message: Words = Field("", description="instead of obskit's text; may be a template")

    http_config: NotYet = None

    DEFAULT_TEXTS: ClassVar = {"title": "discord.default.title", "message": "discord.default.message"}


class Discord:
    """Posts with `?wait=true`, so that the answer names the message; edits it by that name."""

    edits = True
    min_interval_s = 0.5  # five a two seconds and webhook, edits included

    def __init__(self, settings: DiscordSettings) -> None:
        self._settings = settings

    def steps(self, notice: Notice) -> Sequence[Step]:
        """As for every channel that edits."""
        return edited_steps(notice)

    def render(self, notice: Notice, step: str, handle: Mapping[str, str] | None, degraded: bool) -> Request | None:
        """POST for a new message or a line, PATCH for one that exists."""
        if step == LINE:
            return None if has_said(notice, handle) else self._line(notice)
        message = self._message(notice, degraded)
        if handle is not None:
            request = json_request("PATCH", self._url(f"/messages/{handle['id']}"), message)
        else:
            request = json_request("POST", self._url(wait="true"), message | self._name())
        return Request(request.method, request.url, request.body, request.headers, told(notice, handle))

    def classify(self, response: Response, step: str) -> Outcome:
        """A message that is gone is posted anew; a webhook that is gone stays so."""
        answer = json_object(response)
        if response.status == 429:
            wait_s = bounded_wait_s(answer.get("retry_after"))
            after_s = retry_after_s(response) if wait_s is None else wait_s
            return Outcome.retry(OutcomeReason.RATE_LIMITED, f"HTTP 429: {response.excerpt}", after_s=after_s)
        if response.status == 404 and answer.get("code") == _UNKNOWN_MESSAGE:
            return handle_lost(f"HTTP 404: {response.excerpt}")
        outcome = classify_status(response)
        if step == ROOT and 200 <= response.status < 300 and str(answer.get("id", "")).isdigit():
            return Outcome.sent({"id": str(answer["id"])})
        return outcome

    def _message(self, notice: Notice, degraded: bool) -> dict[str, Any]:
        shown = text.card(notice)
        # Everything is sent with every edit: what is left out of a PATCH stays as it was.
        above = self._settings.content if notice.firing else ""
        if degraded:
            said = "\n".join(part for part in (above, _escaped(text.clip(text.headline(shown), 400))) if part)
            return {"content": said, "embeds": [], "allowed_mentions": self._mentions()}
        return {
            "content": above,
            "embeds": [_embed(notice, shown, self._settings)],
            "allowed_mentions": self._mentions(),
        }

    def _line(self, notice: Notice) -> Request:
        shown = text.card(notice)
        loud = is_loud(notice)
        message = {
            "content": self._settings.content if loud else "",
            "embeds": [
                {
                    "description": _escaped(
                        text.clip(f"{text.ICONS[shown.tone]} {shown.title}: {text.news(notice)}", 1_000)
                    ),
                    "color": _COLORS[shown.tone],
                }
            ],
            "allowed_mentions": self._mentions(),
            **({} if loud else {"flags": _SILENT}),
        }
        return json_request("POST", self._url(wait="true"), message | self._name())

    def _mentions(self) -> dict[str, Any]:
        """Those that `content` names, by number: what an alert says must not wake anybody."""
        found = _MENTIONED.findall(self._settings.content)
        return {
            "parse": ["everyone"] if re.search(r"@(everyone|here)\b", self._settings.content) else [],
            "roles": [number for kind, number in found if kind],
            "users": [number for kind, number in found if not kind],
        }

    def _name(self) -> dict[str, str]:
        named = {"username": self._settings.username, "avatar_url": self._settings.avatar_url or ""}
        return {key: value for key, value in named.items() if value}

    def _url(self, path: str = "", **query: str) -> str:
        parts = urlsplit(self._settings.webhook_url.reveal())
        asked = urlencode([*parse_qsl(parts.query), *query.items()])
        return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + path, asked, ""))


def _embed(notice: Notice, shown: Card, given: DiscordSettings) -> dict[str, Any]:
    url = {"url": shown.title_url} if shown.title_url else {}
    return {
        "title": text.clip(given.title, _TITLE_LIMIT) or drawing.heading(shown, _TITLE_LIMIT),
        **url,
        "description": drawing.fitted(given.message, _BODY_LIMIT) or drawing.body(notice, shown, MARKDOWN, _BODY_LIMIT),
        "color": _COLORS[shown.tone],
        "timestamp": rfc3339(shown.until_ms or shown.since_ms),
    }


def _escaped(words: str) -> str:
    return _MARKDOWN.sub(r"\\\1", words)


MARKDOWN: Final = drawing.Markup(
    quote=_escaped,
    bold=lambda words: f"**{_escaped(words)}**",
    link=lambda words, url: f"[{_escaped(words)}]({url.replace(')', '%29')})",
)


def _connect(settings: DiscordSettings, http: httpx.AsyncClient) -> tuple[Notifier, Transport]:
    return worded(settings, Discord), HttpTransport(http, settings)


DISCORD: Final = Kind("discord", DiscordSettings, _connect)
