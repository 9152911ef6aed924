"""The store's own metrics."""

from __future__ import annotations

from typing import Final

from obskit.model.telemetry import REGISTRY, Counter, Gauge, Histogram

SAMPLES: Final = Counter("obskit_store_samples_total", "Samples taken into the store.", registry=REGISTRY)
RECORDS: Final = Counter("obskit_store_records_total", "Log records taken into the store.", registry=REGISTRY)
DROPPED: Final = Counter(
    "obskit_store_dropped_total",
    "Samples and records refused, by reason.",
    ["reason"],
    registry=REGISTRY,
)
# There from the start: when no further series is taken, the series that says so must not be a further one.
DROPPED.labels("series_limit")
CUT: Final = Counter(
    "obskit_store_cut_total", "Log lines and labels that were longer than their limit.", ["what"], registry=REGISTRY
)
UNSAVED: Final = Counter(
    "obskit_store_unsaved_samples_total", "Samples kept in memory only, the disk being full.", registry=REGISTRY
)
SERIES: Final = Gauge("obskit_store_series", "Series in memory.", registry=REGISTRY)
BYTES: Final = Gauge("obskit_store_bytes", "Bytes of main.db in use, with its write-ahead log.", registry=REGISTRY)
DISK_FULL: Final = Gauge(
    "obskit_store_disk_full", "1 while the disk takes no more data: rules go on from memory.", registry=REGISTRY
)
APPEND_SECONDS: Final = Histogram(
    "obskit_store_append_seconds",
    "Time from an append's call to its acknowledgement.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
    registry=REGISTRY,
)
MAINTENANCE_FAILURES: Final = Counter(
    "obskit_store_maintenance_failures_total", "Rounds of folding and retention that failed.", registry=REGISTRY
)
