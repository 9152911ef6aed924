"""One connection to a Postgres server: read-only, every statement within a time limit, through transaction poolers too.

Limits are set inside each transaction and not as startup parameters, which poolers refuse; and a pooler may give every
transaction another session of the server, so nothing is prepared under a name.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from obskit.collect.vendor_api import REFUSED_WAIT_S
from obskit.errors import CollectorError
from obskit.model.settings import Secret

if TYPE_CHECKING:
    import asyncpg

Row = Mapping[str, Any]
NOT_INSTALLED: Final = "reading a Postgres server needs asyncpg: install the extra obskit-toolkit[postgres]"
APPLICATION: Final = "obskit"
_LOCK_TIMEOUT_MS: Final = 1_000
"""Sizes of tables wait for a lock while a migration holds one; a migration must never find us in its queue for long."""
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_LOGIN_REFUSED: Final = "28"
"""Wrong password, no such role, no entry in pg_hba.conf: a person must mend it, and guards lock out who keeps trying."""
_REASONS: Final = {
    _LOGIN_REFUSED: "auth",
    "42501": "auth",  # insufficient privilege
    "3D000": "missing",  # no such database
    "42": "missing",  # no such table, column, function: another version than we know
    "57014": "timeout",  # statement_timeout
    "55P03": "timeout",  # lock_timeout
    "08": "network",
}
"""SQLSTATEs and classes of them, the longest prefix first; what is not here is the server's own trouble."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, as libpq's URLs say it. A host that begins with a slash is the folder of its socket."""

    host: str
    port: int
    user: str
    password: Secret | None
    database: str
    sslmode: str = "prefer"
    sslrootcert: str = ""

    @classmethod
    def parse(cls, url: str) -> Address:
        """ValueError when it is not one. Options for other clients (`pgbouncer=true`, `channel_binding`) are left out."""
        parts = urlsplit(url)
        if parts.scheme.partition("+")[0] not in ("postgres", "postgresql"):
            raise ValueError("the url must look like postgresql://user:password@host:5432/database")
        options = dict(parse_qsl(parts.query))
        host = parts.hostname or options.get("host", "")
        if not host or "," in parts.netloc:
            raise ValueError("the url must name one host")
        try:
            port = parts.port or int(options.get("port", 5432))
        except ValueError:
            raise ValueError("the port of the url must be a number") from None
        user = unquote(parts.username or options.get("user", ""))
        if not user:
            raise ValueError("the url must name a user: postgresql://user:password@host:5432/database")
        sslmode = options.get("sslmode", "prefer")
        if sslmode not in _SSL_MODES:
            raise ValueError(f"sslmode must be one of {', '.join(_SSL_MODES)}")
        password = unquote(parts.password or options.get("password", ""))
        database = unquote(parts.path.lstrip("/")) or user
        return cls(
            host, port, user, Secret(password) if password else None, database, sslmode, options.get("sslrootcert", "")
        )

    @property
    def shown(self) -> str:
        """The address for a person."""
        return f"{self.host}:{self.port}/{self.database}"

    def with_password(self, password: Secret) -> Address:
        """The same, with a password that is not in the URL."""
        return replace(self, password=password)

    def trust(self) -> Any:
        """What asyncpg takes as `ssl`: it has no way of its own to verify against the system's certificates."""
        if not self.sslmode.startswith("verify"):
            return self.sslmode
        own = self.sslrootcert if self.sslrootcert not in ("", "system") else None
        try:
            context = ssl.create_default_context(cafile=own)
        except OSError as error:
            raise CollectorError(f"sslrootcert {own}: {error.strerror or error}", reason="config") from None
        context.check_hostname = self.sslmode == "verify-full"
        return context


class Session:
    """At most one connection, opened when it is needed and kept between reads."""

    def __init__(self, address: Address, *, timeout_ms: int, statement_timeout_ms: int) -> None:
        self.shown = address.shown
        self._address = address
        self._timeout_s = timeout_ms / 1000
        self._begin = (
            "BEGIN READ ONLY; "
            f"SET LOCAL statement_timeout = {statement_timeout_ms}; SET LOCAL lock_timeout = {_LOCK_TIMEOUT_MS}"
        )
        self._connection: asyncpg.Connection[Any] | None = None

    async def ask(self, statements: Sequence[str]) -> list[Sequence[Row] | CollectorError]:
        """The rows of each statement, or why it has none, all read in one transaction.

        A refused statement ends its transaction; the rest is asked in another. CollectorError when the server itself
        cannot be asked.
        """
        pg = _driver()
        try:
            connection = await self._open()
            await connection.execute(self._begin)
            answers = [await self._answer(connection, statement) for statement in statements]
            await connection.execute("COMMIT")
        except (pg.PostgresError, pg.InterfaceError, OSError, TimeoutError) as error:
            self._drop()
            raise self._told(error) from None
        except BaseException:  # cancelled half-way: what the server still sends is nobody's answer
            self._drop()
            raise
        return answers

    async def close(self) -> None:
        """Let the server know, without waiting for it."""
        self._drop()

    async def _open(self) -> asyncpg.Connection[Any]:
        if self._connection is None or self._connection.is_closed():
            address = self._address
            self._connection = await _driver().connect(
                host=address.host,
                port=address.port,
                user=address.user,
                password=address.password.reveal() if address.password else None,
                database=address.database,
                ssl=False if address.host.startswith("/") else address.trust(),
                timeout=self._timeout_s,
                statement_cache_size=0,
                server_settings={"application_name": APPLICATION},
            )
        return self._connection

    async def _answer(self, connection: asyncpg.Connection[Any], statement: str) -> Sequence[Row] | CollectorError:
        try:
            rows: list[Row] = await connection.fetch(statement)
        except _driver().PostgresError as error:
            if connection.is_closed() or (error.sqlstate or "").startswith(("08", "57P")):
                raise
            await connection.execute(f"ROLLBACK; {self._begin}")
            return self._told(error)
        return rows

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    def _told(self, error: Exception) -> CollectorError:
        state = getattr(error, "sqlstate", None)
        if state is not None:
            reason = next((_REASONS[key] for key in (state, state[:2]) if key in _REASONS), "server")
            wait_s = REFUSED_WAIT_S if state.startswith(_LOGIN_REFUSED) else None
            return CollectorError(f"{self.shown}: {error}", reason=reason, retry_after=wait_s)
        if isinstance(error, TimeoutError):
            return CollectorError(f"{self.shown}: no answer within {self._timeout_s:g} s", reason="timeout")
        if isinstance(error, ssl.SSLCertVerificationError):
            said = f"certificate not accepted: {error.verify_message}"
            return CollectorError(f"{self.shown}: {said}", reason="network")
        return CollectorError(f"{self.shown}: {error or type(error).__name__}", reason="network")


def installed() -> bool:
    """Whether the extra is there."""
    return find_spec("asyncpg") is not None


def _driver() -> Any:
    try:
        import asyncpg  # noqa: PLC0415 - an extra: only who reads a server needs it
    except ImportError:
        raise CollectorError(NOT_INSTALLED, reason="config") from None
    return asyncpg
