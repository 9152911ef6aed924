"""Metrics of what is pushed to us."""

from __future__ import annotations

from typing import Final

from obskit.model.telemetry import REGISTRY, Counter, Gauge, Histogram

REQUESTS: Final = Counter(
    "obskit_ingest_requests_total",
    "Requests by their end: ok, partial (something in it was refused), or why nothing of it was taken.",
    ("format", "result"),
    registry=REGISTRY,
)
ITEMS: Final = Counter("obskit_ingest_items_total", "What was stored.", ("format", "kind"), registry=REGISTRY)
REFUSED: Final = Counter(
    "obskit_ingest_refused_total", "Items that can never be stored, by reason.", ("format", "reason"), registry=REGISTRY
)
IGNORED: Final = Counter(
    "obskit_ingest_ignored_total", "Items we have no use for (exemplars).", ("format", "kind"), registry=REGISTRY
)
HELD_BYTES: Final = Gauge(
    "obskit_ingest_held_bytes", "Bytes of requests that are being read or stored.", registry=REGISTRY
)
SECONDS: Final = Histogram(
    "obskit_ingest_seconds",
    "Time from a request's first byte to its answer.",
    ("format",),
    buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10),
    registry=REGISTRY,
)
