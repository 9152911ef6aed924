"""The paths to which others push, each with its format. What becomes of a push is decided in obskit.ingest."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from obskit.ingest.delivery import Format
from obskit.ingest.reception import Push, Reception
from obskit.ingest.remote_write import RemoteWrite


def push_routes(reception: Reception) -> list[Route]:
    """One route per format."""
    return [_route(reception, "/api/v1/write", RemoteWrite())]


def _route(reception: Reception, path: str, format: Format) -> Route:
    async def push(request: Request) -> Response:
        try:
            answer = await reception.receive(format, Push(request.headers, request.stream()))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        headers = {"Content-Type": "text/plain; charset=utf-8"} if answer.text else {}
        return Response(answer.text, answer.status, {**headers, **answer.headers})

    return Route(path, push, methods=["POST"])
