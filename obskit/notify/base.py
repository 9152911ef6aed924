"""The seam of every receiver: pure Notifiers, Transports that do the I/O, and the Integration that joins the two.

Decides nothing about when or how often: an attempt ends in an Outcome and the outbox draws the conclusions.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from pydantic import BaseModel

from obskit.errors import ObskitError
from obskit.model.actions import Action, Notice, Outcome, OutcomeReason, OutcomeStatus
from obskit.model.settings import Secret
from obskit.notify.settings import NotifierSettings
from obskit.outbound import httpx
from obskit.outbox import Delivery

log = logging.getLogger(__name__)

ACTION_KIND: Final = "notify"
_BODY_LIMIT: Final = 65_536
_DETAIL_LIMIT: Final = 300
_LONGEST_WAIT_S: Final = 3_600.0
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
        return " ".join(self.body[:_BODY_LIMIT].decode("utf-8", "replace").split())[:_DETAIL_LIMIT]


class NoAnswerError(ObskitError):
    """The request may or may not have arrived: no connection, no answer in time, or none that can be read."""

    def __init__(self, reason: OutcomeReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Step:
    """One Action of a notice: its name, what an unsent one is replaced by, and where its handle is kept."""

    name: str
    coalesce: str | None = None
    handle_key: str | None = None


class Notifier(Protocol):
    """What one kind of receiver is told, and what its answers mean. Pure: no clock, no I/O."""

    min_interval_s: float
    """The least time between two attempts at one destination."""

    def steps(self, notice: Notice) -> Sequence[Step]:
        """The pieces of work that this notice is, in order."""
        ...

    def render(self, notice: Notice, step: str, handle: Mapping[str, str] | None, degraded: bool, /) -> Request | None:
        """The request of one step; None when, by now, there is nothing left to say."""
        ...

    def classify(self, response: Response, step: str, /) -> Outcome:
        """What the answer to `step` means."""
        ...


class Transport(Protocol):
    """How requests leave."""

    async def send(self, request: Request) -> Response:
        """The receiver's answer, whatever its status; NoAnswerError when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """An entry of the registry: how receivers of one kind are configured and connected."""

    name: str
    settings: type[NotifierSettings]
    connect: Callable[[Any, httpx.AsyncClient], tuple[Notifier, Transport]]


class Integration:
    """One configured destination of one receiver."""

    def __init__(
        self, destination: str, kind: str, notifier: Notifier, transport: Transport, settings: NotifierSettings
    ) -> None:
        self.id = destination
        self.kind = kind
        self.send_resolved = settings.send_resolved
        self.min_interval_s = notifier.min_interval_s
        self._notifier = notifier
        self._transport = transport
        self._secrets = _forms(settings)

    def __repr__(self) -> str:
        return f"Integration({self.id})"

    def actions(self, notice: Notice) -> list[Action]:
        """The outbox entries that tell this destination of `notice`; none when it shall not hear of it."""
        told = notice if self.send_resolved else replace(notice, alerts=notice.firing)
        if not told.alerts:
            return []
        payload = told.to_json()
        return [
            Action(
                kind=ACTION_KIND,
                destination=self.id,
                lane=told.group_key,
                payload=payload,
                step=step.name,
                coalesce=step.coalesce,
                handle_key=step.handle_key,
            )
            for step in self._notifier.steps(told)
        ]

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
        action = delivery.action
        notice = Notice.from_json(action.payload)
        request = self._notifier.render(notice, action.step, delivery.handle, delivery.degraded)
        if request is None:
            return Outcome.sent()
        outcome = self._notifier.classify(await self._transport.send(request), action.step)
        if outcome.status is OutcomeStatus.SENT and outcome.handle is not None:
            return replace(outcome, handle={**outcome.handle, **request.handle})
        return outcome

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


class HttpTransport:
    """Requests through the daemon's one HTTP client: no redirects, one deadline for the whole exchange."""

    def __init__(self, client: httpx.AsyncClient, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def send(self, request: Request) -> Response:
        """The answer; NoAnswerError names the kind of failure only, since messages of httpx quote URLs."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(request)
        except (TimeoutError, httpx.TimeoutException):
            raise NoAnswerError(OutcomeReason.TIMEOUT, f"no answer within {self._timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswerError(OutcomeReason.NETWORK, f"{_host(request.url)}: {type(error).__name__}") from None

    async def _exchange(self, request: Request) -> Response:
        stream = self._client.stream(
            request.method,
            request.url,
            content=request.body,
            headers=dict(request.headers),
            timeout=self._timeout_s,
            follow_redirects=False,
        )
        async with stream as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) >= _BODY_LIMIT:
                    break
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Response(response.status_code, headers, bytes(body[:_BODY_LIMIT]))


def _host(url: str) -> str:
    return urlsplit(url).hostname or "no host"


def classify_status(response: Response) -> Outcome:
    """What an HTTP status means where the vendor says nothing more exact."""
    status, detail = response.status, f"HTTP {response.status}: {response.excerpt}".rstrip(": ")
    if 200 <= status < 300:
        return Outcome.sent()
    if status == 429:
        return Outcome.retry(OutcomeReason.RATE_LIMITED, detail, after_s=retry_after_s(response))
    if status in (408, 425):
        return Outcome.retry(OutcomeReason.TIMEOUT, detail, after_s=retry_after_s(response))
    if status >= 500:
        return Outcome.retry(OutcomeReason.SERVER, detail, after_s=retry_after_s(response))
    if status in (401, 403, 407):
        return Outcome.permanent(OutcomeReason.CREDENTIAL, detail)
    if status in (404, 405, 410):
        return Outcome.permanent(OutcomeReason.DESTINATION, detail)
    if status >= 400:
        return plainer(detail)
    return Outcome.permanent(OutcomeReason.CONFIG, f"{detail} (redirects are not followed)")


def plainer(detail: str, reason: OutcomeReason = OutcomeReason.PAYLOAD) -> Outcome:
    """The form was refused: once more as plain as can be, and never again after that."""
    return replace(Outcome.permanent(reason, detail), degrade=True)


def retry_after_s(response: Response) -> float | None:
    """Seconds of `Retry-After` (RFC 9110 §10.2.3, both forms), an hour at most; None when absent or unreadable.

    A date is read against the answer's own `Date`, so that no clock of ours takes part.
    """
    text = response.headers.get("retry-after", "").strip()
    try:
        seconds = float(text) if text[:1].isdigit() else _between(response.headers.get("date", ""), text)
    except ValueError:
        return None
    return min(max(0.0, seconds), _LONGEST_WAIT_S)


def _between(start: str, end: str) -> float:
    return (parsedate_to_datetime(end) - parsedate_to_datetime(start)).total_seconds()
