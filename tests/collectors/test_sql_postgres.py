"""Gauges from a real Postgres: types, read-only transactions, time limits, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from obskit.clock import SystemClock
from obskit.collect import Captured, Feed
from obskit.errors import CollectorError
from obskit.testing.clock import run
from obskit_collectors.sql import SqlSettings, build
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.server("postgres")


def collect(url: str, *queries: str, **more: Any) -> tuple[dict[str, float], CollectorError | None]:
    given = [{"name": f"q{at}", "sql": sql} for at, sql in enumerate(queries)]
    settings = SqlSettings.model_validate({"url": url, "queries": given, "timeout": "10s", **more})
    captured, problem = Captured(), None
    try:
        run(build(settings).once(Feed("sql", captured, SystemClock())))
    except CollectorError as error:
        problem = error
    return {str(sample.labels.without("job", "instance")): sample.value for sample in captured.samples}, problem


def test_its_types_become_numbers(postgres_server: PostgresServer, database: str) -> None:
    query = (
        "select 1.5::numeric as d, true as b, interval '2 min' as i, timestamptz '2023-11-14 22:13:20Z' as t, 7 as n"
    )
    found, problem = collect(postgres_server.url(database), query)
    assert problem is None
    assert found == {
        "sql_q0_d": 1.5,
        "sql_q0_b": 1,
        "sql_q0_i": 120,
        "sql_q0_t": 1_700_000_000,
        "sql_q0_n": 7,
    }


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("create table x (a int)", "read-only transaction"),
        ("select 1; drop table x", "multiple commands"),
        ("select x from nowhere", "does not exist"),
        ("select passwd from pg_shadow", "permission denied"),
        ("select generate_series(1, 1000000) as x", "more than 100 rows"),
    ],
)
def test_a_query_that_fails_is_told_and_the_others_are_read(
    postgres_server: PostgresServer, database: str, query: str, said: str
) -> None:
    found, problem = collect(postgres_server.url(database, user="plain"), query, "select 7")
    assert found == {"sql_q1": 7}
    assert said in str(problem)


def test_a_query_that_takes_too_long_is_ended_and_leaves_no_session(
    postgres_server: PostgresServer, database: str
) -> None:
    found, problem = collect(postgres_server.url(database), "select pg_sleep(60)", timeout="200ms")
    assert found == {}
    assert problem is not None
    assert ("timeout" in str(problem), problem.reason == "timeout") != (False, False)


@pytest.mark.parametrize(
    ("database", "user", "reason"), [("none", "plain", "missing"), ("postgres", "nobody-knows-me", "auth")]
)
def test_a_refusal_has_a_reason(postgres_server: PostgresServer, database: str, user: str, reason: str) -> None:
    _, problem = collect(postgres_server.url(database, user=user), "select 1")
    assert problem is not None
    assert problem.reason == reason
