"""What analytics can tell: each node of the GraphQL schema, its dimensions, and the series its measures become.

A table and what reads a row by it. Names of nodes and fields are those of the public schema; who asks is left to others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from obskit.model.labels import NAME, Labels
from obskit.model.samples import MetricMeta, MetricType
from obskit_collectors.cloudflare_values import number, time_ms

LIMIT: Final = 10_000
"""Rows of a node in one answer: as many mean that there were more."""
_MILLION: Final = 1e-6

CLASS_B: Final = frozenset({"headbucket", "headobject", "getobject", "usagesummary"})
"""Operations of R2 that read: other names with a price, of class A, change or list."""
CLASS_A: Final = frozenset(
    {"listbuckets", "putbucket", "listobjects", "putobject", "copyobject", "createmultipartupload", "uploadpart"}
    | {"uploadpartcopy", "completemultipartupload", "listmultipartuploads", "listparts"}
    | {"lifecyclestoragetiertransition"}
)


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of a node as one series for each set of `labels`, which are names of labels.

    `path` is where it is in a row, `scale` what its unit is multiplied with. `only` names a dimension's label and the
    values, in lower case, for which the row counts. `fixed` are more labels.
    """

    metric: str
    path: str
    scale: float = 1.0
    labels: tuple[str, ...] | None = None
    fixed: Mapping[str, str] = field(default_factory=dict)
    only: tuple[str, frozenset[str]] | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A node: `dimensions` are its own names and our labels; `counters` are summed over time, `gauges` taken as they are.

    `time` is the dimension by which it is filtered: not all have `datetime`. `also` is one more filter,
    `moment` the dimension that says when a row is of.
    """

    product: str
    field: str
    dimensions: Mapping[str, str]
    counters: tuple[Measure, ...] = ()
    gauges: tuple[Measure, ...] = ()
    time: str = "datetime"
    also: str = ""
    moment: str = "datetimeMinute"

    @property
    def alias(self) -> str:
        """Its name in a query: one field may be asked for twice, with other dimensions."""
        return f"{self.product}_{self.field}_{len(self.dimensions)}"

    def selection(self) -> str:
        """Its part of a query with the variables `$from` and `$to`."""
        groups: dict[str, list[str]] = {}
        for measure in (*self.counters, *self.gauges):
            group, _, name = measure.path.partition(".")
            names = groups.setdefault(group, [])
            if name and name not in names:
                names.append(name)
        measures = " ".join(f"{group} {{ {' '.join(names)} }}" if names else group for group, names in groups.items())
        also = f", {self.also}" if self.also else ""
        return (
            f"{self.alias}: {self.field}(limit: {LIMIT}, "
            f"filter: {{{self.time}_geq: $from, {self.time}_lt: $to{also}}}) "
            f"{{ dimensions {{ {' '.join((self.moment, *self.dimensions))} }} {measures} }}"
        )

    def rows(
        self, measures: Sequence[Measure], rows: Any, more: Mapping[str, str]
    ) -> Iterator[tuple[int, Labels, float]]:
        """The minute, series and value of each measure in each row; what is null or not as expected is left out."""
        for row in rows if isinstance(rows, list) else ():
            dimensions = row.get("dimensions") if isinstance(row, dict) else None
            minute_ms = _begin_ms(dimensions, self.moment)
            if not isinstance(dimensions, dict) or minute_ms is None:
                continue
            labels = {label: _text(dimensions.get(name)) for name, label in self.dimensions.items()}
            for measure in measures:
                value = _value(row, measure.path)
                if value is None or not _counts(measure, labels):
                    continue
                kept = labels if measure.labels is None else {name: labels[name] for name in measure.labels}
                yield minute_ms, Labels({**kept, **measure.fixed, **more, NAME: measure.metric}), value * measure.scale


def _cost(
    path: str, dollars: float, product: str, item: str, only: tuple[str, frozenset[str]] | None = None
) -> Measure:
    fixed = {"product": product, "item": item}
    return Measure("cloudflare_cost_dollars_total", path, dollars, labels=(), fixed=fixed, only=only)


def _quantiles(metric: str, stem: str, scale: float, quantiles: Sequence[str]) -> tuple[Measure, ...]:
    return tuple(
        Measure(metric, f"quantiles.{stem}P{quantile}", scale, fixed={"quantile": f"0.{quantile}"})
        for quantile in quantiles
    )


_QUEUE_SYSTEM: Final = {"system": "cloudflare"}
_SHARED: Final = {
    "cloudflare_cost_dollars_total": MetricMeta(
        MetricType.COUNTER, "What was counted times the price list, before what the plan includes."
    ),
    "obskit_queue_enqueued_total": MetricMeta(MetricType.COUNTER, "Messages ever put into a queue."),
    "obskit_queue_completed_total": MetricMeta(MetricType.COUNTER, "Messages that consumers were done with."),
}
"""Metrics that more than one node, or other collectors, give."""

ACCOUNT_NODES: Final = (
    Node(
        "workers",
        "workersInvocationsAdaptive",
        {"scriptName": "script_name", "status": "status"},
        (
            Measure("cloudflare_worker_requests_total", "sum.requests"),
            Measure("cloudflare_worker_errors_total", "sum.errors"),
            Measure("cloudflare_worker_subrequests_total", "sum.subrequests"),
            Measure("cloudflare_worker_cpu_seconds_total", "sum.cpuTimeUs", _MILLION),
            _cost("sum.requests", 0.30 * _MILLION, "workers", "requests"),
            _cost("sum.cpuTimeUs", 0.02 * _MILLION / 1000, "workers", "cpu"),
        ),
        (
            *_quantiles("cloudflare_worker_cpu_time_seconds", "cpuTime", _MILLION, ("50", "99")),
            *_quantiles("cloudflare_worker_wall_time_seconds", "wallTime", _MILLION, ("50", "99")),
            Measure("cloudflare_worker_sample_interval", "avg.sampleInterval"),
        ),
    ),
    Node(
        "queues",
        "queueMessageOperationsAdaptiveGroups",
        {"queueId": "queue", "actionType": "action", "outcome": "outcome"},
        (
            Measure("cloudflare_queue_operations_total", "count"),
            Measure(
                "obskit_queue_enqueued_total",
                "count",
                1.0,
                ("queue",),
                _QUEUE_SYSTEM,
                ("action", frozenset({"writemessage"})),
            ),
            Measure(
                "obskit_queue_completed_total",
                "count",
                1.0,
                ("queue",),
                _QUEUE_SYSTEM,
                ("action", frozenset({"deletemessage"})),
            ),
            _cost("sum.billableOperations", 0.40 * _MILLION, "queues", "operations"),
        ),
    ),
    Node(
        "queues",
        "queueBacklogAdaptiveGroups",
        {"queueId": "queue"},
        gauges=(
            Measure("cloudflare_queue_backlog_messages", "avg.messages"),
            Measure("cloudflare_queue_backlog_bytes", "avg.bytes"),
        ),
    ),
    Node(
        "queues",
        "queueConsumerMetricsAdaptiveGroups",
        {"queueId": "queue"},
        gauges=(Measure("cloudflare_queue_consumer_concurrency", "avg.concurrency"),),
    ),
    Node(
        "r2",
        "r2OperationsAdaptiveGroups",
        {"bucketName": "bucket", "actionType": "action", "actionStatus": "status"},
        (
            Measure("cloudflare_r2_operations_total", "sum.requests"),
            Measure("cloudflare_r2_response_bytes_total", "sum.responseObjectSize", labels=("bucket",)),
            _cost("sum.requests", 4.50 * _MILLION, "r2", "class_a", ("action", CLASS_A)),
            _cost("sum.requests", 0.36 * _MILLION, "r2", "class_b", ("action", CLASS_B)),
        ),
    ),
    Node(
        "d1",
        "d1AnalyticsAdaptiveGroups",
        {"databaseId": "database"},
        (
            Measure("cloudflare_d1_queries_total", "sum.readQueries", fixed={"kind": "read"}),
            Measure("cloudflare_d1_queries_total", "sum.writeQueries", fixed={"kind": "write"}),
            Measure("cloudflare_d1_rows_total", "sum.rowsRead", fixed={"kind": "read"}),
            Measure("cloudflare_d1_rows_total", "sum.rowsWritten", fixed={"kind": "write"}),
            _cost("sum.rowsRead", 0.001 * _MILLION, "d1", "rows_read"),
            _cost("sum.rowsWritten", 1.00 * _MILLION, "d1", "rows_written"),
        ),
        _quantiles("cloudflare_d1_batch_seconds", "queryBatchTimeMs", 0.001, ("50", "90")),
        time="datetimeMinute",
    ),
    Node(
        "kv",
        "kvOperationsAdaptiveGroups",
        {"namespaceId": "namespace", "actionType": "action"},
        (
            Measure("cloudflare_kv_operations_total", "sum.requests"),
            _cost("sum.requests", 0.50 * _MILLION, "kv", "reads", ("action", frozenset({"read"}))),
            _cost("sum.requests", 5.00 * _MILLION, "kv", "writes", ("action", frozenset({"write", "delete", "list"}))),
        ),
        _quantiles("cloudflare_kv_latency_seconds", "latencyMs", 0.001, ("99",)),
    ),
    Node(
        "hyperdrive",
        "hyperdriveQueriesAdaptiveGroups",
        {"configId": "config", "cacheStatus": "cache_status", "eventStatus": "status"},
        (Measure("cloudflare_hyperdrive_queries_total", "count"),),
        (
            Measure("cloudflare_hyperdrive_query_seconds", "avg.queryLatency", 0.001),
            Measure("cloudflare_hyperdrive_connection_seconds", "avg.connectionLatency", 0.001),
        ),
    ),
    Node(
        "durable_objects",
        "durableObjectsInvocationsAdaptiveGroups",
        {"scriptName": "script_name", "status": "status"},
        (
            Measure("cloudflare_durable_object_requests_total", "sum.requests"),
            Measure("cloudflare_durable_object_errors_total", "sum.errors"),
            _cost("sum.requests", 0.15 * _MILLION, "durable_objects", "requests"),
        ),
    ),
    Node(
        "ai_gateway",
        "aiGatewayRequestsAdaptiveGroups",
        {"gateway": "gateway", "provider": "provider", "model": "model"},
        (
            Measure("cloudflare_ai_gateway_requests_total", "count"),
            Measure("cloudflare_ai_gateway_errors_total", "sum.erroredRequests"),
            Measure("cloudflare_ai_gateway_cached_total", "sum.cachedRequests"),
            Measure("cloudflare_ai_gateway_cost_dollars_total", "sum.cost"),
        ),
        time="datetimeMinute",
    ),
)
"""All of an account's; a product that a plan or a token lacks is left out of the query."""
PRODUCTS: Final = tuple(dict.fromkeys(node.product for node in ACCOUNT_NODES))

ZONE_NODES: Final = (
    Node(
        "zone",
        "httpRequestsAdaptiveGroups",
        {"edgeResponseStatus": "status", "cacheStatus": "cache_status"},
        (
            Measure("cloudflare_zone_requests_total", "count"),
            Measure("cloudflare_zone_response_bytes_total", "sum.edgeResponseBytes", labels=()),
            Measure("cloudflare_zone_visits_total", "sum.visits", labels=()),
        ),
        also='requestSource: "eyeball"',
    ),
    Node(
        "zone",
        "httpRequestsAdaptiveGroups",
        {},
        gauges=(
            *_quantiles("cloudflare_zone_first_byte_seconds", "edgeTimeToFirstByteMs", 0.001, ("50", "95", "99")),
            *_quantiles("cloudflare_zone_origin_seconds", "originResponseDurationMs", 0.001, ("50", "95", "99")),
        ),
        also='requestSource: "eyeball"',
    ),
)
"""Of a zone, without what its own Workers ask of it (`eyeball`: by visitors)."""


def described(nodes: Sequence[Node]) -> dict[str, MetricMeta]:
    """What is known of each metric of some nodes: its type, and where it comes from."""
    counters = {
        one.metric: MetricMeta(MetricType.COUNTER, f"{node.field}: {one.path}")
        for node in nodes
        for one in node.counters
    }
    gauges = {
        one.metric: MetricMeta(MetricType.GAUGE, f"{node.field}: {one.path}") for node in nodes for one in node.gauges
    }
    return {**counters, **gauges, **{name: meta for name, meta in _SHARED.items() if name in counters}}


def _begin_ms(dimensions: Any, moment: str) -> int | None:
    begin_ms = time_ms(dimensions.get(moment)) if isinstance(dimensions, dict) else None
    return None if begin_ms is None else begin_ms // 60_000 * 60_000


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _value(row: Mapping[str, Any], path: str) -> float | None:
    group, _, name = path.partition(".")
    inner = row.get(group)
    return number((inner.get(name) if isinstance(inner, dict) else None) if name else inner)


def _counts(measure: Measure, labels: Mapping[str, str]) -> bool:
    return measure.only is None or labels[measure.only[0]].lower() in measure.only[1]
