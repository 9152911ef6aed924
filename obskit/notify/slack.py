"""Slack: its settings, and which of two ways they choose.

With a bot token one root message per incident is edited for its whole life (slack_app.py); an incoming webhook can only
post, so there each change is a message of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from obskit.model.actions import Notice, Outcome
from obskit.model.settings import Secret
from obskit.notify import slack_errors, slack_message, text
from obskit.notify.base import Kind, Notifier, Request, Response, Step, Transport
from obskit.notify.settings import NotYet, PlainText, SecretUrl, WebUrl
from obskit.notify.slack_app import SlackApp, encoded
from obskit.notify.slack_attachment import AttachmentSettings, SlackForm
from obskit.outbound import httpx

POST: Final = "post"


def _api_base(url: str) -> str:
    """The base of the Web API; Alertmanager's form names the method and is accepted too."""
    return url.removesuffix("chat.postMessage").rstrip("/") + "/"


def _always_edits(value: bool) -> bool:
    if not value:
        raise ValueError("obskit always edits its message: leave this out")
    return value


class SlackSettings(AttachmentSettings):
    """One entry of `slack_configs`: a bot token with a channel, or an incoming webhook's URL.

    `app_url` is the base of Slack's Web API (tests and proxies point it elsewhere).
    """

    api_url: SecretUrl | None = Field(
        None, description="an incoming webhook's URL, instead of a token: it can only post"
    )
    app_token: Secret | None = Field(None, description="a bot token (xoxb-…) with the scope chat:write")
    app_url: Annotated[WebUrl, AfterValidator(_api_base)] = Field(
        "https://slack.com/api/", description="the base of Slack's Web API"
    )
    channel: Annotated[PlainText, Field(max_length=255)] = Field("", description="name or id; the bot must be a member")
    update_message: Annotated[bool, AfterValidator(_always_edits)] = Field(
        True, description="Alertmanager's key; always true here"
    )

    http_config: NotYet = None

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if (self.api_url is None) == (self.app_token is None):
            raise ValueError("give either app_token (a bot token, with channel) or api_url (an incoming webhook)")
        if self.app_token is not None and not self.channel:
            raise ValueError("app_token needs a channel")
        return self


class SlackWebhook:
    """Through an incoming webhook: post-only, into the one channel it was made for."""

    min_interval_s = 1.0
    wants_context = True

    def __init__(self, url: Secret, channel: str, form: SlackForm) -> None:
        self._url = url
        self._channel = channel
        self._form = form

    def steps(self, notice: Notice) -> Sequence[Step]:
        """One message; while it is unsent the newest state replaces it."""
        return [Step(POST, coalesce=f"{notice.incident}:{POST}")]

    def render(self, notice: Notice, _step: str, _handle: Mapping[str, str] | None, degraded: bool) -> Request | None:
        """The whole message."""
        shown = text.card(notice)
        if self._form.own and not degraded:
            body = self._form.message(notice, shown)
        else:
            body = slack_message.plain(shown) if degraded else slack_message.message(shown)
        body |= self._form.sender(notice) | {"unfurl_links": False, "unfurl_media": False}
        if self._channel:
            body |= {"channel": self._channel}
        return Request("POST", self._url.reveal(), encoded(body))

    def classify(self, response: Response, _step: str) -> Outcome:
        """By the error's name, which Slack sends as plain text here."""
        return slack_errors.classify_answer(response)[0]


def _connect(settings: SlackSettings, _: httpx.AsyncClient) -> tuple[Notifier, Transport]:
    from obskit.notify import slack_client  # noqa: PLC0415 - slack_sdk is loaded when a Slack receiver is built

    if settings.app_token is not None:
        # Not the token itself: the budget's name may be printed.
        workspace = blake2b(settings.app_token.reveal().encode(), digest_size=6).hexdigest()
        app = SlackApp(settings.app_url, settings.channel, workspace, SlackForm(settings))
        return app, slack_client.SlackTransport(settings.app_token, settings.app_url, settings.timeout_s)
    assert settings.api_url is not None
    hook = SlackWebhook(settings.api_url, settings.channel, SlackForm(settings))
    return hook, slack_client.SlackWebhookTransport(settings.timeout_s)


SLACK: Final = Kind("slack", SlackSettings, _connect)
