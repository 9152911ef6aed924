"""Celery over Redis or RabbitMQ: queues by our common names, workers and tasks by celery-exporter's.

Nothing of Celery is imported: queues are read where kombu keeps them, workers are known by their events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import Field, model_validator

from obskit.clock import Clock
from obskit.collect import Check, Collector, Kind, Reading, Several
from obskit.model.settings import Duration, Secret
from obskit_collectors.celery_bindings import SEPARATOR, Bindings, Layout
from obskit_collectors.celery_events import Events
from obskit_collectors.celery_listener import CeleryListener, Listening
from obskit_collectors.celery_redis import CeleryBroker
from obskit_collectors.rabbitmq import RabbitmqReader, RabbitmqSettings
from obskit_collectors.rabbitmq import collector as rabbitmq_collector
from obskit_collectors.rabbitmq import examine as examine_rabbitmq
from obskit_collectors.rabbitmq_figures import QueueFigures
from obskit_collectors.redis_connection import Subscription
from obskit_collectors.redis_server import (
    QueueName,
    QueueSettings,
    ServerCollector,
    ServerReader,
    ServerSettings,
    examine,
)


class CelerySettings(ServerSettings):
    """`celery:` the queues of one broker: a Redis at `url`, or a RabbitMQ."""

    url: Secret = Field(
        default_factory=lambda: Secret(""), description="the broker, where it is a Redis: as for `redis`"
    )
    rabbitmq: RabbitmqSettings | None = Field(None, description="the broker, where it is one: as for `rabbitmq`")
    queues: list[QueueName] = Field([QueueSettings(name="celery")], min_length=1, description="queues to read")
    events: bool = Field(
        True, description="listen to workers' events (not over REST): heartbeats and, with `-E`, tasks"
    )
    silent_after: Duration = Field(60_000, gt=0, description="a worker that was not heard of for so long is down")
    time_field: str = Field(
        "headers.sentry-task-enqueued-time", description="where a message holds its time, as a dotted path"
    )
    global_keyprefix: str = Field("", description="as in Celery's `broker_transport_options`; so are the next four")
    sep: str = Field("", description="what stands between a queue and its priority; default: the bytes 6 and 22")
    priority_steps: list[int] = Field([0, 3, 6, 9], min_length=1, description="the priorities that have a list each")
    unacked_key: str = Field("unacked", min_length=1, description="the hash of what workers hold")
    visibility_timeout: Duration = Field(3_600_000, gt=0, description="when what a worker holds is given to another")
    event_exchange: str = Field("celeryev", min_length=1, description="as Celery's `event_exchange`")

    @model_validator(mode="after")
    def _one_broker(self) -> CelerySettings:
        if bool(self.url.reveal()) == (self.rabbitmq is not None):
            raise ValueError("needs `url` (a Redis) or `rabbitmq`, one of them")
        return self

    @property
    def layout(self) -> Layout:
        """Where kombu keeps what."""
        return Layout(
            self.global_keyprefix,
            self.sep or SEPARATOR,
            tuple(self.priority_steps),
            self.unacked_key,
            self.visibility_timeout / 1000,
        )

    @property
    def event_pattern(self) -> str:
        """The channels of events: kombu's `fanout_prefix` holds the number of the database."""
        return f"{self.global_keyprefix}/{self.address.database}.{self.event_exchange}*"


def _label(settings: CelerySettings) -> str:
    return f"celery/{settings.name}" if settings.name else "celery"


def _redis_reader(settings: CelerySettings) -> ServerReader:
    layout = settings.layout
    broker = CeleryBroker(layout, settings.queues, Bindings(layout), settings.time_field)
    return ServerReader("celery", settings, [broker], whole=False, info=False)


def _rabbitmq_reader(settings: CelerySettings, broker: RabbitmqSettings) -> RabbitmqReader:
    """The configured queues; events would need a connection of AMQP, so workers are known as consumers."""
    names = tuple(queue.name for queue in settings.queues)
    own = {queue.name: queue.labels for queue in settings.queues}
    return RabbitmqReader(broker, CeleryFigures("celery", names, (), (), own), job="celery")


class CeleryFigures(QueueFigures):
    """Celery's queues in a RabbitMQ, with celery-exporter's names beside our common ones."""

    def _named_as_elsewhere(self, row: Mapping[str, Any], labels: dict[str, str]) -> Iterator[Reading]:
        named = {"queue_name": labels["queue"]}
        for key, metric in (("messages_ready", "celery_queue_length"), ("consumers", "celery_active_consumer_count")):
            if isinstance(value := row.get(key), int):
                yield metric, named, float(value)


def build(settings: CelerySettings) -> Collector:
    """A collector for one broker."""
    name = _label(settings)
    if settings.rabbitmq is not None:
        broker = settings.rabbitmq.model_copy(update={"nodes": False})  # the kind rabbitmq tells of those
        return rabbitmq_collector(name, broker, _rabbitmq_reader(settings, broker))
    server = ServerCollector("celery", settings, _redis_reader(settings))
    if settings.rest or not settings.events:
        return server
    only = settings.queues[0].name if len(settings.queues) == 1 else ""
    events = Events(only_queue=only, silent_after_ms=settings.silent_after)
    subscription = Subscription(settings.address)
    listening = Listening(settings.event_pattern, settings.every_ms, settings.instance)
    return Several(name, [server, CeleryListener(name, subscription, listening, events)])


async def doctor(settings: CelerySettings, clock: Clock) -> Sequence[Check]:
    """Can the broker be reached, and are the queues there?"""
    if settings.rabbitmq is not None:
        broker = settings.rabbitmq.model_copy(update={"nodes": False})
        return await examine_rabbitmq(broker, _rabbitmq_reader(settings, broker), clock)
    return await examine(settings, _redis_reader(settings), clock)


KIND: Final = Kind(settings=CelerySettings, build=build, doctor=doctor)
