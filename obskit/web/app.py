"""The HTTP server's routes: health, own metrics, reload. The APIs mount here as they come."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from obskit.model.settings import Secret
from obskit.model.telemetry import REGISTRY

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/-/healthy", "/-/ready"})
"""What a load balancer asks without a token: it learns a word, no data."""

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
    takes an action's id and `retry` or `drop`, and says whether there was something to change.
    """

    overview: Callable[[], str]
    reload: Callable[[], Awaitable[str]]
    change_outbox: Callable[[int, str], Awaitable[bool]]


def build_app(health: Health, doors: Doors, *, token: Secret | None) -> ASGIApp:
    """The application; with a `token`, every path but OPEN_PATHS asks for it."""

    async def front(_: Request) -> Response:
        return PlainTextResponse(doors.overview())

    async def alive(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        if health.waiting:
            return PlainTextResponse(f"not ready: {', '.join(sorted(health.waiting))}\n", 503)
        return PlainTextResponse("ready\n")

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

    routes = [
        Route("/", front),
        Route("/healthz", alive),
        Route("/-/healthy", alive),
        Route("/readyz", ready),
        Route("/-/ready", ready),
        Route("/metrics", metrics),
        Route("/-/reload", read_again, methods=["POST", "PUT"]),
        Route("/-/outbox/{id:int}/{what:str}", change_outbox, methods=["POST"]),
    ]
    gates = [Middleware(_TokenGate, token=token)] if token else []
    return Starlette(routes=routes, middleware=[Middleware(_PageGate), *gates])


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
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            # RFC 9110, 11.1: the scheme's name is read in any case.
            scheme, _, given = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
            if not hmac.compare_digest(given, self._expected) or scheme.lower() != b"bearer":
                refusal = PlainTextResponse(
                    "a token is needed: Authorization: Bearer …\n", 401, {"WWW-Authenticate": "Bearer"}
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
