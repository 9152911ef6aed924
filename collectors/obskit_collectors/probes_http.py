"""One attempt over HTTP: connect where the name leads, follow redirects, then hold the answer against what is wanted.

Each request goes to an address we resolved, with `Host` and SNI as the URL says: the time of each phase is known, and a
name or a redirect cannot lead to an address that is refused.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any, Final

from obskit.clock import Clock
from obskit.model.patterns import anchored, compile_pattern
from obskit.outbound import httpx
from obskit_collectors.probes_addresses import Address, Resolver, note_address
from obskit_collectors.probes_certificates import context_of, note_tls, refused
from obskit_collectors.probes_found import Cause, Found, ProbeError
from obskit_collectors.probes_settings import HttpProbe

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of a body that are looked at; what follows is read by nobody."""
_MOST_REDIRECTS: Final = 10
_PHASES: Final = ("resolve", "connect", "tls", "processing", "transfer")
_EXCERPT: Final = 120
_DEPTH: Final = 10
_SHORTEST_SECRET: Final = 8
"""Shorter words of a header are its scheme, or a plain value."""
_ENDS: Final = {
    "connection.connect_tcp": "connect",
    "connection.start_tls": "tls",
}


class _Trace:
    """httpcore's events of one request, as phases. `processing` runs from the request's start to the answer's headers."""

    def __init__(self, clock: Clock, found: Found) -> None:
        self._clock = clock
        self._found = found
        self._started: dict[str, float] = {}
        self.tls_begun = False

    async def __call__(self, event: str, info: Any) -> None:  # noqa: ARG002 - httpcore's shape
        name, _, moment = event.rpartition(".")
        now = self._clock.monotonic()
        if moment == "started":
            self._started[name] = now
            self.tls_begun |= name == "connection.start_tls"
        elif phase := _ENDS.get(name):
            self._found.spent("http", phase, now - self._started.get(name, now))
        elif name == "http11.receive_response_headers":
            self._found.spent("http", "processing", now - self._started.get("http11.send_request_headers", now))


class HttpProber:
    """Asks for one page."""

    def __init__(self, probe: HttpProbe, resolver: Resolver, clock: Clock, timeout_s: float) -> None:
        self._probe = probe
        self._resolver = resolver
        self._clock = clock
        self._timeout_s = timeout_s

    async def __call__(self, found: Found) -> None:
        """Readings go into `found`, whatever happens; ProbeError says what is wrong."""
        for phase in _PHASES:
            found.spent("http", phase, 0.0)
        try:
            await self._ask(found)
        except ProbeError as error:
            raise ProbeError(error.cause, self._without_secrets(str(error))) from None

    async def _ask(self, found: Found) -> None:
        started = self._clock.monotonic()
        context = context_of(self._probe.tls)
        timeout = httpx.Timeout(self._timeout_s)
        # No proxy of the environment: it would be probed instead. No connection is kept: each probe makes its own.
        async with httpx.AsyncClient(verify=context, timeout=timeout, trust_env=False) as client:
            status = await self._follow(client, found)
        if not self._probe.is_good(status):
            raise ProbeError(Cause.STATUS, f"HTTP {status} (wanted: {', '.join(self._probe.status)})")
        took_ms = (self._clock.monotonic() - started) * 1000
        if self._probe.slower_than is not None and took_ms > self._probe.slower_than:
            raise ProbeError(Cause.SLOW, f"the answer took {took_ms:.0f} ms (limit {self._probe.slower_than} ms)")

    def _without_secrets(self, words: str) -> str:
        """Some pages repeat what they were sent."""
        sent = [value.reveal() for value in self._probe.headers.values()]
        sent += [value for _, value in httpx.URL(self._probe.url.reveal()).params.multi_items()]
        for secret in (part for value in sent for part in value.split() if len(part) >= _SHORTEST_SECRET):
            words = words.replace(secret, "<secret>")
        return words

    async def _follow(self, client: httpx.AsyncClient, found: Found) -> int:
        """The status of the last answer; its body has been looked at if the status is good."""
        url, method, count = httpx.URL(self._probe.url.reveal()), self._probe.method, 0
        first = url
        while True:
            response = await self._send(client, method, url, found, same_origin=_origin(url) == _origin(first))
            try:
                onward = response.headers.get("location") if response.status_code in _MOVED else None
                if onward is None or not self._probe.redirects:
                    await self._judge(response, count, found)
                    return response.status_code
            finally:
                await response.aclose()
            url = _joined(url, onward)
            method = "GET" if response.status_code in (301, 302, 303) and method != "HEAD" else method
            count += 1
            if count > _MOST_REDIRECTS:
                raise ProbeError(Cause.REDIRECT, f"more than {_MOST_REDIRECTS} redirects")

    async def _send(
        self, client: httpx.AsyncClient, method: str, url: httpx.URL, found: Found, *, same_origin: bool
    ) -> httpx.Response:
        """The answer of the first address that can be connected to; its body is still to be read."""
        addresses = await self._resolver.resolve(url.host, self._probe.ip, found, "http")
        trouble: httpx.HTTPError | None = None
        for address in addresses:
            trace = _Trace(self._clock, found)
            request = self._request(client, method, url, address, same_origin=same_origin)
            request.extensions["trace"] = trace
            request.extensions["timeout"]["connect"] = self._timeout_s / len(addresses)
            try:
                response = await client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                trouble = error
                if trace.tls_begun:
                    raise await self._no_tls(error, url, address, found) from None
                continue
            except httpx.TimeoutException:
                raise ProbeError(Cause.TIMEOUT, f"no answer within {self._timeout_s:g} s") from None
            except httpx.HTTPError as error:
                raise ProbeError(Cause.PROTOCOL, f"broken answer: {cause_of(error)}") from None
            self._note(response, url, address, found)
            return response
        if isinstance(trouble, httpx.ConnectTimeout):
            raise ProbeError(Cause.TIMEOUT, f"{url.netloc.decode()}: no connection within {self._timeout_s:g} s")
        raise ProbeError(Cause.CONNECT, f"{url.netloc.decode()}: cannot connect: {cause_of(trouble)}")

    def _request(
        self, client: httpx.AsyncClient, method: str, url: httpx.URL, address: Address, *, same_origin: bool
    ) -> httpx.Request:
        """Headers of ours go to the origin that was configured only: a redirect must not carry a token away."""
        own = {name: value.reveal() for name, value in self._probe.headers.items()} if same_origin else {}
        headers = {"User-Agent": "obskit", "Accept": "*/*", "Accept-Encoding": "identity", **own}
        if not any(name.lower() == "host" for name in own):
            headers["Host"] = url.netloc.decode()
        request = client.build_request(
            method,
            url.copy_with(host=str(address)),
            headers=headers,
            content=self._probe.body.encode() if self._probe.body and method == self._probe.method else None,
        )
        request.extensions["sni_hostname"] = self._probe.tls.server_name or url.host
        return request

    async def _no_tls(self, error: BaseException, url: httpx.URL, address: Address, found: Found) -> ProbeError:
        name = self._probe.tls.server_name or url.host
        for below in _chain(error):
            if isinstance(below, ssl.SSLCertVerificationError):
                return await refused(below, name, (address, url.port or 443), found)
        if isinstance(error, httpx.TimeoutException):
            return ProbeError(Cause.TIMEOUT, f"{url.host}: no TLS handshake within {self._timeout_s:g} s")
        return ProbeError(Cause.TLS, f"{url.host}: no TLS: {cause_of(error)}")

    def _note(self, response: httpx.Response, url: httpx.URL, address: Address, found: Found) -> None:
        tls = response.extensions["network_stream"].get_extra_info("ssl_object")
        # A redirect is followed by another answer: the last one's readings count.
        found.readings = [reading for reading in found.readings if not reading[0].startswith(_LAST)]
        note_address(address, found)
        found.add("probe_http_status_code", response.status_code)
        found.add("probe_http_ssl", 1.0 if url.scheme == "https" else 0.0)
        found.add("probe_http_version", float(response.http_version.removeprefix("HTTP/")))
        if tls is not None:
            note_tls(tls, found)

    async def _judge(self, response: httpx.Response, redirects: int, found: Found) -> None:
        """Read the body, note what there is, and hold it against what is wanted."""
        with found.phase("http", "transfer"):
            body = await self._body(response)
        found.add("probe_http_redirects", redirects)
        found.add("probe_http_content_length", _announced(response))
        found.add("probe_http_uncompressed_body_length", len(body))
        modified = _date(response.headers.get("last-modified", ""))
        if modified is not None:
            found.add("probe_http_last_modified_timestamp_seconds", modified)
        trouble = next(self._troubles(response, body), None) if self._probe.is_good(response.status_code) else None
        # blackbox_exporter's name for a body or a header that is not as wanted.
        found.add("probe_failed_due_to_regex", 1.0 if trouble and trouble.cause in (Cause.BODY, Cause.HEADER) else 0.0)
        if trouble:
            raise trouble

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        try:
            async for chunk in response.aiter_raw():
                body += chunk[: LARGEST - len(body)]
                if len(body) >= LARGEST:
                    break
        except httpx.TimeoutException:
            raise ProbeError(Cause.TIMEOUT, f"the body did not come within {self._timeout_s:g} s") from None
        except httpx.HTTPError as error:
            raise ProbeError(Cause.PROTOCOL, f"the body broke off: {cause_of(error)}") from None
        return bytes(body)

    def _troubles(self, response: httpx.Response, body: bytes) -> Iterator[ProbeError]:
        probe = self._probe
        for name, pattern in probe.header_matches.items():
            value = response.headers.get(name)
            if value is None:
                yield ProbeError(Cause.HEADER, f"there is no header {name}")
            elif not compile_pattern(pattern).search(value):
                yield ProbeError(Cause.HEADER, f"header {name} does not match {pattern}: {_short(value)}")
        packed = response.headers.get("content-encoding", "identity")
        if packed != "identity" and (probe.body_matches or probe.body_not_matches or probe.json_):
            yield ProbeError(Cause.BODY, f"the body is packed ({packed}), which was not asked for")
        text = body.decode("utf-8", "replace")
        for pattern in probe.body_matches:
            if not compile_pattern(pattern).search(text):
                yield ProbeError(Cause.BODY, f"{pattern} is not in the body: {_short(text)}")
        for pattern in probe.body_not_matches:
            if compile_pattern(pattern).search(text):
                yield ProbeError(Cause.BODY, f"{pattern} is in the body")
        if probe.json_:
            yield from _json_troubles(text, probe.json_)


_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_LAST: Final = (
    "probe_ip_",
    "probe_ssl_",
    "probe_tls_",
    "probe_http_status_code",
    "probe_http_ssl",
    "probe_http_version",
)


def _json_troubles(text: str, wanted: dict[str, str]) -> Iterator[ProbeError]:
    try:
        page = json.loads(text)
    except (ValueError, RecursionError):
        yield ProbeError(Cause.JSON, f"the body is not JSON: {_short(text)}")
        return
    for path, pattern in wanted.items():
        try:
            value = value_at(page, path)
        except LookupError:
            yield ProbeError(Cause.JSON, f"there is no {path} in the body: {_short(text)}")
            continue
        if not anchored(pattern).match(value):
            yield ProbeError(Cause.JSON, f"{path} is {_short(value)} (wanted: {pattern})")


def value_at(page: Any, path: str) -> str:
    """The value at `checks.db[0].status` as text: strings as they are, all else as JSON. LookupError when it is not there."""
    for step in re.findall(r"[^.\[\]]+", path):
        if isinstance(page, list) and step.isdecimal():
            page = page[int(step)]
        elif isinstance(page, dict):
            page = page[step]
        else:
            raise LookupError(step)
    return page if isinstance(page, str) else json.dumps(page)


def _announced(response: httpx.Response) -> float:
    """The length that an answer says it has; -1 when it says none. As in Go, some answers have 0 by what they are."""
    length = response.headers.get("content-length", "")
    if length.isdecimal():
        return float(length)
    return 0.0 if response.status_code in (204, 304) else -1.0


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _joined(url: httpx.URL, onward: str) -> httpx.URL:
    target = url.join(onward)  # httpx has refused an answer whose Location is no URL
    if target.scheme not in ("http", "https") or not target.host:
        raise ProbeError(Cause.REDIRECT, f"redirected to {target.scheme or 'nowhere'}")
    return target


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None


def _short(text: str) -> str:
    """On one line, without characters that a terminal obeys."""
    line = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return line if len(line) <= _EXCERPT else line[:_EXCERPT] + "…"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what lies below it: a chain may be a ring."""
    for _ in range(_DEPTH):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def cause_of(error: BaseException | None) -> str:
    """What the system said (`Connection refused`), which the client's own words hide: the lowest word that has a number."""
    words = str(error) or type(error).__name__
    for below in _chain(error):
        if isinstance(below, (ssl.SSLError, socket.gaierror)):
            words = below.strerror or words
        elif isinstance(below, OSError) and below.errno:
            words = os.strerror(below.errno)
    return words
