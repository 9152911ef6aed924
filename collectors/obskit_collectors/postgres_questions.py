"""What a Postgres server is asked, and what becomes of the answer. Pure: SQL by version out, rows in, readings out.

A row is one series per column: its name is the question's prefix and the column, as in postgres_exporter, whose names
these are. A column that is NULL is unknown and gives nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from obskit.collect import Reading
from obskit.model.samples import MetricMeta, MetricType

MOST_SESSIONS: Final = 100
"""Kinds of sessions (database, state, user, application) told apart. Some put a process id into application_name."""
_MOST_BLOCKERS: Final = 10
_TEXT_LENGTH: Final = 200
_OTHERS: Final = "(others)"

FACTS: Final = """
SELECT current_setting('server_version_num')::int / 10000 AS major, current_setting('server_version') AS version,
       pg_is_in_recovery() AS replica, extract(epoch FROM pg_postmaster_start_time()) AS started,
       (SELECT quote_ident(n.nspname) || ' ' || e.extversion FROM pg_extension e
          JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements') AS statements,
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS timescale
"""


@dataclass(frozen=True, slots=True)
class Server:
    """What the questions depend on."""

    major: int
    version: str
    replica: bool
    started: float
    statements_schema: str = ""
    """Where pg_stat_statements lives, quoted; empty when the extension is not there."""
    statements_version: tuple[int, ...] = ()
    """Of the extension: its columns follow it, and it may be older than the server after an upgrade."""
    timescale_version: tuple[int, ...] = ()
    """Empty when it is not there."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Server:
        """From the row of FACTS."""
        schema, _, version = (row["statements"] or "").rpartition(" ")
        return cls(
            major=row["major"],
            version=row["version"],
            replica=row["replica"],
            started=float(row["started"]),
            statements_schema=schema,
            statements_version=_numbers(version),
            timescale_version=_numbers(row["timescale"] or ""),
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


@dataclass(frozen=True, slots=True)
class Question:
    """One statement. `sql` gives none where the server has no answer; `slow` ones are asked more seldom.

    Columns in `labels` label the others; those in `counters` only grow. A row with `metric` and `value` names itself.
    """

    name: str
    prefix: str
    sql: Callable[[Server], str]
    labels: tuple[str, ...] = ()
    counters: frozenset[str] = field(default=frozenset())
    slow: bool = False

    def readings(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[Reading]:
        """What the rows say."""
        for row in rows:
            labels = {name: str(row[name] or "") for name in self.labels}
            if "query" in labels:
                labels["query"] = redacted(labels["query"])
            if "metric" in row:
                yield f"{self.prefix}{row['metric']}", labels, float(row["value"])
                continue
            for column, value in row.items():
                if column not in self.labels and value is not None:
                    yield f"{self.prefix}{column}", labels, float(value)

    def metadata(self, readings: Sequence[Reading]) -> dict[str, MetricMeta]:
        """Their types; the words are the columns' own."""
        return {
            name: MetricMeta(
                MetricType.COUNTER if name.removeprefix(self.prefix) in self.counters else MetricType.GAUGE,
                f"{self.name}: {name.removeprefix(self.prefix)}",
            )
            for name in {name for name, _, _ in readings}
        }


def redacted(text: str) -> str:
    """A statement without what it is about: literals, numbers and comments left out, on one line, cut.

    pg_stat_statements replaces constants of queries itself, but of utility statements (ALTER ROLE … PASSWORD) not
    before Postgres 16.
    """
    text = _COMMENTS.sub(" ", text)
    text = _LITERALS.sub("?", text)
    text = _NUMBERS.sub("?", text)
    return " ".join(text.split())[:_TEXT_LENGTH]


# A comment or literal that is cut off runs to the end: what was hidden before the cut stays hidden after it.
_COMMENTS: Final = re.compile(r"/\*.*?(?:\*/|\Z)|--[^\n]*", re.DOTALL)
_LITERALS: Final = re.compile(r"\$(\w*)\$.*?(?:\$\1\$|\Z)|'(?:[^'\\]|\\.|'')*(?:'|\\?\Z)", re.DOTALL)
_NUMBERS: Final = re.compile(r"(?<![\w$])\d[\d.]*(?!\w)")


def always(sql: str) -> Callable[[Server], str]:
    """The same for every server."""
    return lambda _server: sql


_CLIENTS: Final = "datname IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'"
"""Who counts against max_connections. A role that may not see other sessions sees NULL for their kind."""

ACTIVITY: Final = f"""
WITH kinds AS (
  SELECT datname, coalesce(state, 'unknown') AS state, coalesce(usename, '') AS usename,
         coalesce(application_name, '') AS application_name, count(*) AS sessions,
         max(extract(epoch FROM clock_timestamp() - xact_start)) FILTER (WHERE pid <> pg_backend_pid()) AS oldest
    FROM pg_stat_activity WHERE {_CLIENTS} GROUP BY 1, 2, 3, 4
), ranked AS (
  SELECT *, row_number() OVER (ORDER BY sessions DESC, datname, state, usename, application_name) AS place FROM kinds
)
SELECT datname, state, CASE WHEN place <= {MOST_SESSIONS} THEN usename ELSE '{_OTHERS}' END AS usename,
       CASE WHEN place <= {MOST_SESSIONS} THEN application_name ELSE '{_OTHERS}' END AS application_name,
       sum(sessions) AS count, max(oldest) AS max_tx_duration
  FROM ranked GROUP BY 1, 2, 3, 4
"""

LONG_RUNNING: Final = f"""
SELECT count(*) AS long_running_transactions,
       max(extract(epoch FROM clock_timestamp() - xact_start)) AS long_running_transactions_oldest_timestamp_seconds
  FROM pg_stat_activity
 WHERE {_CLIENTS} AND xact_start IS NOT NULL AND state <> 'idle' AND pid <> pg_backend_pid()
"""

BLOCKED: Final = """
SELECT count(*) FILTER (WHERE wait_event_type = 'Lock') AS blocked_sessions FROM pg_stat_activity
"""

# Only who waits for a lock is asked for its blockers: pg_blocking_pids stops the lock manager for a moment.
BLOCKERS: Final = f"""
SELECT w.datname, w.usename, w.application_name, b.pid::text AS blocker_pid, b.usename AS blocker_usename,
       b.application_name AS blocker_application_name, coalesce(b.state, 'unknown') AS blocker_state,
       max(extract(epoch FROM clock_timestamp() - w.query_start)) AS blocked_seconds
  FROM pg_stat_activity w CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS p(pid)
  JOIN pg_stat_activity b ON b.pid = p.pid
 WHERE w.wait_event_type = 'Lock' AND w.query_start < clock_timestamp() - interval '1 second'
 GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY blocked_seconds DESC LIMIT {_MOST_BLOCKERS}
"""

_MODES: Final = (
    *("AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock"),
    *("ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock", "SIReadLock"),
)
LOCKS: Final = f"""
SELECT d.datname, lower(m.mode) AS mode, count(l.locktype) AS count
  FROM pg_database d CROSS JOIN (VALUES {", ".join(f"('{mode}')" for mode in _MODES)}) AS m(mode)
  LEFT JOIN pg_locks l ON l.database = d.oid AND l.mode = m.mode
 WHERE d.datallowconn AND NOT d.datistemplate GROUP BY 1, 2
"""

_DATABASE_COUNTERS: Final = (
    *("xact_commit", "xact_rollback", "blks_read", "blks_hit", "tup_returned", "tup_fetched", "tup_inserted"),
    *("tup_updated", "tup_deleted", "conflicts", "temp_files", "temp_bytes", "deadlocks", "checksum_failures"),
    *("blk_read_time", "blk_write_time"),
)


def _databases(server: Server) -> str:
    newer = ", s.active_time / 1000 AS active_time_seconds_total, s.sessions_killed" if server.major >= 14 else ""
    return f"""
SELECT s.datid::text AS datid, s.datname, s.numbackends, {", ".join(f"s.{name}" for name in _DATABASE_COUNTERS)},
       extract(epoch FROM s.stats_reset) AS stats_reset{newer}
  FROM pg_stat_database s JOIN pg_database d ON d.oid = s.datid WHERE NOT d.datistemplate
"""


# A template can run out of transaction ids as well.
WRAPAROUND: Final = """
SELECT datname, datconnlimit AS connection_limit, age(datfrozenxid) AS wraparound_age_datfrozenxid_seconds,
       mxid_age(datminmxid) AS wraparound_age_datminmxid_seconds FROM pg_database
"""
SIZES: Final = """
SELECT datname, pg_database_size(oid) AS size_bytes FROM pg_database WHERE datallowconn AND NOT datistemplate
"""

_SETTINGS: Final = (
    *("max_connections", "superuser_reserved_connections", "reserved_connections", "shared_buffers", "work_mem"),
    *("maintenance_work_mem", "effective_cache_size", "max_wal_size", "min_wal_size", "wal_segment_size"),
    *("max_wal_senders", "max_replication_slots", "max_slot_wal_keep_size", "max_worker_processes"),
    *("autovacuum", "autovacuum_freeze_max_age", "autovacuum_multixact_freeze_max_age", "autovacuum_max_workers"),
    *("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout", "deadlock_timeout"),
    *("checkpoint_timeout", "checkpoint_completion_target", "track_io_timing", "fsync", "max_locks_per_transaction"),
)
# Our own transaction's limits are not the server's: reset_val is what a new session would have.
SETTINGS: Final = f"""
SELECT replace(name, '.', '_') || CASE WHEN unit IN ('ms', 's', 'min', 'h', 'd') THEN '_seconds'
                                       WHEN unit IS NOT NULL THEN '_bytes' ELSE '' END AS metric,
       CASE WHEN vartype = 'bool' THEN (reset_val = 'on')::int::float8
            WHEN reset_val::float8 < 0 THEN reset_val::float8
            ELSE reset_val::float8 * CASE unit WHEN 'kB' THEN 1024 WHEN '8kB' THEN 8192 WHEN 'MB' THEN 1048576
                                               WHEN 'GB' THEN 1073741824 WHEN '16MB' THEN 16777216
                                               WHEN 'ms' THEN 0.001 WHEN 'min' THEN 60 WHEN 'h' THEN 3600
                                               WHEN 'd' THEN 86400 ELSE 1 END END AS value
  FROM pg_settings WHERE vartype IN ('bool', 'integer', 'real') AND name IN ({", ".join(f"'{n}'" for n in _SETTINGS)})
"""

_BACKGROUND: Final = {
    "buffers_clean": "buffers_clean_total",
    "maxwritten_clean": "maxwritten_clean_total",
    "buffers_alloc": "buffers_alloc_total",
}
_CHECKPOINTS_BEFORE_17: Final = {
    "checkpoints_timed": "checkpoints_timed_total",
    "checkpoints_req": "checkpoints_req_total",
    "checkpoint_write_time": "checkpoint_write_time_total",
    "checkpoint_sync_time": "checkpoint_sync_time_total",
    "buffers_checkpoint": "buffers_checkpoint_total",
    "buffers_backend": "buffers_backend_total",
    "buffers_backend_fsync": "buffers_backend_fsync_total",
}
_CHECKPOINTER: Final = {
    "num_timed": "num_timed_total",
    "num_requested": "num_requested_total",
    "restartpoints_timed": "restartpoints_timed_total",
    "restartpoints_req": "restartpoints_req_total",
    "restartpoints_done": "restartpoints_done_total",
    "write_time": "write_time_total",
    "sync_time": "sync_time_total",
    "buffers_written": "buffers_written_total",
}


def _renamed(columns: Mapping[str, str], view: str) -> str:
    return f"SELECT {', '.join(f'{column} AS {name}' for column, name in columns.items())} FROM {view}"


def _background_writer(server: Server) -> str:
    columns = _BACKGROUND if server.major >= 17 else {**_BACKGROUND, **_CHECKPOINTS_BEFORE_17}
    return _renamed(columns, "pg_stat_bgwriter")


def _checkpointer(server: Server) -> str:
    return _renamed(_CHECKPOINTER, "pg_stat_checkpointer") if server.major >= 17 else ""


WAL: Final = """
SELECT count(*) AS segments, sum(size) AS size_bytes FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'
"""

QUESTIONS: Final = (
    Question(
        "stat_activity",
        "pg_stat_activity_",
        always(ACTIVITY),
        labels=("datname", "state", "usename", "application_name"),
    ),
    Question("long_running_transactions", "pg_", always(LONG_RUNNING)),
    Question("blocked_sessions", "pg_", always(BLOCKED)),
    Question(
        "blockers",
        "pg_",
        always(BLOCKERS),
        labels=(
            *("datname", "usename", "application_name"),
            *("blocker_pid", "blocker_usename", "blocker_application_name", "blocker_state"),
        ),
    ),
    Question("locks", "pg_locks_", always(LOCKS), labels=("datname", "mode")),
    Question(
        "stat_database",
        "pg_stat_database_",
        _databases,
        labels=("datid", "datname"),
        counters=frozenset({*_DATABASE_COUNTERS, "active_time_seconds_total", "sessions_killed"}),
    ),
    Question("settings", "pg_settings_", always(SETTINGS)),
    Question(
        "stat_bgwriter",
        "pg_stat_bgwriter_",
        _background_writer,
        counters=frozenset({*_BACKGROUND.values(), *_CHECKPOINTS_BEFORE_17.values()}),
    ),
    Question("stat_checkpointer", "pg_stat_checkpointer_", _checkpointer, counters=frozenset(_CHECKPOINTER.values())),
    Question("database_wraparound", "pg_database_", always(WRAPAROUND), labels=("datname",), slow=True),
    Question("database_size", "pg_database_", always(SIZES), labels=("datname",), slow=True),
    Question("wal", "pg_wal_", always(WAL), slow=True),
)
"""Of every server, but for replication and what has a setting of its own."""
