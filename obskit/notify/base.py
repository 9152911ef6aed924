"""The seam of every receiver: pure Notifiers, Transports that do the I/O, and the Integration that joins the two.

Decides nothing about when or how often: an attempt ends in an Outcome and the outbox draws the conclusions.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, runtime_checkable

from pydantic import BaseModel

from obskit.errors import ObskitError
from obskit.model.actions import Action, Notice, Outcome, OutcomeReason, OutcomeStatus
from obskit.model.context import UNKNOWN, Context
from obskit.model.digest import Digest
from obskit.model.settings import Secret
from obskit.notify.settings import NotifierSettings
from obskit.outbound import httpx
from obskit.outbox import Budget, Delivery
from obskit.store.database import Database

log = logging.getLogger(__name__)

ACTION_KIND: Final = "notify"
DIGEST_KIND: Final = "digest"
BODY_LIMIT: Final = 65_536
_DETAIL_LIMIT: Final = 300
_SHORTEST_SECRET: Final = 6
_SHORTEST_TOKEN: Final = 12
_URL_PARTS: Final = re.compile(r"[/?&=#]")


@dataclass(frozen=True, slots=True)
class Request:
    """One call to a receiver. URL, headers and body may hold secrets, so none of them is printed.

    `handle` is what a success adds to the handle that the receiver returns.
    """

    method: str
    url: str = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    handle: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """A receiver's answer; header names in lower case, the body cut at 64 KiB."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)

    @property
    def excerpt(self) -> str:
        """The beginning of the body, on one line, for a person."""
        return " ".join(self.body[:BODY_LIMIT].decode("utf-8", "replace").split())[:_DETAIL_LIMIT]


@dataclass(frozen=True, slots=True)
class Question:
    """A call that comes before the request; `learn` makes the handle to go on with of its answer and the one before."""

    request: Request
    learn: Callable[[Response, Mapping[str, str] | None], Mapping[str, str] | None]


class NoAnswerError(ObskitError):
    """The request may or may not have arrived: no connection, no answer in time, or none that can be read."""

    def __init__(self, reason: OutcomeReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Step:
    """One Action of a notice: its name, what an unsent one is replaced by, where its handle is kept; see Action."""

    name: str
    coalesce: str | None = None
    handle_key: str | None = None
    priority: int = 0
    hold_ms: int = 0


class Notifier(Protocol):
    """What one kind of receiver is told, and what its answers mean. Pure: no clock, no I/O."""

    min_interval_s: float
    """The least time between two attempts at one destination."""
    # One whose messages are edited says `edits = True`: it is shown quietly what became of a group. One that shows
    # what the store knows says `wants_context = True`.

    def steps(self, notice: Notice) -> Sequence[Step]:
        """The pieces of work that this notice is, in order."""
        ...

    def render(self, notice: Notice, step: str, handle: Mapping[str, str] | None, degraded: bool, /) -> Request | None:
        """The request of one step; None when, by now, there is nothing left to say."""
        ...

    def classify(self, response: Response, step: str, /) -> Outcome:
        """What the answer to `step` means."""
        ...


@runtime_checkable
class Asks(Protocol):
    """A Notifier that has to know something before a request: of a post whose answer was lost, say."""

    def questions(self, notice: Notice, step: str, delivery: Delivery, /) -> Sequence[Question]:
        """What to ask, in order."""
        ...


@runtime_checkable
class TellsFloods(Protocol):
    """A Notifier of a channel that people read: too many new messages at once are one digest there."""

    def digest_step(self, digest: Digest, /) -> Step:
        """The piece of work that a digest is."""
        ...

    def digest_questions(self, digest: Digest, delivery: Delivery, /) -> Sequence[Question]:
        """What to ask first, in order."""
        ...

    def render_digest(self, digest: Digest, handle: Mapping[str, str] | None, degraded: bool, /) -> Request:
        """The request that tells it."""
        ...


@runtime_checkable
class Budgeted(Protocol):
    """A Notifier whose calls share a budget with other destinations."""

    def budget(self, step: str, handle: Mapping[str, str] | None, /) -> Budget | None:
        """The budget that a call comes out of."""
        ...


class Transport(Protocol):
    """How requests leave."""

    async def send(self, request: Request) -> Response:
        """The receiver's answer, whatever its status; NoAnswerError when there is none."""
        ...


class Hook(Protocol):
    """What a kind's service may tell us: the other direction, by webhooks that it sends to `/hooks/<kind>`."""

    async def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        """Take one delivery (header names in lower case); the status to answer with."""
        ...


Heard = Callable[[Iterable[str]], None]
"""Hears of which incidents a service has told something, once it is committed."""


@dataclass(frozen=True, slots=True)
class Kind:
    """An entry of the registry: how receivers of one kind are configured and connected.

    `listen` makes the Hook of all configured receivers of the kind, None when none of them wants to hear.
    """

    name: str
    settings: type[NotifierSettings]
    connect: Callable[[Any, httpx.AsyncClient], tuple[Notifier, Transport]]
    listen: Callable[[Sequence[Any], httpx.AsyncClient, Database, Heard], Hook | None] | None = None


Look = Callable[[Notice], Awaitable[Context]]
"""Finds out what the store knows around a notice."""


async def look_away(_: Notice) -> Context:
    """Nothing is known."""
    return UNKNOWN


class Integration:
    """One configured destination of one receiver. `look` is asked by destinations that show the context of a notice."""

    def __init__(
        self,
        destination: str,
        kind: str,
        notifier: Notifier,
        transport: Transport,
        settings: NotifierSettings,
        *,
        look: Look = look_away,
    ) -> None:
        self.id = destination
        self.kind = kind
        self.send_resolved = settings.send_resolved
        self.min_interval_s = notifier.min_interval_s
        self.digests = isinstance(notifier, TellsFloods)
        self.edits = getattr(notifier, "edits", False)
        self._notifier = notifier
        self._transport = transport
        self._look = look if getattr(notifier, "wants_context", False) else look_away
        self._secrets = _forms(settings)

    def __repr__(self) -> str:
        return f"Integration({self.id})"

    def actions(self, notice: Notice) -> list[Action]:
        """The outbox entries that tell this destination of `notice`; none when it shall not hear of it."""
        told = notice if self.send_resolved else replace(notice, alerts=notice.firing)
        if not told.alerts:
            return []
        payload = told.to_json()
        return [self._action(step, told.group_key, payload) for step in self._notifier.steps(told)]

    def digest(self, digest: Digest) -> list[Action]:
        """The outbox entries that tell it of a flood."""
        if not isinstance(self._notifier, TellsFloods):
            return []
        return [self._action(self._notifier.digest_step(digest), digest.id, digest.to_json(), DIGEST_KIND)]

    def budget(self, delivery: Delivery) -> Budget | None:
        """What an attempt comes out of, if it shares a budget with others."""
        if not isinstance(self._notifier, Budgeted):
            return None
        return self._notifier.budget(delivery.action.step, delivery.handle)

    def _action(self, step: Step, lane: str, payload: str, kind: str = ACTION_KIND) -> Action:
        return Action(
            kind=kind,
            destination=self.id,
            lane=lane,
            payload=payload,
            step=step.name,
            coalesce=step.coalesce,
            handle_key=step.handle_key,
            priority=step.priority,
            hold_ms=step.hold_ms,
        )

    async def deliver(self, delivery: Delivery) -> Outcome:
        """One attempt. Raises nothing but cancellation; the outcome's detail holds no secret of the settings."""
        try:
            outcome = await self._attempt(delivery)
        except NoAnswerError as error:
            outcome = Outcome.retry(error.reason, str(error))
        except Exception as error:
            # A fault of ours: it must not stop the actions behind this one, and the plain form may do without it.
            log.exception("delivery failed in obskit: destination=%s step=%s", self.id, delivery.action.step)
            outcome = plainer(type(error).__name__, OutcomeReason.INTERNAL)
        return replace(outcome, detail=self._scrub(outcome.detail))

    async def _attempt(self, delivery: Delivery) -> Outcome:
        request = await self._request(delivery)
        if request is None:
            return Outcome.needless()
        outcome = self._notifier.classify(await self._transport.send(request), delivery.action.step)
        if outcome.status is OutcomeStatus.SENT and outcome.handle is not None:
            return replace(outcome, handle={**outcome.handle, **request.handle})
        return outcome

    async def _request(self, delivery: Delivery) -> Request | None:
        action, notifier = delivery.action, self._notifier
        if action.kind == DIGEST_KIND:
            assert isinstance(notifier, TellsFloods)
            digest = Digest.from_json(action.payload)
            handle = await self._ask(notifier.digest_questions(digest, delivery), delivery)
            return notifier.render_digest(digest, handle, delivery.degraded)
        notice = Notice.from_json(action.payload)
        questions = notifier.questions(notice, action.step, delivery) if isinstance(notifier, Asks) else ()
        handle = await self._ask(questions, delivery)
        notice = replace(notice, context=await self._look(notice))
        return notifier.render(notice, action.step, handle, delivery.degraded)

    async def _ask(self, questions: Sequence[Question], delivery: Delivery) -> Mapping[str, str] | None:
        handle = delivery.handle
        for question in questions:
            handle = question.learn(await self._transport.send(question.request), handle)
        return handle

    def _scrub(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "<secret>")
        return text


def _forms(settings: BaseModel) -> tuple[str, ...]:
    """Every text that would give a secret of `settings` away, longest first: of a URL also what its path is made of."""
    forms: set[str] = set()
    for _, value in settings:
        if isinstance(value, BaseModel):
            forms.update(_forms(value))
        elif isinstance(value, Secret):
            text = value.reveal()
            forms.add(text)
            if "://" in text:
                path = text.partition("://")[2].partition("/")[2]
                forms.update((path, *(part for part in _URL_PARTS.split(path) if len(part) >= _SHORTEST_TOKEN)))
    return tuple(sorted((form for form in forms if len(form) >= _SHORTEST_SECRET), key=len, reverse=True))


def plainer(detail: str, reason: OutcomeReason = OutcomeReason.PAYLOAD) -> Outcome:
    """The form was refused: once more as plain as can be, and never again after that."""
    return replace(Outcome.permanent(reason, detail), degrade=True)


def handle_lost(detail: str) -> Outcome:
    """What was to be edited is there no longer: once more without the handle, as something new."""
    return replace(Outcome.permanent(OutcomeReason.HANDLE_LOST, detail), forget_handle=True)
