"""FakeTelegram: a bot's sendMessage and editMessageText, with the Bot API's errors and its HTML parser's strictness."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any, Final

from obskit.clock import Clock
from obskit.testing.http import Answer, Failure, FakeServer, Received

TOKEN: Final = "1000001:fake-telegram-bot-token"
CHAT: Final = -100_200_300
_LIMIT: Final = 4_096
_TAGS: Final = ("b", "i", "u", "s", "a", "code", "pre", "strong", "em", "tg-spoiler", "blockquote")


@dataclass(slots=True)
class Message:
    """A message as the chat shows it: `text` without markup, `markup` as it was sent."""

    id: int
    text: str
    markup: str
    silent: bool = False
    reply_to: int | None = None
    thread_id: int | None = None
    edits: int = 0


class FakeTelegram(FakeServer):
    """`messages` are those in the chat. `moved_to`: the group has become a supergroup of that number."""

    def __init__(self, clock: Clock | None = None, *, moved_to: int | None = None) -> None:
        self.messages: list[Message] = []
        self.moved_to = moved_to
        self._issued = 0
        super().__init__(clock)

    def answer(self, request: Received) -> Answer:
        """The two methods; 401 and 404 as the Bot API has them."""
        match = re.fullmatch(r"/bot([^/]*)/(\w+)", request.path)
        if match is None:
            return _error(404, "Not Found")
        if match[1] != TOKEN:
            return _error(401, "Unauthorized")
        said = _decoded(request.body)
        if said.get("chat_id") != CHAT:
            return _error(400, "Bad Request: chat not found")
        if self.moved_to is not None:
            told = {"migrate_to_chat_id": self.moved_to}
            return _error(400, "Bad Request: group chat was upgraded to a supergroup chat", told)
        shown, complaint = _read(said)
        if complaint:
            return _error(400, f"Bad Request: {complaint}")
        if match[2] == "sendMessage":
            return self._send(said, shown)
        return self._edit(said, shown) if match[2] == "editMessageText" else _error(404, "Not Found: method not found")

    def fail(self, request: Received, failure: Failure) -> Answer:
        """A planned failure reads as the Bot API's, with `retry_after` in its parameters."""
        if failure.body is not None:
            return super().fail(request, failure)
        told = {"retry_after": failure.retry_after} if failure.retry_after is not None else None
        return _error(failure.status, failure.error or "Too Many Requests", told)

    def _send(self, said: dict[str, Any], shown: str) -> Answer:
        self._issued += 1
        reply = said.get("reply_parameters", {}).get("message_id")
        message = Message(self._issued, shown, said["text"], bool(said.get("disable_notification")), reply)
        message.thread_id = said.get("message_thread_id")
        self.messages.append(message)
        return _json(200, {"ok": True, "result": {"message_id": message.id, "text": shown}})

    def _edit(self, said: dict[str, Any], shown: str) -> Answer:
        message = next((one for one in self.messages if one.id == said.get("message_id")), None)
        if message is None:
            return _error(400, "Bad Request: message to edit not found")
        if message.markup == said["text"]:
            return _error(400, "Bad Request: message is not modified: specified new message content is the same")
        message.text, message.markup = shown, said["text"]
        message.edits += 1
        return _json(200, {"ok": True, "result": {"message_id": message.id, "text": shown}})


class _Reader(HTMLParser):
    """Telegram's own HTML: known tags alone, all of them closed, and no character that should have been an entity."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.shown = ""
        self.complaint = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - a callback
        if tag not in _TAGS:
            self.complaint = self.complaint or f'can\'t parse entities: Unsupported start tag "{tag}"'
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.complaint = self.complaint or f'can\'t parse entities: Unmatched end tag "{tag}"'

    def handle_data(self, data: str) -> None:
        self.shown += data

    def handle_comment(self, data: str) -> None:  # noqa: ARG002 - a callback
        self.complaint = self.complaint or "can't parse entities: Unsupported start tag"

    def ended(self) -> str:
        """What was wrong, if anything."""
        self.close()
        if self._open and not self.complaint:
            return "can't parse entities: Can't find end tag"
        return self.complaint


def _read(said: dict[str, Any]) -> tuple[str, str]:
    """(what is shown, what is wrong)."""
    written = said.get("text", "")
    reader = _Reader()
    if said.get("parse_mode") == "HTML":
        reader.feed(written)
    else:
        reader.shown = written
    complaint = reader.ended()
    if not reader.shown.strip():
        complaint = complaint or "message text is empty"
    return reader.shown, complaint or ("message is too long" if len(reader.shown) > _LIMIT else "")


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _error(status: int, description: str, parameters: dict[str, Any] | None = None) -> Answer:
    said: dict[str, Any] = {"ok": False, "error_code": status, "description": description}
    return _json(status, said | ({"parameters": parameters} if parameters else {}))


def _json(status: int, said: Any) -> Answer:
    return Answer(status, json.dumps(said).encode())
