"""The HTTP server's routes: health, own metrics, reload; and who may ask. The APIs are made elsewhere and given."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from obskit.collect.listening import PREFIXES, Listener
from obskit.grouping.issues import FOREVER
from obskit.ingest.reception import Reception
from obskit.model.settings import Secret
from obskit.model.telemetry import REGISTRY
from obskit.notify.base import Hook
from obskit.web.hooks import PREFIX, hook_route
from obskit.web.hosts import HostGate
from obskit.web.listeners import listener_routes
from obskit.web.pushes import push_routes

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/-/healthy", "/-/ready"})
"""What a load balancer asks without a token: it learns a word, no data."""
SIGNED: Final = (PREFIX, *PREFIXES)
"""Below these, who is there is checked by whoever is asked."""

CHANGES: Final = frozenset({"retry", "drop"})
READING: Final = frozenset({"GET", "HEAD"})
LARGEST_ID: Final = 2**63 - 1
"""The store's, too: it refuses to be asked for a larger one."""


@dataclass(slots=True)
class Health:
    """What the daemon says of itself: `waiting` holds what is not ready yet, in words."""

    waiting: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Doors:
    """What the server may ask of the daemon.

    `overview` is the front page's text; `reload` reads the config again and returns what was wrong; `change_outbox`
    takes an action's id and `retry` or `drop`, and says whether there was something to change; `change_error` takes an
    error group's id, `resolve`, `reopen` or `mute`, and until when it is muted; `reception` stores what is pushed (None:
    nothing is taken); `hook` is who listens to the webhooks of a kind of receiver, `listener` which collector listens at
    a path, and what follows its part of it.
    """

    overview: Callable[[], str]
    reload: Callable[[], Awaitable[str]]
    change_outbox: Callable[[int, str], Awaitable[bool]]
    change_error: Callable[[str, str, int], Awaitable[bool]]
    reception: Reception | None = None
    hook: Callable[[str], Hook | None] = lambda _: None
    listener: Callable[[str], tuple[Listener, str] | None] = lambda _: None


def build_app(
    health: Health, doors: Doors, *, token: Secret | None, hosts: Sequence[str] = (), apis: Sequence[BaseRoute] = ()
) -> ASGIApp:
    """The application, with `apis` beside its own paths.

    With a `token`, every path but OPEN_PATHS and those below SIGNED asks for it. Without one, requests are to name
    this machine, or one of `hosts`.
    """

    async def front(_: Request) -> Response:
        return PlainTextResponse(doors.overview())

    async def alive(request: Request) -> Response:
        return PlainTextResponse(_fine(request, "ok\n"))

    async def ready(request: Request) -> Response:
        if health.waiting:
            return PlainTextResponse(f"not ready: {', '.join(sorted(health.waiting))}\n", 503)
        return PlainTextResponse(_fine(request, "ready\n"))

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    async def read_again(_: Request) -> Response:
        wrong = await doors.reload()
        return PlainTextResponse(wrong or "reloaded\n", 500 if wrong else 200)

    async def change_outbox(request: Request) -> Response:
        id, what = request.path_params["id"], request.path_params["what"]  # noqa: A001
        known = what in CHANGES and id <= LARGEST_ID
        changed = known and await doors.change_outbox(id, what)
        return PlainTextResponse("done\n" if changed else "nothing to change\n", 200 if changed else 404)

    async def change_error(request: Request) -> Response:
        until_ms = request.query_params.get("until_ms", "")
        until = int(until_ms) if until_ms.isdecimal() and len(until_ms) < 16 else FOREVER
        changed = await doors.change_error(request.path_params["id"], request.path_params["what"], until)
        return PlainTextResponse("done\n" if changed else "nothing to change\n", 200 if changed else 404)

    routes = [
        Route("/", front),
        Route("/healthz", alive),
        Route("/-/healthy", alive),
        Route("/readyz", ready),
        Route("/-/ready", ready),
        Route("/metrics", metrics),
        Route("/-/reload", read_again, methods=["POST", "PUT"]),
        Route("/-/outbox/{id:int}/{what:str}", change_outbox, methods=["POST"]),
        Route("/-/errors/{id:str}/{what:str}", change_error, methods=["POST"]),
        hook_route(doors.hook, health),
        *listener_routes(doors.listener, health),
        *apis,
    ]
    if doors.reception is not None:
        routes += push_routes(doors.reception)
    gate = Middleware(_TokenGate, token=token) if token else Middleware(HostGate, allowed=hosts, signed=SIGNED)
    return Starlette(routes=routes, middleware=[Middleware(_PageGate), gate])


def _fine(request: Request, word: str) -> str:
    """On Alertmanager's paths its word, so that who reads it need not be told another."""
    return "OK" if request.url.path.startswith("/-/") else word


class _PageGate:
    """Refuses changes that a web page asks for: any page in a browser on this machine may post to loopback.

    Browsers tell where a POST comes from in `Origin` (Fetch, 3.2); what we offer, programs and people ask for.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in READING and b"origin" in dict(scope["headers"]):
            await PlainTextResponse("not from a web page\n", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class _TokenGate:
    """Asks for `Authorization: Bearer <token>`; the comparison takes the same time whatever was sent."""

    def __init__(self, app: ASGIApp, token: Secret) -> None:
        self._app = app
        self._expected = token.reveal().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not (scope["path"] in OPEN_PATHS or scope["path"].startswith(SIGNED)):
            # RFC 9110, 11.1: the scheme's name is read in any case.
            scheme, _, given = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
            if not hmac.compare_digest(given, self._expected) or scheme.lower() != b"bearer":
                refusal = PlainTextResponse(
                    "a token is needed: Authorization: Bearer …\n", 401, {"WWW-Authenticate": "Bearer"}
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
