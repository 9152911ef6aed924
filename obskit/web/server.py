"""Serves the application with uvicorn inside our own loop: our socket, our signals, our shutdown."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from obskit.errors import ConfigError
from obskit.model.problems import Place, Problem


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the daemon decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; ConfigError in words when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        message = f"cannot listen on {host}:{port}: {error.strerror or error} (another obskit watch? see --listen)"
        raise ConfigError([Problem(Place("web.listen"), "cannot-listen", message)]) from error


async def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Serve until cancelled; open requests get two seconds to end."""
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2)
    server = _Server(config)
    try:
        await server.serve(sockets=[listener])
    finally:
        listener.close()
