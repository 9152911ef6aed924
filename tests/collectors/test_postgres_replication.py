"""Replication as a primary and its streaming replica tell it, beside what their own views say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.collectors.test_postgres import collect
from tests.postgres_server import PostgresServer, until

pytestmark = pytest.mark.server("postgres")

REPLAYED = "SELECT pg_last_wal_replay_lsn() >= '{}'"
RECEIVED = "SELECT pg_last_wal_receive_lsn() >= '{}'"


def one(found: dict[str, float], name: str, *labels: str) -> float:
    (value,) = [
        value for key, value in found.items() if key.partition("{")[0] == name and all(label in key for label in labels)
    ]
    return value


def write(primary: PostgresServer, database: str) -> str:
    """Something to replicate; where the primary's log ends then."""
    primary.sql("CREATE TABLE IF NOT EXISTS t (x int); INSERT INTO t SELECT generate_series(1, 2000)", database)
    return primary.sql("SELECT pg_current_wal_insert_lsn()")


def test_lag_is_told_on_both_sides(postgres_server: PostgresServer, postgres_folder: Path, database: str) -> None:
    replica = postgres_server.replica(postgres_folder)
    slot = f'slot_name="slot_{replica.port}"'
    try:
        until(replica, REPLAYED.format(write(postgres_server, database)))
        behind = collect(replica.url(database))
        assert behind["pg_replication_is_replica"] == 1
        assert behind["pg_replication_lag_seconds"] == 0, "nothing is missing, however long ago the last write was"
        assert behind["pg_replication_last_replay_seconds"] > 0
        ahead = collect(postgres_server.url(database))
        assert one(ahead, "pg_replication_slots_active", slot) == 1
        assert one(ahead, "pg_replication_slots_lost", slot) == 0
        assert one(ahead, "pg_stat_replication_replay_lag_seconds", slot, 'state="streaming"') >= 0

        replica.sql("SELECT pg_wal_replay_pause()")
        until(replica, "SELECT pg_get_wal_replay_pause_state() = 'paused'")
        until(replica, RECEIVED.format(write(postgres_server, database)))
        truth = float(replica.sql("SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())"))
        lag = collect(replica.url(database))["pg_replication_lag_seconds"]
        assert truth <= lag < truth + 30
        replayed = replica.sql("SELECT pg_last_wal_replay_lsn()")
        known = f"SELECT count(*) = 1 FROM pg_stat_replication WHERE replay_lsn = '{replayed}'"
        until(postgres_server, known)  # the replica reports once a second
        missing = f"SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '{replayed}')"
        ahead = collect(postgres_server.url(database))
        assert one(ahead, "pg_stat_replication_pg_wal_lsn_diff", slot) == pytest.approx(
            float(postgres_server.sql(missing)), abs=10_000
        )

        replica.sql("SELECT pg_wal_replay_resume()")
        replica.sql("ALTER SYSTEM SET primary_conninfo = ''")
        replica.sql("SELECT pg_reload_conf()")
        until(replica, "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")
        until(replica, "SELECT pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()")
        assert collect(replica.url(database))["pg_replication_lag_seconds"] > 0, "who hears nothing is not up to date"
    finally:
        replica.stop()
    before = collect(postgres_server.url(database))
    write(postgres_server, database)
    after = collect(postgres_server.url(database))
    assert one(after, "pg_replication_slots_active", slot) == 0
    retained = "pg_replication_slots_pg_wal_lsn_diff"
    assert one(after, retained, slot) > one(before, retained, slot) >= 0
    postgres_server.sql(f"SELECT pg_drop_replication_slot('slot_{replica.port}')")
