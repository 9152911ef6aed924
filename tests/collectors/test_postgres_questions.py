"""Questions by version, answers as readings, texts without what they are about: all without a server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit_collectors.postgres import PostgresSettings
from obskit_collectors.postgres_connection import Address
from obskit_collectors.postgres_questions import FACTS, Question, Server, always, redacted

URL = "postgresql://obskit:s3cret@db.example:6543/shop?sslmode=require"


def asked(server: Server, name: str) -> str:
    settings = PostgresSettings.model_validate({"url": URL})
    (question,) = [question for question in settings.questions if question.name == name]
    return question.sql(server)


def of(major: int, statements: str | None = None, timescale: str | None = None) -> Server:
    facts = {"major": major, "version": f"{major}.1", "replica": False, "started": 1, "statements": statements}
    return Server.of({**facts, "timescale": timescale})


@pytest.mark.parametrize(
    ("server", "name", "has", "has_not"),
    [
        (of(12), "stat_database", "deadlocks", "active_time"),
        (of(14), "stat_database", "active_time", "no_such"),
        (of(12), "replication_slots", "restart_lsn", "safe_wal_size"),
        (of(13), "replication_slots", "safe_wal_size", "no_such"),
        (of(16), "stat_bgwriter", "checkpoints_timed", "pg_stat_checkpointer"),
        (of(17), "stat_bgwriter", "buffers_alloc", "checkpoints_timed"),
        (of(17), "stat_checkpointer", "num_timed", "no_such"),
        (of(12, "public 1.7"), "stat_statements", "total_time", "total_exec_time"),
        (of(16, '"My Schema" 1.10'), "stat_statements", '"My Schema".pg_stat_statements', "shared_blk"),
        (of(17, "public 1.11"), "stat_statements", "shared_blk_read_time", "s.blk_read_time"),
        (of(17, "public 1.8"), "stat_statements", "s.blk_read_time", "shared_blk"),
        (of(16, timescale="2.17.2"), "timescaledb_compression", "hypertable_compression_stats", "columnstore"),
        (
            of(16, timescale="2.18.0-dev"),
            "timescaledb_compression",
            "hypertable_columnstore_stats",
            "compression_stats",
        ),
    ],
)
def test_each_version_is_asked_for_the_columns_it_has(server: Server, name: str, has: str, has_not: str) -> None:
    assert has in asked(server, name)
    assert has_not not in asked(server, name)


@pytest.mark.parametrize("name", ["stat_statements", "stat_statements_text", "timescaledb_jobs", "stat_checkpointer"])
def test_what_a_server_does_not_have_is_not_asked_for(name: str) -> None:
    assert asked(of(16), name) == ""


def test_what_is_switched_off_is_not_asked_for() -> None:
    settings = PostgresSettings.model_validate({"url": URL, "tables": 0, "statements": 0})
    assert not {"stat_user_tables", "stat_statements"} & {question.name for question in settings.questions}
    settings = PostgresSettings.model_validate({"url": URL, "statement_text": False})
    assert "stat_statements_text" not in {question.name for question in settings.questions}


def test_a_column_that_is_null_gives_nothing_and_never_zero() -> None:
    question = Question("q", "pg_", always(FACTS), labels=("datname",))
    rows = [{"datname": "a", "x": None, "y": 0}, {"datname": None, "x": 2, "y": None}]
    assert list(question.readings(rows)) == [("pg_y", {"datname": "a"}, 0.0), ("pg_x", {"datname": ""}, 2.0)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ALTER ROLE bob PASSWORD 's3cret'", "ALTER ROLE bob PASSWORD ?"),
        ("SET x = 'it''s s3cret'", "SET x = ?"),
        (r"SELECT E'a\'s3cret'", "SELECT E?"),
        ("DO $$ s3cret $$", "DO ?"),
        ("DO $tag$ s3cret $x$ s3cret $tag$", "DO ?"),
        ("SELECT 1 /* s3cret */ FROM t1 -- s3cret\nWHERE id = 42.5", "SELECT ? FROM t1 WHERE id = ?"),
        ("COPY t FROM 's3cret that is cut", "COPY t FROM ?"),
        ("SELECT 1 /* s3cret that is cut", "SELECT ?"),
        ("SELECT * FROM  t\n WHERE id = $1", "SELECT * FROM t WHERE id = $1"),
    ],
)
def test_a_statement_is_told_without_what_it_is_about(text: str, expected: str) -> None:
    assert redacted(text) == expected


@given(st.text(alphabet="'\"\\\\$/*-a1 \n", max_size=300))
def test_any_text_can_be_told_on_one_short_line(text: str) -> None:
    told = redacted(text)
    assert "\n" not in told
    assert len(told) <= 200


@pytest.mark.parametrize(
    ("url", "shown", "sslmode"),
    [
        ("postgres://u@h/db", "h:5432/db", "prefer"),
        ("postgresql+asyncpg://u:p%40ss@h:6432/db?sslmode=verify-full&pgbouncer=true", "h:6432/db", "verify-full"),
        ("postgresql://u@/db?host=/run/postgresql&port=5433", "/run/postgresql:5433/db", "prefer"),
        ("postgresql://u@[::1]:5432", "::1:5432/u", "prefer"),
    ],
)
def test_a_url_is_read_as_other_clients_read_it(url: str, shown: str, sslmode: str) -> None:
    address = Address.parse(url)
    assert (address.shown, address.sslmode) == (shown, sslmode)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "give the url of the server, or"),
        ({"url": "mysql://u@h/db"}, "must look like postgresql://"),
        ({"url": "postgresql:///db"}, "must name one host"),
        ({"url": "postgresql://u@a,b/db"}, "must name one host"),
        ({"url": "postgresql://h/db"}, "must name a user"),
        ({"url": "postgresql://u@h:port/db"}, "the port of the url must be a number"),
        ({"url": "postgresql://u@h/db?sslmode=on"}, "sslmode must be one of disable"),
        ({"url": URL, "slow_every": "10m"}, "less than or equal to 240000"),
        ({"url": URL, "tables": "501"}, "less than or equal to 500"),
        ({"url": URL, "statements": "-1"}, "greater than or equal to 0"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_with_the_reason(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        PostgresSettings.model_validate(settings)
    assert "s3cret" not in str(raised.value)


def test_without_the_extra_the_settings_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obskit_collectors.postgres.installed", lambda: False)
    with pytest.raises(ValueError, match=r"install the extra obskit-toolkit\[postgres\]"):
        PostgresSettings.model_validate({"url": URL})
