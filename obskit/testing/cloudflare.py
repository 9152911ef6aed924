"""FakeCloudflare: the ground of Cloudflare's API: accounts, tokens with permissions, envelopes, errors with codes.

What it answers is added by parts, which bring their routes:

    with FakeCloudflare() as cloudflare:
        telemetry = FakeTelemetry(cloudflare)
        cloudflare.permissions = frozenset({"Queues Read"})     # the token may do this much from here on
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from obskit.clock import Clock
from obskit.testing.http import Answer, Failure, FakeServer, Received

ACCOUNT: Final = "023e105f4ecef8ad9ca31a8372d0c353"
TOKEN: Final = "fake-cloudflare-api-token"
ROOT: Final = "/client/v4"
ALL: Final = "*"
"""The permission that stands for every other."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as a route sees it. `parts` are the groups of the route's pattern; `body` is None or what JSON said."""

    parts: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Route:
    """`pattern` is a regular expression over the path after `/accounts/<id>` (or after `/client/v4` with `bare`).

    One of `permissions` is enough. `answer` gives the `result` of the envelope, or a whole Answer; it may raise DeniedError.
    """

    method: str
    pattern: str
    permissions: frozenset[str]
    answer: Callable[[Asked], Any]
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """A result that comes with `result_info`."""

    rows: Any
    info: Mapping[str, Any] = field(default_factory=dict)


class DeniedError(Exception):
    """The request fails with this status and this error in the envelope."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class FakeCloudflare(FakeServer):
    """One account. `permissions` is what the token may do; {ALL} at first."""

    def __init__(self, clock: Clock | None = None, *, account: str = ACCOUNT, token: str = TOKEN) -> None:
        self.account = account
        self.token = token
        self.permissions: frozenset[str] = frozenset({ALL})
        self._routes: list[Route] = []
        super().__init__(clock)

    @property
    def url(self) -> str:
        """What goes into the collector's `url`."""
        return self.base_url + ROOT

    def serve(self, *routes: Route) -> None:
        """Answer these from now on."""
        self._routes += routes

    def may(self, permissions: frozenset[str]) -> bool:
        """Whether the token has one of them."""
        return ALL in self.permissions or bool(self.permissions & permissions)

    def now_ms(self) -> int:
        """The service's own time (public for the parts)."""
        return super().now_ms()

    def answer(self, request: Received) -> Answer:
        """By the first route that fits."""
        url = urlsplit(request.path)
        try:
            route, parts = self._found(request.method, url.path)
            self._check(request, route)
            said = route.answer(Asked(parts, dict(parse_qsl(url.query)), _json(request.body), request.headers))
        except DeniedError as denied:
            return enveloped(None, status=denied.status, errors=[{"code": denied.code, "message": denied.message}])
        if isinstance(said, Answer):
            return said
        if isinstance(said, Listed):
            return enveloped(said.rows, result_info=said.info)
        return enveloped(said)

    def fail(self, request: Received, failure: Failure) -> Answer:
        """Planned failures come in the envelope; `error` is `code message`."""
        if failure.body is None:
            code, _, message = failure.error.partition(" ")
            error = {"code": int(code) if code.isdigit() else 10013, "message": message or "unknown error"}
            answer = enveloped(None, status=failure.status, errors=[error])
            retry = {} if failure.retry_after is None else {"Retry-After": str(failure.retry_after)}
            return Answer(answer.status, answer.body, headers=retry)
        return super().fail(request, failure)

    def _found(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        root = f"{ROOT}/accounts/{self.account}"
        for route in self._routes:
            match = re.fullmatch((ROOT if route.bare else root) + route.pattern, path)
            if match is not None and route.method == method:
                return route, match.groupdict()
        raise DeniedError(404, 7003, f"Could not route to {path}, perhaps your object identifier is invalid?")

    def _check(self, request: Received, route: Route) -> None:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            raise DeniedError(401, 10000, "Authentication error")
        if not self.may(route.permissions):
            raise DeniedError(403, 10000, "Authentication error")


def enveloped(
    result: Any,
    *,
    status: int = 200,
    errors: list[dict[str, Any]] | None = None,
    result_info: Mapping[str, Any] | None = None,
) -> Answer:
    """An answer of the REST API; with errors `success` is false, whatever the status."""
    whole = {"success": not errors, "errors": errors or [], "messages": [], "result": result}
    if result_info is not None:
        whole["result_info"] = dict(result_info)
    return Answer(status, json.dumps(whole).encode())


def _json(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        raise DeniedError(400, 10026, "could not parse the body as JSON") from None
