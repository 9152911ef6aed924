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


@dataclass(slots=True)
class Health:
    """What the daemon says of itself: `waiting` holds what is not ready yet, in words."""

    waiting: set[str] = field(default_factory=set)


def build_app(
    health: Health, *, overview: Callable[[], str], reload: Callable[[], Awaitable[str]], token: Secret | None
) -> ASGIApp:
    """The application. `overview` is the front page's text; `reload` re-reads the config and returns what was wrong."""

    async def front(_: Request) -> Response:
        return PlainTextResponse(overview())

    async def alive(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        if health.waiting:
            return PlainTextResponse(f"not ready: {', '.join(sorted(health.waiting))}\n", 503)
        return PlainTextResponse("ready\n")

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    async def read_again(_: Request) -> Response:
        wrong = await reload()
        return PlainTextResponse(wrong or "reloaded\n", 500 if wrong else 200)

    routes = [
        Route("/", front),
        Route("/healthz", alive),
        Route("/-/healthy", alive),
        Route("/readyz", ready),
        Route("/-/ready", ready),
        Route("/metrics", metrics),
        Route("/-/reload", read_again, methods=["POST", "PUT"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(_TokenGate, token=token)] if token else [])


class _TokenGate:
    """Asks for `Authorization: Bearer <token>`; the comparison takes the same time whatever was sent."""

    def __init__(self, app: ASGIApp, token: Secret) -> None:
        self._app = app
        self._expected = f"Bearer {token.reveal()}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                refusal = PlainTextResponse(
                    "a token is needed: Authorization: Bearer …\n", 401, {"WWW-Authenticate": "Bearer"}
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
