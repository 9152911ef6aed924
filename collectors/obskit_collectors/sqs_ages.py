"""How old the oldest message of each SQS queue is: only CloudWatch knows, late, for money, and not of idle queues.

A queue without activity for six hours has no datum at all, and that is unknown, not 0. So an answer is asked for every
few minutes and repeated in between, but never past its time, and never for a queue that has been emptied since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from obskit.collect import Book, PartialReadError, Reading, Snapshots
from obskit.errors import CollectorError
from obskit.model.samples import MetricMeta, MetricType
from obskit.store.interface import Batch
from obskit_collectors.sqs_queues import Known
from obskit_collectors.sqs_requests import AwsCalls, Service

CLOUDWATCH: Final = Service("monitoring", "GraniteServiceVersion20100801")
METRIC_DOLLARS: Final = 0.01 / 1000
"""List price of 2026-11 of one metric in one GetMetricData."""
AGE: Final = "obskit_queue_oldest_age_seconds"
EXPORTED: Final = "aws_sqs_approximate_age_of_oldest_message_maximum"
METADATA: Final = {AGE: MetricMeta(MetricType.GAUGE, "Age of the oldest message that waits.")}
_PERIOD_S: Final = 60
_LOOK_BACK_S: Final = 600
"""A datum that is older says nothing of now."""
_AT_ONCE: Final = 500
"""Metrics in one GetMetricData."""


class AgeReader:
    """Asks every `every_ms`; between, and while it cannot ask, it repeats what holds. `settle_ms`: how late data are."""

    def __init__(
        self,
        calls: AwsCalls,
        book: Book,
        known: Callable[[], Known],
        snapshots: Snapshots,
        *,
        every_ms: int,
        settle_ms: int,
    ) -> None:
        self._calls = calls
        self._book = book
        self._known = known
        self._snapshots = snapshots
        self._every_ms = every_ms
        self._settle_ms = settle_ms
        self._asked_ms: int | None = None
        self._ages: dict[str, float] = {}

    async def read(self, now_ms: int) -> Batch:
        """The ages that hold now."""
        known = self._known()
        problem: CollectorError | None = None
        # Polls are up to a half interval early or late: without the leeway every second answer would be a poll late.
        due = self._asked_ms is None or now_ms - self._asked_ms >= self._every_ms - self._every_ms // 10
        if known.facts and due:
            try:
                self._ages = await self._ask(sorted(known.facts), now_ms)
                self._asked_ms = now_ms
            except CollectorError as error:
                problem = error
        if self._asked_ms is not None and now_ms - self._asked_ms > 2 * self._every_ms:
            self._ages = {}
        samples = self._snapshots.take(self._readings(known), now_ms)
        if problem is not None:
            batch = Batch(samples, metadata=METADATA)
            raise PartialReadError(str(problem), batch, reason=problem.reason, retry_after=problem.retry_after)
        return Batch(samples, metadata=METADATA)

    def _readings(self, known: Known) -> Iterator[Reading]:
        for name, age_s in self._ages.items():
            facts = known.facts.get(name)
            if facts is None or facts.idle:
                continue
            if name not in known.dead:
                # Of dead letters it would be an alert about waiting; how near they are to their end, the pack asks.
                labels = {**known.labels.get(name, {}), "system": "sqs", "queue": name, "method": "cloudwatch"}
                yield AGE, labels, age_s
            yield EXPORTED, facts.exported, age_s

    async def _ask(self, names: Sequence[str], now_ms: int) -> dict[str, float]:
        end_s = (now_ms - self._settle_ms) // 1000 // _PERIOD_S * _PERIOD_S
        ages: dict[str, float] = {}
        for start in range(0, len(names), _AT_ONCE):
            asked = {f"m{at}": name for at, name in enumerate(names[start : start + _AT_ONCE])}
            body: dict[str, Any] = {
                "StartTime": end_s - _LOOK_BACK_S,
                "EndTime": end_s,
                "ScanBy": "TimestampDescending",
                "MetricDataQueries": [_query(each, name) for each, name in asked.items()],
            }
            price = METRIC_DOLLARS * len(asked)
            page = await self._calls.call("GetMetricData", body, price=price, book=self._book)
            ages |= self._newest(page, asked)
            while page.get("NextToken"):
                more = {**body, "NextToken": page["NextToken"]}
                page = await self._calls.call("GetMetricData", more, price=0.0, book=self._book)
                ages = {**self._newest(page, asked), **ages}
        return ages

    def _newest(self, page: Mapping[str, Any], asked: Mapping[str, str]) -> dict[str, float]:
        """The newest value of each metric that has one: no values are an answer too."""
        found: dict[str, float] = {}
        results = page.get("MetricDataResults")
        for result in results if isinstance(results, list) else ():
            if not isinstance(result, dict) or result.get("Id") not in asked:
                continue
            if result.get("StatusCode") == "Forbidden":
                raise CollectorError("GetMetricData: Forbidden (allow cloudwatch:GetMetricData)", reason="auth")
            try:
                points = dict(zip(map(float, result["Timestamps"]), map(float, result["Values"]), strict=True))
            except (KeyError, TypeError, ValueError):
                self._book.dropped(1, "bad_value")
                continue
            if points:
                found[asked[result["Id"]]] = points[max(points)]
        return found


def _query(each: str, name: str) -> dict[str, Any]:
    metric = {
        "Namespace": "AWS/SQS",
        "MetricName": "ApproximateAgeOfOldestMessage",
        "Dimensions": [{"Name": "QueueName", "Value": name}],
    }
    return {"Id": each, "MetricStat": {"Metric": metric, "Period": _PERIOD_S, "Stat": "Maximum"}, "ReturnData": True}
