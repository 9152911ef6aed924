"""Where SQL is asked: a SQLite file through the stdlib, or Postgres through asyncpg. Read-only, one connection per read.

A connection that is kept would keep a database awake that sleeps when nobody asks.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Event
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from obskit.collect.vendor_api import REFUSED_WAIT_S
from obskit.errors import CollectorError
from obskit.model.settings import Secret

_LONGEST: Final = 200
_STEPS: Final = 10_000
"""Of SQLite's machine, between two looks at whether the read was given up: well under a millisecond."""
_BY_STATE: Final = {"08": "network", "28": "auth", "3D": "missing", "53": "server", "57": "server"}
"""Classes of SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html"""


@dataclass(frozen=True, slots=True)
class Table:
    """What a query gave, or what is wrong with it. Without rows the columns may be unknown."""

    columns: tuple[str, ...] = ()
    rows: Sequence[Sequence[Any]] = ()
    wrong: str = ""


class SqlSource(Protocol):
    """A database that can be asked."""

    @property
    def shown(self) -> str:
        """Which one, without its password."""
        ...

    async def ask(self, queries: Sequence[str], limit: int) -> list[Table]:
        """A table for each query, with at most `limit` rows; CollectorError when the database cannot be asked at all."""
        ...


class SqliteSource:
    """A SQLite file, opened read-only."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.shown = f"sqlite {path}"

    async def ask(self, queries: Sequence[str], limit: int) -> list[Table]:
        """In a thread; when the read is given up, the query that runs is interrupted."""
        given_up = Event()
        work = asyncio.create_task(asyncio.to_thread(self._ask, queries, limit, given_up))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            given_up.set()
            await asyncio.wait([work])
            raise

    def _ask(self, queries: Sequence[str], limit: int, given_up: Event) -> list[Table]:
        path = Path(self._path)
        if not path.is_file():
            raise CollectorError(f"{self.shown}: there is no such file", reason="missing")
        try:
            connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        except sqlite3.Error as error:
            raise CollectorError(f"{self.shown}: {_line(error)}", reason="server") from None
        with closing(connection):
            # `mode=ro` holds for this file; another must not be attached beside it.
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            connection.set_progress_handler(given_up.is_set, _STEPS)
            return [_sqlite_table(connection, query, limit) for query in queries]


def _sqlite_table(connection: sqlite3.Connection, query: str, limit: int) -> Table:
    try:
        with closing(connection.execute(query)) as cursor:
            rows = cursor.fetchmany(limit)
            return Table(tuple(column[0] for column in cursor.description or ()), rows)
    except (sqlite3.Error, sqlite3.Warning) as error:
        return Table(wrong=_line(error))


class PostgresSource:
    """A Postgres server. Each query has a read-only transaction of its own, which always ends in a rollback."""

    def __init__(self, url: Secret, timeout_ms: int) -> None:
        self._url = url
        self._timeout_ms = timeout_ms
        parts = urlsplit(url.reveal())
        self.shown = f"postgres {parts.hostname or 'localhost'}{parts.path}"

    async def ask(self, queries: Sequence[str], limit: int) -> list[Table]:
        """Over one connection, which is closed behind it."""
        try:
            asyncpg = import_module("asyncpg")
        except ImportError:
            raise CollectorError("SQL of Postgres needs the extra: obskit-toolkit[postgres]", reason="config") from None
        try:
            # No cache of statements: a pooler may hand the next query to another connection.
            connection = await asyncpg.connect(
                self._url.reveal(), timeout=self._timeout_ms / 1000, statement_cache_size=0
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError, TimeoutError) as error:
            raise self._failure(error) from None
        try:
            return [await self._table(asyncpg, connection, query, limit) for query in queries]
        except (asyncpg.InterfaceError, OSError) as error:
            raise self._failure(error) from None
        finally:
            await connection.close(timeout=2)

    async def _table(self, asyncpg: Any, connection: Any, query: str, limit: int) -> Table:
        try:
            async with connection.transaction(readonly=True):
                await connection.execute(f"SET LOCAL statement_timeout = {self._timeout_ms:d}")
                statement = await connection.prepare(query)
                cursor = await statement.cursor()
                rows = [tuple(row) for row in await cursor.fetch(limit)]
                return Table(tuple(attribute.name for attribute in statement.get_attributes()), rows)
        except asyncpg.PostgresError as error:
            return Table(wrong=_line(error))

    def _failure(self, error: Exception) -> CollectorError:
        state = str(getattr(error, "sqlstate", "") or "")[:2]
        reason = _BY_STATE.get(state, "server") if state else "network"
        if isinstance(error, TimeoutError):
            reason = "timeout"
        elif isinstance(error, ValueError):
            reason = "config"
        said = f"{self.shown}: {_line(error)}".replace(self._url.reveal(), "<secret>")
        password = urlsplit(self._url.reveal()).password
        if password:
            said = said.replace(password, "<secret>")
        return CollectorError(said, reason=reason, retry_after=REFUSED_WAIT_S if reason == "auth" else None)


def _line(error: Exception) -> str:
    """The first line of what the database says, without characters that a terminal obeys."""
    text = (str(error) or type(error).__name__).splitlines()[0]
    return "".join(character for character in text if character.isprintable())[:_LONGEST]
