"""What a server is asked about its replicas, its slots, its archive, and how far it is behind as a replica itself."""

from __future__ import annotations

from typing import Final

from obskit_collectors.postgres_questions import Question, always

# An idle primary sends nothing, so the time since the last replay grows while nothing is missing. Whether nothing is
# missing only the receiver can know: without one the lag is the time since then.
_SINCE_REPLAY: Final = "abs(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()))"
LAG: Final = f"""
SELECT pg_is_in_recovery()::int AS is_replica,
       CASE WHEN NOT pg_is_in_recovery() THEN 0
            WHEN EXISTS (SELECT FROM pg_stat_wal_receiver)
                 AND pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
            ELSE {_SINCE_REPLAY} END AS lag_seconds,
       {_SINCE_REPLAY} AS last_replay_seconds
"""

_WRITTEN: Final = "(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)"

# The lags are NULL for a replica that has everything and hears nothing new: then it is not behind.
REPLICAS: Final = f"""
SELECT r.application_name, host(r.client_addr) AS client_addr, r.state, s.slot_name::text AS slot_name,
       r.pid::text AS pid, pg_wal_lsn_diff({_WRITTEN}, r.replay_lsn) AS pg_wal_lsn_diff,
       extract(epoch FROM coalesce(r.write_lag, CASE WHEN r.write_lsn >= r.sent_lsn THEN interval '0' END))
         AS write_lag_seconds,
       extract(epoch FROM coalesce(r.flush_lag, CASE WHEN r.flush_lsn >= r.sent_lsn THEN interval '0' END))
         AS flush_lag_seconds,
       extract(epoch FROM coalesce(r.replay_lag, CASE WHEN r.replay_lsn >= r.sent_lsn THEN interval '0' END))
         AS replay_lag_seconds
  FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid
"""

_SLOTS: Final = f"""
SELECT slot_name::text AS slot_name, slot_type, database::text AS database, active::int AS active,
       pg_wal_lsn_diff({_WRITTEN}, restart_lsn) AS pg_wal_lsn_diff
"""
_SLOTS_FROM_13: Final = ", safe_wal_size AS safe_wal_size_bytes, (wal_status = 'lost')::int AS lost"

ARCHIVER: Final = """
SELECT archived_count, failed_count, extract(epoch FROM now() - last_archived_time) AS last_archive_age,
       extract(epoch FROM now() - last_failed_time) AS last_failed_age
  FROM pg_stat_archiver WHERE current_setting('archive_mode') <> 'off'
"""

REPLICATION: Final = (
    Question("replication", "pg_replication_", always(LAG)),
    Question(
        "stat_replication",
        "pg_stat_replication_",
        always(REPLICAS),
        labels=("application_name", "client_addr", "state", "slot_name", "pid"),
    ),
    Question(
        "replication_slots",
        "pg_replication_slots_",
        lambda server: f"{_SLOTS}{_SLOTS_FROM_13 if server.major >= 13 else ''} FROM pg_replication_slots",
        labels=("slot_name", "slot_type", "database"),
    ),
    Question(
        "stat_archiver",
        "pg_stat_archiver_",
        always(ARCHIVER),
        counters=frozenset({"archived_count", "failed_count"}),
    ),
)
