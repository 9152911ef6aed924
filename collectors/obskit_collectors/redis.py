"""Redis queues: lists, streams with consumer groups, sorted sets; over a socket or Upstash REST, with one config.

Names are redis_exporter's where it has one (`redis_up`, `redis_key_size`, `redis_stream_group_lag`), and
`obskit_queue_*` beside them, the form that rules share over all queue systems. Unknown is never written as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from obskit.clock import Clock
from obskit.collect import Check, Collector, Kind
from obskit.model.settings import Settings
from obskit_collectors.redis_queues import ListQueue, SetQueue, StreamQueue
from obskit_collectors.redis_readings import Queue
from obskit_collectors.redis_server import ServerCollector, ServerReader, ServerSettings, examine


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
    in_flight: str = Field("", description="the sorted set that holds what consumers are working on")
    dead: str = Field("", description="the sorted set of dead letters")
    labels: dict[str, str] = Field(default={}, description="labels of the queue's series, such as tier")


def _or_key(model: type[Settings]) -> BeforeValidator:
    """An item may also be just its key."""
    return BeforeValidator(_with_key, json_schema_input_type=model | str)


def _with_key(item: Any) -> Any:
    return {"key": item} if isinstance(item, str) else item


class RedisSettings(ServerSettings):
    """`redis:` one server and the queues in it."""

    lists: list[Annotated[ListSettings, _or_key(ListSettings)]] = Field([], description="lists used as queues")
    streams: list[Annotated[StreamSettings, _or_key(StreamSettings)]] = Field(
        [], description="streams; each consumer group is a queue"
    )
    sorted_sets: list[Annotated[SetSettings, _or_key(SetSettings)]] = Field(
        [], description="sorted sets used as queues"
    )
    info: bool | None = Field(None, description="read INFO (memory, clients, …); default: not over REST")

    @property
    def queues(self) -> list[Queue]:
        """What is read at each poll."""
        lists: list[Queue] = [ListQueue(**item.model_dump()) for item in self.lists]
        streams: list[Queue] = [StreamQueue(**item.model_dump()) for item in self.streams]
        return [*lists, *streams, *(SetQueue(**item.model_dump()) for item in self.sorted_sets)]


def _reader(settings: RedisSettings) -> ServerReader:
    info = settings.info if settings.info is not None else not settings.rest
    return ServerReader("redis", settings, settings.queues, whole=True, info=info)


def build(settings: RedisSettings) -> Collector:
    """A collector for one server."""
    return ServerCollector("redis", settings, _reader(settings))


async def doctor(settings: RedisSettings, clock: Clock) -> Sequence[Check]:
    """Can it be reached, and is each configured key of the type it is configured as?"""
    return await examine(settings, _reader(settings), clock)


KIND: Final = Kind(settings=RedisSettings, build=build, doctor=doctor)
