"""The paths to which others push, each with its format. What becomes of a push is decided in obskit.ingest."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from obskit.ingest.delivery import Format
from obskit.ingest.reception import Push, Reception


def push_routes(reception: Reception) -> list[Route]:
    """One route per format."""
    return [
        _route(reception, "/api/v1/write", _remote_write),
        _route(reception, "/loki/api/v1/push", _loki),
    ]


def _remote_write() -> Format:
    from obskit.ingest.remote_write import RemoteWrite  # noqa: PLC0415 - most daemons are never pushed to

    return RemoteWrite()


def _loki() -> Format:
    from obskit.ingest.loki import LokiPush  # noqa: PLC0415 - as above

    return LokiPush()


def _route(reception: Reception, path: str, build: Callable[[], Format]) -> Route:
    format_ = cache(build)  # made at the first push, and kept: it may remember what pushes have in common

    async def push(request: Request) -> Response:
        try:
            answer = await reception.receive(format_(), Push(request.headers, request.stream()))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        headers = {"Content-Type": "text/plain; charset=utf-8"} if answer.text else {}
        return Response(answer.text, answer.status, {**headers, **answer.headers})

    return Route(path, push, methods=["POST"])
