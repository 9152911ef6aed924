"""Samples: one float of one series at one millisecond. A series is its Labels (with `__name__`)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from obskit.model.histograms import NativeHistogram
from obskit.model.labels import Labels


def _float_of_bits(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])


STALE_NAN_BITS: Final = 0x7FF0000000000002
"""A series ended here (prometheus model/value/value.go). Compare bits: every NaN is unequal to itself."""
NORMAL_NAN_BITS: Final = 0x7FF8000000000001
STALE_NAN: Final = _float_of_bits(STALE_NAN_BITS)
NORMAL_NAN: Final = _float_of_bits(NORMAL_NAN_BITS)


def is_stale(value: float) -> bool:
    """Whether `value` is the stale marker, by its bits."""
    return value != value and struct.unpack("<Q", struct.pack("<d", value))[0] == STALE_NAN_BITS  # noqa: PLR0124


class MetricType(StrEnum):
    """What a metric counts, as its `# TYPE` line says."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"
    UNTYPED = "untyped"


@dataclass(frozen=True, slots=True)
class MetricMeta:
    """What an exposition says about a metric family: `# TYPE`, `# HELP`, `# UNIT`."""

    type: MetricType = MetricType.UNTYPED
    help: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One value, or a histogram (the value beside it is NaN). `t_ms` is Unix time in milliseconds.

    `start_ms` is when the counter began, as far as the source says (0: it does not).
    """

    labels: Labels
    t_ms: int
    value: float
    histogram: NativeHistogram | None = None
    start_ms: int = 0
