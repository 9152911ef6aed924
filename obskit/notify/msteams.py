"""Microsoft Teams through a workflow's webhook ("Send webhook alerts to a channel"): an adaptive card per state, since
a workflow names no message that could be edited.

https://learn.microsoft.com/power-automate/teams/send-a-message-in-teams, adaptivecards.io
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from pydantic import Field

from obskit.model.actions import Notice, Outcome
from obskit.notify import drawing, text
from obskit.notify.base import Kind, Notifier, Request, Response, Step, Transport
from obskit.notify.http import HttpTransport, classify_status, json_request
from obskit.notify.settings import NotifierSettings, NotYet, SecretUrl, Words
from obskit.notify.text import Card, Tone
from obskit.notify.wording import worded
from obskit.outbound import httpx

CARD: Final = "card"
_BODY_LIMIT: Final = 12_000  # bytes, of the 28 KB of a message: JSON and what stands around it take their part
_BUTTONS: Final = 4
_COLORS: Final = {
    Tone.CRITICAL: "Attention",
    Tone.WARNING: "Warning",
    Tone.INFO: "Accent",
    Tone.RESOLVED: "Good",
    Tone.ENDED: "Default",
}


class TeamsSettings(NotifierSettings):
    """One entry of `msteamsv2_configs`."""

    webhook_url: SecretUrl = Field(description="the URL that the workflow's trigger shows")

    title: Words = Field("", description="instead of obskit's title; may be a template")
    text: Words = Field("", description="instead of obskit's text; may be a template")

    http_config: NotYet = None

    DEFAULT_TEXTS: ClassVar = {"title": "msteamsv2.default.title", "text": "msteamsv2.default.text"}


class Teams:
    """One card per notice."""

    min_interval_s = 0.25  # four a second and channel

    def __init__(self, settings: TeamsSettings) -> None:
        self._settings = settings

    def steps(self, notice: Notice) -> Sequence[Step]:
        """A state of an incident replaces an unsent older one; firing and resolved are never merged."""
        return [Step(CARD, coalesce=f"{notice.incident}:{notice.status}")]

    def render(self, notice: Notice, _step: str, _handle: Mapping[str, str] | None, degraded: bool) -> Request | None:
        """A message with one card; degraded, a card with one line."""
        shown = text.card(notice)
        rows = [_block(_escaped(text.headline(shown)))] if degraded else self._rows(notice, shown)
        card = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "msteams": {"width": "full"},
            "fallbackText": text.clip(text.headline(shown), 500),
            "body": rows,
        }
        buttons = [] if degraded else _buttons(shown)
        if buttons:
            card["actions"] = buttons
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
        message = {"type": "message", "attachments": [attachment]}
        return json_request("POST", self._settings.webhook_url.reveal(), message)

    def _rows(self, notice: Notice, shown: Card) -> list[dict[str, Any]]:
        title = self._settings.title or _escaped(drawing.heading(shown, 300))
        said = drawing.fitted(self._settings.text, _BODY_LIMIT, drawing.byte_size) or drawing.body(
            notice, replace(shown, links=()), MARKDOWN, _BODY_LIMIT, drawing.byte_size
        )
        heading = _block(text.clip(title, 600), weight="Bolder", size="Medium", color=_COLORS[shown.tone])
        # One block per line: a single line break means nothing in the Markdown of a card.
        return [heading, *(_block(line) for line in said.splitlines())]

    def classify(self, response: Response, _step: str) -> Outcome:
        """By status: a workflow says 202 before it has posted anything."""
        return classify_status(response)


def _block(words: str, **style: str) -> dict[str, Any]:
    return {"type": "TextBlock", "text": words, "wrap": True, "spacing": "Small", **style}


def _buttons(shown: Card) -> list[dict[str, str]]:
    source = [text.Link("Open", shown.title_url)] if shown.title_url else []
    return [
        {"type": "Action.OpenUrl", "title": link.text, "url": link.url} for link in [*shown.links, *source][:_BUTTONS]
    ]


def _escaped(words: str) -> str:
    return "".join(f"\\{character}" if character in "\\`*_[]<>#" else character for character in words)


MARKDOWN: Final = drawing.Markup(
    quote=_escaped, bold=lambda words: f"**{_escaped(words)}**", link=lambda words, _: _escaped(words)
)
"""Links are buttons."""


def _connect(settings: TeamsSettings, http: httpx.AsyncClient) -> tuple[Notifier, Transport]:
    return worded(settings, Teams), HttpTransport(http, settings)


MSTEAMS: Final = Kind("msteamsv2", TeamsSettings, _connect)
