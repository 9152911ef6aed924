"""What a server with TimescaleDB is asked: its jobs, and its hypertables with their compression.

Its views change from version to version, so every column is taken out of the row's JSON: one that is missing is unknown.
"""

from __future__ import annotations

from typing import Final

from obskit_collectors.postgres_questions import Question, Server

_STATS: Final = "(to_jsonb(s) ->> '{}')"
_EPOCH: Final = "extract(epoch FROM nullif({}, '-infinity')::timestamptz)"


def _stat(column: str) -> str:
    return _STATS.format(column)


JOBS: Final = f"""
SELECT j.job_id::text AS job_id, to_jsonb(j) ->> 'proc_name' AS proc_name,
       coalesce(to_jsonb(j) ->> 'hypertable_name', {_stat("hypertable_name")}) AS hypertable,
       {_stat("total_runs")}::float8 AS runs_total, {_stat("total_failures")}::float8 AS failures_total,
       CASE {_stat("last_run_status")} WHEN 'Success' THEN 1 WHEN 'Failed' THEN 0 END AS last_run_success,
       CASE WHEN {_stat("job_status")} IS NOT NULL THEN ({_stat("job_status")} = 'Paused')::int END AS paused,
       extract(epoch FROM {_stat("last_run_duration")}::interval) AS last_run_duration_seconds,
       {_EPOCH.format(_stat("last_successful_finish"))} AS last_success_timestamp_seconds,
       {_EPOCH.format(_stat("next_start"))} AS next_start_timestamp_seconds,
       extract(epoch FROM (to_jsonb(j) ->> 'schedule_interval')::interval) AS schedule_interval_seconds
  FROM timescaledb_information.jobs j LEFT JOIN timescaledb_information.job_stats s ON s.job_id = j.job_id
"""
SIZES: Final = """
SELECT hypertable_schema AS schemaname, hypertable_name AS hypertable, num_chunks AS chunks,
       hypertable_approximate_size(format('%I.%I', hypertable_schema, hypertable_name)::regclass) AS size_bytes
  FROM timescaledb_information.hypertables
"""
_COMPRESSION: Final = """
SELECT h.hypertable_schema AS schemaname, h.hypertable_name AS hypertable,
       sum(c.number_compressed_chunks) AS compressed_chunks,
       sum(c.before_compression_total_bytes) AS before_compression_bytes,
       sum(c.after_compression_total_bytes) AS after_compression_bytes
  FROM timescaledb_information.hypertables h
 CROSS JOIN LATERAL {function}(format('%I.%I', h.hypertable_schema, h.hypertable_name)::regclass) AS c
 GROUP BY 1, 2
"""


def _compression(server: Server) -> str:
    """Renamed in 2.18; the old name is left out of some newer versions."""
    newer = server.timescale_version >= (2, 18)
    return _COMPRESSION.format(function="hypertable_columnstore_stats" if newer else "hypertable_compression_stats")


TIMESCALE: Final = (
    Question(
        "timescaledb_jobs",
        "timescaledb_job_",
        lambda server: JOBS if server.timescale_version else "",
        labels=("job_id", "proc_name", "hypertable"),
        counters=frozenset({"runs_total", "failures_total"}),
        slow=True,
    ),
    Question(
        "timescaledb_sizes",
        "timescaledb_hypertable_",
        lambda server: SIZES if server.timescale_version else "",
        labels=("schemaname", "hypertable"),
        slow=True,
    ),
    Question(
        "timescaledb_compression",
        "timescaledb_hypertable_",
        lambda server: _compression(server) if server.timescale_version else "",
        labels=("schemaname", "hypertable"),
        slow=True,
    ),
)
