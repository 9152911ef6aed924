"""Our own metrics: counters, gauges and histograms in a registry, and the text that `/metrics` answers.

Each room makes its metrics at module level with `registry=REGISTRY`. They are as in Prometheus' client libraries (names,
cumulative buckets, text format 0.0.4); prometheus_client brings HTTP servers with it, 1 MB resident.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from threading import Lock
from typing import ClassVar, Final, NamedTuple, Self

from obskit.model.samples import MetricType

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
DEFAULT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_change: Final = Lock()
"""Metrics are changed in every thread, and an addition is a read and a write."""


class Reading(NamedTuple):
    """One series and its value now. Labels come always in the same order for one name."""

    name: str
    labels: Mapping[str, str]
    value: float


class Registry:
    """Metrics by name."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}

    def add(self, metric: Metric) -> None:
        """Raises ValueError for a name that is taken."""
        if self._metrics.setdefault(metric.name, metric) is not metric:
            raise ValueError(f"there is a metric {metric.name} already")

    def metrics(self) -> list[Metric]:
        """All of them, in the order in which they were made."""
        return list(self._metrics.values())

    def get_sample_value(self, name: str, labels: Mapping[str, str] | None = None) -> float | None:
        """Of one series (`jobs_total`, `wait_seconds_count`); None when there is none."""
        readings = (reading for metric in self.metrics() for reading in metric.read())
        return next((r.value for r in readings if r.name == name and r.labels == (labels or {})), None)

    def text(self) -> str:
        """Every series, in the text format."""
        return "".join(map(_page, self.metrics()))


class Metric(ABC):
    """One series, or with label names a family of them: `labels` gives one, which is kept until it is removed."""

    type: ClassVar[MetricType]

    def __init__(
        self, name: str, documentation: str, labelnames: Sequence[str] = (), *, registry: Registry | None = None
    ) -> None:
        self.name = name
        self.documentation = documentation
        self._labelnames = tuple(labelnames)
        self._family: dict[tuple[str, ...], tuple[dict[str, str], Self]] = {}
        if registry is not None:
            registry.add(self)

    def labels(self, *values: object) -> Self:
        """The series with these values of the label names."""
        key = tuple(map(str, values))
        known = self._family.get(key)
        if known is None:
            if not key or len(key) != len(self._labelnames):
                raise ValueError(f"{self.name} has the labels {self._labelnames}, not {len(key)}")
            with _change:
                known = self._family.setdefault(key, (dict(zip(self._labelnames, key, strict=True)), self._one()))
        return known[1]

    def remove(self, *values: object) -> None:
        """Forget one series. KeyError when there is none."""
        del self._family[tuple(map(str, values))]

    def clear(self) -> None:
        """Forget every series of the family."""
        self._family.clear()

    def read(self) -> Iterator[Reading]:
        """What there is now."""
        if not self._labelnames:
            yield from self._read({})
        for labels, one in list(self._family.values()):
            yield from one._read(labels)  # noqa: SLF001 - of the same class

    def _one(self) -> Self:
        return type(self)(self.name, "")

    @abstractmethod
    def _read(self, labels: dict[str, str]) -> Iterator[Reading]: ...


class Counter(Metric):
    """Only grows. Its name ends with `_total`."""

    type = MetricType.COUNTER

    def __init__(
        self, name: str, documentation: str, labelnames: Sequence[str] = (), *, registry: Registry | None = None
    ) -> None:
        super().__init__(f"{name.removesuffix('_total')}_total", documentation, labelnames, registry=registry)
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Count."""
        if amount < 0:
            raise ValueError("counters only grow")
        with _change:
            self.value += amount

    def _read(self, labels: dict[str, str]) -> Iterator[Reading]:
        yield Reading(self.name, labels, self.value)


class Gauge(Metric):
    """Goes up and down."""

    type = MetricType.GAUGE

    def __init__(
        self, name: str, documentation: str, labelnames: Sequence[str] = (), *, registry: Registry | None = None
    ) -> None:
        super().__init__(name, documentation, labelnames, registry=registry)
        self._value = 0.0
        self._ask: Callable[[], float] | None = None

    @property
    def value(self) -> float:
        """What it is now."""
        return self._value if self._ask is None else float(self._ask())

    def set(self, value: float) -> None:
        """It is this now."""
        self._value = float(value)

    def inc(self, amount: float = 1) -> None:
        """More by this."""
        with _change:
            self._value += amount

    def dec(self, amount: float = 1) -> None:
        """Less by this."""
        self.inc(-amount)

    def set_function(self, ask: Callable[[], float]) -> None:
        """Ask for the value whenever it is read."""
        self._ask = ask

    def _read(self, labels: dict[str, str]) -> Iterator[Reading]:
        yield Reading(self.name, labels, self.value)


class Histogram(Metric):
    """How often values up to each bound were seen, and their sum."""

    type = MetricType.HISTOGRAM

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Sequence[str] = (),
        *,
        buckets: Sequence[float] = DEFAULT_BUCKETS,
        registry: Registry | None = None,
    ) -> None:
        super().__init__(name, documentation, labelnames, registry=registry)
        self._bounds = (*map(float, buckets), math.inf)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """One more."""
        place = bisect_left(self._bounds, value)
        with _change:
            self._counts[place] += 1
            self._sum += value

    def _one(self) -> Self:
        return type(self)(self.name, "", buckets=self._bounds[:-1])

    def _read(self, labels: dict[str, str]) -> Iterator[Reading]:
        with _change:
            counts, total = list(accumulate(self._counts)), self._sum
        for bound, count in zip(self._bounds, counts, strict=True):
            yield Reading(f"{self.name}_bucket", {**labels, "le": _number(bound)}, count)
        yield Reading(f"{self.name}_count", labels, counts[-1])
        yield Reading(f"{self.name}_sum", labels, total)


def _page(metric: Metric) -> str:
    told = metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
    lines = [f"# HELP {metric.name} {told}", f"# TYPE {metric.name} {metric.type.value}"]
    for name, labels, value in metric.read():
        pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.append(f"{name}{{{pairs}}} {_number(value)}" if pairs else f"{name} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    """As Prometheus writes it."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(float(value))


REGISTRY: Final = Registry()
