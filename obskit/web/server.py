"""Serves the application with uvicorn inside our own loop: our socket, our signals, our shutdown."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Final

from starlette.types import ASGIApp

from obskit.clock import SystemClock
from obskit.errors import ConfigError
from obskit.model.problems import Place, Problem

_UNUSED: Final = {"uvicorn.main": ("Server", "main", "run"), "logging.config": (), "configparser": ("RawConfigParser",)}
"""What uvicorn imports and we have no use for, with the names that it takes from there: its command line with supervisors
and multiprocessing, and its logging. 1.1 MB resident."""


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    """Empty modules for those that are not loaded, as long as uvicorn is being imported."""
    absent = [name for name in _UNUSED if name not in sys.modules]
    for name in absent:
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(dict.fromkeys(_UNUSED[name]))
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


with _stand_ins():
    from uvicorn.config import Config
    from uvicorn.server import Server

_TICK_S: Final = 1.0
"""How often the Date header is renewed, which counts seconds. uvicorn's own ten looks a second cost 0.2 % of a core."""


class _Server(Server):
    """uvicorn without its signal handlers: the daemon decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        clock = SystemClock()
        while not await self.on_tick(0):
            await clock.sleep(_TICK_S)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; ConfigError in words when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ConfigError([Problem(Place("web.listen"), "cannot-listen", _refusal(host, port, error))]) from error


def _refusal(host: str, port: int, error: OSError) -> str:
    # `create_server` puts the address into its text once more; what a name lookup says is text already.
    named = isinstance(error, socket.gaierror) or error.errno is None
    reason = error.strerror or str(error) if named else os.strerror(error.errno or 0)
    hint = " (another obskit watch? see --listen)" if error.errno == errno.EADDRINUSE else ""
    return f"cannot listen on {host}:{port}: {reason}{hint}"


def address_of(listener: socket.socket) -> str:
    """`127.0.0.1:9797`, `[::1]:9797`: where it listens, the port the system gave it included."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Serve until cancelled; open requests get two seconds to end."""
    config = Config(app, log_config=None, access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=2)
    server = _Server(config)
    try:
        await server.serve(sockets=[listener])
    finally:
        listener.close()
