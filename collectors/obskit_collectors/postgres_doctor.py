"""What a role needs on a server, and the statement that gives it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from obskit.collect import Check, failed, ok
from obskit.errors import CollectorError
from obskit_collectors.postgres_connection import Row, Session

_ACCESS: Final = """
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int / 10000 AS major,
       current_database() AS database, pg_has_role(current_user, 'pg_monitor', 'USAGE') AS monitor,
       EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements') AS statements,
       (SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries') AS preloaded
"""
_OLDEST: Final = 12
_FIXES: Final = {
    "auth": "correct user and password of the url; where pg_hba.conf has only hostssl entries, add ?sslmode=require",
    "missing": "correct the database at the end of the url",
    "timeout": "check host and port, and whether a firewall lets us through",
    "network": "check host, port and sslmode of the url",
    "server": "see the server's log; with no connection left, GRANT pg_use_reserved_connections (16 and newer)",
    "config": "see the message",
}


async def examine(session: Session, user: str, statements: bool) -> list[Check]:
    """One connection, one statement."""
    try:
        (answer,) = await session.ask([_ACCESS])
        if isinstance(answer, CollectorError):
            raise answer
        return list(_findings(answer[0], session.shown, quoted(user), statements))
    except CollectorError as error:
        return [failed(str(error), _FIXES.get(error.reason, "see the message"))]
    finally:
        await session.close()


def _findings(access: Row, shown: str, role: str, statements: bool) -> Iterator[Check]:
    yield ok(f"{shown} answers: Postgres {access['version']}")
    if access["major"] < _OLDEST:
        yield failed(f"Postgres {access['version']} is older than {_OLDEST}", f"upgrade to {_OLDEST} or newer")
    if access["monitor"]:
        yield ok("the role may see all sessions and sizes (pg_monitor)")
    else:
        yield failed("the role sees its own sessions only", f"GRANT pg_monitor TO {role};")
    if not statements:
        return
    if access["statements"]:
        yield ok("pg_stat_statements is there")
    elif access["preloaded"] is not None and "pg_stat_statements" not in access["preloaded"]:
        add = "shared_preload_libraries = 'pg_stat_statements' in postgresql.conf, restart the server, then there"
        yield failed("pg_stat_statements is not loaded", f"set {add}: CREATE EXTENSION pg_stat_statements;")
    else:
        fix = f"in the database {access['database']}: CREATE EXTENSION pg_stat_statements; (or statements: 0)"
        yield failed("pg_stat_statements is not there", fix)


def quoted(name: str) -> str:
    """An identifier as SQL takes it, whatever is in it."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
