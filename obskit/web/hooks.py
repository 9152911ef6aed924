"""`/hooks/<kind>`: where services tell us things by webhooks of their own. They prove themselves by signatures, which
the receiver's kind checks; here it is only made sure that none is lost: what comes too early is asked to come again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from obskit.errors import StoreError
from obskit.notify.base import Hook

if TYPE_CHECKING:
    from obskit.web.app import Health

log = logging.getLogger(__name__)

PREFIX: Final = "/hooks/"
LARGEST: Final = 1_048_576


def hook_route(find: Callable[[str], Hook | None], health: Health) -> Route:
    """The route of all kinds."""

    async def receive(request: Request) -> Response:
        if health.waiting:
            return PlainTextResponse("not ready\n", 503)
        hook = find(request.path_params["kind"])
        if hook is None:
            return PlainTextResponse("nobody listens here\n", 404)
        try:
            body = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        if body is None:
            return PlainTextResponse("too large\n", 413)
        try:
            return Response(status_code=await hook.receive(request.headers, body))
        except StoreError as error:
            log.warning("a webhook cannot be taken: %s", error)
            return PlainTextResponse("not ready\n", 503)

    return Route(PREFIX + "{kind:str}", receive, methods=["POST"])


async def _body(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            return None
    return bytes(body)
