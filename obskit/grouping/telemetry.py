"""Metrics of grouping itself. Groups have none each: their number is not bounded by anything a person chose."""

from __future__ import annotations

from typing import Final

from obskit.model.telemetry import REGISTRY, Counter, Gauge

SEEN: Final = Counter("obskit_errors_records_total", "Records that were grouped as errors.", registry=REGISTRY)
SKIPPED: Final = Counter(
    "obskit_errors_skipped_total", "Records that came faster than they could be looked at.", registry=REGISTRY
)
EVENTS: Final = Counter("obskit_errors_events_total", "What happened to error groups.", ["event"], registry=REGISTRY)
GROUPS: Final = Gauge("obskit_errors_groups", "Error groups that are known, by state.", ["state"], registry=REGISTRY)
FORGOTTEN: Final = Counter(
    "obskit_errors_forgotten_total", "Error groups that made room for newer ones.", registry=REGISTRY
)
