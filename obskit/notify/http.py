"""What receivers that speak HTTP share: one transport, JSON in both directions, and what a status means."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from obskit import __version__
from obskit.model.actions import Outcome, OutcomeReason
from obskit.notify.base import BODY_LIMIT, NoAnswerError, Request, Response, plainer
from obskit.notify.settings import NotifierSettings, is_machine_metadata
from obskit.outbound import httpx

USER_AGENT: Final = f"obskit/{__version__}"
METADATA: Final = "it leads to a link-local or metadata address (allow_link_local: true permits that)"
_LONGEST_WAIT_S: Final = 3_600.0


class HttpTransport:
    """Requests through the daemon's one HTTP client: no redirects, one deadline for the whole exchange."""

    def __init__(self, client: httpx.AsyncClient, settings: NotifierSettings) -> None:
        self._client = client
        self._timeout_s = settings.timeout_s
        self._extensions = {} if settings.allow_link_local else {"trace": _look_where}

    async def send(self, request: Request) -> Response:
        """The answer; NoAnswerError names the kind of failure only, since messages of httpx quote URLs."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(request)
        except (TimeoutError, httpx.TimeoutException):
            raise NoAnswerError(OutcomeReason.TIMEOUT, f"no answer within {self._timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswerError(OutcomeReason.NETWORK, f"{_host(request.url)}: {type(error).__name__}") from None

    async def _exchange(self, request: Request) -> Response:
        stream = self._client.stream(
            request.method,
            request.url,
            content=request.body,
            headers=dict(request.headers),
            timeout=self._timeout_s,
            follow_redirects=False,
            extensions=self._extensions,
        )
        async with stream as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) >= BODY_LIMIT:
                    break
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Response(response.status_code, headers, bytes(body[:BODY_LIMIT]))


def _host(url: str) -> str:
    return urlsplit(url).hostname or "no host"


async def _look_where(event: str, info: Mapping[str, Any]) -> None:
    """Ends a connection that leads to this machine's link or its cloud's metadata, before anything is said on it.

    A name may stand for any address, and for another one each time it is asked for: so it is the connection that is
    looked at. (The `trace` extension of httpx.)
    """
    if event != "connection.connect_tcp.complete":
        return
    stream = info["return_value"]
    address = stream.get_extra_info("server_addr")
    if address and is_machine_metadata(str(address[0])):
        await stream.aclose()
        raise NoAnswerError(OutcomeReason.CONFIG, METADATA)


def json_request(method: str, url: str, payload: Any, **more: str) -> Request:
    """A request with a JSON body; `more` are headers, `_` in their names read as `-`."""
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT}
    return Request(method, url, body, headers | {name.replace("_", "-"): value for name, value in more.items()})


def json_object(response: Response) -> dict[str, Any]:
    """The answer's body, when it is a JSON object; else an empty one."""
    try:
        answer = json.loads(response.body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def classify_status(response: Response) -> Outcome:
    """What an HTTP status means where the vendor says nothing more exact."""
    status, detail = response.status, f"HTTP {response.status}: {response.excerpt}".rstrip(": ")
    if 200 <= status < 300:
        return Outcome.sent()
    if status == 429:
        return Outcome.retry(OutcomeReason.RATE_LIMITED, detail, after_s=retry_after_s(response))
    if status in (408, 425):
        return Outcome.retry(OutcomeReason.TIMEOUT, detail, after_s=retry_after_s(response))
    if status >= 500:
        return Outcome.retry(OutcomeReason.SERVER, detail, after_s=retry_after_s(response))
    if status in (401, 403, 407):
        return Outcome.permanent(OutcomeReason.CREDENTIAL, detail)
    if status in (404, 405, 410):
        return Outcome.permanent(OutcomeReason.DESTINATION, detail)
    if status >= 400:
        return plainer(detail)
    return Outcome.permanent(OutcomeReason.CONFIG, f"{detail} (redirects are not followed)")


def bounded_wait_s(seconds: Any) -> float | None:
    """A wait that a JSON body asks for, an hour at most; None for what is no number."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return None
    return min(max(0.0, float(seconds)), _LONGEST_WAIT_S)


def retry_after_s(response: Response) -> float | None:
    """Seconds of `Retry-After` (RFC 9110 §10.2.3, both forms), an hour at most; None when absent or unreadable.

    A date is read against the answer's own `Date`, so that no clock of ours takes part.
    """
    text = response.headers.get("retry-after", "").strip()
    try:
        seconds = float(text) if text[:1].isdigit() else _between(response.headers.get("date", ""), text)
    except ValueError:
        return None
    return min(max(0.0, seconds), _LONGEST_WAIT_S)


def _between(start: str, end: str) -> float:
    return (parsedate_to_datetime(end) - parsedate_to_datetime(start)).total_seconds()
