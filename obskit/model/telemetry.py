"""The registry of our own metrics. Each room makes its metrics at module level with `registry=REGISTRY`."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY: Final = CollectorRegistry()

__all__ = ["REGISTRY", "Counter", "Gauge", "Histogram"]
