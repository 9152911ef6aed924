"""Series from a seed: counters with resets, gauges, gaps, stale markers, NaN and Inf, classic buckets.

No sample falls on a whole or half second. Queries ask at half seconds and subqueries at whole ones, so nothing falls
on the left edge of a range, which belongs to the range until Prometheus 2.x and no longer since 3.0.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from obskit.model.labels import NAME, Labels
from obskit.model.samples import NORMAL_NAN, STALE_NAN

BASE_MS = 1_600_000_000_000
SPAN_MS = 50 * 60_000
"""Prometheus takes samples up to an hour older than its newest one."""
BOUNDS = ("0.1", "0.25", "0.5", "1", "2.5", "+Inf")
ODD_BOUNDS = ("-1", "0", "0.5", "0.50", "5", "many", "+Inf")


@dataclass(frozen=True, slots=True)
class Series:
    """One series; times ascend."""

    labels: Labels
    times_ms: list[int]
    values: list[float]


Values = Callable[[random.Random, int], list[float]]


def make_series(seed: int) -> list[Series]:
    """A data set, the same for the same seed.

    Ordered by labels, as a Prometheus server reads series: ties of topk and bottomk are decided by the order.
    """
    rng = random.Random(seed)
    return sorted([*_plain(rng), *_histograms(rng)], key=lambda one: one.labels.pairs)


def _plain(rng: random.Random) -> Iterator[Series]:
    for job in ("api", "web"):
        yield _series(rng, _labels("limit", job=job), gauge_of_whole_numbers)
        for instance in "abc":
            yield _series(rng, _labels("temperature", job=job, instance=instance), gauge)
            yield _series(rng, _labels("odd_gauge", job=job, instance=instance), odd)
            for code in ("200", "404", "500"):
                yield _series(rng, _labels("requests_total", job=job, instance=instance, code=code), counter)
        for code in ("404", "500"):
            yield _series(rng, _labels("errors_total", job=job, code=code), counter)
        for queue in ("mail", "näme", "x.y-z"):
            yield _series(rng, _labels("queue_depth", job=job, queue=queue), gauge_of_whole_numbers)
        version = rng.choice(("1.0", "2.0"))
        yield _series(rng, _labels("build_info", job=job, version=version), lambda _, count: [1.0] * count)
    yield _series(rng, _labels("alone"), gauge)


def _histograms(rng: random.Random) -> Iterator[Series]:
    for job in ("api", "web"):
        times = _times(rng)
        sizes = [0.0] * len(times)
        for bound in BOUNDS:
            sizes = [size + more for size, more in zip(sizes, counter(rng, len(times)), strict=True)]
            yield Series(_labels("latency_bucket", job=job, le=bound), times, sizes)
        yield Series(_labels("latency_count", job=job), times, sizes)
        yield Series(_labels("latency_sum", job=job), times, [size * 0.3 for size in sizes])
    for bound in rng.sample(ODD_BOUNDS, 5):
        yield _series(rng, _labels("odd_bucket", job="api", le=bound), gauge_of_whole_numbers)
    yield _series(rng, _labels("odd_bucket", job="api"), gauge_of_whole_numbers)


def _labels(name: str, **more: str) -> Labels:
    return Labels({NAME: name, **more})


def _series(rng: random.Random, labels: Labels, make: Values) -> Series:
    times = _times(rng)
    values = make(rng, len(times))
    if rng.random() < 0.4:
        for at in rng.sample(range(len(times)), min(3, len(times))):
            values[at] = STALE_NAN
    return Series(labels, times, values)


def _times(rng: random.Random) -> list[int]:
    """When a series was scraped: steadily with jitter, mostly; with gaps; from some time on, or until some time."""
    interval = rng.choice((15_000, 15_000, 15_000, 30_000, 60_000, 7_000, 200_000))
    first = rng.randrange(SPAN_MS) if rng.random() < 0.15 else 0
    last = rng.randrange(first, SPAN_MS) + 1 if rng.random() < 0.15 else SPAN_MS
    jitter = rng.choice((0, 0, 40, 2_000))
    gaps = rng.choice((0.0, 0.0, 0.1, 0.4))
    phase = rng.randrange(interval)
    times = {
        _off_the_edges(BASE_MS + at + phase + rng.randint(0, jitter))
        for at in range(first, last, interval)
        if rng.random() >= gaps
    }
    return sorted(times) or [_off_the_edges(BASE_MS + first)]


def _off_the_edges(t_ms: int) -> int:
    return t_ms + 1 if t_ms % 500 == 0 else t_ms


def counter(rng: random.Random, count: int) -> list[float]:
    """Whole numbers that grow, and begin again now and then."""
    value = float(rng.choice((0, 0, 1, 1000, 123456)))
    pace, idle, resets = rng.choice((1, 10, 1000)), rng.choice((0.0, 0.7)), rng.choice((0.0, 0.05))
    values = []
    for _ in range(count):
        value += 0.0 if rng.random() < idle else rng.randint(0, pace)
        if rng.random() < resets:
            value = float(rng.randint(0, 3))
        values.append(value)
    return values


def gauge(rng: random.Random, count: int) -> list[float]:
    """A walk with fractions, at any height."""
    value, pace = rng.choice((0.0, 20.0, -5.0, 1e3)), rng.choice((0.01, 1.0, 100.0))
    values = []
    for _ in range(count):
        value += round(rng.uniform(-pace, pace), 3)
        values.append(value)
    return values


def gauge_of_whole_numbers(rng: random.Random, count: int) -> list[float]:
    """Small whole numbers: equal ones are common."""
    return [float(rng.randint(0, rng.choice((1, 5, 40)))) for _ in range(count)]


def odd(rng: random.Random, count: int) -> list[float]:
    """What a gauge should not be, among what it should; numbers add without loss."""
    strange = (NORMAL_NAN, math.inf, -math.inf, 0.0, 2.0**20, -(2.0**20), 2.5, -2.5, 2.0**-10)
    dose = rng.choice((0.02, 0.3))
    return [rng.choice(strange) if rng.random() < dose else float(rng.randint(-9, 9)) for _ in range(count)]
