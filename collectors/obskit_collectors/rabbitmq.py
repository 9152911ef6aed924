"""RabbitMQ by its management API: queues of all virtual hosts, and the state of its nodes.

Names are those of RabbitMQ's own Prometheus plugin, with rabbitmq_exporter's where that one is better known.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

from pydantic import Field, field_validator

from obskit.clock import Clock
from obskit.collect import (
    Ask,
    Check,
    Collector,
    Kind,
    PartialReadError,
    Several,
    Snapshots,
    VendorApi,
    failed,
    ok,
    poll,
)
from obskit.errors import CollectorError
from obskit.model.settings import Duration, Secret, Settings
from obskit.store.interface import Batch
from obskit_collectors.rabbitmq_figures import METADATA, QueueFigures, read_nodes, read_overview

_PAGE: Final = 500
_PAGES: Final = 20
_COLUMNS: Final = ",".join(
    (
        *("name", "vhost", "arguments", "consumers", "messages", "messages_ready", "messages_unacknowledged"),
        *("message_bytes", "head_message_timestamp"),
        *(f"message_stats.{kind}" for kind in ("publish", "deliver_get", "ack", "redeliver")),
    )
)
DEAD_LETTERS: Final = ["*.dlq", "*-dlq", "*_dlq", "*.dead", "*.dead-letter", "*.XQ"]
INTERNAL: Final = ["*.celery.pidbox", "celeryev.*", "amq.gen-*"]
_FIX: Final = "rabbitmqctl set_user_tags USER monitoring, and give it its password in `password`"


class RabbitmqSettings(Settings):
    """`rabbitmq:` one server or cluster."""

    name: str = Field("", description="own name, where there are several; the `instance` label")
    url: str = Field(description="the management API, such as http://rabbit.internal:15672")
    username: str = Field("guest", min_length=1, description="a user with the tag `monitoring`")
    password: Secret = Field(description="its password")
    vhosts: list[str] = Field([], description="virtual hosts to read; default: all that the user may see")
    queues: list[str] = Field(["*"], min_length=1, description="globs of queues to read")
    ignore: list[str] = Field(INTERNAL, description="globs of queues to leave out")
    dead_letters: list[str] = Field(
        DEAD_LETTERS, description="globs of queues of dead letters, beside those that other queues name"
    )
    nodes: bool = Field(True, description="read nodes, alarms and totals as well; needs the tag `monitoring`")
    every: Duration = Field(15_000, gt=0, description="how often to read; the server's own figures are up to 5 s old")
    timeout: Duration = Field(10_000, gt=0, description="when a read is given up")

    @field_validator("url")
    @classmethod
    def _http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be the management API: http://HOST:15672 (amqp:// is for clients)")
        if parts.username or parts.password:
            raise ValueError("must have no password in it: use `username` and `password`")
        return url.rstrip("/")

    @property
    def instance(self) -> str:
        """The `instance` label."""
        return self.name or urlsplit(self.url).netloc

    def figures(self, system: str) -> QueueFigures:
        """What the rows of its queues mean."""
        return QueueFigures(system, tuple(self.queues), tuple(self.ignore), tuple(self.dead_letters))

    def api(self) -> VendorApi:
        """The management API."""
        pair = base64.b64encode(f"{self.username}:{self.password.reveal()}".encode()).decode()
        return VendorApi(self.url, authorization=Secret(f"Basic {pair}"), fix=_FIX, timeout_s=self.timeout / 1000)


class RabbitmqReader:
    """Two reads: queues, page by page, and the server. `figures` says what a queue's row means."""

    def __init__(self, settings: RabbitmqSettings, figures: QueueFigures, job: str = "rabbitmq") -> None:
        labels = {"job": job, "instance": settings.instance}
        self.api = settings.api()
        self._settings = settings
        self._figures = figures
        self._queues = Snapshots(labels)
        self._server = Snapshots(labels)

    async def queues(self, now_ms: int) -> Batch:
        """Every queue of every virtual host that is wanted."""
        rows: list[dict[str, Any]] = []
        for path in [f"/api/queues/{quote(vhost, safe='')}" for vhost in self._settings.vhosts] or ["/api/queues"]:
            rows += await self._pages(path)
        return Batch(self._queues.take(self._figures.readings(rows, now_ms), now_ms), metadata=METADATA)

    async def server(self, now_ms: int) -> Batch:
        """Nodes with their alarms, and the totals; `rabbitmq_up 0` when they cannot be read."""
        try:
            nodes = await self.api.json(Ask("/api/nodes"))
            overview = await self.api.json(Ask("/api/overview"))
        except CollectorError as error:
            down = Batch(self._server.take([("rabbitmq_up", {}, 0.0)], now_ms))
            raise PartialReadError(str(error), down, reason=error.reason, retry_after=error.retry_after) from error
        readings = [("rabbitmq_up", {}, 1.0), *read_nodes(nodes), *read_overview(overview)]
        return Batch(self._server.take(readings, now_ms), metadata=METADATA)

    async def _pages(self, path: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for page in range(1, _PAGES + 1):
            params = {"page": str(page), "page_size": str(_PAGE), "columns": _COLUMNS}
            answer = await self.api.json(Ask(path, params=params))
            items = answer.get("items") if isinstance(answer, dict) else None
            if not isinstance(items, list):
                raise CollectorError(f"GET {self._settings.url}{path}: no page of queues", reason="bad_data")
            rows += [row for row in items if isinstance(row, dict)]
            last = answer.get("page_count")
            if not isinstance(last, int) or page >= last:
                break
        return rows


def collector(name: str, settings: RabbitmqSettings, reader: RabbitmqReader) -> Several:
    """Queues and server, each with its own rhythm: a user without the tag `monitoring` still sees queues."""
    parts = {"": reader.queues, " nodes": reader.server}
    return Several(
        name,
        [
            poll(
                read,
                name=name,
                target=settings.url + suffix,
                every_ms=settings.every,
                timeout_ms=settings.timeout,
                close=reader.api.close,
            )
            for suffix, read in parts.items()
            if settings.nodes or not suffix
        ],
    )


def build(settings: RabbitmqSettings) -> Collector:
    """A collector for one server."""
    name = f"rabbitmq/{settings.name}" if settings.name else "rabbitmq"
    return collector(name, settings, RabbitmqReader(settings, settings.figures("rabbitmq")))


async def examine(settings: RabbitmqSettings, reader: RabbitmqReader, clock: Clock) -> list[Check]:
    """May the user see queues, and nodes? Are the queues there that are named?"""
    checks = []
    wanted = {"queues": reader.queues, "nodes and totals": reader.server}
    try:
        for what, read in wanted.items():
            if what != "queues" and not settings.nodes:
                continue
            try:
                batch = await read(clock.now_ms())
            except CollectorError as error:
                fix = _FIX if error.reason == "auth" else "rabbitmq-plugins enable rabbitmq_management; check url"
                checks.append(failed(f"{what}: {error}", fix))
            else:
                checks.append(ok(f"{what}: {len(batch.samples)} samples"))
    finally:
        await reader.api.close()
    return checks


async def doctor(settings: RabbitmqSettings, clock: Clock) -> Sequence[Check]:
    """Can it be reached, and may the user see what is read?"""
    return await examine(settings, RabbitmqReader(settings, settings.figures("rabbitmq")), clock)


KIND: Final = Kind(settings=RabbitmqSettings, build=build, doctor=doctor)
