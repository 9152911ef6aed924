"""One Redis server (or Upstash) as a collector: settings, reader, budget and doctor that all kinds over a Redis share.

What is in it is said by Queues; the kinds `redis`, `celery`, `rq`, `arq`, `dramatiq`, `bullmq` give theirs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, field_validator, model_validator

from obskit.clock import Clock
from obskit.collect import Book, Check, Feed, PartialReadError, Poll, failed, ok, poll
from obskit.errors import CollectorError
from obskit.model.settings import Duration, Secret, Settings
from obskit.store.interface import Batch, Cursor
from obskit_collectors.redis_connection import (
    Address,
    Command,
    Connection,
    Reply,
    ReplyError,
    connect,
    is_refusal,
    refused,
)
from obskit_collectors.redis_info import info_talk
from obskit_collectors.redis_readings import Queue, Readings, Talk, converse, together

SOCKET_EVERY_MS: Final = 15_000
REST_EVERY_MS: Final = 60_000
"""Upstash bills each command: two per list every 60 s are 86,400 a month."""
REST_DOLLARS: Final = 0.2
"""Dollars per 100,000 commands (upstash/docs:redis/overall/billing.mdx, 2026-08)."""
_OPTIONAL: Final = frozenset({"INFO", "SCAN"})
"""A user or token may be kept from these and read everything else."""
_DAY_S: Final = 86_400.0
_MONTH_S: Final = 30.0 * _DAY_S


class ServerSettings(Settings):
    """Where the server is, and how often it may be asked."""

    name: str = Field("", description="own name, where there are several; the `instance` label")
    url: Secret = Field(description="redis://…, rediss://… or Upstash's https://…")
    password: Secret | None = Field(None, description="instead of in the URL")
    token: Secret | None = Field(None, description="Upstash REST token; a read-only one is enough")
    every: Duration | None = Field(None, gt=0, description="default 15s; 60s over REST, where commands cost money")
    timeout: Duration = Field(5_000, gt=0, description="when a read is given up")
    commands_per_month: int = Field(
        0, ge=0, description="the most commands a month that reading may take: `every` grows as needed; 0: no limit"
    )
    commands_per_day: int = Field(0, ge=0, description="the same for a day")
    dollars_per_100k: float | None = Field(
        None, ge=0, description="what 100,000 commands cost; default: 0.2 over REST, else nothing. 0 on a fixed plan"
    )

    @field_validator("url")
    @classmethod
    def _readable(cls, url: Secret) -> Secret:
        Address.parse(url.reveal())
        return url

    @model_validator(mode="after")
    def _token_for_rest(self) -> ServerSettings:
        if self.rest and self.token is None:
            raise ValueError("an https:// URL is Upstash REST: give its token")
        return self

    @property
    def address(self) -> Address:
        """Where it is, with the password from either place."""
        address = Address.parse(self.url.reveal())
        if self.password is None:
            return address
        return Address(address.scheme, address.host, address.port, address.database, address.username, self.password)

    @property
    def rest(self) -> bool:
        """Whether it is asked over HTTP."""
        return self.url.reveal().startswith("http")

    @property
    def instance(self) -> str:
        """The `instance` label."""
        address = self.address
        return self.name or (address.host if self.rest else f"{address.host}:{address.port}")

    @property
    def every_ms(self) -> int:
        """How often it is read while the budget allows."""
        return self.every or (REST_EVERY_MS if self.rest else SOCKET_EVERY_MS)

    def price(self, commands: int) -> float:
        """What so many commands cost, in dollars."""
        dollars = self.dollars_per_100k if self.dollars_per_100k is not None else REST_DOLLARS * self.rest
        return commands * dollars / 100_000

    def pause_s(self, commands: int) -> float:
        """How long a read of so many commands has to last, to stay within the budget."""
        limits = ((self.commands_per_month, _MONTH_S), (self.commands_per_day, _DAY_S))
        return max((commands * seconds / limit for limit, seconds in limits if limit), default=0.0)

    def connect(self) -> Connection:
        """A connection, not yet opened."""
        return connect(self.address, self.url.reveal(), self.token)


class QueueSettings(Settings):
    """A queue of a framework. An item may also be just its name."""

    name: str = Field(min_length=1, description="the queue")
    labels: dict[str, str] = Field(default={}, description="labels of the queue's series, such as tier")


def _with_name(item: Any) -> Any:
    return {"name": item} if isinstance(item, str) else item


QueueName = Annotated[QueueSettings, BeforeValidator(_with_name, json_schema_input_type=QueueSettings | str)]


class ServerReader:
    """Reads the server once. `kind` is the collector's; with `whole` the server itself is told of as well (`redis_up`)."""

    def __init__(
        self, kind: str, settings: ServerSettings, queues: Sequence[Queue], *, whole: bool, info: bool
    ) -> None:
        self.owner = f"{kind} {settings.instance}"
        self.heads: dict[str, tuple[str, int]] = {}
        self.connection = settings.connect()
        self.book: Book | None = None
        self.commands = 0
        self._kind = kind
        self._settings = settings
        self._queues = queues
        self._whole = whole
        self._info = info
        self._shown = settings.address.shown

    async def read(self, now_ms: int) -> Batch:
        """Everything configured; a queue that cannot be read is told after all others were."""
        readings = self._readings(now_ms)
        self.commands = 0
        talks = [*([info_talk(readings)] if self._info else []), *(queue.talk(readings) for queue in self._queues)]
        await converse(together(talks or [_ping()]), self._ask)
        if self._whole:
            readings.add("redis_up", 1.0)
        self.heads = readings.heads
        cursor = Cursor(self.owner, json.dumps(self.heads, separators=(",", ":")))
        batch = Batch(readings.samples, metadata=readings.metadata, cursor=cursor)
        if readings.wrong:
            raise PartialReadError(f"{self._shown}: {'; '.join(readings.wrong)}", batch, reason="bad_data")
        return batch

    def down(self, now_ms: int) -> Batch:
        """`redis_up 0`: what is known of a server that does not answer. Its queues are unknown, not empty."""
        readings = self._readings(now_ms)
        if self._whole:
            readings.add("redis_up", 0.0)
        return Batch(readings.samples)

    async def _ask(self, commands: Sequence[Command]) -> list[Reply]:
        """The replies. A refusal (password, quota) is told for the connection, not for the first queue it met."""
        self.commands += len(commands)
        if self.book is not None:
            self.book.asked(self._settings.price(len(commands)))
        replies = await self.connection.pipeline(commands)
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, ReplyError) and is_refusal(reply) and command[0] not in _OPTIONAL:
                raise refused(reply, self._shown)
        return replies

    def _readings(self, now_ms: int) -> Readings:
        database = f"db{self._settings.address.database}"
        return Readings(now_ms, self._kind, self._settings.instance, database, self.heads)


def _ping() -> Talk:
    yield [("PING",)]


class ServerCollector:
    """Polls one server."""

    def __init__(self, kind: str, settings: ServerSettings, reader: ServerReader) -> None:
        self.name = f"{kind}/{settings.name}" if settings.name else kind
        self._settings = settings
        self._target = settings.address.shown
        self._reader = reader

    async def run(self, feed: Feed) -> None:
        """Poll until cancelled."""
        saved = await feed.cursor(self._reader.owner)
        self._reader.heads = {key: (head, seen) for key, (head, seen) in json.loads(saved or "{}").items()}
        self._reader.book = feed.book(self._target)
        await self._poll().run(feed)

    async def once(self, feed: Feed) -> None:
        """Poll once."""
        self._reader.book = feed.book(self._target)
        await self._poll().once(feed)

    async def _read(self, now_ms: int) -> Batch:
        try:
            return await self._reader.read(now_ms)
        except PartialReadError:
            raise
        except CollectorError as error:
            down = self._reader.down(now_ms)
            raise PartialReadError(str(error), down, reason=error.reason, retry_after=error.retry_after) from error

    def _poll(self) -> Poll:
        made = poll(
            self._read,
            name=self.name,
            target=self._target,
            every_ms=self._settings.every_ms,
            timeout_ms=self._settings.timeout,
            close=self._reader.connection.close,
        )
        return made.paced(lambda: self._settings.pause_s(self._reader.commands))


async def examine(settings: ServerSettings, reader: ServerReader, clock: Clock) -> list[Check]:
    """Can it be reached, and is each configured key what it is configured as? What does asking cost?"""
    shown = settings.address.shown
    try:
        batch = await reader.read(clock.now_ms())
    except PartialReadError as error:
        return [ok(f"{shown} answers"), failed(str(error), "configure the key under the type and name it has")]
    except CollectorError as error:
        fixes = {
            "auth": "set url, password or token as your provider shows them",
            "network": "check host, port and TLS",
        }
        return [failed(str(error), fixes.get(error.reason, "see the message"))]
    finally:
        await reader.connection.close()
    return [ok(f"{shown} answers"), ok(f"{len(batch.samples)} samples"), ok(_cost(settings, reader.commands))]


def _cost(settings: ServerSettings, commands: int) -> str:
    every_s = max(settings.every_ms / 1000, settings.pause_s(commands))
    a_month = round(commands * _MONTH_S / every_s)
    return f"{commands} commands every {every_s:.0f} s: {a_month:,} a month, ${settings.price(a_month):.2f}"
