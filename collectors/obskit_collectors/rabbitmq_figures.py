"""What the management API's rows say, as readings. Pure; a figure that is missing, or of another type, is unknown.

Field names: rabbitmq/rabbitmq-server (deps/rabbitmq_management), seen with 3.10.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from obskit.collect import Reading
from obskit.model.samples import MetricMeta, MetricType

_GAUGES: Final = {
    "messages": ("rabbitmq_queue_messages",),
    "messages_ready": ("rabbitmq_queue_messages_ready",),
    "messages_unacknowledged": ("rabbitmq_queue_messages_unacked", "rabbitmq_queue_messages_unacknowledged"),
    "message_bytes": ("rabbitmq_queue_messages_bytes",),
    "consumers": ("rabbitmq_queue_consumers",),
    "head_message_timestamp": ("rabbitmq_queue_head_message_timestamp",),
}
_COUNTERS: Final = {
    "publish": ("rabbitmq_queue_messages_published_total", "obskit_queue_enqueued_total"),
    "deliver_get": ("rabbitmq_queue_messages_delivered_total", "obskit_queue_delivered_total"),
    "ack": ("rabbitmq_queue_messages_acked_total", "obskit_queue_completed_total"),
    "redeliver": ("rabbitmq_queue_messages_redelivered_total", ""),
}
_NODE: Final = {
    "running": "rabbitmq_running",
    "mem_used": "rabbitmq_process_resident_memory_bytes",
    "mem_limit": "rabbitmq_resident_memory_limit_bytes",
    "mem_alarm": "rabbitmq_alarms_memory_used_watermark",
    "disk_free": "rabbitmq_disk_space_available_bytes",
    "disk_free_limit": "rabbitmq_disk_space_available_limit_bytes",
    "disk_free_alarm": "rabbitmq_alarms_free_disk_space_watermark",
    "fd_used": "rabbitmq_process_open_fds",
    "fd_total": "rabbitmq_process_max_fds",
    "proc_used": "rabbitmq_erlang_processes_used",
    "proc_total": "rabbitmq_erlang_processes_limit",
}
_TOTALS: Final = ("connections", "channels", "consumers", "queues", "exchanges")
METADATA: Final = {
    "rabbitmq_up": MetricMeta(MetricType.GAUGE, "Whether the management API answered."),
    **{names[0]: MetricMeta(MetricType.COUNTER, f"Messages: {kind}.") for kind, names in _COUNTERS.items()},
    **{name: MetricMeta(MetricType.GAUGE, f"Of a queue: {key}.") for key, names in _GAUGES.items() for name in names},
    **{name: MetricMeta(MetricType.GAUGE, f"Of a node: {key}.") for key, name in _NODE.items()},
}


@dataclass(slots=True)
class QueueFigures:
    """Queues of one server. `system` is the label of our common names; a queue of dead letters has nothing ready."""

    system: str
    wanted: Sequence[str]
    ignored: Sequence[str]
    dead_letters: Sequence[str]
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    _timed: set[str] = field(default_factory=set)

    def readings(self, rows: Sequence[Mapping[str, Any]], now_ms: int) -> Iterator[Reading]:
        """Everything about the wanted ones."""
        dead = {target for row in rows if (target := _dead_letter_queue(row))}
        for row in rows:
            name = str(row.get("name"))
            if not _matches(name, self.wanted) or _matches(name, self.ignored):
                continue
            vhost = str(row.get("vhost"))
            is_dead = (vhost, name) in dead or _matches(name, self.dead_letters)
            yield from self._named_as_elsewhere(row, {"vhost": vhost, "queue": name})
            common = name if vhost == "/" else f"{vhost}/{name}"
            yield from self._common(row, common, dead=is_dead, now_ms=now_ms)

    def _named_as_elsewhere(self, row: Mapping[str, Any], labels: dict[str, str]) -> Iterator[Reading]:
        for key, metrics in _GAUGES.items():
            if (value := _number(row.get(key))) is not None:
                for metric in metrics:
                    yield metric, labels, value
        for key, value in _counts(row).items():
            yield _COUNTERS[key][0], labels, value

    def _common(self, row: Mapping[str, Any], queue: str, *, dead: bool, now_ms: int) -> Iterator[Reading]:
        named = {**self.labels.get(queue, {}), "system": self.system, "queue": queue}
        ready, held = _number(row.get("messages_ready")), _number(row.get("messages_unacknowledged"))
        for state, value in (("dead" if dead else "ready", ready), ("in_flight", held)):
            if value is not None:
                yield "obskit_queue_messages", {**named, "state": state}, value
        if dead:
            return  # nobody is meant to take from it
        if (consumers := _number(row.get("consumers"))) is not None:
            yield "obskit_queue_consumers", named, consumers
        for key, value in _counts(row).items():
            if _COUNTERS[key][1]:
                yield _COUNTERS[key][1], named, value
        yield from self._age(row, queue, named, ready, now_ms)

    def _age(
        self, row: Mapping[str, Any], queue: str, named: dict[str, str], ready: float | None, now_ms: int
    ) -> Iterator[Reading]:
        """Known only where producers stamp their messages: an empty queue has no age, one of unknown age no sample."""
        written_s = _number(row.get("head_message_timestamp"))
        if written_s is not None:
            self._timed.add(queue)
        elif ready != 0 or queue not in self._timed:
            return
        age_s = 0.0 if written_s is None else max(0.0, now_ms / 1000 - written_s)
        yield "obskit_queue_oldest_age_seconds", {**named, "method": "payload"}, age_s


def read_nodes(answer: Any) -> Iterator[Reading]:
    """Memory, disk, files, processes and alarms of every node."""
    for node in answer if isinstance(answer, list) else ():
        if not isinstance(node, dict):
            continue
        labels = {"node": str(node.get("name"))}
        for key, metric in _NODE.items():
            if (value := _number(node.get(key))) is not None:
                yield metric, labels, value
        if isinstance(node.get("partitions"), list):
            yield "rabbitmq_partitions", labels, float(len(node["partitions"]))


def read_overview(answer: Any) -> Iterator[Reading]:
    """Totals of the cluster, and its version."""
    if not isinstance(answer, dict):
        return
    totals = answer.get("object_totals")
    for key in _TOTALS:
        if isinstance(totals, dict) and (value := _number(totals.get(key))) is not None:
            yield f"rabbitmq_{key}", {}, value
    versions = {"rabbitmq_version": answer.get("rabbitmq_version"), "erlang_version": answer.get("erlang_version")}
    yield "rabbitmq_build_info", {key: str(value) for key, value in versions.items()}, 1.0


def _counts(row: Mapping[str, Any]) -> dict[str, float]:
    stats = row.get("message_stats")
    found = {key: _number(stats.get(key)) for key in _COUNTERS} if isinstance(stats, dict) else {}
    return {key: value for key, value in found.items() if value is not None}


def _dead_letter_queue(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """Virtual host and queue that this one's dead letters go to, where the default exchange takes them there."""
    arguments = row.get("arguments")
    if not isinstance(arguments, dict) or arguments.get("x-dead-letter-exchange") != "":
        return None
    return str(row.get("vhost")), str(arguments.get("x-dead-letter-routing-key", row.get("name")))


def _matches(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
