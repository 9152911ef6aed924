"""VendorApi: an HTTP API of a vendor's, asked within limits of time and size; what goes wrong has a reason and a fix.

Every request is booked with its price, so that what a collector costs can be read off. No retries: the next poll is one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final

from obskit.collect.books import Book
from obskit.errors import CollectorError
from obskit.model.settings import Secret
from obskit.outbound import httpx, trust

LARGEST: Final = 16 * 1024 * 1024
"""Bytes of an answer, counted after unpacking."""
REFUSED_WAIT_S: Final = 900.0
"""A token that is refused is not tried again before: vendors lock out who keeps asking, and only a person can mend it."""
_EXCERPT: Final = 200
_SHORTEST_SECRET: Final = 8
"""Shorter words of an authorization are its scheme."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `path` follows the base URL; `body` is sent as JSON, or as it is when it is bytes.

    `price` is what the vendor takes for it, in dollars. A status in `expected` is an answer, whatever it is.
    """

    path: str
    method: str = "GET"
    params: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    price: float = 0.0
    expected: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whole and unpacked. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self, shown: str) -> Any:
        """The body read as JSON; CollectorError (bad_data) with `shown` when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise CollectorError(
                f"{shown}: HTTP {self.status}, not JSON: {_excerpt(self.body)}", reason="bad_data"
            ) from None


class VendorApi:
    """One API of one vendor.

    `base` is its URL without a secret, `authorization` the whole value of that header (APIs of one vendor may differ:
    `FlyV1 …` and `Bearer …`), `fix` what to do when it is refused. `book` counts the requests.
    """

    def __init__(
        self,
        base: str,
        *,
        authorization: Secret | None = None,
        headers: Mapping[str, str] | None = None,
        fix: str = "check the token",
        timeout_s: float = 10.0,
        largest: int = LARGEST,
    ) -> None:
        self._base = base.rstrip("/")
        self._authorization = authorization
        self._headers = dict(headers or {})
        self._fix = fix
        self._timeout_s = timeout_s
        self._largest = largest
        self._client: httpx.AsyncClient | None = None

    async def json(self, ask: Ask, book: Book | None = None) -> Any:
        """The answer's JSON. CollectorError when there is none, or a status that is not 2xx and not expected."""
        return (await self.ask(ask, book)).json(self.shown(ask))

    async def ask(self, ask: Ask, book: Book | None = None) -> Reply:
        """One request, and its answer. Raises CollectorError as `json` does."""
        if book is not None:
            book.asked(ask.price)
        try:
            reply = await self._send(ask)
        except httpx.TimeoutException:
            raise CollectorError(
                f"{self.shown(ask)}: no answer within {self._timeout_s:g} s", reason="timeout"
            ) from None
        except httpx.DecodingError:
            raise CollectorError(f"{self.shown(ask)}: the answer cannot be unpacked", reason="bad_data") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CollectorError(f"{self.shown(ask)}: {_what(error)}", reason="network") from None
        if reply.status // 100 == 2 or reply.status in ask.expected:
            return reply
        raise self._failure(ask, reply)

    async def close(self) -> None:
        """Let go of the connections; the next request opens them anew."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def shown(self, ask: Ask) -> str:
        """The request for a person: without its query, which may hold what nobody else should see."""
        return f"{ask.method} {self._base}{ask.path}"

    async def _send(self, ask: Ask) -> Reply:
        if self._client is None:
            self._client = httpx.AsyncClient(verify=trust(), timeout=self._timeout_s, follow_redirects=False)
        headers = {"Accept": "application/json", **self._headers, **ask.headers}
        if self._authorization is not None:
            headers["Authorization"] = self._authorization.reveal()
        raw = isinstance(ask.body, bytes)
        content = ask.body if raw or ask.body is None else json.dumps(ask.body).encode()
        if content is not None and not raw:
            headers["Content-Type"] = "application/json"
        url = self._base + ask.path
        async with self._client.stream(
            ask.method, url, params=dict(ask.params) or None, content=content, headers=headers
        ) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > self._largest:
                    limit = f"{self.shown(ask)}: the answer is larger than {self._largest >> 20} MB"
                    raise CollectorError(limit, reason="bad_data")
            return Reply(response.status_code, response.headers, bytes(body))

    def _failure(self, ask: Ask, reply: Reply) -> CollectorError:
        told = f"{self.shown(ask)}: HTTP {reply.status}"
        excerpt = self._without_secret(_excerpt(reply.body))
        said = f"{told}: {excerpt}" if excerpt else told
        wait_s = retry_after_s(reply.headers)
        if reply.status in (401, 403):
            return CollectorError(f"{said} ({self._fix})", reason="auth", retry_after=wait_s or REFUSED_WAIT_S)
        if reply.status == 429:
            return CollectorError(said, reason="rate_limited", retry_after=wait_s)
        if reply.status in (404, 410):
            return CollectorError(f"{said} (is it still there, under this name?)", reason="missing", retry_after=wait_s)
        reason = "server" if reply.status >= 500 else "bad_data"
        return CollectorError(said, reason=reason, retry_after=wait_s)

    def _without_secret(self, text: str) -> str:
        """Some services repeat what they refuse."""
        words = self._authorization.reveal().split() if self._authorization else []
        for secret in (word for word in words if len(word) >= _SHORTEST_SECRET):
            text = text.replace(secret, "<secret>")
        return text


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for, as a number or a date (RFC 9110, 10.2.3); None when it says nothing.

    A date is read against the answer's own `Date`, so that no clock of ours takes part.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        ahead = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError):
        return None
    return max(0.0, ahead.total_seconds())


def _excerpt(body: bytes) -> str:
    """The beginning of a body on one line, without characters that a terminal obeys."""
    text = " ".join(body[: _EXCERPT * 4].decode("utf-8", "replace").split())
    return "".join(character for character in text if character.isprintable())[:_EXCERPT]


def _what(error: Exception) -> str:
    return str(error) or type(error).__name__
