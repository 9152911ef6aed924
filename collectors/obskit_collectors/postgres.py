"""Postgres: a server asked by SQL, and beside or instead of that a host's own API, and the backups of pgBackRest.

This module is the settings, what runs of them, and the doctor. What is asked is in postgres_questions.py,
postgres_replication.py, postgres_tables.py and postgres_timescale.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from pydantic import Field, field_validator, model_validator

from obskit.clock import Clock
from obskit.collect import Check, Collector, Kind, Poll, Several, ok, poll
from obskit.model.settings import Duration, Secret, Settings
from obskit_collectors.postgres_connection import NOT_INSTALLED, Address, Session, installed
from obskit_collectors.postgres_doctor import examine
from obskit_collectors.postgres_neon import HOSTS, NeonCollector, NeonSettings, examine_neon
from obskit_collectors.postgres_pgbackrest import PgBackRestReader, PgBackRestSettings, examine_backups
from obskit_collectors.postgres_questions import QUESTIONS, Question
from obskit_collectors.postgres_replication import REPLICATION
from obskit_collectors.postgres_server import ServerReader
from obskit_collectors.postgres_supabase import SupabaseSettings, examine_supabase
from obskit_collectors.postgres_tables import statement_questions, table_question
from obskit_collectors.postgres_timescale import TIMESCALE
from obskit_collectors.prometheus import ScrapeJob

_LONGEST_SLOW_MS: Final = 240_000
"""A series that is older than five minutes is gone for PromQL."""


class PostgresSettings(Settings):
    """`postgres:` one server, or one account."""

    name: str = Field("", description="own name, where there are several; the `instance` label")
    url: Secret | None = Field(None, description="postgresql://user:password@host:5432/database?sslmode=…")
    password: Secret | None = Field(None, description="instead of in the URL")
    every: Duration = Field(15_000, gt=0, description="how often the server is asked")
    slow_every: Duration = Field(
        60_000, gt=0, le=_LONGEST_SLOW_MS, description="how often sizes, tables, statements and jobs are asked for"
    )
    timeout: Duration = Field(10_000, gt=0, description="when a read is given up")
    statement_timeout: Duration = Field(5_000, gt=0, description="when the server gives one statement up")
    tables: int = Field(30, ge=0, le=500, description="the largest tables of the database; 0: none")
    statements: int = Field(20, ge=0, le=200, description="the costliest of pg_stat_statements; 0: none")
    keep_awake: bool = Field(
        False, description="ask a Neon server by SQL too, which never lets its compute suspend (about $19 a month)"
    )
    supabase: SupabaseSettings | None = Field(None, description="read a Supabase project's metrics endpoint")
    neon: NeonSettings | None = Field(None, description="read Neon's API: computes, storage, consumption, cost")
    pgbackrest: PgBackRestSettings | None = Field(None, description="read the state of pgBackRest's backups")
    statement_text: bool = Field(True, description="tell their text, without literals, numbers and comments")

    @field_validator("url")
    @classmethod
    def _readable(cls, url: Secret | None) -> Secret | None:
        if url is not None:
            Address.parse(url.reveal())
        return url

    @model_validator(mode="after")
    def _something_to_read(self) -> PostgresSettings:
        if self.url is None and not (self.supabase or self.neon or self.pgbackrest):
            raise ValueError("give the url of the server, or supabase, neon or pgbackrest")
        if self.url is not None and self._sleeps and not self.neon:
            raise ValueError(
                "SQL keeps a Neon compute awake, at about $19 a month: give neon.api_key to watch it by its API,"
                " or set keep_awake: true"
            )
        if self.address is not None and not installed():
            raise ValueError(NOT_INSTALLED)
        return self

    @property
    def _sleeps(self) -> bool:
        """Whether the server suspends itself when nobody asks, and may."""
        host = Address.parse(self.url.reveal()).host if self.url else ""
        return host.endswith(HOSTS) and not self.keep_awake

    @property
    def address(self) -> Address | None:
        """Where the server is, with the password from either place; None when it is not asked."""
        if self.url is None or self._sleeps:
            return None
        found = Address.parse(self.url.reveal())
        return found if self.password is None else found.with_password(self.password)

    @property
    def questions(self) -> Iterator[Question]:
        """What the server is asked."""
        yield from QUESTIONS
        yield from REPLICATION
        if self.tables:
            yield table_question(self.tables)
        if self.statements:
            yield from statement_questions(self.statements, text=self.statement_text)
        yield from TIMESCALE

    def session(self, address: Address) -> Session:
        """A connection that is not open yet."""
        return Session(address, timeout_ms=self.timeout, statement_timeout_ms=self.statement_timeout)


def build(settings: PostgresSettings) -> Collector:
    """What of it is configured, side by side."""
    name = f"postgres/{settings.name}" if settings.name else "postgres"
    return Several(name, list(_parts(settings, name)))


def _parts(settings: PostgresSettings, name: str) -> Iterator[Collector]:
    if settings.address is not None:
        yield _server(settings, settings.address, name)
    if settings.supabase is not None:
        yield ScrapeJob(settings.supabase.scrape(settings.name))
    if settings.neon is not None:
        yield NeonCollector(settings.neon, name)
    if settings.pgbackrest is not None:
        backups = settings.pgbackrest
        yield poll(
            PgBackRestReader(backups).read,
            name=name,
            target=backups.shown,
            every_ms=backups.every,
            timeout_ms=backups.timeout,
        )


def _server(settings: PostgresSettings, address: Address, name: str) -> Poll:
    reader = ServerReader(
        settings.session(address),
        settings.questions,
        instance=settings.name or f"{address.host}:{address.port}",
        slow_every_ms=settings.slow_every,
    )
    return poll(
        reader.read,
        name=name,
        target=address.shown,
        every_ms=settings.every,
        timeout_ms=settings.timeout,
        close=reader.close,
    )


async def doctor(settings: PostgresSettings, clock: Clock) -> Sequence[Check]:
    """Whether each part can be read, and the statement or setting that mends what cannot."""
    checks: list[Check] = []
    if settings.address is not None:
        checks += await examine(settings.session(settings.address), settings.address.user, settings.statements > 0)
    elif settings.url is not None:
        checks.append(ok("the server is watched by Neon's API alone: SQL would keep it awake (keep_awake)"))
    if settings.supabase is not None:
        checks += await examine_supabase(settings.supabase, clock)
    if settings.neon is not None:
        checks += await examine_neon(settings.neon, clock.now_ms())
    if settings.pgbackrest is not None:
        checks += await examine_backups(settings.pgbackrest, clock)
    return checks


KIND: Final = Kind(settings=PostgresSettings, build=build, doctor=doctor)
