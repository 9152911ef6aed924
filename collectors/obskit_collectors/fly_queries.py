"""Fly.io's managed Prometheus: answers of queries, and copies of series (federation), as samples of ours.

It has no alerts of its own, keeps 15 days, and asks nothing. Its newest samples come late, so an instant before now is
asked for. `FlyV1` for tokens of `fly tokens create`, else 401.
"""

from __future__ import annotations

import math
from typing import Any, Final
from urllib.parse import urlencode

from obskit.collect import Ask, Collector, PartialReadError, poll
from obskit.errors import CollectorError
from obskit.model.exposition import ExpositionError, ExpositionParser
from obskit.model.labels import NAME, Labels, is_metric_name
from obskit.store.interface import Batch, Samples
from obskit_collectors.fly_access import FlyApi, items, part, text_at
from obskit_collectors.fly_settings import FlySettings, QuerySettings

TARGET: Final = "prometheus"
_MAX_SERIES: Final = 5_000
_PAGE: Final = "text/plain; version=0.0.4"


class FlyQueries:
    """Asks every query, then federates; one that fails is told after the others were asked."""

    def __init__(self, settings: FlySettings, api: FlyApi) -> None:
        self._settings = settings
        self._api = api
        self._base = f"/prometheus/{settings.organization}"
        self._parser = ExpositionParser()
        self._newest_ms: dict[Labels, int] = {}

    async def read(self, now_ms: int) -> Batch:
        """The samples of one instant."""
        samples = Samples()
        wrong: list[CollectorError] = []
        for query in self._settings.queries:
            try:
                samples.extend(await self._asked(query, now_ms))
            except CollectorError as error:
                wrong.append(error)
                if error.reason in ("auth", "rate_limited", "network", "timeout"):
                    break
        if self._settings.federate and not wrong:
            samples.extend(await self._federated(now_ms))
        if wrong:
            raise PartialReadError(
                str(wrong[0]), Batch(samples), reason=wrong[0].reason, retry_after=wrong[0].retry_after
            )
        return Batch(samples)

    async def _asked(self, query: QuerySettings, now_ms: int) -> Samples:
        at_s = (now_ms - self._settings.queries_delay) / 1000
        answer = await self._api.json(
            Ask(f"{self._base}/api/v1/query", params={"query": query.query, "time": f"{at_s:.3f}"})
        )
        if part(answer, "data", "resultType") != "vector":
            raise CollectorError(f"query {query.query!r}: the answer is no instant vector", reason="bad_data")
        samples = Samples()
        for row in items(part(answer, "data"), "result")[:_MAX_SERIES]:
            self._add(samples, query, row)
        return samples

    def _add(self, samples: Samples, query: QuerySettings, row: Any) -> None:
        """A row that is no sample is left out."""
        metric, pair = part(row, "metric"), part(row, "value")
        if not isinstance(metric, dict) or not isinstance(pair, list) or len(pair) != 2:
            return
        name = query.record or text_at(metric, NAME)
        try:
            t_ms, value = round(float(pair[0]) * 1000), float(pair[1])
        except (TypeError, ValueError, OverflowError):
            return
        if is_metric_name(name) and math.isfinite(t_ms):
            told = {str(key): str(text) for key, text in metric.items()}
            samples.add(Labels({**told, **query.labels, NAME: name}), t_ms, value)

    async def _federated(self, now_ms: int) -> Samples:
        """The series with their own times; what was copied before is not copied again."""
        selectors = urlencode([("match[]", selector) for selector in self._settings.federate])
        text = await self._api.text(Ask(f"{self._base}/federate?{selectors}"))
        try:
            page = self._parser.parse(text.encode(), _PAGE, now_ms=now_ms)
        except ExpositionError as error:
            raise CollectorError(f"federate: {error}", reason="bad_data") from None
        samples = Samples()
        newest_ms: dict[Labels, int] = {}
        for labels, t_ms, value in zip(page.labels, page.times_ms, page.values, strict=True):
            if t_ms > self._newest_ms.get(labels, 0):
                samples.add(labels, t_ms, value)
            newest_ms[labels] = t_ms
        self._newest_ms = newest_ms
        return samples


def queries_poll(settings: FlySettings, api: FlyApi) -> Collector:
    """The part of the collector that asks the managed Prometheus."""
    queries = FlyQueries(settings, api)
    every_ms, name = settings.queries_every, settings.own_name
    return poll(queries.read, name=name, target=TARGET, every_ms=every_ms, timeout_ms=30_000, close=api.close)
