"""The ground of every fake service: a real HTTP server on a free loopback port, with planned failures and a log.

    with FakeWebhook() as hook:
        hook.plan(Failure(status=429, retry_after=3))    # the next request only
        hook.break_down(Failure(status=503))             # every request, until repair()
        ...
        hook.wait_for(lambda: len(hook.bodies) == 2)

What a service answers when it is well is its subclass's.
"""

from __future__ import annotations

import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Self

from obskit.clock import Clock, SystemClock

ANY: Final = ""
_LONGEST_HANG_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Failure:
    """One way to misbehave.

    `error` is the service's own name for it (its subclass knows the form); `body` replaces the whole answer.
    `drop` closes the connection without an answer, `hang_s` lets the caller wait that long first; `cut` resets it in
    the middle of the body. With `after` the request is carried out before it fails, so that its answer is what gets
    lost. `retry_after` is in seconds, or a date; `headers` are more headers.
    """

    status: int = 500
    error: str = ""
    body: str | None = None
    retry_after: int | str | None = None
    drop: bool = False
    cut: bool = False
    hang_s: float = 0.0
    after: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came in. `t_ms` is Unix time, header names are in lower case."""

    t_ms: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it goes out. With `cut_at` the connection breaks after so many bytes of its body."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


class FakeServer(ABC):
    """A service. Subclasses answer; `route` names what a plan may fail (by default the path)."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.requests: list[Received] = []
        self._clock = clock or SystemClock()
        self._plans: defaultdict[str, deque[Failure]] = defaultdict(deque)
        self._broken: dict[str, Failure] = {}
        self._changed = threading.Condition(threading.RLock())
        self._closing = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(poll_interval=0.02), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; whoever hangs is let go."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:<port>`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def plan(self, *failures: Failure, route: str = ANY) -> None:
        """Let the next requests of a route fail, one each, in this order."""
        with self._changed:
            self._plans[route].extend(failures)

    def break_down(self, failure: Failure, route: str = ANY) -> None:
        """Let every request of a route fail until `repair`."""
        with self._changed:
            self._broken[route] = failure

    def repair(self) -> None:
        """Forget every plan: all is well again."""
        with self._changed:
            self._plans.clear()
            self._broken.clear()

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
        """Wait until `condition` holds, looking after each request; whether it came to hold in time."""
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)

    def route(self, request: Received) -> str:
        """The name under which failures of this request are planned."""
        return request.path.partition("?")[0]

    @abstractmethod
    def answer(self, request: Received) -> Answer:
        """What the service does and says when it is well."""

    def takes(self, _method: str, _path: str, size: int) -> int:
        """How many bytes of a request's body are read: with fewer than `size` the connection breaks then."""
        return size

    def fail(self, _request: Received, failure: Failure) -> Answer:
        """What the service says when it is not."""
        headers = {} if failure.retry_after is None else {"Retry-After": str(failure.retry_after)}
        body = failure.error if failure.body is None else failure.body
        return Answer(failure.status, body.encode(), "text/plain; charset=utf-8", headers)

    def handle(self, request: Received) -> Answer | None:
        """The answer to one request by plan and state; None closes the connection without one."""
        with self._changed:
            self.requests.append(request)
            failure = self._next_failure(self.route(request))
            answer = self.answer(request) if failure is None or failure.after else None
            self._changed.notify_all()
        if failure is None:
            return answer
        self._closing.wait(min(failure.hang_s, _LONGEST_HANG_S))
        if failure.drop:
            return None
        answer = self.fail(request, failure)
        return replace(answer, headers={**answer.headers, **failure.headers}, cut=failure.cut)

    def now_ms(self) -> int:
        """The service's own time."""
        return self._clock.now_ms()

    def _next_failure(self, route: str) -> Failure | None:
        for name in (route, ANY):
            if self._plans[name]:
                return self._plans[name].popleft()
        return self._broken.get(route) or self._broken.get(ANY)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, fake: FakeServer) -> None:
        self.fake = fake
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, *_: object) -> None:
        """A caller that went away before its answer is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        takes = self.server.fake.takes(self.command, self.path, size)
        body = self.rfile.read(takes)
        if takes < size:
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(self.server.fake.now_ms(), self.command, self.path, headers, body)
        answer = self.server.fake.handle(received)
        if answer is None:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in {"Content-Type": answer.content_type, **answer.headers}.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: len(answer.body) // 2] if answer.cut else answer.body)
        if answer.cut:
            self._reset()

    def _reset(self) -> None:
        self.wfile.flush()
        # A socket that is closed while it does not linger sends RST, not FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    do_GET = do_POST  # noqa: N815 - the name http.server looks for
    do_PUT = do_POST  # noqa: N815 - as above
    do_PATCH = do_POST  # noqa: N815 - as above
    do_DELETE = do_POST  # noqa: N815 - as above
    do_HEAD = do_POST  # noqa: N815 - as above

    def date_time_string(self, timestamp: float | None = None) -> str:
        """`Date`, by the service's own clock."""
        return formatdate(self.server.fake.now_ms() / 1000 if timestamp is None else timestamp, usegmt=True)

    def log_message(self, *_: object) -> None:
        """The request log is `FakeServer.requests`."""
