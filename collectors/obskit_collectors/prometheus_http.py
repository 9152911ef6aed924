"""HTTP as a scrape needs it: authorization and TLS as Prometheus writes them, and bodies that end at a limit."""

from __future__ import annotations

import json
import os
import socket
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self

from pydantic import Field, field_validator, model_validator

from obskit.errors import CollectorError
from obskit.model.settings import LocalPath, Secret, Settings
from obskit.outbound import httpx, trust

_MAX_JSON_BYTES: Final = 10_000_000
_LIMITS: Final = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=300)
"""Long enough to be used again by the next scrape of a minute's interval."""
_MAX_CAUSES: Final = 10
"""How deep to look for the system's words: a chain of exceptions may be a ring."""
_BROKEN: Final = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


class AuthorizationSettings(Settings):
    """`authorization:` a header `<type> <credentials>`."""

    type: str = Field(default="Bearer", pattern=r"^[!-~]+$", description="the first word of the header")
    credentials: Secret = Field(description="the rest of it")

    @field_validator("credentials")
    @classmethod
    def _fits_a_header(cls, credentials: Secret) -> Secret:
        if not credentials.reveal().isprintable():
            raise ValueError("credentials have a line break or another control character")
        return credentials


class BasicAuthSettings(Settings):
    """`basic_auth:` user and password."""

    username: str = Field(description="user")
    password: Secret | None = Field(None, description="password")


class TlsSettings(Settings):
    """`tls_config:` whom to trust, and who we are."""

    ca_file: LocalPath | None = Field(None, description="certificates to trust instead of the system's")
    cert_file: LocalPath | None = Field(None, description="our certificate")
    key_file: LocalPath | None = Field(None, description="its key")
    server_name: str | None = Field(None, description="the name the server's certificate must have")
    insecure_skip_verify: bool = Field(False, description="trust any certificate")

    @model_validator(mode="after")
    def _both_halves(self) -> Self:
        if self.key_file and not self.cert_file:
            raise ValueError("key_file needs cert_file")
        return self


@dataclass(frozen=True, slots=True)
class Access:
    """How a job's URLs are reached."""

    authorization: AuthorizationSettings | None
    basic_auth: BasicAuthSettings | None
    tls: TlsSettings
    follow_redirects: bool
    compression: bool

    def headers(self) -> dict[bytes, bytes]:
        """The headers that every request carries; the secret leaves its type here."""
        headers = {b"User-Agent": b"obskit", b"Accept-Encoding": b"gzip" if self.compression else b"identity"}
        if self.authorization is not None:
            sent = f"{self.authorization.type} {self.authorization.credentials.reveal()}"
            headers[b"Authorization"] = sent.encode()
        return headers


@dataclass(frozen=True, slots=True)
class Page:
    """A body, unpacked, and what it says it is."""

    body: bytes
    content_type: str


class Client:
    """Requests of one job, over connections that stay open. Time limits are the caller's: see `within`."""

    def __init__(self, access: Access) -> None:
        self._follow = access.follow_redirects
        password = access.basic_auth.password if access.basic_auth else None
        self._extensions = {"sni_hostname": access.tls.server_name} if access.tls.server_name else {}
        self._http = httpx.AsyncClient(
            headers=access.headers(),
            auth=(access.basic_auth.username, password.reveal() if password else "") if access.basic_auth else None,
            verify=_trust(access.tls),
            timeout=None,  # one deadline of the caller's covers the whole read, body included
            limits=_LIMITS,
            max_redirects=10,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def get(
        self, url: str, *, params: Any = None, headers: Mapping[str, str] | None = None, limit_bytes: int
    ) -> Page:
        """The body of a 200. CollectorError for everything else; a body over the limit is not read to its end."""
        try:
            request = self._http.build_request("GET", url, params=params, headers=headers, extensions=self._extensions)
            response = await self._send(request)
            try:
                _check_status(response)
                return Page(await _body(response, limit_bytes), response.headers.get("Content-Type", ""))
            finally:
                await response.aclose()
        except httpx.TooManyRedirects:
            raise CollectorError("redirected more than 10 times", reason="config") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError, OverflowError, ExceptionGroup):
            # the last three: host names and ports that nobody looks at before the socket does
            raise CollectorError("the URL is not one HTTP can use", reason="config") from None
        except httpx.LocalProtocolError:
            # its message would show the header that HTTP does not allow
            raise CollectorError("the request is not one HTTP can send", reason="config") from None
        except httpx.TimeoutException:
            raise CollectorError("no answer in time", reason="timeout") from None
        except httpx.HTTPError as error:
            raise CollectorError(_cause(error), reason="network") from None

    async def _send(self, request: httpx.Request) -> httpx.Response:
        """Send, and once more when the connection broke before an answer.

        A server may close an idle connection at the moment we use it again; that says nothing of its health, and a GET
        may be repeated. Go's client, and so Prometheus, does the same.
        """
        try:
            return await self._http.send(request, stream=True, follow_redirects=self._follow)
        except _BROKEN:
            return await self._http.send(request, stream=True, follow_redirects=self._follow)

    async def json(self, url: str) -> Any:
        """The decoded JSON of a URL."""
        page = await self.get(url, headers={"Accept": "application/json"}, limit_bytes=_MAX_JSON_BYTES)
        try:
            return json.loads(page.body)
        except (ValueError, RecursionError) as error:
            raise CollectorError(f"not JSON: {error}", reason="bad_data") from None


@lru_cache(maxsize=8)
def _trust(tls: TlsSettings) -> ssl.SSLContext:
    """A context for these settings, shared by all jobs; without settings, the one of the whole process."""
    if tls == TlsSettings(server_name=tls.server_name):
        return trust()
    try:
        context = httpx.create_ssl_context(verify=tls.ca_file is None and not tls.insecure_skip_verify)
        if tls.ca_file and not tls.insecure_skip_verify:
            context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        raise CollectorError(f"tls_config: cannot load a certificate: {error}", reason="config") from None
    return context


def _cause(error: BaseException) -> str:
    """What the system said (`Connection refused`), which the client's own words hide ("All connection attempts failed")."""
    said = str(error) or type(error).__name__
    below: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if below is None:
            break
        if isinstance(below, ssl.SSLCertVerificationError):
            said = f"certificate not accepted: {below.verify_message}"
        elif isinstance(below, (socket.gaierror, ssl.SSLError)):
            said = below.strerror or said
        elif isinstance(below, OSError) and below.errno:
            said = os.strerror(below.errno)
        below = below.__cause__ or below.__context__
    return said


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if status == 200:
        return
    if status in (401, 403, 407):
        reason = "auth"
    elif status == 429:
        reason = "rate_limited"
    else:
        reason = "server" if status >= 500 else "config"
    wait = response.headers.get("Retry-After", "")
    raise CollectorError(
        f"server returned HTTP status {status} {response.reason_phrase}",
        reason=reason,
        retry_after=float(wait) if wait.isdecimal() else None,
    )


async def _body(response: httpx.Response, limit_bytes: int) -> bytes:
    """The body, unpacked as it comes, so that neither an endless page nor a gzip bomb takes more than the limit."""
    announced = response.headers.get("Content-Length", "")
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise _too_big(limit_bytes)
    if encoding not in ("gzip", "x-gzip", "identity", ""):
        raise CollectorError(f"the body is encoded as {encoding}, which was not asked for", reason="bad_data")
    unpack = _Gunzip() if "gzip" in encoding else None
    chunks: list[bytes] = []
    room = limit_bytes
    async for raw in response.aiter_raw():
        chunk = unpack.feed(raw, room + 1) if unpack else raw
        room -= len(chunk)
        if room < 0:
            raise _too_big(limit_bytes)
        chunks.append(chunk)
    if unpack:
        unpack.finish()
    return b"".join(chunks)


def _too_big(limit_bytes: int) -> CollectorError:
    return CollectorError(f"the body is larger than body_size_limit ({limit_bytes} bytes)", reason="bad_data")


class _Gunzip:
    """Gzip members, one after another, without ever producing more than it is allowed to."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)

    def feed(self, data: bytes, most: int) -> bytes:
        """What `data` unpacks to, but not more than `most` bytes."""
        produced = b""
        try:
            while data and len(produced) < most:
                if self._member.eof:
                    self._member = zlib.decompressobj(wbits=31)
                produced += self._member.decompress(data, most - len(produced))
                data = self._member.unused_data
        except zlib.error:
            raise CollectorError("the body is not valid gzip", reason="bad_data") from None
        return produced

    def finish(self) -> None:
        """CollectorError when the last member was cut off."""
        if not self._member.eof:
            raise CollectorError("the gzip body ends too early", reason="bad_data")
