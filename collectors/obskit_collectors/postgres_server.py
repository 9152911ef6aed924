"""Reads one Postgres server: which questions are due, what failed alone, what is stored when nothing answers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from obskit.collect import PartialReadError, Reading, Snapshots
from obskit.errors import CollectorError
from obskit.model.samples import MetricMeta, MetricType
from obskit.store.interface import Batch, Samples
from obskit_collectors.postgres_connection import Row, Session
from obskit_collectors.postgres_questions import FACTS, Question, Server

log = logging.getLogger(__name__)

_NO_LABELS: Final[dict[str, str]] = {}
_METADATA: Final = {
    "pg_up": MetricMeta(MetricType.GAUGE, "Whether the server answered."),
    "pg_static": MetricMeta(MetricType.GAUGE, "1, with the server's version as labels."),
    "pg_postmaster_start_time_seconds": MetricMeta(MetricType.GAUGE, "When the server started, as Unix time."),
    "pg_scrape_collector_success": MetricMeta(MetricType.GAUGE, "Whether a part of the reading succeeded."),
}


@dataclass(slots=True)
class _Found:
    """What one read gives: readings of every time, and of the questions that are asked more seldom."""

    quick: list[Reading] = field(default_factory=list)
    slow: list[Reading] = field(default_factory=list)
    metadata: dict[str, MetricMeta] = field(default_factory=lambda: dict(_METADATA))
    failed: dict[str, CollectorError] = field(default_factory=dict)

    def add(self, question: Question, answer: Sequence[Row] | CollectorError) -> None:
        """What one question brought. What failed is told as such, and the rest is read all the same."""
        readings = self.slow if question.slow else self.quick
        failed = isinstance(answer, CollectorError)
        readings.append(("pg_scrape_collector_success", {"collector": question.name}, float(not failed)))
        if isinstance(answer, CollectorError):
            self.failed[question.name] = answer
            return
        found = list(question.readings(answer))
        self.metadata |= question.metadata(found)
        readings += found


class ServerReader:
    """One server, through one session."""

    def __init__(self, session: Session, questions: Iterable[Question], *, instance: str, slow_every_ms: int) -> None:
        self._session = session
        self._questions = tuple(questions)
        self._slow_every_ms = slow_every_ms
        labels = {"job": "postgres", "instance": instance}
        self._quick, self._slow = Snapshots(labels), Snapshots(labels)
        self._slow_ms: int | None = None
        self._failing: dict[str, str] = {}

    async def read(self, now_ms: int) -> Batch:
        """Everything that is due. PartialReadError with `pg_up 0` when the server cannot be asked."""
        try:
            return await self._read(now_ms)
        except CollectorError as error:
            down = Batch(self._samples([("pg_up", _NO_LABELS, 0.0)], (), now_ms), metadata=_METADATA)
            self._slow_ms = None
            raise PartialReadError(str(error), down, reason=error.reason, retry_after=error.retry_after) from error

    async def server(self) -> Server:
        """What the server says of itself."""
        (facts,) = await self._session.ask([FACTS])
        if isinstance(facts, CollectorError):
            raise facts
        return Server.of(facts[0])

    async def close(self) -> None:
        """Let the connection go."""
        await self._session.close()

    async def _read(self, now_ms: int) -> Batch:
        server = await self.server()
        slow = self._slow_ms is None or not 0 <= now_ms - self._slow_ms < self._slow_every_ms
        asked = [(question, question.sql(server)) for question in self._questions if slow or not question.slow]
        asked = [(question, sql) for question, sql in asked if sql]
        found = _Found(
            [
                ("pg_up", _NO_LABELS, 1.0),
                ("pg_static", {"version": server.version, "short_version": server.version.split()[0]}, 1.0),
                ("pg_postmaster_start_time_seconds", _NO_LABELS, server.started),
            ]
        )
        answers = await self._session.ask([sql for _, sql in asked])
        for (question, _), answer in zip(asked, answers, strict=True):
            found.add(question, answer)
        self._tell(found.failed, {question.name for question, _ in asked})
        if slow:
            self._slow_ms = now_ms
        return Batch(self._samples(found.quick, found.slow if slow else None, now_ms), metadata=found.metadata)

    def _samples(self, quick: Iterable[Reading], slow: Iterable[Reading] | None, now_ms: int) -> Samples:
        samples = self._quick.take(quick, now_ms)
        if slow is not None:
            samples.extend(self._slow.take(slow, now_ms))
        return samples

    def _tell(self, failed: dict[str, CollectorError], asked: set[str]) -> None:
        """A word in the log when a part begins to fail, fails for another reason, or is well again."""
        for name, error in failed.items():
            if self._failing.get(name) != error.reason:
                log.warning("postgres left out: part=%s reason=%s error=%s", name, error.reason, error)
        for name in (self._failing.keys() & asked) - failed.keys():
            log.info("postgres reads again: part=%s", name)
        kept = {name: reason for name, reason in self._failing.items() if name not in asked}
        self._failing = {**kept, **{name: error.reason for name, error in failed.items()}}
