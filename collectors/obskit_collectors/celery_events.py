"""What Celery's events say: which workers live, how many tasks ran, failed, took how long. Pure; no Celery is imported.

Names are celery-exporter's. Arguments, results and texts of exceptions are in the events, and stay out of everything here.
"""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from obskit.collect import Reading
from obskit.model.samples import MetricMeta, MetricType

OUTCOMES: Final = ("sent", "received", "started", "succeeded", "failed", "rejected", "revoked", "retried")
RUNTIME_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
WAIT_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
METADATA: Final = {
    **{f"celery_task_{outcome}_total": MetricMeta(MetricType.COUNTER, f"Tasks {outcome}.") for outcome in OUTCOMES},
    "celery_worker_up": MetricMeta(MetricType.GAUGE, "Whether the worker was heard of lately."),
    "celery_worker_tasks_active": MetricMeta(MetricType.GAUGE, "Tasks that the worker runs."),
    "celery_task_runtime": MetricMeta(MetricType.HISTOGRAM, "Seconds that tasks ran."),
    "celery_task_queue_wait_time": MetricMeta(MetricType.HISTOGRAM, "Seconds between sending and start."),
}
_TASKS: Final = 10_000
"""Tasks under way that are remembered: name and queue are only in an event of a task's beginning."""
_SERIES: Final = 2_000
_WORKERS: Final = 500
_FORGET_MS: Final = 3_600_000
"""A worker that has been silent for so long is forgotten, not down: the alert had its time."""
_GONE: Final = {"task-succeeded", "task-failed", "task-rejected", "task-revoked"}


@dataclass(slots=True)
class _Task:
    name: str
    queue: str
    sent_s: float | None


@dataclass(slots=True)
class _Histogram:
    bounds: tuple[float, ...]
    counts: list[int]
    total: float = 0.0


@dataclass(slots=True)
class Worker:
    """What is known of one: when it was heard of (on our clock), and how many tasks it runs."""

    heard_ms: int
    active: int | None = None


@dataclass(slots=True)
class Events:
    """Counts since the beginning of this process. `only_queue` is the queue of tasks whose events name none."""

    only_queue: str = ""
    silent_after_ms: int = 60_000
    workers: dict[str, Worker] = field(default_factory=dict)
    dropped: int = 0
    _counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = field(default_factory=Counter)
    _histograms: dict[tuple[str, tuple[tuple[str, str], ...]], _Histogram] = field(default_factory=dict)
    _tasks: OrderedDict[str, _Task] = field(default_factory=OrderedDict)

    def take(self, message: str, now_ms: int) -> None:
        """One published message: an event, or a list of them. What cannot be read is counted as dropped."""
        try:
            body = json.loads(base64.b64decode(json.loads(message)["body"]))
        except (ValueError, TypeError, KeyError, RecursionError):
            self.dropped += 1
            return
        for event in body if isinstance(body, list) else [body]:
            if isinstance(event, dict):
                self._event(event, now_ms)
            else:
                self.dropped += 1

    def readings(self, now_ms: int, connected_ms: int) -> Iterator[Reading]:
        """Everything as of now. Silence counts from when we began to listen at the earliest."""
        for name, worker in list(self.workers.items()):
            silent_ms = now_ms - max(worker.heard_ms, connected_ms)
            if now_ms - worker.heard_ms > _FORGET_MS:
                del self.workers[name]
                continue
            up = silent_ms <= self.silent_after_ms
            yield "celery_worker_up", {"hostname": name}, float(up)
            if up and worker.active is not None:
                yield "celery_worker_tasks_active", {"hostname": name}, float(worker.active)
        for (metric, labels), count in self._counts.items():
            yield metric, dict(labels), float(count)
        for (metric, labels), histogram in self._histograms.items():
            yield from _buckets(metric, dict(labels), histogram)

    def _event(self, event: Mapping[str, Any], now_ms: int) -> None:
        kind, host = str(event.get("type")), str(event.get("hostname"))
        if kind.startswith("worker-"):
            self._worker(kind, host, event, now_ms)
        elif kind.startswith("task-"):
            if kind != "task-sent" and host in self.workers:
                self.workers[host].heard_ms = now_ms
            self._task(kind, re.sub(r"^gen\d+@", "gen@", host), event)  # a sender's host name holds its process id

    def _worker(self, kind: str, host: str, event: Mapping[str, Any], now_ms: int) -> None:
        """A worker that says goodbye is stopped on purpose: nothing is down."""
        if kind == "worker-offline":
            self.workers.pop(host, None)
        elif host in self.workers or len(self.workers) < _WORKERS:
            active = event.get("active")
            self.workers[host] = Worker(now_ms, active if isinstance(active, int) else None)
        else:
            self.dropped += 1

    def _task(self, kind: str, host: str, event: Mapping[str, Any]) -> None:
        outcome = kind.removeprefix("task-")
        if outcome not in OUTCOMES:
            return  # custom events, and kinds of later versions
        task = self._known(kind, event)
        labels = {"name": task.name, "hostname": host, "queue_name": task.queue}
        if outcome == "failed":
            self._count(f"celery_task_{outcome}_total", {**labels, "exception": _class_of(event.get("exception"))})
        else:
            self._count(f"celery_task_{outcome}_total", labels)
        common = {"succeeded": "completed", "failed": "failed", "sent": "enqueued", "started": "delivered"}.get(outcome)
        if common and task.queue:
            self._count(f"obskit_queue_{common}_total", {"system": "celery", "queue": task.queue})
        runtime, at = event.get("runtime"), event.get("timestamp")
        if outcome == "succeeded" and isinstance(runtime, int | float):
            self._observe("celery_task_runtime", labels, float(runtime), RUNTIME_BUCKETS)
        if outcome == "started" and task.sent_s is not None and isinstance(at, int | float):
            self._observe("celery_task_queue_wait_time", labels, max(0.0, at - task.sent_s), WAIT_BUCKETS)

    def _known(self, kind: str, event: Mapping[str, Any]) -> _Task:
        """The task of an event. It is remembered until it ends, the oldest ones forgotten first."""
        uuid = str(event.get("uuid"))
        task = self._tasks.get(uuid) or _Task("", self.only_queue, None)
        at = event.get("timestamp")
        task.name = str(event.get("name") or task.name)
        task.queue = str(event.get("queue") or task.queue)
        if kind == "task-sent" and isinstance(at, int | float):
            task.sent_s = float(at)
        if kind in _GONE:
            self._tasks.pop(uuid, None)
        else:
            self._tasks[uuid] = task
            if len(self._tasks) > _TASKS:
                self._tasks.popitem(last=False)
        return task

    def _count(self, metric: str, labels: Mapping[str, str]) -> None:
        key = (metric, tuple(labels.items()))
        if key in self._counts or self._room():
            self._counts[key] += 1

    def _observe(self, metric: str, labels: Mapping[str, str], seconds: float, bounds: tuple[float, ...]) -> None:
        key = (metric, tuple(labels.items()))
        if key not in self._histograms and self._room():
            self._histograms[key] = _Histogram(bounds, [0] * (len(bounds) + 1))
        if (histogram := self._histograms.get(key)) is not None:
            histogram.counts[bisect_left(bounds, seconds)] += 1
            histogram.total += seconds

    def _room(self) -> bool:
        """Whoever names tasks after users fills no memory."""
        room = len(self._counts) + len(self._histograms) < _SERIES
        self.dropped += not room
        return room


def _buckets(metric: str, labels: Mapping[str, str], histogram: _Histogram) -> Iterator[Reading]:
    cumulative = 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        cumulative += count
        le = "+Inf" if bound == float("inf") else f"{bound}"
        yield f"{metric}_bucket", {**labels, "le": le}, float(cumulative)
    yield f"{metric}_sum", labels, histogram.total
    yield f"{metric}_count", labels, float(cumulative)


def _class_of(exception: object) -> str:
    """`ValueError` of `ValueError('what nobody else should read')`."""
    found = re.match(r"[\w.]{1,100}", str(exception))
    return found[0] if found else ""
