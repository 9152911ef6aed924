"""The HTTP client library, imported without its command line, and whom our requests trust.

`import httpx` pulls rich, pygments and click when they are installed (7 MB resident), only to offer `httpx` as a
command. Everything here that sends requests imports it from this module.
"""

from __future__ import annotations

import logging
import ssl
import sys
from collections.abc import Sequence
from functools import cache, cached_property
from importlib.util import find_spec
from types import ModuleType
from typing import Any

if "httpx" not in sys.modules:
    _command_line: Any = ModuleType("httpx._main")
    _command_line.main = lambda: None  # httpx names it on import, so it must be a function
    sys.modules["httpx._main"] = _command_line

import httpx

if find_spec("sniffio") is None:
    # httpcore looks for this package with every lock and every request, and finds once more that it is not there: five
    # searches of the whole path per request, a fifth of what one costs. (httpcore/_synchronization.py)
    sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]  # None: an import ends at once (docs of sys.modules)

# httpx logs each request's URL at INFO, and a URL may hold a token.
logging.getLogger("httpx").setLevel(logging.WARNING)

__all__ = ["httpx", "trust"]


@cache
def trust() -> ssl.SSLContext:
    """httpx's default trust (SSL_CERT_FILE, SSL_CERT_DIR or certifi), for `httpx.AsyncClient(verify=trust())`.

    One for the process, and its certificates are read at the first handshake: they take 20 ms, and 1.7 MB for the first
    context, 0.9 MB for each further one. A daemon that speaks plain HTTP alone never reads them.
    """
    return _TrustWhenNeeded(ssl.PROTOCOL_TLS_CLIENT)


class _TrustWhenNeeded(ssl.SSLContext):
    """Stands for the context that httpx would have made. HTTP clients of asyncio ask a context for these two only."""

    _alpn: Sequence[str] = ()

    def set_alpn_protocols(self, alpn_protocols: Sequence[str]) -> None:  # type: ignore[override]  # takes any sequence
        self._alpn = alpn_protocols
        super().set_alpn_protocols(list(alpn_protocols))

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        self._context.set_alpn_protocols(list(self._alpn))
        return self._context.wrap_bio(*args, **kwargs)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()
