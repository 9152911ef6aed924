"""Gauges from SQL: SQLite files here, a real Postgres where one is installed."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from obskit.clock import SystemClock
from obskit.collect import Captured, Feed
from obskit.errors import CollectorError
from obskit.model.documents import parse_document
from obskit.model.telemetry import REGISTRY
from obskit.testing.clock import FakeClock, run
from obskit_collectors.gauges import Gauges
from obskit_collectors.sql import QuerySettings, SqlSettings, build, doctor, read_table
from obskit_collectors.sql_sources import Table

ENDLESS = "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) as x from n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        "create table orders (status text, cents integer);"
        "insert into orders values ('paid', 100), ('paid', 250), ('open', null);"
    )
    connection.close()
    return path


def settings(file: Path, *queries: str | dict[str, Any], **more: Any) -> SqlSettings:
    given = [{"name": "x", "sql": query} if isinstance(query, str) else query for query in queries]
    return SqlSettings.model_validate({"file": str(file), "prefix": "shop", "queries": given, **more})


def collect(given: SqlSettings, clock: FakeClock | None = None) -> tuple[dict[str, float], CollectorError | None]:
    captured, problem = Captured(), None
    clock = clock or FakeClock()
    try:
        run(build(given).once(Feed("sql", captured, clock)), clock)
    except CollectorError as error:
        problem = error
    return {str(sample.labels.without("job", "instance")): sample.value for sample in captured.samples}, problem


def dropped(reason: str) -> float:
    labels = {"collector": "sql", "reason": reason}
    return REGISTRY.get_sample_value("obskit_collector_dropped_total", labels) or 0.0


def test_rows_become_samples_by_label_and_value_columns(shop: Path) -> None:
    query = "select status, count(*) as orders, sum(cents) / 100.0 as dollars from orders group by status"
    assert collect(settings(shop, {"name": "sales", "sql": query, "labels": ["status"]})) == (
        {
            'shop_sales_orders{status="paid"}': 2,
            'shop_sales_dollars{status="paid"}': 3.5,
            'shop_sales_orders{status="open"}': 1,
        },
        None,
    ), "no dollars of open orders: null is unknown"


def test_a_single_value_has_the_name_of_its_query(shop: Path) -> None:
    assert collect(settings(shop, "select count(*) from orders")) == ({"shop_x": 3}, None)


def test_columns_that_are_neither_are_left_out(shop: Path) -> None:
    query = {"name": "x", "sql": "select 'a' as l, 1 as v, 'text' as other", "labels": ["l"], "values": ["v"]}
    assert collect(settings(shop, query)) == ({'shop_x{l="a"}': 1}, None)


@pytest.mark.parametrize(
    ("query", "reason"),
    [("select 'many' as x", "bad_value"), ("select x'00' as x", "bad_value"), ("select 9e999 as x", "bad_value")],
)
def test_what_is_no_number_is_dropped_and_counted_never_zero(shop: Path, query: str, reason: str) -> None:
    before = dropped(reason)
    assert collect(settings(shop, query)) == ({}, None)
    assert dropped(reason) - before == 1


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select x from nowhere", "no such table"),
        ("select 1 as x; select 2", "one statement"),
        ("delete from orders", "readonly"),
        ("create table y (x)", "readonly"),
        ("attach 'other.db' as other", "too many attached"),
        ("select status from orders union all select cents from orders", "more than 5 rows"),
        ("select 1 as x, 2 as x", "two columns have the same name"),
    ],
)
def test_a_query_that_fails_is_told_and_the_others_are_read(shop: Path, query: str, said: str) -> None:
    found, problem = collect(settings(shop, query, {"name": "n", "sql": "select 7"}, row_limit=5))
    assert found == {"shop_n": 7}
    assert problem is not None
    assert (problem.reason, "x: " in str(problem), said in str(problem)) == ("bad_data", True, True)
    with closing(sqlite3.connect(shop)) as connection:
        assert connection.execute("select count(*) from orders").fetchone() == (3,)


def test_a_column_that_is_not_there_is_named(shop: Path) -> None:
    query = {"name": "x", "sql": "select 1 as v", "labels": ["l"]}
    _, problem = collect(settings(shop, query))
    assert 'there is no column "l" (there are: v)' in str(problem)


def test_a_query_without_end_is_given_up(shop: Path) -> None:
    captured = Captured()

    async def scenario() -> CollectorError:
        with pytest.raises(CollectorError) as caught:
            await build(settings(shop, ENDLESS, timeout="50ms")).once(Feed("sql", captured, SystemClock()))
        return caught.value

    assert run(scenario()).reason == "timeout"


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    _, problem = collect(settings(tmp_path / "none.db", "select 1"))
    assert problem is not None
    assert problem.reason == "missing"
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("not a database, however long this may be" * 100)
    _, problem = collect(settings(tmp_path / "x.db", "select 1 from sqlite_master"))
    assert "not a database" in str(problem)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal("1.5"), [1.5]),
        (True, [1.0]),
        (datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), [1_700_000_000.0]),
        (datetime(2023, 11, 14, 22, 13, 20), []),  # noqa: DTZ001 - that it has no time zone is the point
        (timedelta(minutes=2), [120.0]),
        (Decimal("NaN"), []),
        (10**400, []),
        (None, []),
    ],
)
def test_types_of_a_database_become_numbers_or_nothing(value: Any, expected: list[float]) -> None:
    found = Gauges()
    query = QuerySettings.model_validate({"name": "x", "sql": "-"})
    read_table(query, "x", Table(("v",), [(value,)]), 10, found)
    assert [number for _, _, number in found.readings] == expected


@pytest.mark.parametrize(("label", "expected"), [(1, "1"), (None, ""), (True, "true"), (Decimal("1.50"), "1.50")])
def test_types_of_a_database_become_labels(label: Any, expected: str) -> None:
    assert rows_of([(label, 1)]) == [{"l": expected}]


@pytest.mark.parametrize("label", [b"bytes", ["list"], "x" * 300])
def test_what_can_be_no_label_is_dropped(label: Any) -> None:
    assert rows_of([(label, 1), ("a", 2), ("a", 3)]) == [{"l": "a"}]


def rows_of(rows: Sequence[Sequence[Any]]) -> list[dict[str, str]]:
    found = Gauges()
    query = QuerySettings.model_validate({"name": "x", "sql": "-", "labels": ["l"]})
    read_table(query, "x", Table(("l", "v"), rows), 10, found)
    return [dict(labels) for _, labels, _ in found.readings]


def test_a_variable_in_sql_is_never_replaced() -> None:
    text = "collectors:\n  - sql:\n      name: ${NAME}\n      queries:\n        - sql: select '${NAME}' $$x$$\n"
    (item,) = parse_document(text, "x.yaml", environment={"NAME": "'; drop table orders; --"}).data["collectors"]
    assert item["sql"]["queries"][0]["sql"] == "select '${NAME}' $$x$$"
    assert item["sql"]["name"] == "'; drop table orders; --"


def test_a_database_that_suspends_is_asked_once_an_hour() -> None:
    given = {"url": "postgresql://u:p@ep-x.neon.tech/db", "queries": [{"name": "x", "sql": "select 1"}]}
    assert SqlSettings.model_validate({**given, "suspends": True}).every_ms == 3_600_000
    assert SqlSettings.model_validate({**given, "suspends": True, "every": "15m"}).every_ms == 900_000
    assert SqlSettings.model_validate(given).every_ms == 60_000


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"file": None}, "give a file"),
        ({"url": "postgresql://h/d"}, "give a file"),
        ({"file": None, "url": "mysql://h/d"}, "postgresql://"),
        ({"suspends": True, "every": "5m"}, "kept awake"),
        ({"queries": []}, "at least 1"),
        ({"queries": [{"name": "a b", "sql": "x"}]}, "pattern"),
        ({"queries": [{"name": "a", "sql": ""}]}, "at least 1"),
        ({"queries": [{"name": "a", "sql": "x"}] * 2}, "a is there twice"),
        ({"queries": [{"name": "a", "sql": "x", "labels": ["instance"]}]}, "label of its own"),
        ({"queries": [{"name": "a", "sql": "x", "labels": ["l"], "values": ["l"]}]}, "a label and a value"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    good = {"file": "x.db", "queries": [{"name": "x", "sql": "select 1"}]}
    with pytest.raises(ValidationError, match=message):
        SqlSettings.model_validate({**good, **wrong})


def test_the_doctor_says_what_to_do(shop: Path, tmp_path: Path) -> None:
    clock = FakeClock()

    def fixes(given: SqlSettings) -> list[str]:
        return [check.fix for check in run(doctor(given, clock), clock)]

    assert fixes(settings(shop, "select 1")) == [""]
    assert fixes(settings(shop, "select x from y")) == ["try the query by hand, with the same user"]
    assert fixes(settings(shop, "select null")) == ["try the queries by hand"]
    assert fixes(settings(tmp_path / "none.db", "select 1")) == ["check the name of the file or database"]
