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
DROPPED.labels("target_limit")
EVICTED: Final = Counter(
    "obskit_store_evicted_series_total",
    "Ended or silent series let go of before their window was over, memory being nearly full of series.",
    registry=REGISTRY,
)
CUT: Final = Counter(
    "obskit_store_cut_total", "Log lines and labels that were longer than their limit.", ["what"], registry=REGISTRY
)
UNSAVED: Final = Counter(
    "obskit_store_unsaved_samples_total", "Samples kept in memory only, the disk being full.", registry=REGISTRY
)
SERIES: Final = Gauge("obskit_store_series", "Series in memory.", registry=REGISTRY)
BYTES: Final = Gauge(
    "obskit_store_bytes",
    "Bytes of data in main.db, its write-ahead log and the day files of log lines.",
    registry=REGISTRY,
)
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
CORRUPT: Final = Counter(
    "obskit_store_corrupt_total", "Times that a block or file of log lines could not be read.", registry=REGISTRY
)
SEALED: Final = Counter("obskit_store_sealed_records_total", "Log records moved to day files.", registry=REGISTRY)
HEAD_BYTES: Final = Gauge(
    "obskit_store_head_bytes", "Bytes of log lines that wait to be moved to a day file.", registry=REGISTRY
)
REDACTED: Final = Counter(
    "obskit_store_redacted_total", "Secrets taken out of log lines, by what they were.", ["what"], registry=REGISTRY
)
SAMPLED_OUT: Final = Counter(
    "obskit_store_sampled_out_total",
    "Log lines not stored, others standing for them, by source.",
    ["source"],
    registry=REGISTRY,
)
COLD_COPIED: Final = Counter(
    "obskit_store_cold_copied_bytes_total", "Bytes of log lines stored in cold storage and verified.", registry=REGISTRY
)
COLD_READ: Final = Counter(
    "obskit_store_cold_read_bytes_total", "Bytes read from cold storage by queries.", registry=REGISTRY
)
COLD_ERRORS: Final = Counter(
    "obskit_store_cold_errors_total",
    "Rounds of copying to cold storage, and reads of it, that failed, by reason.",
    ["reason"],
    registry=REGISTRY,
)
COLD_SUCCESS: Final = Gauge(
    "obskit_store_cold_last_success_timestamp_seconds",
    "When a round of copying to cold storage last went well (at first: when it was started); 0 without cold storage.",
    registry=REGISTRY,
)
COLD_BACKLOG: Final = Gauge(
    "obskit_store_cold_backlog_days", "Days of log lines that are to be copied to cold storage.", registry=REGISTRY
)
COLD_BYTES: Final = Gauge("obskit_store_cold_bytes", "Bytes of log lines in cold storage.", registry=REGISTRY)
