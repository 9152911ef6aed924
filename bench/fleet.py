"""The data of the engine's benchmark: apps with counters, histogram buckets and gauges, sampled every 15 s.

Every instance has its own clock within the scrape interval and now and then misses a scrape, as real targets do.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import Labels

EVERY_MS: Final = 15_000
SAMPLES: Final = 20
INSTANCES: Final = 3
PATHS: Final = ("/", "/login", "/cart", "/pay", "/search")
CODES: Final = ("200", "404", "500", "503")
BOUNDS: Final = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf")
GAUGES: Final = 4
PER_APP: Final = INSTANCES * (len(PATHS) * len(CODES) + len(BOUNDS)) + GAUGES
MISSED: Final = 0.02


def app_name(app: int) -> str:
    """The label value of an app."""
    return f"app-{app:04d}"


def labels_of(series: int) -> list[Labels]:
    """The label sets of about this many series: 60 counters, 36 buckets and 4 gauges for each app."""
    found = []
    for app in range(max(1, series // PER_APP)):
        name = app_name(app)
        for instance in range(INSTANCES):
            of_instance = {"app": name, "instance": f"{name}-{instance}:9090", "job": "fleet"}
            counter = {**of_instance, "__name__": "http_requests_total"}
            found += [Labels({**counter, "path": path, "code": code}) for path in PATHS for code in CODES]
            bucket = {**of_instance, "__name__": "http_request_duration_seconds_bucket"}
            found += [Labels({**bucket, "le": le}) for le in BOUNDS]
        gauge = {"__name__": "queue_length", "app": name, "job": "fleet"}
        found += [Labels({**gauge, "queue": f"q{queue}"}) for queue in range(GAUGES)]
    return found


class Fleet:
    """Samples of all series, round by round: `times_ms[i]`, `values[i]` of series `i` where `scraped[i]`."""

    def __init__(self, series: int, start_ms: int, *, seed: int = 7) -> None:
        self.labels = labels_of(series)
        self.start_ms = start_ms
        self._random = np.random.default_rng(seed)
        instances = [labels.get("instance") or labels.get("app") for labels in self.labels]
        number = {name: place for place, name in enumerate(dict.fromkeys(instances))}
        self._target = np.array([number[name] for name in instances])
        self._clock = self._random.integers(0, EVERY_MS, len(number))
        self._counts = np.array([labels.name != "queue_length" for labels in self.labels])
        self._pace = self._random.uniform(0.5, 50, len(self.labels))
        for place, labels in enumerate(self.labels):
            if labels.get("le"):  # buckets are cumulative
                self._pace[place] = 5.0 * (1 + BOUNDS.index(labels["le"]))
        self._values = self._random.integers(1, 1_000_000, len(self.labels)).astype(float)

    def round(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
        """The times, values and presence of one round of scrapes; ask for the rounds in order."""
        steps = self._random.poisson(self._pace * EVERY_MS / 1000 / 10).astype(float)
        self._values = np.where(self._counts, self._values + steps, self._random.integers(0, 100, len(steps)))
        scraped = self._random.random(len(self._clock)) >= MISSED
        times = self.start_ms + number * EVERY_MS + self._clock
        return times[self._target], self._values, scraped[self._target]
