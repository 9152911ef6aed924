"""Slack through a bot token: what is posted, edited, said in the thread, and looked up first. Pure but for what it has
learned of the workspace since the process began, which only spares calls.

Which message a notice belongs to is slack_root.py's, what it looks like slack_message.py's, what errors mean
slack_errors.py's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from obskit.model.actions import Notice, NoticeReason, Outcome
from obskit.model.context import Context
from obskit.model.digest import Digest
from obskit.model.severity import CRITICAL, rank
from obskit.notify import slack_context, slack_digest, slack_errors, slack_message, text
from obskit.notify.base import Question, Request, Response, Step
from obskit.notify.slack_attachment import SlackForm
from obskit.notify.slack_root import Root, Way, told, way
from obskit.notify.text import Card
from obskit.outbox import Budget, Delivery

ROOT: Final = "root"
THREAD: Final = "thread"
EVENT_TYPE: Final = "obskit_alert"
POST_EVERY_S: Final = 1.0
EDITS_A_MINUTE: Final = 40
"""Of the 50 that Slack lets an app make; the rest is for what people click (docs.slack.dev/apis/web-api/rate-limits)."""
EDITS_AT_ONCE: Final = 8
EDIT_EVERY_MS: Final = 60_000
"""What only refreshes a root edits it so often at most."""
DIGEST_EVERY_MS: Final = 10_000

_REFRESHES: Final = (NoticeReason.NEW_ALERTS, NoticeReason.SOME_RESOLVED, NoticeReason.CHANGED)
_OPENS: Final = (NoticeReason.FIRST, NoticeReason.NEW_ALERTS, NoticeReason.ESCALATED)
_SKEW_MS: Final = 5_000
_CHANNEL_ID: Final = re.compile(r"[CGD][A-Z0-9]{7,}")
_CANNOT_LOOK: Final = ("missing_scope", "not_allowed_token_type", "channel_not_found", "not_in_channel")
_ENDINGS: Final = {1: "st", 2: "nd", 3: "rd"}
_Handle = Mapping[str, str] | None


@dataclass(slots=True)
class _Learned:
    """What answers have told of the workspace."""

    channel_id: str = ""
    draws_charts: bool = True
    shows_history: bool = True


class SlackApp:
    """Through the Web API, with a bot token. `workspace` tells apart whose budget of edits it is."""

    min_interval_s = POST_EVERY_S
    wants_context = True
    edits = True

    def __init__(self, base_url: str, channel: str, workspace: str = "", form: SlackForm | None = None) -> None:
        self._base_url = base_url
        self._channel = channel
        self._form = form
        self._learned = _Learned(channel if _CHANNEL_ID.fullmatch(channel) else "")
        self._posts = Budget(f"slack posts {workspace} {channel.removeprefix('#')}", POST_EVERY_S)
        self._edits = Budget(f"slack edits {workspace}", 60 / EDITS_A_MINUTE, EDITS_AT_ONCE)

    # What there is to do

    def steps(self, notice: Notice) -> Sequence[Step]:
        """The root, posted or edited; then what is said in its thread, when there is something to say."""
        first = notice.reason is NoticeReason.FIRST
        key, coalesce = notice.group_key, f"{notice.incident}:{ROOT}"
        priority = _priority(notice)
        # What only brings a message up to date waits for more of its kind; what somebody waits for does not.
        refreshes = notice.reason in _REFRESHES and priority < 2
        root = Step(ROOT, coalesce, handle_key=key, priority=priority, hold_ms=EDIT_EVERY_MS if refreshes else 0)
        if notice.reason is NoticeReason.TEST or not (first or text.news(notice)):
            return [root]
        return [root, Step(THREAD, coalesce=f"{notice.incident}:{THREAD}", handle_key=key)]

    def digest_step(self, digest: Digest) -> Step:
        """One message for the flood, edited as it goes on."""
        return Step("digest", coalesce="digest", handle_key=digest.id, priority=1, hold_ms=DIGEST_EVERY_MS)

    def budget(self, step: str, handle: _Handle) -> Budget:
        """Edits share the workspace's budget, posts that of their channel."""
        return self._posts if step == THREAD or handle is None else self._edits

    # What must be known first

    def questions(self, notice: Notice, step: str, delivery: Delivery) -> Sequence[Question]:
        """Whether a post whose answer was lost is there all the same; where the group's last root is."""
        root, found = Root.from_handle(delivery.handle), []
        looks = delivery.doubtful and self._learned.shows_history
        if step == THREAD:
            return [self._find_reply(root, notice)] if looks and root else []
        if way(root, notice) is not Way.POST:
            return []
        if looks and (channel := root.channel if root else self._learned.channel_id):
            found.append(self._find_post(channel, notice.incident, delivery, told(root, notice).to_handle()))
        if root and not root.link:
            ask = self._call("chat.getPermalink", {"channel": root.channel, "message_ts": root.ts})
            found.append(Question(ask, _learn_link))
        return found

    def digest_questions(self, digest: Digest, delivery: Delivery) -> Sequence[Question]:
        """Whether the digest was posted after all."""
        if delivery.handle or not delivery.doubtful or not self._learned.shows_history or not self._learned.channel_id:
            return []
        return [self._find_post(self._learned.channel_id, digest.id, delivery, {})]

    def _find_post(self, channel: str, incident: str, delivery: Delivery, handle: Mapping[str, str]) -> Question:
        oldest = f"{max(0, delivery.created_ms - _SKEW_MS) / 1000:.6f}"
        ask = {"channel": channel, "oldest": oldest, "limit": 200, "include_all_metadata": True}

        def learn(response: Response, before: _Handle) -> _Handle:
            for message in self._messages(response):
                if _payload(message).get("incident") == incident:
                    return {**handle, "channel": channel, "ts": str(message["ts"])}
            return before

        return Question(self._call("conversations.history", ask), learn)

    def _find_reply(self, root: Root, notice: Notice) -> Question:
        ask = {"channel": root.channel, "ts": root.ts, "limit": 200, "include_all_metadata": True}

        def learn(response: Response, before: _Handle) -> _Handle:
            for message in self._messages(response):
                payload = _payload(message)
                if payload.get("step") == THREAD and payload.get("decided_ms") == notice.decided_ms:
                    return {**(before or {}), "said_ms": str(notice.decided_ms)}
            return before

        return Question(self._call("conversations.replies", ask), learn)

    def _messages(self, response: Response) -> Sequence[Mapping[str, Any]]:
        """What was found; without the scope for it we stop asking, and a duplicate may be seen instead of a loss."""
        answer = slack_errors.answer_of(response)
        if answer.get("error") in _CANNOT_LOOK:
            self._learned.shows_history = False
        return [message for message in answer.get("messages") or () if isinstance(message, dict)]

    # What is said

    def render(self, notice: Notice, step: str, handle: _Handle, degraded: bool) -> Request | None:
        """chat.postMessage for a new root or a reply, chat.update for a root that exists."""
        root = Root.from_handle(handle)
        if step == THREAD:
            return self._reply(notice, root, handle or {}, degraded) if root else None
        next_root = told(root, notice)
        body = self._drawn(notice, next_root, degraded) | {
            "unfurl_links": False,
            "unfurl_media": False,
            "metadata": _metadata(notice, ROOT),
        }
        if root is None or way(root, notice) is Way.POST:
            body |= {"channel": self._channel, **self._sender(notice)}
            return self._call("chat.postMessage", body, next_root.to_handle())
        return self._call("chat.update", body | {"channel": root.channel, "ts": root.ts}, next_root.to_handle())

    def _drawn(self, notice: Notice, root: Root, degraded: bool) -> dict[str, Any]:
        # Log lines are in the thread: the root is for what one sees at a glance.
        shown = replace(text.card(notice), samples=())
        if degraded:
            return slack_message.plain(shown)
        if self._form is not None and self._form.own:
            return self._form.message(notice, shown)
        return slack_message.message(shown, _footnote(root))

    def _sender(self, notice: Notice) -> dict[str, Any]:
        return {} if self._form is None else self._form.sender(notice)

    def render_digest(self, digest: Digest, handle: _Handle, degraded: bool) -> Request:
        """The digest, posted once and edited from then on."""
        built = slack_digest.plain_digest(digest) if degraded else slack_digest.digest_message(digest)
        payload = {"incident": digest.id, "step": "digest", "decided_ms": digest.decided_ms}
        body = built | {"metadata": {"event_type": EVENT_TYPE, "event_payload": payload}}
        if handle is None:
            return self._call("chat.postMessage", body | {"channel": self._channel})
        return self._call("chat.update", body | {"channel": handle["channel"], "ts": handle["ts"]})

    def classify(self, response: Response, step: str) -> Outcome:
        """A root's `channel` and `ts` are its handle; a reply's would only lead astray."""
        outcome, answer = slack_errors.classify_answer(response)
        if outcome.degrade and step == THREAD and self._learned.draws_charts:
            # Charts come to workspaces one by one: this message goes as text, the next ones without a chart.
            self._learned.draws_charts = False
        if "channel" in answer:
            self._learned.channel_id = str(answer["channel"])
        if step != THREAD and "ts" in answer and "channel" in answer:
            return Outcome.sent({"channel": str(answer["channel"]), "ts": str(answer["ts"])})
        return outcome

    def _reply(self, notice: Notice, root: Root, handle: Mapping[str, str], degraded: bool) -> Request | None:
        if handle.get("said_ms") == str(notice.decided_ms):
            return None
        body: dict[str, Any]
        if root.posted_ms >= notice.decided_ms:
            # The root was first posted with this very state, or a later one: it needs no line, but the context.
            shown = text.card(notice)
            if not notice.firing or notice.incident != root.incident:
                return None
            if not slack_context.has_context(shown, notice.context):
                return None
            body = self._context(shown, notice.context, degraded)
        else:
            line, loud = _line(notice, root)
            body = slack_message.reply(line) | {"reply_broadcast": loud}
        place = {"channel": root.channel, "thread_ts": root.ts, "metadata": _metadata(notice, THREAD)}
        place |= self._sender(notice)
        return self._call("chat.postMessage", body | place)

    def _context(self, shown: Card, known: Context, degraded: bool) -> dict[str, Any]:
        if degraded:
            return slack_context.plain_context(shown, known)
        return slack_context.context_message(shown, known, charts=self._learned.draws_charts)

    def _call(self, method: str, body: Mapping[str, Any], handle: Mapping[str, str] | None = None) -> Request:
        return Request("POST", self._base_url + method, encoded(body), handle=handle or {})


def encoded(body: Mapping[str, Any]) -> bytes:
    """The body of a call."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _priority(notice: Notice) -> int:
    """What wakes people goes first, what only refreshes a message last."""
    critical = any(rank(alert) >= CRITICAL for alert in notice.firing)
    opens = notice.reason in _OPENS
    if critical and opens:
        return 2
    # Who acks looks at the message, whether it says so.
    return 1 if critical or opens or not notice.firing or notice.reason is NoticeReason.TENDED else 0


def _line(notice: Notice, root: Root) -> tuple[str, bool]:
    """What the thread is told, and whether the channel hears it too."""
    quiet = bool(notice.care.flaps)
    if notice.reason is NoticeReason.FIRST:
        shown = text.card(notice)
        again = " - ".join(part for part in (f"Fires again: {shown.summary or shown.title}", shown.place) if part)
        # People hear of it once; and once more when it had been quiet for an hour.
        return again, (root.reopened <= 1 or len(root.turns) < 2) and not quiet
    if notice.reason is NoticeReason.ESCALATED:
        return text.news(notice), True
    loud = notice.reason in (NoticeReason.REPEAT, NoticeReason.CALM) or text.became_worse(notice)
    return text.news(notice), loud and not quiet


def _footnote(root: Root) -> str:
    """`3rd time this week · <…|the time before> · opened again`."""
    said = [f"{_ordinal(root.nth)} time this week"] if root.nth > 1 else []
    if root.before.startswith(("https://", "http://")):
        said.append(f"<{root.before.replace('|', '%7C').replace('>', '%3E')}|the time before>")
    if root.reopened:
        said.append("opened again" + (f" {root.reopened} times" if root.reopened > 1 else ""))
    return " · ".join(said)


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{_ENDINGS.get(number % 10, 'th')}"


def _learn_link(response: Response, before: _Handle) -> _Handle:
    link = slack_errors.answer_of(response).get("permalink")
    return {**(before or {}), "link": str(link)} if isinstance(link, str) else before


def _metadata(notice: Notice, step: str) -> dict[str, Any]:
    """Ours on the message: a post whose answer was lost can be found again by it."""
    payload = {
        "group": notice.group_key[:500],
        "incident": notice.incident,
        "step": step,
        "decided_ms": notice.decided_ms,
    }
    return {"event_type": EVENT_TYPE, "event_payload": payload}


def _payload(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Our metadata on a message; empty on those of others."""
    metadata = message.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("event_type") != EVENT_TYPE:
        return {}
    payload = metadata.get("event_payload")
    return payload if isinstance(payload, dict) else {}
