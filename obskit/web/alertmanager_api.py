"""Alertmanager's HTTP API v2: a Prometheus posts alerts here, amtool and Grafana ask and silence.

What is decided is decided in routing; here are paths, parameters and filters (api/v2/api.go).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from obskit import __version__
from obskit.clock import Clock
from obskit.errors import PatternError
from obskit.model.alert_matchers import AlertMatcher, parse_matcher
from obskit.model.go_text import go_json
from obskit.model.matchers import match_all
from obskit.model.patterns import compile_pattern
from obskit.model.telemetry import REGISTRY, Counter
from obskit.routing.dispatch import Dispatcher, GroupView
from obskit.routing.flush import label_order
from obskit.routing.silences import SilenceRefused, SilenceUnknown
from obskit.routing.views import AlertView
from obskit.web.alertmanager_json import Refusal, alert_json, read_alerts, read_silence, silence_json, time_text

BASE: Final = "/api/v2"
LARGEST_BODY: Final = 16 * 1024 * 1024
_TRUE: Final = frozenset({"1", "ok", "on", "t", "true", "y", "yes"})

RECEIVED = Counter(
    "obskit_alertmanager_alerts_received",
    "Alerts posted by others, by whether they were taken.",
    ("status",),
    registry=REGISTRY,
)
Handler = Callable[[Request], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class About:
    """What the config says of itself now: the receivers' names, and an alertmanager.yml that routes alike."""

    receivers: Sequence[str]
    original: str


def alertmanager_api(
    dispatcher: Dispatcher, clock: Clock, about: Callable[[], About], *, started_ms: int
) -> list[BaseRoute]:
    """The routes under `/api/v2`."""
    api = _Api(dispatcher, clock, about, started_ms)
    table: dict[str, dict[str, Handler]] = {
        "/status": {"GET": api.status},
        "/receivers": {"GET": api.receivers},
        "/alerts": {"POST": api.post_alerts, "GET": api.alerts},
        "/alerts/groups": {"GET": api.groups},
        "/silences": {"POST": api.post_silence, "GET": api.silences},
        "/silence/{id}": {"DELETE": api.expire_silence, "GET": api.silence},
    }
    routes: list[BaseRoute] = [Route(BASE + path, _Path(handlers)) for path, handlers in table.items()]
    return [*routes, Route(BASE + "/{rest:path}", _Path({}))]


class _Path:
    """One path: picks the handler of the method, and turns what it gives, or refuses, into JSON."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        try:
            answer = _answer(200, await self._handler(request)(request))
        except Refusal as refusal:
            answer = _answer(refusal.status, refusal.payload)
        await answer(scope, receive, send)

    def _handler(self, request: Request) -> Handler:
        if not self._handlers:
            raise Refusal.coded(404, 404, f"path {request.url.path} was not found")
        method = "GET" if request.method == "HEAD" else request.method
        if method not in self._handlers:
            known = ",".join(self._handlers)
            raise Refusal.coded(405, 405, f"method {request.method} is not allowed, but [{known}] are")
        return self._handlers[method]


def _answer(status: int, payload: Any) -> Response:
    headers = {"Cache-Control": "no-store"}
    if payload is None:
        return Response(status_code=status, headers=headers)
    return Response(go_json(payload), status, headers, media_type="application/json")


class _Api:
    """The handlers: each returns what is answered as JSON, None for nothing, or raises a Refusal."""

    def __init__(self, dispatcher: Dispatcher, clock: Clock, about: Callable[[], About], started_ms: int) -> None:
        self._dispatcher = dispatcher
        self._clock = clock
        self._about = about
        self._started_ms = started_ms

    async def status(self, _: Request) -> Any:
        unknown = dict.fromkeys(("revision", "branch", "buildUser", "buildDate", "goVersion"), "")
        return {
            "cluster": {"peers": [], "status": "disabled"},
            "config": {"original": self._about().original},
            "uptime": time_text(self._started_ms),
            "versionInfo": {**unknown, "branch": "obskit", "version": __version__},
        }

    async def receivers(self, _: Request) -> Any:
        return [{"name": name} for name in self._about().receivers]

    async def post_alerts(self, request: Request) -> None:
        # Ten thousand of them take 0.1 s to read: not in the loop, which has others to serve.
        good, wrong = await asyncio.to_thread(read_alerts, await _body(request))
        if good:
            await self._dispatcher.post(good)
        RECEIVED.labels("taken").inc(len(good))
        RECEIVED.labels("refused").inc(len(wrong))
        if wrong:
            raise Refusal(400, "; ".join(wrong))

    async def alerts(self, request: Request) -> Any:
        wanted = _Filter.of(request)
        return await asyncio.to_thread(self._alerts, wanted)

    def _alerts(self, wanted: _Filter) -> Any:
        views = self._dispatcher.alerts()
        return [
            alert_json(view, view.receivers, (), self._default_end_ms())
            for _, view in sorted(views.items())
            if wanted.takes(view) and any(map(wanted.receiver, view.receivers))
        ]

    async def groups(self, request: Request) -> Any:
        wanted, muted_too = _Filter.of(request), _flag(request, "muted")
        return await asyncio.to_thread(self._groups, wanted, muted_too)

    def _groups(self, wanted: _Filter, muted_too: bool) -> Any:
        views = self._dispatcher.alerts()
        groups = [each for each in self._dispatcher.snapshot() if wanted.receiver(each.receiver)]
        shown = [(each, _members(each, views, wanted)) for each in sorted(groups, key=cmp_to_key(_group_order))]
        heard: dict[str, set[str]] = {}
        for group, members in shown:
            for view in members:
                heard.setdefault(view.alert.fingerprint, set()).add(group.receiver)
        return [
            {
                "alerts": [
                    alert_json(view, sorted(heard[view.alert.fingerprint]), group.muted_by, self._default_end_ms())
                    for view in members
                ],
                "labels": dict(group.labels),
                "receiver": {"name": group.receiver},
                "routeLabels": {},
            }
            for group, members in shown
            if members and (muted_too or not group.muted_by)
        ]

    def _default_end_ms(self) -> int:
        return self._clock.now_ms() + self._dispatcher.policy.resolve_timeout_ms

    async def silences(self, request: Request) -> Any:
        wanted, now_ms = _filters(request), self._clock.now_ms()
        states = {state for state in ("active", "pending", "expired") if _flag(request, state)}
        return [
            silence_json(each, now_ms)
            for each in self._dispatcher.silences.all()
            if each.state(now_ms).value in states and set(wanted) <= set(each.matchers)
        ]

    async def post_silence(self, request: Request) -> Any:
        silence = read_silence(await _body(request))
        try:
            return {"silenceID": await self._dispatcher.silences.set(silence)}
        except SilenceUnknown as unknown:
            raise Refusal(404, str(unknown)) from None
        except SilenceRefused as refused:
            raise Refusal(400, str(refused)) from None

    async def silence(self, request: Request) -> Any:
        found = self._dispatcher.silences.get(_id(request))
        if found is None:
            raise Refusal(404)
        return silence_json(found, self._clock.now_ms())

    async def expire_silence(self, request: Request) -> None:
        try:
            await self._dispatcher.silences.expire(_id(request))
        except SilenceUnknown:
            raise Refusal(404) from None


@dataclass(frozen=True, slots=True)
class _Filter:
    """Which alerts a request asks for."""

    matchers: tuple[AlertMatcher, ...]
    receiver: Callable[[str], bool]
    active: bool
    silenced: bool
    inhibited: bool

    @classmethod
    def of(cls, request: Request) -> _Filter:
        return cls(
            matchers=_filters(request),
            receiver=_receivers(request),
            active=_flag(request, "active"),
            silenced=_flag(request, "silenced"),
            inhibited=_flag(request, "inhibited"),
        )

    def takes(self, view: AlertView) -> bool:
        return (
            (self.active or view.suppressed)
            and (self.silenced or not view.silenced_by)
            and (self.inhibited or not view.inhibited_by)
            and match_all(self.matchers, view.alert.labels)
        )


def _members(group: GroupView, views: Mapping[str, AlertView], wanted: _Filter) -> list[AlertView]:
    members = (views[each.fingerprint] for each in group.alerts if each.fingerprint in views)
    return [view for view in members if wanted.takes(view)]


def _group_order(one: GroupView, other: GroupView) -> int:
    """By their labels, then by receiver."""
    by_labels = label_order(one.labels, other.labels)
    return by_labels or (one.receiver > other.receiver) - (one.receiver < other.receiver)


def _flag(request: Request, name: str) -> bool:
    """A parameter that is true unless it says something else; the last one counts."""
    text: str = next(reversed(request.query_params.getlist(name)), "")
    return not text or text.lower() in _TRUE


def _filters(request: Request) -> tuple[AlertMatcher, ...]:
    try:
        return tuple(parse_matcher(text) for text in request.query_params.getlist("filter"))
    except ValueError as error:
        raise Refusal(400, str(error)) from None


def _receivers(request: Request) -> Callable[[str], bool]:
    text: str = next(reversed(request.query_params.getlist("receiver")), "")
    if not text:
        return lambda _: True
    try:
        pattern = compile_pattern(f"^(?:{text})$")
    except PatternError as error:
        raise Refusal(400, f"failed to parse receiver param: {error}") from None
    return lambda name: pattern.match(name) is not None


def _id(request: Request) -> str:
    text: str = request.path_params["id"]
    try:
        uuid.UUID(text)
    except ValueError:
        raise Refusal.coded(422, 601, f'silenceID in path must be of type uuid: "{text}"') from None
    return text


async def _body(request: Request) -> bytes:
    """The JSON that was sent. Asking for its type also keeps out what a form on a web page can post."""
    sent = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if sent != "application/json":
        message = f'unsupported media type "{sent}", only [application/json] are allowed'
        raise Refusal.coded(415, 415, message)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise Refusal.coded(413, 413, f"a body of more than {LARGEST_BODY} bytes is not read")
    return bytes(body)
