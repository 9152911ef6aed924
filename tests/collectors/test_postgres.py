"""The postgres collector against a real server, and beside it what the server itself says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from obskit.clock import SystemClock
from obskit.collect import Captured, Feed
from obskit.errors import CollectorError
from obskit.model.labels import NAME
from obskit.model.samples import is_stale
from obskit.testing.clock import run
from obskit_collectors.postgres import KIND, PostgresSettings
from obskit_collectors.postgres_connection import Address, Session
from tests.postgres_server import PostgresServer, run_program, until

pytestmark = pytest.mark.server("postgres")


async def collected(url: str, **settings: Any) -> dict[str, float]:
    captured = Captured()
    patient = {"timeout": "1m", "statement_timeout": "30s"}  # a busy machine is no finding
    collector = KIND.build(PostgresSettings.model_validate({"url": url, **patient, **settings}))
    await collector.once(Feed("postgres", captured, SystemClock()))
    return readings(captured)


def collect(url: str, **settings: Any) -> dict[str, float]:
    return run(collected(url, **settings))


def readings(captured: Captured) -> dict[str, float]:
    return {str(sample.labels.without("job", "instance")): sample.value for sample in captured.samples}


def failing_parts(found: dict[str, float]) -> set[str]:
    return {
        name.partition('"')[2].partition('"')[0]
        for name, value in found.items()
        if name.startswith("pg_scrape_collector_success") and value == 0
    }


@asynccontextmanager
async def session(server: PostgresServer, database: str, **settings: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(server.url(database, user="postgres"), server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close()


def test_it_reads_what_the_server_says_of_itself(postgres_server: PostgresServer, database: str) -> None:
    postgres_server.sql("CREATE TABLE orders AS SELECT generate_series(1, 1000) AS id; ANALYZE orders", database)
    found = collect(postgres_server.url(database))
    assert found["pg_up"] == 1
    assert failing_parts(found) == set()
    table = f'datname="{database}", relname="orders", schemaname="public"'
    for name, statement in {
        "pg_settings_max_connections": "SHOW max_connections",
        "pg_settings_superuser_reserved_connections": "SHOW superuser_reserved_connections",
        "pg_settings_shared_buffers_bytes": "SELECT pg_size_bytes(current_setting('shared_buffers'))",
        "pg_settings_statement_timeout_seconds": "SELECT 0",
        "pg_postmaster_start_time_seconds": "SELECT extract(epoch FROM pg_postmaster_start_time())",
        "pg_replication_is_replica": "SELECT 0",
        f'pg_database_size_bytes{{datname="{database}"}}': f"SELECT pg_database_size('{database}')",
        f'pg_database_wraparound_age_datfrozenxid_seconds{{datname="{database}"}}': (
            f"SELECT age(datfrozenxid) FROM pg_database WHERE datname = '{database}'"
        ),
        f"pg_stat_user_tables_n_live_tup{{{table}}}": "SELECT count(*) FROM orders",
        f"pg_stat_user_tables_table_size_bytes{{{table}}}": "SELECT pg_table_size('orders')",
        f"pg_stat_user_tables_last_analyze{{{table}}}": (
            "SELECT extract(epoch FROM last_analyze) FROM pg_stat_user_tables WHERE relname = 'orders'"
        ),
        "pg_wal_size_bytes": "SELECT sum(size) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'",
    }.items():
        assert found[name] == pytest.approx(float(postgres_server.sql(statement, database))), name
    assert f"pg_stat_user_tables_last_vacuum{{{table}}}" not in found, "never is not the year 1970"
    assert "pg_replication_last_replay_seconds" not in found


def test_load_is_counted_as_the_load_generator_counts_it(postgres_server: PostgresServer, database: str) -> None:
    postgres_server.sql("CREATE EXTENSION pg_stat_statements", database)
    where = ["-h", "127.0.0.1", "-p", str(postgres_server.port), "-U", "postgres", database]
    run_program("pgbench", "-i", "-q", *where)
    counter = f'pg_stat_database_xact_commit{{datid="{oid(postgres_server, database)}", datname="{database}"}}'
    before = collect(postgres_server.url(database))[counter]
    postgres_server.sql("SELECT pg_stat_statements_reset()", database)
    run_program("pgbench", "-n", "-c", "4", "-t", "50", *where)
    # Sessions hand in what they counted at their end, before they leave this view.
    until(postgres_server, "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pgbench'")
    found = collect(postgres_server.url(database))
    assert 200 <= found[counter] - before < 230
    texts = {
        name.partition('query="')[2].partition('"')[0]: name.partition('queryid="')[2].partition('"')[0]
        for name in found
        if name.startswith("pg_stat_statements_query_id")
    }
    updated = texts["UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2"]
    labels = f'{{datname="{database}", queryid="{updated}", user="postgres"}}'
    assert found[f"pg_stat_statements_calls_total{labels}"] == 200
    assert found[f"pg_stat_statements_rows_total{labels}"] == 200
    assert found[f"pg_stat_statements_seconds_total{labels}"] > 0


def oid(server: PostgresServer, database: str) -> str:
    return server.sql(f"SELECT oid FROM pg_database WHERE datname = '{database}'")


def test_sessions_are_counted_by_state_user_and_application(postgres_server: PostgresServer, database: str) -> None:
    async def scenario() -> dict[str, float]:
        async with (
            session(postgres_server, database, application_name="shop"),
            session(postgres_server, database, application_name="shop"),
            session(postgres_server, database, application_name="shop") as waiting,
        ):
            await waiting.execute("BEGIN")
            await waiting.execute("SELECT pg_sleep(0.05)")
            return await collected(postgres_server.url(database))

    found = run(scenario())
    shop = f'application_name="shop", datname="{database}", state="{{}}", usename="postgres"'
    assert found[f"pg_stat_activity_count{{{shop.format('idle')}}}"] == 2
    assert found[f"pg_stat_activity_count{{{shop.format('idle in transaction')}}}"] == 1
    assert found[f"pg_stat_activity_max_tx_duration{{{shop.format('idle in transaction')}}}"] >= 0.05
    assert f"pg_stat_activity_max_tx_duration{{{shop.format('idle')}}}" not in found
    assert found["pg_long_running_transactions"] >= 1
    assert found["pg_long_running_transactions_oldest_timestamp_seconds"] >= 0.05


def test_many_kinds_of_sessions_are_folded_into_others(postgres_server: PostgresServer, database: str) -> None:
    from obskit_collectors import postgres_questions

    statement = postgres_questions.ACTIVITY.replace(f"<= {postgres_questions.MOST_SESSIONS}", "<= 1")

    async def scenario() -> list[Any]:
        async with session(postgres_server, database) as asking, session(postgres_server, database):
            return list(await asking.fetch(statement))

    rows = run(scenario())
    assert sum(row["count"] for row in rows if row["datname"] == database) == 2
    assert {row["application_name"] for row in rows} >= {"(others)"}


def test_who_blocks_whom_is_told(postgres_server: PostgresServer, database: str) -> None:
    postgres_server.sql("CREATE TABLE stock AS SELECT 1 AS id", database)

    async def scenario() -> tuple[dict[str, float], int]:
        async with (
            session(postgres_server, database, application_name="migration") as first,
            session(postgres_server, database, application_name="shop") as second,
        ):
            await first.execute("BEGIN; LOCK TABLE stock IN ACCESS EXCLUSIVE MODE")
            waiting = asyncio.create_task(second.execute("SELECT * FROM stock"))
            while "pg_blocked_seconds" not in " ".join(found := await collected(postgres_server.url(database))):
                assert not waiting.done()
            pid = first.get_server_pid()
            await first.execute("ROLLBACK")
            await waiting
            return found, pid

    found, pid = run(scenario())
    assert found["pg_blocked_sessions"] >= 1
    (blocked,) = [name for name in found if name.startswith("pg_blocked_seconds") and database in name]
    assert f'blocker_application_name="migration", blocker_pid="{pid}", blocker_state="idle in transaction"' in blocked
    assert 'application_name="shop"' in blocked
    assert found[blocked] >= 1
    assert found[f'pg_locks_count{{datname="{database}", mode="accessexclusivelock"}}'] >= 1
    assert failing_parts(found) == {"stat_user_tables"}, "sizes wait for the lock a second, and no longer"


def test_a_role_without_pg_monitor_reads_what_it_may(
    postgres_server: PostgresServer, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    collector = KIND.build(PostgresSettings.model_validate({"url": postgres_server.url(database, user="plain")}))
    captured = Captured()

    async def scenario() -> None:
        async with session(postgres_server, database, application_name="shop"):
            for _ in range(2):
                await collector.once(Feed("postgres", captured, SystemClock()))

    run(scenario())
    found = readings(captured)
    assert found["pg_up"] == 1
    assert failing_parts(found) == {"wal"}
    hidden = f'application_name="shop", datname="{database}", state="unknown", usename="postgres"'
    assert found[f"pg_stat_activity_count{{{hidden}}}"] == 1
    assert len([record for record in caplog.records if "postgres left out" in record.message]) == 1


@pytest.fixture
def secured(postgres_server: PostgresServer) -> str:
    """A database that asks for a password."""
    if not postgres_server.sql("SELECT 1 FROM pg_database WHERE datname = 'secured'"):
        postgres_server.sql("CREATE DATABASE secured")
    return "secured"


@pytest.mark.parametrize(
    ("login", "reason", "said"),
    [
        (("secured", "secured:wr0ng-password", "sslmode=disable"), "auth", "password authentication failed"),
        (("postgres", "nobody", "sslmode=disable"), "auth", 'role "nobody" does not exist'),
        (("no_such", "obskit", "sslmode=disable"), "missing", 'database "no_such" does not exist'),
        (("postgres", "obskit", "sslmode=verify-full"), "network", "certificate not accepted: self.signed"),
    ],
)
def test_a_refusal_has_its_reason_and_no_password(
    postgres_server: PostgresServer, secured: str, login: tuple[str, str, str], reason: str, said: str
) -> None:
    url = postgres_server.url(*login)
    with pytest.raises(CollectorError, match=said) as raised:
        collect(url)
    assert raised.value.reason == reason
    assert raised.value.retry_after == (900 if reason == "auth" else None)
    assert "wr0ng" not in str(raised.value)
    settings = PostgresSettings.model_validate({"url": url})
    bad = [check for check in run(KIND.doctor(settings, SystemClock())) if not check.ok]
    assert [bool(check.fix) for check in bad] == [True]
    assert "wr0ng" not in repr((bad, settings))


def test_a_certificate_is_verified_against_the_one_that_is_named(postgres_server: PostgresServer) -> None:
    for query in ("sslmode=require", f"sslmode=verify-full&sslrootcert={postgres_server.certificate}"):
        assert collect(postgres_server.url(query=query))["pg_up"] == 1
    with pytest.raises(CollectorError, match="sslrootcert /no/such: No such file") as raised:
        collect(postgres_server.url(query="sslmode=verify-ca&sslrootcert=/no/such"))
    assert raised.value.reason == "config"


def test_the_password_may_stand_beside_the_url(postgres_server: PostgresServer, secured: str) -> None:
    assert collect(postgres_server.url(secured, "secured"), password="r1ght-and-long")["pg_up"] == 1


def own_session(url: str, **limits: int) -> Session:
    return Session(Address.parse(url), **{"timeout_ms": 10_000, "statement_timeout_ms": 10_000, **limits})


def test_the_session_can_change_nothing_and_no_statement_lasts(postgres_server: PostgresServer, database: str) -> None:
    asked = own_session(postgres_server.url(database, user="postgres"), statement_timeout_ms=50)

    async def scenario() -> list[Any]:
        try:
            return await asked.ask(["CREATE TABLE t (x int)", "SELECT pg_sleep(9)", "SELECT 7 AS x"])
        finally:
            await asked.close()

    refused, stopped, answered = run(scenario())
    assert "read-only transaction" in str(refused)
    assert stopped.reason == "timeout"
    assert answered[0]["x"] == 7, "what fails does not take the rest with it"


def test_a_server_that_went_away_is_down_and_its_series_end(postgres_folder: Any) -> None:
    server = PostgresServer.new(postgres_folder / "away")
    captured = Captured()
    collector = KIND.build(PostgresSettings.model_validate({"url": server.url()}))

    async def scenario() -> None:
        feed = Feed("postgres", captured, SystemClock())
        await collector.once(feed)
        server.stop()
        captured.batches.clear()
        with pytest.raises(CollectorError) as raised:
            await collector.once(feed)
        assert raised.value.reason == "network"
        found = readings(captured)
        assert found.pop("pg_up") == 0
        assert found
        assert all(is_stale(value) for value in found.values())
        server.start()
        captured.batches.clear()
        await collector.once(feed)
        assert readings(captured)["pg_up"] == 1
        assert readings(captured)["pg_wal_segments"] >= 1, "after an outage all is asked again"
        server.stop()

    run(scenario())


class HandWall(SystemClock):
    """Real waiting, because a server answers in real time, and a wall clock that is set by hand."""

    at_ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.at_ms


def test_what_is_slow_is_asked_more_seldom_and_does_not_end_meanwhile(
    postgres_server: PostgresServer, database: str
) -> None:
    settings = {"url": postgres_server.url(database), "every": "15s", "slow_every": "1m"}
    clock, captured = HandWall(), Captured()
    collector = KIND.build(PostgresSettings.model_validate(settings))

    async def scenario() -> None:
        for _ in range(5):
            await collector.once(Feed("postgres", captured, clock))
            clock.at_ms += 15_000

    run(scenario())
    names = [[sample.labels[NAME] for sample in batch.samples] for batch in captured.batches]
    assert ["pg_wal_segments" in found for found in names] == [True, False, False, False, True]
    assert not any(is_stale(sample.value) for batch in captured.batches for sample in batch.samples)


def test_a_read_that_is_given_up_leaves_nothing_behind(postgres_server: PostgresServer, database: str) -> None:
    asked = own_session(postgres_server.url(database))
    sleeping = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND wait_event = 'PgSleep'"

    async def scenario() -> Any:
        stuck = asyncio.create_task(asked.ask(["SELECT pg_sleep(9)"]))
        while await asyncio.to_thread(postgres_server.sql, sleeping) != "1":
            assert not stuck.done()
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
        (rows,) = await asked.ask(["SELECT 1 AS one"])
        await asked.close()
        return rows

    assert run(scenario())[0]["one"] == 1


def test_the_doctor_names_the_grant_and_the_extension(postgres_server: PostgresServer, database: str) -> None:
    settings = PostgresSettings.model_validate({"url": postgres_server.url(database, user="plain")})
    fixes = [check.fix for check in run(KIND.doctor(settings, SystemClock())) if not check.ok]
    assert fixes[0] == 'GRANT pg_monitor TO "plain";'
    assert f"in the database {database}: CREATE EXTENSION pg_stat_statements;" in fixes[1]
    postgres_server.sql("CREATE EXTENSION pg_stat_statements", database)
    settings = PostgresSettings.model_validate({"url": postgres_server.url(database)})
    assert [check.ok for check in run(KIND.doctor(settings, SystemClock()))] == [True, True, True]


@pytest.mark.server("pgbouncer")
def test_it_reads_through_a_pooler_that_gives_each_transaction_another_session(
    postgres_server: PostgresServer, database: str, pgbouncer_port: int
) -> None:
    url = f"postgresql://obskit@127.0.0.1:{pgbouncer_port}/{database}?sslmode=disable&pgbouncer=true"
    captured = Captured()
    collector = KIND.build(PostgresSettings.model_validate({"url": url}))

    async def scenario() -> None:
        for _ in range(3):
            await collector.once(Feed("postgres", captured, SystemClock()))

    run(scenario())
    assert failing_parts(readings(captured)) == set()
    assert readings(captured)["pg_up"] == 1
    with pytest.raises(CollectorError, match="rejected SSL upgrade") as raised:
        collect(url.replace("sslmode=disable", "sslmode=require"))
    assert raised.value.reason == "network"


@pytest.mark.server("prometheus-postgres-exporter")
def test_what_postgres_exporter_says_too_is_said_with_the_same_names_and_values(
    postgres_server: PostgresServer, database: str, exporter_page: Any
) -> None:
    postgres_server.sql("CREATE TABLE orders AS SELECT generate_series(1, 100) AS id; ANALYZE orders", database)
    ours, theirs = collect(postgres_server.url(database)), exporter_page(database)
    both = {name: (value, theirs[name]) for name, value in ours.items() if name in theirs}
    families = {name.partition("{")[0] for name in both}
    assert len(both) > 50
    assert families >= {"pg_settings_max_connections", "pg_database_size_bytes", "pg_stat_database_deadlocks"}
    moving = ("xact", "blks", "tup_", "numbackends", "locks", "bgwriter", "blk_", "_time", "archive")
    differing = {
        name: values
        for name, values in both.items()
        if not any(word in name for word in moving) and values[0] != pytest.approx(values[1])
    }
    assert differing == {}


TIMESCALE = """
SET allow_system_table_mods = on;
INSERT INTO pg_extension SELECT 99999, 'timescaledb', 10, oid, false, '2.17.2' FROM pg_namespace WHERE nspname = 'public';
CREATE SCHEMA timescaledb_information;
CREATE VIEW timescaledb_information.jobs AS
  SELECT 1000 AS job_id, 'policy_retention'::name AS proc_name, interval '1 day' AS schedule_interval,
         'ticks'::name AS hypertable_name, '{}'::jsonb AS config
  UNION ALL SELECT 1001, 'policy_new', NULL, NULL, NULL;
CREATE VIEW timescaledb_information.job_stats AS
  SELECT 1000 AS job_id, 'Failed' AS last_run_status, 'Paused' AS job_status, 40::bigint AS total_runs,
         3::bigint AS total_failures, timestamptz '-infinity' AS last_successful_finish,
         timestamptz '2026-11-20 00:00:00+00' AS next_start, interval '90 seconds' AS last_run_duration;
CREATE TABLE public.ticks (t timestamptz);
CREATE VIEW timescaledb_information.hypertables AS
  SELECT 'public'::name AS hypertable_schema, 'ticks'::name AS hypertable_name, 4::bigint AS num_chunks;
CREATE FUNCTION hypertable_approximate_size(regclass) RETURNS bigint LANGUAGE sql AS 'SELECT 8192::bigint';
CREATE FUNCTION hypertable_compression_stats(regclass) RETURNS TABLE (
  total_chunks bigint, number_compressed_chunks bigint, before_compression_total_bytes bigint,
  after_compression_total_bytes bigint) LANGUAGE sql AS 'SELECT 4::bigint, 3::bigint, 1000::bigint, NULL::bigint';
GRANT USAGE ON SCHEMA timescaledb_information TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA timescaledb_information TO PUBLIC;
"""
"""Its views and functions by its documentation: the extension is not in Debian."""


def test_timescales_jobs_and_compression_are_told(postgres_server: PostgresServer, database: str) -> None:
    postgres_server.sql(TIMESCALE, database)
    found = collect(postgres_server.url(database))
    assert failing_parts(found) == set()
    told = {
        name.removeprefix("timescaledb_"): value for name, value in found.items() if name.startswith("timescaledb_")
    }
    job = '{hypertable="ticks", job_id="1000", proc_name="policy_retention"}'
    table = '{hypertable="ticks", schemaname="public"}'
    assert told == {
        f"job_runs_total{job}": 40,
        f"job_failures_total{job}": 3,
        f"job_last_run_success{job}": 0,
        f"job_paused{job}": 1,
        f"job_last_run_duration_seconds{job}": 90,
        f"job_next_start_timestamp_seconds{job}": 1_795_132_800,
        f"job_schedule_interval_seconds{job}": 86_400,
        f"hypertable_chunks{table}": 4,
        f"hypertable_size_bytes{table}": 8192,
        f"hypertable_compressed_chunks{table}": 3,
        f"hypertable_before_compression_bytes{table}": 1000,
    }
