"""What is asked of one database: its largest tables, its costliest statements, TimescaleDB's jobs and compression."""

from __future__ import annotations

from typing import Final

from obskit_collectors.postgres_questions import Question, Server

_TABLE_COUNTERS: Final = (
    *("seq_scan", "seq_tup_read", "idx_scan", "idx_tup_fetch", "n_tup_ins", "n_tup_upd", "n_tup_del"),
    *("n_tup_hot_upd", "vacuum_count", "autovacuum_count", "analyze_count", "autoanalyze_count"),
)
_TABLE_TIMES: Final = ("last_vacuum", "last_autovacuum", "last_analyze", "last_autoanalyze")
_STATEMENT_COUNTERS: Final = frozenset(
    ("calls_total", "seconds_total", "rows_total", "block_read_seconds_total", "block_write_seconds_total")
)
_READ_CUT: Final = 1_000
"""Characters of a statement's text that are read at all."""


def table_question(most: int) -> Question:
    """The largest tables; chunks of hypertables are told by TimescaleDB's own question."""
    times = ", ".join(f"extract(epoch FROM s.{name}) AS {name}" for name in _TABLE_TIMES)
    sql = f"""
SELECT current_database() AS datname, s.schemaname, s.relname, {", ".join(f"s.{name}" for name in _TABLE_COUNTERS)},
       s.n_live_tup, s.n_dead_tup, s.n_mod_since_analyze, {times},
       pg_table_size(s.relid) AS table_size_bytes, pg_indexes_size(s.relid) AS index_size_bytes
  FROM (SELECT s.* FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
         WHERE s.schemaname NOT LIKE '\\_timescaledb%'
         ORDER BY c.relpages DESC, s.n_live_tup + s.n_dead_tup DESC, s.relid LIMIT {most}) AS s
"""
    return Question(
        "stat_user_tables",
        "pg_stat_user_tables_",
        lambda _server: sql,
        labels=("datname", "schemaname", "relname"),
        counters=frozenset(_TABLE_COUNTERS),
        slow=True,
    )


def statement_questions(most: int, *, text: bool) -> list[Question]:
    """The statements that took the most time, and their texts beside them."""
    numbers = Question(
        "stat_statements",
        "pg_stat_statements_",
        lambda server: _statements(server, most),
        labels=("user", "datname", "queryid"),
        counters=_STATEMENT_COUNTERS,
        slow=True,
    )
    texts = Question(
        "stat_statements_text",
        "pg_stat_statements_",
        lambda server: _texts(server, most),
        labels=("queryid", "query"),
        slow=True,
    )
    return [numbers, texts] if text else [numbers]


def _statements(server: Server, most: int) -> str:
    if not server.statements_schema:
        return ""
    read, written = (
        ("shared_blk_read_time", "shared_blk_write_time")
        if server.statements_version >= (1, 11)
        else ("blk_read_time", "blk_write_time")
    )
    total = _total(server)
    return f"""
SELECT pg_get_userbyid(s.userid)::text AS user, d.datname, s.queryid::text AS queryid, sum(s.calls) AS calls_total,
       sum(s.{total}) / 1000 AS seconds_total, sum(s.rows) AS rows_total,
       sum(s.{read}) / 1000 AS block_read_seconds_total, sum(s.{written}) / 1000 AS block_write_seconds_total
  FROM {server.statements_schema}.pg_stat_statements(false) s JOIN pg_database d ON d.oid = s.dbid
 WHERE s.queryid IS NOT NULL GROUP BY 1, 2, 3 ORDER BY seconds_total DESC LIMIT {most}
"""


def _texts(server: Server, most: int) -> str:
    if not server.statements_schema:
        return ""
    return f"""
SELECT queryid::text AS queryid, min(left(query, {_READ_CUT})) AS query, 1 AS query_id
  FROM {server.statements_schema}.pg_stat_statements(true) WHERE queryid IS NOT NULL
 GROUP BY queryid ORDER BY sum({_total(server)}) DESC LIMIT {most}
"""


def _total(server: Server) -> str:
    return "total_exec_time" if server.statements_version >= (1, 8) else "total_time"
