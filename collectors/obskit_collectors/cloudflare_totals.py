"""Totals: counters made of what a service counted in each minute. Pure; who asks, and when, is left to others.

The service tells sums of minutes, not counters, and a minute that was told grows for a while. What was counted of each
minute of the overlap is remembered: only growth is added, to the next sample, because a series only goes forward. The text
of it all is the cursor that is stored with the samples.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from obskit.errors import CollectorError
from obskit.model.labels import Labels
from obskit.store.interface import Samples

MINUTE_MS: Final = 60_000
OVERLAP_MS: Final = 15 * MINUTE_MS
"""How long a minute that was counted is asked for again."""
FORGOTTEN_MS: Final = 24 * 60 * MINUTE_MS
"""A series that did not grow for so long ends; when it comes again, it begins at 0."""

Counted = tuple[int, Labels, float]
"""The beginning of a minute, a series, and what was counted in that minute."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Everything up to `until_ms`, a whole minute, is counted. It never changes: keep the new one once it is stored."""

    until_ms: int
    _totals: Mapping[Labels, float] = field(default_factory=dict, repr=False)
    _grew_ms: Mapping[Labels, int] = field(default_factory=dict, repr=False)
    _minutes: Mapping[int, Mapping[Labels, float]] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, text: str | None, otherwise_ms: int) -> Self:
        """From a cursor's value; None: nothing was counted before `otherwise_ms`. CollectorError when it is not ours."""
        if text is None:
            return cls(otherwise_ms)
        try:
            kept = json.loads(text)
            series = [Labels(labels) for labels, _, _ in kept["series"]]
            totals = {labels: float(row[1]) for labels, row in zip(series, kept["series"], strict=True)}
            grew = {labels: int(row[2]) for labels, row in zip(series, kept["series"], strict=True)}
            minutes = {
                int(minute): {series[at]: float(value) for at, value in counted}
                for minute, counted in kept["minutes"].items()
            }
            return cls(int(kept["until_ms"]), totals, grew, minutes)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise CollectorError("the stored cursor cannot be read", reason="config") from None

    @property
    def since_ms(self) -> int:
        """From when on to ask: what is older is taken for settled."""
        return self.until_ms - OVERLAP_MS

    def skipped_to(self, earliest_ms: int) -> Self:
        """Without what is older: nobody asks for it any more."""
        if self.until_ms >= earliest_ms:
            return self
        return type(self)(earliest_ms, self._totals, self._grew_ms, self._minutes)

    def advance(self, rows: Iterable[Counted], until_ms: int) -> tuple[Self, Samples]:
        """What is known with these rows too, and a sample of every series at the end of each new minute.

        A new series has a 0 before its first sample, so that `increase` sees its first events. A count that shrinks
        (estimates of samples do) leaves the total where it is.
        """
        if until_ms <= self.until_ms:
            return self, Samples()
        minutes = {at: dict(counted) for at, counted in self._minutes.items()}
        growth: dict[int, dict[Labels, float]] = {}
        for minute_ms, labels, value in _summed(rows):
            if not self.since_ms <= minute_ms < until_ms:
                continue
            counted = minutes.setdefault(minute_ms, {})
            more = value - counted.get(labels, 0.0)
            if more > 0:
                counted[labels] = value
                end_ms = max(minute_ms, self.until_ms) + MINUTE_MS
                grown = growth.setdefault(end_ms, {})
                grown[labels] = grown.get(labels, 0.0) + more
        totals, grew = dict(self._totals), dict(self._grew_ms)
        samples = Samples()
        for end_ms in range(self.until_ms + MINUTE_MS, until_ms + 1, MINUTE_MS):
            for labels, more in growth.get(end_ms, {}).items():
                if labels not in totals:
                    samples.add(labels, end_ms - MINUTE_MS, 0.0)
                totals[labels] = totals.get(labels, 0.0) + more
                grew[labels] = end_ms
            for labels, total in totals.items():
                samples.add(labels, end_ms, total)
        return self._kept(until_ms, totals, grew, minutes), samples

    def text(self) -> str:
        """As a cursor's value: each series once, and a few bytes for each count of the overlap."""
        position = {labels: at for at, labels in enumerate(self._totals)}
        kept = {
            "until_ms": self.until_ms,
            "series": [[dict(labels), total, self._grew_ms[labels]] for labels, total in self._totals.items()],
            "minutes": {
                minute: [[position[labels], value] for labels, value in counted.items()]
                for minute, counted in self._minutes.items()
            },
        }
        return json.dumps(kept, separators=(",", ":"))

    def _kept(
        self,
        until_ms: int,
        totals: dict[Labels, float],
        grew: dict[Labels, int],
        minutes: dict[int, dict[Labels, float]],
    ) -> Self:
        alive = {labels for labels, at in grew.items() if at > until_ms - FORGOTTEN_MS}
        return type(self)(
            until_ms,
            {labels: total for labels, total in totals.items() if labels in alive},
            {labels: at for labels, at in grew.items() if labels in alive},
            {at: counted for at, counted in minutes.items() if at >= until_ms - OVERLAP_MS},
        )


def _summed(rows: Iterable[Counted]) -> list[Counted]:
    """One row for each minute and series: several of the service's may be one series of ours."""
    sums: dict[tuple[int, Labels], float] = {}
    for minute_ms, labels, value in rows:
        sums[minute_ms, labels] = sums.get((minute_ms, labels), 0.0) + value
    return [(minute_ms, labels, value) for (minute_ms, labels), value in sums.items()]
