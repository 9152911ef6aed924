"""FakeDiscord: a channel's webhook with `wait`, edits, deletes, the limits of messages and embeds, and its 429."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from obskit.clock import Clock
from obskit.testing.http import Answer, Failure, FakeServer, Received

TOKEN: Final = "fake-discord-webhook-token"
_PATH: Final = f"/api/webhooks/1000/{TOKEN}"
_EMBED_TEXTS: Final = {"title": 256, "description": 4_096}
_EMBED_SUM: Final = 6_000
_CONTENT: Final = 2_000


@dataclass(slots=True)
class Message:
    """A message as the channel shows it. `pinged` are the mentions that made a sound when it was posted."""

    id: str
    content: str = ""
    embeds: list[dict[str, Any]] = field(default_factory=list)
    username: str = ""
    silent: bool = False
    edits: int = 0
    pinged: tuple[str, ...] = ()


class FakeDiscord(FakeServer):
    """`messages` are those in the channel, oldest first. `gone`: somebody has deleted the webhook."""

    def __init__(self, clock: Clock | None = None, *, gone: bool = False) -> None:
        self.messages: list[Message] = []
        self.gone = gone
        self._issued = 0
        super().__init__(clock)

    @property
    def url(self) -> str:
        """What goes into a receiver's `webhook_url`."""
        return self.base_url + _PATH

    def delete(self, message: Message) -> None:
        """As somebody in the channel does."""
        self.messages.remove(message)

    def answer(self, request: Received) -> Answer:
        """POST creates, PATCH edits, DELETE deletes; 10015 and 10008 for what is not there."""
        parts = urlsplit(request.path)
        if self.gone or not parts.path.startswith(_PATH):
            return _json(404, {"message": "Unknown Webhook", "code": 10015})
        if request.method == "POST":
            return self._post(request, parse_qs(parts.query).get("wait") == ["true"])
        named = parts.path.rpartition("/messages/")[2]
        message = next((one for one in self.messages if one.id == named), None)
        if message is None:
            return _json(404, {"message": "Unknown Message", "code": 10008})
        if request.method == "DELETE":
            self.messages.remove(message)
            return Answer(204)
        return self._patch(request, message)

    def fail(self, request: Received, failure: Failure) -> Answer:
        """A planned 429 has Discord's body, in seconds with a fraction."""
        if failure.status == 429 and failure.body is None:
            wait = 0.65 if failure.retry_after is None else failure.retry_after
            said = {"message": "You are being rate limited.", "retry_after": wait, "global": False}
            return Answer(429, json.dumps(said).encode(), headers={"Retry-After": "1", "X-RateLimit-Scope": "shared"})
        return super().fail(request, failure)

    def _post(self, request: Received, wait: bool) -> Answer:
        said = _decoded(request.body)
        complaints = _complaints(said)
        if complaints:
            return _json(400, {"message": "Invalid Form Body", "code": 50035, "errors": complaints})
        self._issued += 1
        message = Message(str(10_000 + self._issued), username=said.get("username", ""))
        message.silent = bool(said.get("flags", 0) & 1 << 12)
        _write(message, said)
        message.pinged = _pinged(said)
        self.messages.append(message)
        return _json(200, {"id": message.id, "content": message.content}) if wait else Answer(204)

    def _patch(self, request: Received, message: Message) -> Answer:
        said = _decoded(request.body)
        complaints = _complaints({"content": message.content, "embeds": message.embeds, **said})
        if complaints:
            return _json(400, {"message": "Invalid Form Body", "code": 50035, "errors": complaints})
        _write(message, said)
        message.edits += 1
        return _json(200, {"id": message.id, "content": message.content})


def _write(message: Message, said: dict[str, Any]) -> None:
    message.content = said.get("content", message.content)
    message.embeds = said.get("embeds", message.embeds)


def _complaints(said: dict[str, Any]) -> list[str]:
    embeds = said.get("embeds") or []
    found = [] if said.get("content") or embeds else ["Cannot send an empty message"]
    if len(said.get("content", "")) > _CONTENT:
        found.append("content: Must be 2000 or fewer in length")
    if len(embeds) > 10:
        found.append("embeds: Must be 10 or fewer in length")
    for embed in embeds:
        found += [f"{key}: too long" for key, limit in _EMBED_TEXTS.items() if len(embed.get(key, "")) > limit]
        if "url" in embed and not embed["url"].startswith("http"):
            found.append("url: not a well formed URL")
    if sum(len(embed.get(key, "")) for embed in embeds for key in _EMBED_TEXTS) > _EMBED_SUM:
        found.append("embeds: Embed size exceeds maximum size of 6000")
    return found


def _pinged(said: dict[str, Any]) -> tuple[str, ...]:
    """Mentions of the content that `allowed_mentions` lets through: all of them where it is left out."""
    content, allowed = said.get("content", ""), said.get("allowed_mentions")
    everyone = [word for word in ("@everyone", "@here") if word in content]
    if allowed is None:
        return (*everyone, *(part.partition(">")[0] for part in content.split("<@")[1:]))
    named = [f"&{role}" for role in allowed.get("roles", ())] + list(allowed.get("users", ()))
    heard = [mention for mention in named if f"<@{mention}>" in content]
    return (*(everyone if "everyone" in allowed.get("parse", ()) else ()), *heard)


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _json(status: int, said: Any) -> Answer:
    return Answer(status, json.dumps(said).encode())
