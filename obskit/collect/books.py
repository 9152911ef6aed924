"""The books of every collector: what is up, since when, how much came, what failed. Metrics and status rows.

One Book per target. Nothing is booked before it was seen: a target that never gave a row has no data age and no item
count, because "no rows yet" must not read as "zero".
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from obskit.clock import Clock
from obskit.errors import CollectorError
from obskit.model.telemetry import REGISTRY, Counter, Gauge, Histogram
from obskit.store.interface import Batch

log = logging.getLogger(__name__)

_TARGET: Final = ("collector", "target")
UP: Final = Gauge("obskit_collector_up", "Whether the last read of the target succeeded.", _TARGET, registry=REGISTRY)
LAST_SUCCESS: Final = Gauge(
    "obskit_collector_last_success_timestamp_seconds", "When a read last succeeded.", _TARGET, registry=REGISTRY
)
DATA_AGE: Final = Gauge(
    "obskit_collector_data_age_seconds", "Age of the newest item; absent until one came.", _TARGET, registry=REGISTRY
)
CALLS: Final = Counter(
    "obskit_collector_calls_total",
    "Reads by result: ok, or the reason of the failure.",
    (*_TARGET, "result"),
    registry=REGISTRY,
)
DURATION: Final = Histogram(
    "obskit_collector_duration_seconds",
    "How long a read took.",
    ("collector",),
    buckets=(0.005, 0.025, 0.1, 0.5, 1, 5, 10, 30),
    registry=REGISTRY,
)
ITEMS: Final = Counter(
    "obskit_collector_items_total", "Samples and records stored.", ("collector", "kind"), registry=REGISTRY
)
DROPPED: Final = Counter(
    "obskit_collector_dropped_total", "Items left out, by reason.", ("collector", "reason"), registry=REGISTRY
)
REFUSED: Final = Gauge(
    "obskit_collector_refused", "Whether the target refuses our credentials.", _TARGET, registry=REGISTRY
)
REQUESTS: Final = Counter(
    "obskit_collector_requests_total", "Requests sent to a vendor.", ("collector",), registry=REGISTRY
)
COST: Final = Counter(
    "obskit_collector_cost_dollars_total",
    "What the vendor takes for these requests, by its price list.",
    ("collector",),
    registry=REGISTRY,
)
SAMPLED: Final = Counter(
    "obskit_collector_sampled_total", "Items left out by sampling.", ("collector",), registry=REGISTRY
)


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """One row of `obskit status`. Times are Unix milliseconds; None is "never yet"."""

    collector: str
    target: str
    up: bool | None
    last_success_ms: int | None
    newest_data_ms: int | None
    items: int
    errors: int
    error: str


class Book:
    """What is known of one target of one collector."""

    def __init__(self, collector: str, target: str, clock: Clock) -> None:
        self.collector = collector
        self.target = target
        self._clock = clock
        self._up: bool | None = None
        self._last_success_ms: int | None = None
        self._newest_ms: int | None = None
        self._items = 0
        self._errors = 0
        self._error = ""
        self._reason = ""
        self._results: set[str] = set()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Book one read: its duration, and success, or the CollectorError that leaves the block."""
        started = self._clock.monotonic()
        try:
            yield
        except CollectorError as error:
            self.failure(error, self._clock.monotonic() - started)
            raise
        self.success(self._clock.monotonic() - started)

    def success(self, duration_s: float) -> None:
        """A read succeeded, whether or not it found anything."""
        if self._up is False:
            log.info("collector recovered: collector=%s target=%s", self.collector, self.target)
        self._up, self._error, self._reason = True, "", ""
        self._last_success_ms = self._clock.now_ms()
        LAST_SUCCESS.labels(self.collector, self.target).set(self._last_success_ms / 1000)
        self._count("ok", duration_s)

    def failure(self, error: CollectorError, duration_s: float) -> None:
        """A read failed. Logged when the target was well, or failed for another reason, not at each attempt."""
        if self._up is not False or self._reason != error.reason:
            log.warning(
                "collector failed: collector=%s target=%s reason=%s error=%s",
                self.collector,
                self.target,
                error.reason,
                error,
            )
        self._up, self._error, self._reason = False, str(error), error.reason
        self._errors += 1
        self._count(error.reason, duration_s)

    def stored(self, batch: Batch) -> None:
        """A batch of this target is in the store."""
        samples, records = len(batch.samples), len(batch.records)
        if samples:
            ITEMS.labels(self.collector, "sample").inc(samples)
            self._saw(max(batch.samples.times_ms))
        if records:
            ITEMS.labels(self.collector, "record").inc(records)
            self._saw(max(record.t_ns for record in batch.records) // 1_000_000)
        self._items += samples + records

    def asked(self, price: float = 0.0) -> None:
        """A request was sent for which the vendor takes `price` dollars."""
        REQUESTS.labels(self.collector).inc()
        if price:
            COST.labels(self.collector).inc(price)

    def dropped(self, count: int, reason: str) -> None:
        """Items were left out; `reason` is a slug of a closed list (`too_long`, `sample_limit`)."""
        DROPPED.labels(self.collector, reason).inc(count)

    def sampled(self, count: int) -> None:
        """Items were left out by sampling, on purpose."""
        SAMPLED.labels(self.collector).inc(count)

    def status(self) -> TargetStatus:
        """The target's row."""
        return TargetStatus(
            collector=self.collector,
            target=self.target,
            up=self._up,
            last_success_ms=self._last_success_ms,
            newest_data_ms=self._newest_ms,
            items=self._items,
            errors=self._errors,
            error=self._error,
        )

    def close(self) -> None:
        """The target is gone for good: its series go too, so that targets that come and go do not pile up."""
        key = (self.collector, self.target)
        for metric, labels in (
            *((gauge, key) for gauge in (UP, REFUSED, LAST_SUCCESS, DATA_AGE)),
            *((CALLS, (*key, result)) for result in self._results),
        ):
            with suppress(KeyError):  # never booked; newer clients do not raise
                metric.remove(*labels)

    def _count(self, result: str, duration_s: float) -> None:
        UP.labels(self.collector, self.target).set(1 if self._up else 0)
        REFUSED.labels(self.collector, self.target).set(1 if result == "auth" else 0)
        CALLS.labels(self.collector, self.target, result).inc()
        self._results.add(result)
        DURATION.labels(self.collector).observe(duration_s)

    def _saw(self, newest_ms: int) -> None:
        if self._up is False:
            return  # what a failed read leaves behind (`up 0`, stale markers) is not news of the target
        if self._newest_ms is None:
            DATA_AGE.labels(self.collector, self.target).set_function(self._age_s)
        self._newest_ms = max(newest_ms, self._newest_ms or 0)

    def _age_s(self) -> float:
        return max(0.0, (self._clock.now_ms() - (self._newest_ms or 0)) / 1000)
