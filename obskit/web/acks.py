"""What `obskit ack` asks of the daemon that has the store: somebody takes groups on, or lets go of them."""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from obskit.model.alert_matchers import AlertMatcher, parse_matcher
from obskit.routing.acks import Acks

LARGEST_BODY: Final = 65_536


def ack_routes(acks: Acks) -> list[BaseRoute]:
    """`POST /-/ack` and `/-/unack`: `group` or `matchers`, `by`, `note`; the keys of the groups that were meant."""

    async def ack(request: Request) -> Response:
        said = await _said(request)
        if isinstance(said, Response):
            return said
        group, matchers, by, note = said
        return JSONResponse({"groups": await acks.ack(group, matchers, by=by, note=note)})

    async def unack(request: Request) -> Response:
        said = await _said(request)
        if isinstance(said, Response):
            return said
        group, matchers, by, _ = said
        return JSONResponse({"groups": await acks.unack(group, matchers, by=by)})

    return [Route("/-/ack", ack, methods=["POST"]), Route("/-/unack", unack, methods=["POST"])]


async def _said(request: Request) -> tuple[str, list[AlertMatcher], str, str] | Response:
    """Which groups are meant, who says it and what with it; or why that cannot be read."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            return PlainTextResponse("too long\n", 413)
    try:
        said: Any = json.loads(body)
        group, lines, by, note = (said.get(name) for name in ("group", "matchers", "by", "note"))
        matchers = [parse_matcher(line) for line in lines or ()]
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        return PlainTextResponse(f"cannot be read: {error}\n", 400)
    texts = ["" if each is None else each for each in (group, by, note)]
    if not all(isinstance(each, str) for each in texts) or not (texts[0] or matchers):
        return PlainTextResponse("a group or matchers are needed, and texts\n", 400)
    return texts[0], matchers, texts[1][:200], texts[2][:500]
