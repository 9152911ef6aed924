"""Which names this server may be asked by while it asks for no token.

A page in a browser may make its own name resolve to 127.0.0.1 (DNS rebinding): then it is of the same origin as we are,
and reads whatever is answered. What it cannot change is the `Host` that the browser sends.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_SHOWN: Final = 100


class HostGate:
    """Refuses requests to a name that is neither this machine's own nor `allowed`; paths with a signature are exempt."""

    def __init__(self, app: ASGIApp, allowed: Collection[str], signed: tuple[str, ...]) -> None:
        self._app = app
        self._allowed = frozenset(name.lower().rstrip(".") for name in allowed)
        self._signed = signed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(self._signed):
            for key, value in scope["headers"]:
                name = host_name(value.decode("latin-1")) if key == b"host" else "localhost"
                if not (is_loopback(name) or name in self._allowed):
                    shown = name[:_SHOWN] if name.isprintable() else "?"
                    said = f'not for the host "{shown}": add it to web.allowed_hosts, or set web.token\n'
                    await PlainTextResponse(said, 403)(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def host_name(host: str) -> str:
    """The name or address in a `Host` header: in lower case, without port, brackets and the root's dot."""
    text = host.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


def is_loopback(name: str) -> bool:
    """Whether a name can only mean this machine (RFC 6761, 6.3, has the names below `localhost`)."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
