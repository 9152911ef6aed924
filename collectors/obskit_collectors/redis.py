"""Redis queues: lists, streams with consumer groups, sorted sets; over a socket or Upstash REST, with one config.

Names are redis_exporter's where it has one (`redis_up`, `redis_key_size`, `redis_stream_group_lag`), and
`obskit_queue_*` beside them, the form that rules share over all queue systems. Unknown is never written as 0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from obskit.clock import Clock
from obskit.collect import Check, Collector, Feed, Kind, PartialReadError, Poll, failed, ok, poll
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
from obskit_collectors.redis_info import read_info
from obskit_collectors.redis_queues import ListQueue, Queue, Readings, SetQueue, StreamQueue

SOCKET_EVERY_MS: Final = 15_000
REST_EVERY_MS: Final = 60_000
"""Upstash bills each command: two per list every 60 s are 86,400 a month."""


class ListSettings(Settings):
    """A list that is used as a queue. An item may also be just its key."""

    key: str = Field(min_length=1, description="the list")
    queue: str = Field("", description="the `queue` label; default: the key")
    oldest: Literal["right", "left"] = Field("right", description="the end consumers take from (BRPOP: right)")
    age: bool = Field(True, description="read the oldest element to know its age")
    time_field: str = Field("", description="where the element's JSON holds its time, as a dotted path")
    in_flight: str = Field("", description="the list that holds what consumers are working on")
    dead: str = Field("", description="the list of dead letters")
    labels: dict[str, str] = Field(default={}, description="labels of the queue's series, such as tier")


class StreamSettings(Settings):
    """A stream; every consumer group of it is a queue `stream/group`."""

    key: str = Field(min_length=1, description="the stream")
    dead: str = Field("", description="the stream of dead letters")
    labels: dict[str, str] = Field(default={}, description="labels of the queue's series, such as tier")


class SetSettings(Settings):
    """A sorted set that is used as a queue."""

    key: str = Field(min_length=1, description="the sorted set")
    queue: str = Field("", description="the `queue` label; default: the key")
    scores: Literal["time", "priority"] = Field(
        "priority", description="what the scores are; time: due at (Unix s or ms)"
    )
    labels: dict[str, str] = Field(default={}, description="labels of the queue's series, such as tier")


def _or_key(model: type[Settings]) -> BeforeValidator:
    """An item may also be just its key."""
    return BeforeValidator(_with_key, json_schema_input_type=model | str)


def _with_key(item: Any) -> Any:
    return {"key": item} if isinstance(item, str) else item


class RedisSettings(Settings):
    """`redis:` one server and the queues in it."""

    name: str = Field("", description="own name, where there are several; the `instance` label")
    url: Secret = Field(description="redis://…, rediss://… or Upstash's https://…")
    password: Secret | None = Field(None, description="instead of in the URL")
    token: Secret | None = Field(None, description="Upstash REST token; a read-only one is enough")
    every: Duration | None = Field(None, gt=0, description="default 15s; 60s over REST, where commands cost money")
    timeout: Duration = Field(5_000, gt=0, description="when a read is given up")
    lists: list[Annotated[ListSettings, _or_key(ListSettings)]] = Field([], description="lists used as queues")
    streams: list[Annotated[StreamSettings, _or_key(StreamSettings)]] = Field(
        [], description="streams; each consumer group is a queue"
    )
    sorted_sets: list[Annotated[SetSettings, _or_key(SetSettings)]] = Field(
        [], description="sorted sets used as queues"
    )
    info: bool | None = Field(None, description="read INFO (memory, clients, …); default: not over REST")

    @field_validator("url")
    @classmethod
    def _readable(cls, url: Secret) -> Secret:
        Address.parse(url.reveal())
        return url

    @model_validator(mode="after")
    def _token_for_rest(self) -> RedisSettings:
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
    def queues(self) -> list[Queue]:
        """What is read at each poll."""
        lists: list[Queue] = [ListQueue(**item.model_dump()) for item in self.lists]
        streams: list[Queue] = [StreamQueue(**item.model_dump()) for item in self.streams]
        return [*lists, *streams, *(SetQueue(**item.model_dump()) for item in self.sorted_sets)]


class RedisReader:
    """Reads the server once, in two pipelines: the second asks what the first one's answers lead to."""

    def __init__(self, settings: RedisSettings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self._queues = settings.queues
        self._database = f"db{settings.address.database}"
        self._shown = settings.address.shown
        self._info = settings.info if settings.info is not None else not settings.rest
        self.owner = f"redis {settings.instance}"
        self.heads: dict[str, tuple[str, int]] = {}

    async def read(self, now_ms: int) -> Batch:
        """Everything configured; a queue that cannot be read is told after all others were."""
        readings = Readings(now_ms, self._settings.instance, self._database, self.heads)
        first = [*([("INFO",)] if self._info else []), *(c for q in self._queues for c in q.questions())]
        replies = await self._ask(first or [("PING",)])
        readings.add("redis_up", 1.0)
        if self._info and isinstance(replies[0], str):
            read_info(replies[0], readings)
        answers = iter(replies[1:] if self._info else replies)
        follow_ups = [
            (queue, queue.take([next(answers) for _ in queue.questions()], readings)) for queue in self._queues
        ]
        second = [command for _, commands in follow_ups for command in commands]
        more = iter(await self._ask(second) if second else [])
        for queue, commands in follow_ups:
            queue.take_more([next(more) for _ in commands], readings)
        return self._batch(readings)

    def down(self, now_ms: int) -> Batch:
        """`redis_up 0`: what is known of a server that does not answer. Its queues are unknown, not empty."""
        readings = Readings(now_ms, self._settings.instance, self._database, self.heads)
        readings.add("redis_up", 0.0)
        return Batch(readings.samples)

    async def _ask(self, commands: Sequence[Command]) -> list[Reply]:
        """The replies. A refusal (password, quota) is told for the connection, not for the first queue it met."""
        replies = await self._connection.pipeline(commands)
        for reply in replies:
            if isinstance(reply, ReplyError) and is_refusal(reply):
                raise refused(reply, self._shown)
        return replies

    def _batch(self, readings: Readings) -> Batch:
        self.heads = readings.heads
        cursor = Cursor(self.owner, json.dumps(self.heads, separators=(",", ":")))
        batch = Batch(readings.samples, metadata=readings.metadata, cursor=cursor)
        if readings.wrong:
            raise PartialReadError(f"{self._shown}: {'; '.join(readings.wrong)}", batch, reason="bad_data")
        return batch


class RedisCollector:
    """Polls one server."""

    def __init__(self, settings: RedisSettings) -> None:
        self.name = f"redis/{settings.name}" if settings.name else "redis"
        self._settings = settings
        self._target = settings.address.shown
        self._connection = connect(settings.address, settings.url.reveal(), settings.token)
        self._reader = RedisReader(settings, self._connection)

    async def run(self, feed: Feed) -> None:
        """Poll until cancelled."""
        saved = await feed.cursor(self._reader.owner)
        self._reader.heads = {key: (head, seen) for key, (head, seen) in json.loads(saved or "{}").items()}
        await self._poll().run(feed)

    async def once(self, feed: Feed) -> None:
        """Poll once."""
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
        every_ms = self._settings.every or (REST_EVERY_MS if self._settings.rest else SOCKET_EVERY_MS)
        return poll(
            self._read,
            name=self.name,
            target=self._target,
            every_ms=every_ms,
            timeout_ms=self._settings.timeout,
            close=self._connection.close,
        )


async def doctor(settings: RedisSettings, clock: Clock) -> Sequence[Check]:
    """Can it be reached, and is each configured key of the type it is configured as?"""
    address = settings.address
    connection = connect(address, settings.url.reveal(), settings.token)
    try:
        batch = await RedisReader(settings, connection).read(clock.now_ms())
    except PartialReadError as error:
        return [ok(f"{address.shown} answers"), failed(str(error), "configure the key under the type it has")]
    except CollectorError as error:
        fixes = {
            "auth": "set url, password or token as your provider shows them",
            "network": "check host, port and TLS",
        }
        return [failed(str(error), fixes.get(error.reason, "see the message"))]
    finally:
        await connection.close()
    return [ok(f"{address.shown} answers"), ok(f"{len(settings.queues)} queues, {len(batch.samples)} samples")]


def build(settings: RedisSettings) -> Collector:
    """A collector for one server."""
    return RedisCollector(settings)


KIND: Final = Kind(settings=RedisSettings, build=build, doctor=doctor)
