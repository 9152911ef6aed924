"""FakeSlack: the part of Slack's Web API that posts messages, and incoming webhooks, over HTTP on loopback.

Keeps messages and threads, issues increasing `ts`, refuses what Slack refuses (slack_limits.py), limits its rate when
asked to, and fails as planned: routes are method names (`chat.update`) and `webhook`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qsl

from obskit.clock import Clock
from obskit.testing.http import Answer, Failure, FakeServer, Received
from obskit.testing.slack_limits import CHART, POST_TEXT, refuse_message

SCOPES: Final = frozenset({"chat:write", "channels:history"})
TOKEN: Final = "xoxb-fake-0123456789"
WEBHOOK: Final = "webhook"
_HOOK_PATH: Final = "/services/T000/B000/fakesecrettoken"
_READS: Final = ("chat.getPermalink", "conversations.history", "conversations.replies")
_MIN_GAP_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class SlackMessage:
    """A message as the channel shows it. `thread_ts` is set on replies; `edits` counts updates."""

    channel: str
    ts: str
    text: str
    blocks: tuple[dict[str, Any], ...] = ()
    attachments: tuple[dict[str, Any], ...] = ()
    thread_ts: str | None = None
    broadcast: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    edits: int = 0


class _RefusedError(Exception):
    """Slack says no."""

    def __init__(self, error: str, complaints: list[str] | None = None, *, needed: str = "") -> None:
        super().__init__(error)
        self.error = error
        self.complaints = complaints or []
        self.needed = needed


class FakeSlack(FakeServer):
    """A workspace with one app in it.

    `channels` maps names to ids; any name is taken, and gets an id, while it is None. `on_message` is called, in the
    server's thread, with each message as it is posted or edited. `paced` lets only one post per second into a channel.
    `scopes` are the token's; `charts` is False in a workspace that does not draw `data_visualization` yet.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        channels: Mapping[str, str] | None = None,
        on_message: Callable[[SlackMessage], None] | None = None,
        paced: bool = False,
        scopes: Collection[str] = SCOPES,
        charts: bool = True,
    ) -> None:
        self._scopes = frozenset(scopes)
        self._charts = charts
        self._channels = dict(channels or {})
        self._open = channels is None
        self._on_message = on_message
        self._paced = paced
        self._messages: dict[tuple[str, str], SlackMessage] = {}
        self._locked: set[tuple[str, str]] = set()
        self._last_ts = (0, 0)
        self._posted_ms: dict[str, int] = {}
        self._methods: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "auth.test": self._auth_test,
            "chat.delete": self._delete,
            "chat.getPermalink": self._permalink,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "conversations.history": self._history,
            "conversations.info": self._channel_info,
            "conversations.replies": self._thread_of,
        }
        super().__init__(clock)

    @property
    def api_url(self) -> str:
        """What goes into a receiver's `app_url`."""
        return f"{self.base_url}/api/"

    @property
    def webhook_url(self) -> str:
        """An incoming webhook into #webhook."""
        return self.base_url + _HOOK_PATH

    def messages(self, channel: str | None = None) -> list[SlackMessage]:
        """The messages in a channel (by name or id), or in all, oldest first; without replies."""
        wanted = None if channel is None else self._channel_id(channel)
        found = (message for message in self._messages.values() if message.thread_ts is None)
        return [message for message in found if wanted in (None, message.channel)]

    def replies(self, root: SlackMessage) -> list[SlackMessage]:
        """The thread under a message."""
        return [message for message in self._messages.values() if message.thread_ts == root.ts]

    def channel_name(self, channel: str) -> str:
        """The name of a channel by its id."""
        return next((name for name, known in self._channels.items() if known == channel), channel)

    def delete(self, message: SlackMessage) -> None:
        """A person deletes a message."""
        with self._changed:
            self._messages.pop((message.channel, message.ts), None)

    def lock(self, message: SlackMessage) -> None:
        """The time in which a message may be edited is over."""
        with self._changed:
            self._locked.add((message.channel, message.ts))

    def route(self, request: Received) -> str:
        """The method's name, or `webhook`."""
        path = request.path.partition("?")[0]
        return path.removeprefix("/api/") if path.startswith("/api/") else WEBHOOK

    def answer(self, request: Received) -> Answer:
        """`{"ok": …}` with status 200, whatever is wrong; webhooks answer plain text with a status of their own."""
        if self.route(request) == WEBHOOK:
            return self._answer_webhook(request)
        method = self._methods.get(self.route(request))
        try:
            if method is None:
                raise _RefusedError("unknown_method")
            self._authorize(request)
            said = method(_arguments(request, reads=self.route(request) in _READS))
        except _RefusedError as refused:
            if refused.error == "ratelimited":
                return self.fail(request, Failure(429, "ratelimited", retry_after=1))
            said = {"ok": False, "error": refused.error}
            if refused.needed:
                said |= {"needed": refused.needed, "provided": ",".join(sorted(self._scopes))}
            if refused.complaints:
                said["response_metadata"] = {"messages": refused.complaints}
        return Answer(200, json.dumps(said).encode())

    def fail(self, request: Received, failure: Failure) -> Answer:
        """Errors of the Web API are JSON, with status 200 unless the rate is limited or the plan has no name for it."""
        if failure.body is not None or not failure.error or self.route(request) == WEBHOOK:
            return super().fail(request, failure)
        headers = {} if failure.retry_after is None else {"Retry-After": str(failure.retry_after)}
        status = 429 if failure.error in ("ratelimited", "rate_limited") else 200
        return Answer(status, json.dumps({"ok": False, "error": failure.error}).encode(), headers=headers)

    def _authorize(self, request: Received) -> None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not token:
            raise _RefusedError("not_authed")
        if token != TOKEN:
            raise _RefusedError("invalid_auth")

    def _answer_webhook(self, request: Received) -> Answer:
        if request.path != _HOOK_PATH:
            return Answer(404, b"no_service", "text/html")
        try:
            body = json.loads(request.body)
            error, _ = refuse_message(body, update=False)
        except (ValueError, AttributeError):
            error = "invalid_payload"
        if error:
            return Answer(400, error.encode(), "text/html")
        self._post({**body, "channel": WEBHOOK})
        return Answer(200, b"ok", "text/html")

    def _post(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel = self._known_channel(str(arguments.get("channel", "")))
        thread_ts = arguments.get("thread_ts")
        if thread_ts is not None and (channel, thread_ts) not in self._messages:
            raise _RefusedError("thread_not_found")
        self._check(arguments, update=False)
        self._pace(channel)
        message = SlackMessage(
            channel,
            self._issue_ts(),
            str(arguments.get("text", ""))[:POST_TEXT],
            *_rich(arguments),
            thread_ts=thread_ts,
            broadcast=bool(arguments.get("reply_broadcast")),
            metadata=arguments.get("metadata") or {},
        )
        return self._keep(message)

    def _update(self, arguments: dict[str, Any]) -> dict[str, Any]:
        place = (str(arguments.get("channel", "")), str(arguments.get("ts", "")))
        if place[0] not in self._channels.values():
            raise _RefusedError("channel_not_found")  # an edit wants the id, not the name
        if place not in self._messages:
            raise _RefusedError("message_not_found")
        if place in self._locked:
            raise _RefusedError("edit_window_closed")
        self._check(arguments, update=True)
        old = self._messages[place]
        blocks, attachments = _rich(arguments)
        metadata = arguments.get("metadata", old.metadata)
        text = str(arguments.get("text", ""))
        return self._keep(
            replace(
                old, text=text, blocks=blocks, attachments=attachments, metadata=metadata or {}, edits=old.edits + 1
            )
        )

    def _delete(self, arguments: dict[str, Any]) -> dict[str, Any]:
        place = (str(arguments.get("channel", "")), str(arguments.get("ts", "")))
        if self._messages.pop(place, None) is None:
            raise _RefusedError("message_not_found")
        return {"ok": True, "channel": place[0], "ts": place[1]}

    def _auth_test(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        return {
            "ok": True,
            "url": self.base_url,
            "team": "fake",
            "team_id": "T000",
            "user_id": "U000",
            "bot_id": "B000",
        }

    def _channel_info(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel = str(arguments.get("channel", ""))
        if channel not in self._channels.values():
            raise _RefusedError("channel_not_found")
        return {"ok": True, "channel": {"id": channel, "name": self.channel_name(channel), "is_archived": False}}

    def _permalink(self, arguments: dict[str, Any]) -> dict[str, Any]:
        place = (str(arguments.get("channel", "")), str(arguments.get("message_ts", "")))
        if place not in self._messages:
            raise _RefusedError("message_not_found")
        link = f"https://fake.slack.com/archives/{place[0]}/p{place[1].replace('.', '')}"
        return {"ok": True, "channel": place[0], "permalink": link}

    def _history(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel = self._readable(arguments)
        oldest = float(arguments.get("oldest", 0))
        found = [each for each in self.messages(channel) if float(each.ts) > oldest]
        return self._listed(reversed(found), arguments)

    def _thread_of(self, arguments: dict[str, Any]) -> dict[str, Any]:
        root = self._messages.get((self._readable(arguments), str(arguments.get("ts", ""))))
        if root is None:
            raise _RefusedError("thread_not_found")
        return self._listed([root, *self.replies(root)], arguments)

    def _readable(self, arguments: dict[str, Any]) -> str:
        if "channels:history" not in self._scopes:
            raise _RefusedError("missing_scope", needed="channels:history")
        channel = str(arguments.get("channel", ""))
        if channel not in self._channels.values():
            raise _RefusedError("channel_not_found")  # it wants the id, not the name
        return channel

    def _listed(self, messages: Iterable[SlackMessage], arguments: dict[str, Any]) -> dict[str, Any]:
        with_metadata = str(arguments.get("include_all_metadata", "")).lower() in ("1", "true")
        shown = [
            {"type": "message", "bot_id": "B000", "ts": each.ts, "text": each.text}
            | ({"metadata": each.metadata} if with_metadata and each.metadata else {})
            for each in messages
        ]
        return {"ok": True, "messages": shown[: int(arguments.get("limit", 100))], "has_more": False}

    def _keep(self, message: SlackMessage) -> dict[str, Any]:
        self._messages[(message.channel, message.ts)] = message
        if self._on_message is not None:
            self._on_message(message)
        shown = {"type": "message", "bot_id": "B000", "ts": message.ts, "text": message.text}
        return {"ok": True, "channel": message.channel, "ts": message.ts, "message": shown}

    def _check(self, arguments: dict[str, Any], *, update: bool) -> None:
        error, complaints = refuse_message(arguments, update=update)
        if error:
            raise _RefusedError(error, complaints)
        if not self._charts and any(block.get("type") == CHART for block in arguments.get("blocks") or ()):
            raise _RefusedError("invalid_blocks", [f"[ERROR] unsupported type: {CHART} [json-pointer:/blocks/0/type]"])

    def _pace(self, channel: str) -> None:
        now_ms = self.now_ms()
        if self._paced and now_ms - self._posted_ms.get(channel, 0) < _MIN_GAP_MS:
            raise _RefusedError("ratelimited")
        self._posted_ms[channel] = now_ms

    def _channel_id(self, channel: str) -> str:
        name = channel.removeprefix("#")
        return self._channels.get(name, name)

    def _known_channel(self, channel: str) -> str:
        found = self._channel_id(channel)
        if found in self._channels.values():
            return found
        if not self._open or not found:
            raise _RefusedError("channel_not_found")
        self._channels[found] = f"C{len(self._channels):08d}"
        return self._channels[found]

    def _issue_ts(self) -> str:
        second = self.now_ms() // 1000
        last_second, count = self._last_ts
        self._last_ts = (second, 100) if second > last_second else (last_second, count + 100)
        return f"{self._last_ts[0]}.{self._last_ts[1]:06d}"


def _arguments(request: Received, *, reads: bool) -> dict[str, Any]:
    """The arguments from JSON, a form or the query string; methods that read do not look at JSON."""
    arguments: dict[str, Any] = dict(parse_qsl(request.path.partition("?")[2]))
    if reads and request.headers.get("content-type", "").startswith("application/json"):
        return arguments
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            body = json.loads(request.body or b"{}")
        except ValueError:
            raise _RefusedError("invalid_json") from None
        if not isinstance(body, dict):
            raise _RefusedError("json_not_object")
        return arguments | body
    return arguments | dict(parse_qsl(request.body.decode()))


def _rich(arguments: Mapping[str, Any]) -> tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
    return tuple(arguments.get("blocks") or ()), tuple(arguments.get("attachments") or ())
