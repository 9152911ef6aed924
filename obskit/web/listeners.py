"""`/in/…` and `/ping/…`: what services push to collectors. Who is there is checked by the collector; here a request is
read within limits, and none is lost: what comes too early, or while the disk is full, is asked to come again.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from obskit.collect.listening import PREFIXES, Call, Listener, Said
from obskit.errors import StoreError

if TYPE_CHECKING:
    from obskit.web.app import Health

log = logging.getLogger(__name__)

LARGEST: Final = 16 * 1024 * 1024
"""Bytes of a body, counted as it comes and once more unpacked."""
METHODS: Final = ("GET", "HEAD", "POST", "PUT")
_GZIP: Final = 16 + zlib.MAX_WBITS


class _TooLargeError(Exception):
    pass


def listener_routes(find: Callable[[str], tuple[Listener, str] | None], health: Health) -> list[Route]:
    """A route for each prefix."""

    async def receive(request: Request) -> Response:
        if health.waiting:
            return _answer(Said.later(1))
        found = find(request.url.path)
        if found is None:
            return PlainTextResponse("nobody listens here\n", 404)
        listener, rest = found
        try:
            body = await _body(request)
            said = await listener.receive(Call(request.method, rest, request.headers, dict(request.query_params), body))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except _TooLargeError:
            return PlainTextResponse(f"larger than {LARGEST} bytes\n", 413)
        except zlib.error:
            return PlainTextResponse("the body is not gzip\n", 400)
        except StoreError as error:
            log.warning("what is pushed cannot be stored: path=%s error=%s", listener.paths[0], error)
            return _answer(Said.later())
        return _answer(said)

    return [Route(f"{prefix}{{rest:path}}", receive, methods=list(METHODS)) for prefix in PREFIXES]


def _answer(said: Said) -> Response:
    return Response(said.text, said.status, {"Content-Type": "text/plain; charset=utf-8", **said.headers})


async def _body(request: Request) -> bytes:
    """The whole body, unpacked. A bomb is found out before it has grown."""
    packed = request.headers.get("content-encoding", "").strip().lower() == "gzip"
    unpacker = _Unpacker() if packed else None
    body = bytearray()
    async for chunk in request.stream():
        body += unpacker.unpacked(chunk, LARGEST - len(body) + 1) if unpacker else chunk
        if len(body) > LARGEST:
            raise _TooLargeError
    if unpacker:
        unpacker.end()
    return bytes(body)


class _Unpacker:
    """gzip, of which several may follow each other (RFC 1952, 2.2)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._begun = False

    def unpacked(self, chunk: bytes, most: int) -> bytes:
        """What a chunk holds, `most` bytes of it."""
        found = bytearray()
        while chunk and len(found) < most:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP)
            found += self._member.decompress(chunk, most - len(found))
            chunk = self._member.unused_data
            self._begun = True
        return bytes(found)

    def end(self) -> None:
        """zlib.error when something was cut off."""
        if self._begun and not self._member.eof:
            raise zlib.error("cut off")
