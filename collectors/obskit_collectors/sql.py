"""Numbers of a database as gauges: each row of a query is one sample for each of its value columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from obskit.clock import Clock
from obskit.collect import Captured, Check, Collector, Feed, Kind, Snapshots, failed, ok, poll
from obskit.errors import CollectorError
from obskit.model.settings import Duration, LocalPath, Secret, Settings
from obskit.store.interface import Batch
from obskit_collectors.gauges import NAME, Gauges, LabelName, label_of, number_of
from obskit_collectors.sql_sources import PostgresSource, SqliteSource, SqlSource, Table

_EVERY_MS: Final = 60_000
_ASLEEP_EVERY_MS: Final = 3_600_000
_ASLEEP_LEAST_MS: Final = 900_000
"""Serverless databases suspend after 5 minutes: asked every 15, it sleeps two thirds of the time; asked each minute, never."""


class QuerySettings(Settings):
    """One query. Its columns are labels or values."""

    name: str = Field(
        pattern=NAME, description="the gauge is `<prefix>_<name>`; `…_<column>` with several value columns"
    )
    sql: str = Field(min_length=1, description="one statement that reads; taken as it is, `${…}` too")
    labels: list[LabelName] = Field([], description="columns that are labels")
    values: list[str] = Field([], description="columns that are values; default: all others")
    help: str = Field("", description="what it is, for metadata")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        both = sorted(set(self.labels) & set(self.values))
        if both:
            raise ValueError(f"{both[0]} is a label and a value")
        return self


class SqlSettings(Settings):
    """`sql:` one database and the queries it is asked."""

    name: str = Field("", description="own name, where there are several; the `instance` label")
    file: LocalPath | None = Field(None, description="a SQLite file, relative ones beside the config")
    url: Secret | None = Field(None, description="postgresql://user:password@host/database; needs the extra `postgres`")
    suspends: bool = Field(
        False, description="it sleeps when nobody asks, as serverless ones do: every 1h, never below 15m"
    )
    every: Duration | None = Field(None, ge=1_000, description="how often to ask; default 1m")
    timeout: Duration = Field(5_000, gt=0, description="when all queries together are given up")
    prefix: str = Field("sql", pattern=NAME, description="what the names of the gauges begin with")
    row_limit: int = Field(100, ge=1, le=10_000, description="more rows fail their query")
    queries: list[QuerySettings] = Field(min_length=1, description="what is asked")

    @field_validator("url")
    @classmethod
    def _of_postgres(cls, url: Secret | None) -> Secret | None:
        if url is not None and urlsplit(url.reveal()).scheme not in ("postgresql", "postgres"):
            raise ValueError("begins with postgresql://")
        return url

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if (self.file is None) == (self.url is None):
            raise ValueError("give a file (SQLite) or a url (Postgres)")
        if self.suspends and self.every is not None and self.every < _ASLEEP_LEAST_MS:
            raise ValueError("every: a database that suspends is kept awake below 15m; leave it out for 1h")
        names = [query.name for query in self.queries]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"queries: {twice[0]} is there twice")
        return self

    @property
    def every_ms(self) -> int:
        """How often to ask."""
        return self.every or (_ASLEEP_EVERY_MS if self.suspends else _EVERY_MS)

    @property
    def source(self) -> SqlSource:
        """The database."""
        return PostgresSource(self.url, self.timeout) if self.url is not None else SqliteSource(self.file or "")


def read_table(query: QuerySettings, name: str, table: Table, limit: int, found: Gauges) -> None:
    """A query's table as gauges."""
    columns = table.columns
    known = dict.fromkeys([*query.labels, *query.values])
    missing = [column for column in known if columns and column not in columns]
    values = query.values or [column for column in columns if column not in query.labels]
    if table.wrong:
        found.wrong.append(f"{query.name}: {table.wrong}")
    elif len(table.rows) > limit:
        found.wrong.append(f"{query.name}: more than {limit} rows: raise row_limit, or aggregate")
    elif len(set(columns)) < len(columns):
        found.wrong.append(f"{query.name}: two columns have the same name: {', '.join(columns)}")
    elif missing:
        found.wrong.append(f'{query.name}: there is no column "{missing[0]}" (there are: {", ".join(columns)})')
    else:
        for row in table.rows:
            _read_row(query, name, dict(zip(columns, row, strict=True)), values, found)


def _read_row(query: QuerySettings, name: str, row: dict[str, object], values: Sequence[str], found: Gauges) -> None:
    labels: dict[str, str] = {}
    for label in query.labels:
        text = label_of(row[label])
        if text is None:
            found.dropped["bad_label"] += 1
            return
        labels[label] = text
    for column in values:
        gauge = name if len(values) == 1 else f"{name}_{column}"
        found.describe(gauge, query.help)
        if row[column] is None:
            continue
        number = number_of(row[column])
        if number is None:
            found.dropped["bad_value"] += 1
        else:
            found.add(gauge, labels, number)


class SqlCollector:
    """Polls one database."""

    def __init__(self, settings: SqlSettings) -> None:
        self.name = f"sql/{settings.name}" if settings.name else "sql"
        self._settings = settings
        self._source = settings.source
        self._snapshots = Snapshots({"job": "sql", "instance": settings.name or self._source.shown.partition(" ")[2]})

    async def run(self, feed: Feed) -> None:
        """Poll until cancelled."""
        await self._poll(feed).run(feed)

    async def once(self, feed: Feed) -> None:
        """Poll once."""
        await self._poll(feed).once(feed)

    def _poll(self, feed: Feed) -> Collector:
        given, shown = self._settings, self._source.shown
        book = feed.book(shown)

        async def read(now_ms: int) -> Batch:
            tables = await self._source.ask([query.sql for query in given.queries], given.row_limit + 1)
            found = Gauges()
            for query, table in zip(given.queries, tables, strict=True):
                read_table(query, f"{given.prefix}_{query.name}", table, given.row_limit, found)
            return found.batch(self._snapshots, book, now_ms, shown)

        return poll(read, name=self.name, target=shown, every_ms=given.every_ms, timeout_ms=given.timeout)


async def doctor(settings: SqlSettings, clock: Clock) -> Sequence[Check]:
    """Can it be asked, and does each query give numbers?"""
    captured = Captured()
    problems: list[Check] = []
    try:
        await build(settings).once(Feed("sql", captured, clock))
    except CollectorError as error:
        fixes = {
            "auth": "set user and password in url",
            "network": "check host, port and TLS in url",
            "missing": "check the name of the file or database",
            "timeout": "raise timeout, or add an index",
            "config": "install the extra postgres, check url",
        }
        problems = [failed(str(error), fixes.get(error.reason, "try the query by hand, with the same user"))]
    if not problems and not captured.samples:
        problems = [failed("no query gave a number", "try the queries by hand")]
    return [*problems, *([ok(f"{len(captured.samples)} samples")] if captured.samples else [])]


def build(settings: SqlSettings) -> Collector:
    """A collector for one database."""
    return SqlCollector(settings)


KIND: Final = Kind(settings=SqlSettings, build=build, doctor=doctor)
