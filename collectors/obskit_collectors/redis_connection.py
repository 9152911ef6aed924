"""Two ways to a Redis: RESP over a socket, and Upstash's REST. Both take a pipeline and give a reply for each command.

hiredis parses RESP; what is left for us is a socket. redis-py would cost 22 MB resident (docs/decisions/0002).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

import hiredis

from obskit.errors import CollectorError
from obskit.model.settings import Secret
from obskit.outbound import httpx, trust

Command = tuple[str, ...]
Reply = Any
"""str, int, None, a list of replies, or a ReplyError: one command of a pipeline may fail alone."""

_AUTH_ERRORS: Final = ("NOAUTH", "WRONGPASS", "NOPERM", "ERR invalid password", "ERR Client sent AUTH")
_QUOTA_ERRORS: Final = ("ERR max requests limit", "ERR max daily request limit", "ERR max concurrent connections")
_READ_BYTES: Final = 64 * 1024
_MAX_REPLY_BYTES: Final = 32 * 1024 * 1024


class ReplyError(Exception):
    """What Redis answered with `-ERR …`."""


class Connection(Protocol):
    """A way to a Redis."""

    async def pipeline(self, commands: Sequence[Command]) -> list[Reply]:
        """Run commands; CollectorError when the server cannot be asked at all."""
        ...

    async def close(self) -> None:
        """Let go of the connection; the next pipeline opens it anew."""
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Redis is, read from its URL. `shown` is the URL without its password: for labels, logs and errors."""

    scheme: str
    host: str
    port: int
    database: int
    username: str
    password: Secret | None

    @property
    def shown(self) -> str:
        """`redis://host:6379/0`."""
        rest = "" if self.scheme == "https" else f":{self.port}/{self.database}"
        return f"{self.scheme}://{self.host}{rest}"

    @classmethod
    def parse(cls, url: str) -> Address:
        """`redis://`, `rediss://` (TLS), or Upstash's `https://`; ValueError, without the password, otherwise."""
        parts = urlsplit(url)
        if parts.scheme not in ("redis", "rediss", "https", "http") or not parts.hostname:
            raise ValueError("must be redis://HOST:PORT/DB, rediss://… (TLS) or https://….upstash.io (REST)")
        try:
            port = parts.port
            database = int(parts.path.strip("/") or 0)
        except ValueError:
            raise ValueError("must end in :PORT/DATABASE, both numbers") from None
        password = Secret(unquote(parts.password)) if parts.password else None
        return cls(parts.scheme, parts.hostname, port or 6379, database, unquote(parts.username or ""), password)


class RespConnection:
    """One socket, opened when it is first needed and after every failure."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._parser = _new_parser()

    async def pipeline(self, commands: Sequence[Command]) -> list[Reply]:
        """All commands in one write, all replies in order."""
        try:
            if self._streams is None:
                await self._open()
            return await self._exchange(commands)
        except (OSError, asyncio.IncompleteReadError, hiredis.ProtocolError) as error:
            await self.close()
            raise CollectorError(f"{self._address.shown}: {_reason(error)}", reason="network") from error
        except BaseException:
            # Cancelled in the middle (a time-out): the replies would be read as those of the next pipeline.
            await self.close()
            raise

    async def close(self) -> None:
        """Close the socket; a half-read reply goes with it."""
        streams, self._streams = self._streams, None
        self._parser = _new_parser()
        if streams is not None:
            streams[1].close()
            with suppress(OSError, asyncio.CancelledError):
                await streams[1].wait_closed()

    async def _open(self) -> None:
        address = self._address
        tls = ssl.create_default_context() if address.scheme == "rediss" else None
        self._streams = await asyncio.open_connection(address.host, address.port, ssl=tls)
        greeting: list[Command] = []
        if address.password is not None:
            who = [address.username] if address.username else []
            greeting.append(("AUTH", *who, address.password.reveal()))
        if address.database:
            greeting.append(("SELECT", str(address.database)))
        for reply in await self._exchange(greeting) if greeting else ():
            if isinstance(reply, ReplyError):
                raise refused(reply, address.shown)

    async def _exchange(self, commands: Sequence[Command]) -> list[Reply]:
        if self._streams is None:
            raise ConnectionError("not connected")
        reader, writer = self._streams
        # hiredis' stub says a tuple of one; it means a tuple of any length.
        packed = [hiredis.pack_command(command) for command in commands]  # type: ignore[arg-type]
        writer.write(b"".join(packed))
        await writer.drain()
        return [await self._next_reply(reader) for _ in commands]

    async def _next_reply(self, reader: asyncio.StreamReader) -> Reply:
        received = 0
        while (reply := self._parser.gets()) is False:
            data = await reader.read(_READ_BYTES)
            received += len(data)
            if not data:
                raise ConnectionError("the server closed the connection")
            if received > _MAX_REPLY_BYTES:
                raise ConnectionError(f"the reply is larger than {_MAX_REPLY_BYTES >> 20} MB")
            self._parser.feed(data)
        return reply


class Subscription(RespConnection):
    """One socket on which a server publishes. After an error it is closed, and opened anew by `open`."""

    async def open(self, pattern: str) -> None:
        """Connect and subscribe to the channels that match."""
        try:
            await self._open()
            (reply,) = await self._exchange([("PSUBSCRIBE", pattern)])
        except (OSError, hiredis.ProtocolError) as error:
            raise CollectorError(f"{self._address.shown}: {_reason(error)}", reason="network") from error
        if isinstance(reply, ReplyError):
            raise refused(reply, self._address.shown)

    async def ping(self) -> None:
        """Ask for a sign of life: `heard` returns None when it comes."""
        if self._streams is not None:
            self._streams[1].write(b"PING\r\n")

    @property
    def shown(self) -> str:
        """The server, without its password."""
        return self._address.shown

    async def heard(self) -> list[str]:
        """The messages that came, at least one reply's: [] is an answer to `ping`. May be cancelled and called again."""
        if self._streams is None:
            raise CollectorError(f"{self.shown}: not connected", reason="network")
        try:
            replies = [await self._next_reply(self._streams[0])]
        except (OSError, hiredis.ProtocolError) as error:
            raise CollectorError(f"{self.shown}: {_reason(error)}", reason="network") from error
        while (reply := self._parser.gets()) is not False:
            replies.append(reply)
        return [str(r[3]) for r in replies if isinstance(r, list) and len(r) == 4 and r[0] == "pmessage"]


class RestConnection:
    """Upstash Redis REST: `POST /pipeline` with a bearer token (upstash/docs:redis/features/restapi.mdx)."""

    def __init__(self, url: str, token: Secret, shown: str) -> None:
        self._url = url.rstrip("/") + "/pipeline"
        self._token = token
        self._shown = shown
        self._client: httpx.AsyncClient | None = None

    async def pipeline(self, commands: Sequence[Command]) -> list[Reply]:
        """One request; each command is billed."""
        if self._client is None:
            self._client = httpx.AsyncClient(verify=trust(), timeout=10, follow_redirects=False)
        headers = {"Authorization": f"Bearer {self._token.reveal()}"}
        try:
            response = await self._client.post(self._url, json=[list(command) for command in commands], headers=headers)
            answer = response.json()
        except httpx.TimeoutException as error:
            raise CollectorError(f"{self._shown}: no answer in time", reason="timeout") from error
        except httpx.HTTPError as error:
            raise CollectorError(f"{self._shown}: {_reason(error)}", reason="network") from error
        except ValueError as error:
            raise CollectorError(f"{self._shown}: HTTP {response.status_code}, not JSON", reason="bad_data") from error
        if isinstance(answer, dict):
            raise self._failure(response, str(answer.get("error", "")))
        if not isinstance(answer, list) or len(answer) != len(commands):
            raise CollectorError(f"{self._shown}: not one reply for each command", reason="bad_data")
        return [_rest_reply(item) for item in answer]

    async def close(self) -> None:
        """Close the client."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _failure(self, response: httpx.Response, text: str) -> CollectorError:
        if response.status_code == 429 or response.status_code >= 500:
            wait = response.headers.get("retry-after", "")
            reason = "rate_limited" if response.status_code == 429 else "server"
            return CollectorError(
                f"{self._shown}: HTTP {response.status_code}",
                reason=reason,
                retry_after=float(wait) if wait.isdigit() else None,
            )
        return refused(ReplyError(text or f"HTTP {response.status_code}"), self._shown)


def connect(address: Address, url: str, token: Secret | None) -> Connection:
    """The way the URL's scheme asks for."""
    if address.scheme in ("http", "https"):
        return RestConnection(url, token or Secret("-"), address.shown)
    return RespConnection(address)


def is_refusal(error: ReplyError) -> bool:
    """Whether the server refuses us, and not one command."""
    return str(error).startswith((*_AUTH_ERRORS, *_QUOTA_ERRORS))


def refused(error: ReplyError, where: str) -> CollectorError:
    """The CollectorError for an error reply: wrong password, used-up quota, or something else. Keyed on the text,
    because the HTTP status of Upstash's quota errors is not documented."""
    text = str(error)
    if text.startswith(_AUTH_ERRORS):
        return CollectorError(f"{where}: {text.split('.', 1)[0]} (check the password or token)", reason="auth")
    if text.startswith(_QUOTA_ERRORS):
        return CollectorError(
            f"{where}: {text.split('. See', 1)[0]}: the application is cut off too", reason="rate_limited"
        )
    return CollectorError(f"{where}: {text}", reason="server")


def _new_parser() -> hiredis.Reader:
    return hiredis.Reader(encoding="utf-8", errors="replace", replyError=ReplyError)


def _rest_reply(item: Any) -> Reply:
    if isinstance(item, dict) and "error" in item:
        return ReplyError(str(item["error"]))
    return item.get("result") if isinstance(item, dict) else ReplyError("ERR not a reply")


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text or type(error).__name__
