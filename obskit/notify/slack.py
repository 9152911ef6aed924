"""Slack: one root message per incident, edited for its whole life, with a line in its thread when something changes.

With a bot token we post, edit and answer in threads; an incoming webhook can only post, so there each change is a
message of its own. What the message looks like is slack_message.py's, what errors mean slack_errors.py's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field, model_validator

from obskit.model.actions import Notice, NoticeReason, Outcome
from obskit.model.settings import Secret
from obskit.notify import slack_errors, slack_message, text
from obskit.notify.base import Kind, Notifier, Request, Response, Step, Transport
from obskit.notify.settings import NotifierSettings, NotYet, PlainText, SecretUrl, WebUrl
from obskit.outbound import httpx

ROOT: Final = "root"
THREAD: Final = "thread"
POST: Final = "post"
EVENT_TYPE: Final = "obskit_alert"

_TOLD: Final = "told_ms"


def _api_base(url: str) -> str:
    """The base of the Web API; Alertmanager's form names the method and is accepted too."""
    return url.removesuffix("chat.postMessage").rstrip("/") + "/"


def _always_edits(value: bool) -> bool:
    if not value:
        raise ValueError("obskit always edits its message: leave this out")
    return value


class SlackSettings(NotifierSettings):
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

    actions: NotYet = None
    callback_id: NotYet = None
    color: NotYet = None
    fallback: NotYet = None
    fields: NotYet = None
    footer: NotYet = None
    http_config: NotYet = None
    icon_emoji: NotYet = None
    icon_url: NotYet = None
    image_url: NotYet = None
    link_names: NotYet = None
    message_text: NotYet = None
    mrkdwn_in: NotYet = None
    pretext: NotYet = None
    short_fields: NotYet = None
    text: NotYet = None
    thumb_url: NotYet = None
    title: NotYet = None
    title_link: NotYet = None
    username: NotYet = None

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if (self.api_url is None) == (self.app_token is None):
            raise ValueError("give either app_token (a bot token, with channel) or api_url (an incoming webhook)")
        if self.app_token is not None and not self.channel:
            raise ValueError("app_token needs a channel")
        return self


class SlackApp:
    """Through the Web API, with a bot token."""

    min_interval_s = 1.0  # Slack's own pace: one message per second and channel

    def __init__(self, base_url: str, channel: str) -> None:
        self._base_url = base_url
        self._channel = channel

    def steps(self, notice: Notice) -> Sequence[Step]:
        """The root, posted or edited; then a line in its thread when there was one to change and something to say."""
        root = Step(ROOT, coalesce=f"{notice.incident}:{ROOT}", handle_key=notice.incident)
        if notice.reason in (NoticeReason.FIRST, NoticeReason.TEST) or not text.news(notice):
            return [root]
        return [root, Step(THREAD, coalesce=f"{notice.incident}:{THREAD}", handle_key=notice.incident)]

    def render(self, notice: Notice, step: str, handle: Mapping[str, str] | None, degraded: bool) -> Request | None:
        """chat.postMessage for a new root or a reply, chat.update for a root that exists."""
        if step == THREAD:
            return self._reply(notice, handle)
        body = _root_message(notice, degraded) | {"metadata": _metadata(notice)}
        if handle is not None:
            body |= {"channel": handle["channel"], "ts": handle["ts"]}
            return self._call("chat.update", body, handle={_TOLD: handle.get(_TOLD, "0")})
        body |= {"channel": self._channel}
        return self._call("chat.postMessage", body, handle={_TOLD: str(notice.decided_ms)})

    def classify(self, response: Response, step: str) -> Outcome:
        """A root's `channel` and `ts` are its handle; a reply's would only lead astray."""
        outcome, answer = slack_errors.classify_answer(response)
        if step == ROOT and "ts" in answer and "channel" in answer:
            return Outcome.sent({"channel": str(answer["channel"]), "ts": str(answer["ts"])})
        return outcome

    def _reply(self, notice: Notice, handle: Mapping[str, str] | None) -> Request | None:
        # A root that was first posted with this very state, or a later one, has said it already.
        if handle is None or int(handle.get(_TOLD, "0")) >= notice.decided_ms:
            return None
        body = slack_message.reply(text.news(notice)) | {
            "channel": handle["channel"],
            "thread_ts": handle["ts"],
            "reply_broadcast": notice.reason is NoticeReason.REPEAT or text.became_worse(notice),
            "metadata": _metadata(notice),
        }
        return self._call("chat.postMessage", body, handle={})

    def _call(self, method: str, body: dict[str, Any], *, handle: Mapping[str, str]) -> Request:
        return Request("POST", self._base_url + method, _encoded(body), handle=handle)


class SlackWebhook:
    """Through an incoming webhook: post-only, into the one channel it was made for."""

    min_interval_s = 1.0

    def __init__(self, url: Secret, channel: str) -> None:
        self._url = url
        self._channel = channel

    def steps(self, notice: Notice) -> Sequence[Step]:
        """One message; while it is unsent the newest state replaces it."""
        return [Step(POST, coalesce=f"{notice.incident}:{POST}")]

    def render(self, notice: Notice, _step: str, _handle: Mapping[str, str] | None, degraded: bool) -> Request | None:
        """The whole message."""
        body = _root_message(notice, degraded)
        if self._channel:
            body |= {"channel": self._channel}
        return Request("POST", self._url.reveal(), _encoded(body))

    def classify(self, response: Response, _step: str) -> Outcome:
        """By the error's name, which Slack sends as plain text here."""
        return slack_errors.classify_answer(response)[0]


def _root_message(notice: Notice, degraded: bool) -> dict[str, Any]:
    shown = text.card(notice)
    built = slack_message.plain(shown) if degraded else slack_message.message(shown)
    return {**built, "unfurl_links": False, "unfurl_media": False}


def _metadata(notice: Notice) -> dict[str, Any]:
    """Ours on the message: a post whose answer was lost can be found again by it."""
    payload = {"group": notice.group_key[:500], "incident": notice.incident, "decided_ms": notice.decided_ms}
    return {"event_type": EVENT_TYPE, "event_payload": payload}


def _encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _connect(settings: SlackSettings, _: httpx.AsyncClient) -> tuple[Notifier, Transport]:
    from obskit.notify import slack_client  # noqa: PLC0415 - slack_sdk is loaded when a Slack receiver is built

    if settings.app_token is not None:
        app = SlackApp(settings.app_url, settings.channel)
        return app, slack_client.SlackTransport(settings.app_token, settings.app_url, settings.timeout_s)
    assert settings.api_url is not None
    hook = SlackWebhook(settings.api_url, settings.channel)
    return hook, slack_client.SlackWebhookTransport(settings.timeout_s)


SLACK: Final = Kind("slack", SlackSettings, _connect)
