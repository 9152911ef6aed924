"""A real HTTP server on loopback that answers as a test tells it to."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = "text/plain; version=0.0.4; charset=utf-8"
Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Pages:
    """What is served at each path, and the headers each request came with (newest last)."""

    port: int
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def serve(
        self,
        body: str | bytes,
        path: str = "/metrics",
        *,
        content_type: str | None = TEXT,
        status: int = 200,
        **more: str,
    ) -> None:
        """Answer `path` with a body from now on; `more` are headers, `_` for `-`."""
        content = body.encode() if isinstance(body, str) else body

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            if content_type is not None:
                request.send_header("Content-Type", content_type)
            for name, value in more.items():
                request.send_header(name.replace("_", "-"), value)
            request.send_header("Content-Length", str(len(content)))
            request.end_headers()
            request.wfile.write(content)

        self.answers[path] = answer

    def serve_endless(self, piece: bytes, path: str = "/metrics") -> None:
        """Answer with `piece` again and again, until nobody listens."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.close_connection = True
            request.send_response(200)
            request.send_header("Content-Type", TEXT)
            request.end_headers()
            while True:
                request.wfile.write(piece)

        self.answers[path] = answer

    def serve_nothing(self, path: str = "/metrics") -> None:
        """Take the request and never answer."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.close_connection = True
            self.released.wait()

        self.answers[path] = answer


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Pages]:
    """A server for the time of the block; over TLS with a context."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            pages.requests.append((self.path, dict(self.headers)))
            answer = pages.answers.get(self.path.partition("?")[0])
            with suppress(ConnectionError):
                if answer is None:
                    self.send_error(404)
                else:
                    answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    pages = Pages(server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield pages
    finally:
        pages.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
