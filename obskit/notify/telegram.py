"""Telegram through a bot: one message per incident, edited for its whole life, and a reply when an edit would be too
quiet. https://core.telegram.org/bots/api
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final, Literal

from pydantic import Field

from obskit.model.actions import Notice, Outcome, OutcomeReason
from obskit.model.settings import Secret
from obskit.notify import drawing, text
from obskit.notify.base import Kind, Notifier, Request, Response, Step, Transport, handle_lost, plainer
from obskit.notify.edited import LINE, ROOT, edited_steps, has_said, is_loud, told
from obskit.notify.http import HttpTransport, bounded_wait_s, classify_status, json_object, json_request
from obskit.notify.settings import NotifierSettings, NotYet, WebUrl, Words
from obskit.notify.wording import worded
from obskit.outbound import httpx

_LIMIT: Final = 4_096  # characters after the entities are read: what we write is longer, so this is on the safe side
_GONE: Final = ("message to edit not found", "message can't be edited", "message_id_invalid")
_UNCHANGED: Final = "message is not modified"
_NO_PLACE: Final = (
    "chat not found",
    "thread not found",
    "bot was",
    "need administrator",
    "not enough rights",
    "chat_write",
)


class TelegramSettings(NotifierSettings):
    """One entry of `telegram_configs`."""

    bot_token: Secret = Field(description="what BotFather gave")
    chat_id: int = Field(description="the chat; groups have negative numbers, the bot must be a member")
    message_thread_id: int | None = Field(None, description="the topic, in a group that has topics")
    disable_notifications: bool = Field(False, description="never make a sound")
    parse_mode: Literal["HTML", "Markdown", "MarkdownV2", ""] = Field(
        "HTML", description="of `message`; empty: plain text. Telegram refuses Markdown that alerts break: take HTML"
    )
    api_url: WebUrl = Field("https://api.telegram.org", description="where the Bot API is")

    chat_id_file: NotYet = None
    message: Words = Field("", description="instead of obskit's text, in the markup of parse_mode; may be a template")

    http_config: NotYet = None

    DEFAULT_TEXTS: ClassVar = {"message": "telegram.default.message"}


class Telegram:
    """sendMessage, then editMessageText; a line is a reply to the message."""

    edits = True
    min_interval_s = 3.0  # 20 a minute in one group

    def __init__(self, settings: TelegramSettings) -> None:
        self._settings = settings
        self._base_url = f"{settings.api_url.rstrip('/')}/bot{settings.bot_token.reveal()}/"

    def steps(self, notice: Notice) -> Sequence[Step]:
        """As for every channel that edits."""
        return edited_steps(notice)

    def render(self, notice: Notice, step: str, handle: Mapping[str, str] | None, degraded: bool) -> Request | None:
        """The call of one step."""
        plain = degraded or not self._settings.parse_mode
        if step == LINE:
            return None if handle is None or has_said(notice, handle) else self._reply(notice, handle)
        said = {**self._text(notice, plain), "link_preview_options": {"is_disabled": True}}
        if handle is not None:
            said |= {"chat_id": self._settings.chat_id, "message_id": int(handle["message_id"])}
            request = self._call("editMessageText", said)
        else:
            request = self._call("sendMessage", said | self._where(quiet=not notice.firing))
        return replace(request, handle=told(notice, handle))

    def classify(self, response: Response, step: str) -> Outcome:
        """By Telegram's own words: the number alone tells little."""
        answer = json_object(response)
        said = str(answer.get("description", "")).lower()
        detail = f"HTTP {response.status}: {response.excerpt}"
        if answer.get("ok") is True and 200 <= response.status < 300:
            return self._sent(answer, step)
        if 200 <= response.status < 300:
            return Outcome.retry(OutcomeReason.SERVER, f"not an answer of Telegram's: {detail}")
        if response.status == 429:
            return self._limited(answer, response)
        if response.status == 400:
            return _refused(answer, said, detail)
        if response.status in (401, 404):
            return Outcome.permanent(OutcomeReason.CREDENTIAL, detail)
        if response.status == 403:
            return Outcome.permanent(OutcomeReason.DESTINATION, detail)
        return classify_status(response)

    def _sent(self, answer: Mapping[str, Any], step: str) -> Outcome:
        result = answer.get("result")
        if step == ROOT and isinstance(result, dict) and "message_id" in result:
            return Outcome.sent({"message_id": str(result["message_id"])})
        return Outcome.sent()

    def _limited(self, answer: Mapping[str, Any], response: Response) -> Outcome:
        parameters = answer.get("parameters")
        wait_s = bounded_wait_s(parameters.get("retry_after")) if isinstance(parameters, dict) else None
        outcome = classify_status(response)
        return outcome if wait_s is None else replace(outcome, retry_after_s=wait_s)

    def _text(self, notice: Notice, plain: bool) -> dict[str, Any]:
        shown = text.card(notice)
        given = drawing.fitted(self._settings.message, _LIMIT)
        if given and (not plain or not self._settings.parse_mode):
            return {"text": given} if plain else {"text": given, "parse_mode": self._settings.parse_mode}
        markup = drawing.PLAIN if plain else drawing.HTML
        title = markup.link(drawing.heading(shown, 300), shown.title_url) if shown.title_url and not plain else ""
        title = title or markup.bold(drawing.heading(shown, 300))
        # A degraded message is one in plain text, too: what Telegram refuses is markup.
        said = f"{title}\n{drawing.body(notice, shown, markup, _LIMIT - len(title) - 1)}"
        return {"text": said} if plain else {"text": said, "parse_mode": "HTML"}

    def _reply(self, notice: Notice, handle: Mapping[str, str]) -> Request:
        shown = text.card(notice)
        said = {
            "text": text.clip(f"{text.ICONS[shown.tone]} {shown.title}: {text.news(notice)}", _LIMIT),
            "reply_parameters": {"message_id": int(handle["message_id"]), "allow_sending_without_reply": True},
        }
        return self._call("sendMessage", said | self._where(quiet=not is_loud(notice)))

    def _where(self, *, quiet: bool) -> dict[str, Any]:
        topic = {"message_thread_id": self._settings.message_thread_id} if self._settings.message_thread_id else {}
        silent = self._settings.disable_notifications or quiet
        return {"chat_id": self._settings.chat_id, "disable_notification": silent, **topic}

    def _call(self, method: str, said: Mapping[str, Any]) -> Request:
        return json_request("POST", self._base_url + method, said)


def _refused(answer: Mapping[str, Any], said: str, detail: str) -> Outcome:
    parameters = answer.get("parameters")
    moved = parameters.get("migrate_to_chat_id") if isinstance(parameters, dict) else None
    if _UNCHANGED in said:
        return Outcome.sent()
    if any(words in said for words in _GONE):
        return handle_lost(detail)
    if isinstance(moved, int):
        return Outcome.permanent(OutcomeReason.DESTINATION, f"the group has another number now: chat_id: {moved}")
    if any(words in said for words in _NO_PLACE):
        return Outcome.permanent(OutcomeReason.DESTINATION, detail)
    return plainer(detail)


def _connect(settings: TelegramSettings, http: httpx.AsyncClient) -> tuple[Notifier, Transport]:
    marked_up = ("message",) if settings.parse_mode == "HTML" else ()
    return worded(settings, Telegram, html=marked_up), HttpTransport(http, settings)


TELEGRAM: Final = Kind("telegram", TelegramSettings, _connect)
