"""How far each source of log lines has delivered, and how long a slot waits for those that deliver late.

A source is the value of a stream's label `source` (else `job` or `service_name`). It lags by as much as its newest
lines were old when they came, the oldest of them counted: little where lines are pushed, a poll's interval where they
are fetched. A slot waits for a source that delivered lately and not yet past it, as long as this source lags, and never
longer than the limit; a silent source that lagged by nothing holds up nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.clock import NS_PER_MS
from obskit.model.labels import Labels
from obskit.rules import telemetry

LATELY_MS: Final = 10 * 60_000
_NEGLIGIBLE_MS: Final = 20
_SOURCES: Final = 1_000
_NAMES: Final = ("source", "job", "service_name")


def source_of(stream: Labels) -> str:
    """Who delivers a stream."""
    return next((stream[name] for name in _NAMES if name in stream), "")


@dataclass(slots=True)
class _Source:
    """`lag_ms` is the greatest of this stretch of time, `lag_before_ms` of the one before."""

    newest_ns: int = 0
    lag_ms: int = 0
    lag_before_ms: int = 0
    since_ms: int = 0
    groups: dict[str, int] = field(default_factory=dict)


class Watermarks:
    """What is known of the sources. `limit_ms` is the longest that a slot may wait."""

    def __init__(self, limit_ms: int) -> None:
        self._limit_ms = limit_ms
        self._sources: dict[str, _Source] = {}
        self._judged_ms: dict[str, int] = {}

    def note(self, name: str, times_ns: Sequence[int] | NDArray[np.int64], groups: Iterable[str], now_ms: int) -> None:
        """A source delivered lines (in order of time) that groups look at."""
        source = self._sources.get(name)
        if source is None:
            if len(self._sources) >= _SOURCES:
                self._sources.pop(next(iter(self._sources)))
            source = self._sources[name] = _Source(since_ms=now_ms)
        source.groups.update(dict.fromkeys(groups, now_ms))
        judged_ns = max((self._judged_ms.get(group, 0) for group in source.groups), default=0) * NS_PER_MS
        late = bisect_right(times_ns, judged_ns)
        if late:
            telemetry.LATE_RECORDS.labels(name or "unknown").inc(late)
        new = bisect_right(times_ns, source.newest_ns)
        if new < len(times_ns):
            if not 0 <= now_ms - source.since_ms < LATELY_MS:
                source.lag_before_ms, source.lag_ms, source.since_ms = source.lag_ms, 0, now_ms
            # A source that is seen for the first time may bring its history: that is not how far it lags.
            oldest_ns = int(times_ns[new] if source.newest_ns else times_ns[-1])
            source.lag_ms = max(source.lag_ms, now_ms - oldest_ns // NS_PER_MS)
            source.newest_ns = int(times_ns[-1])

    def ready_at_ms(self, group: str, t_ms: int, now_ms: int) -> int:
        """When a group may be judged for the time `t_ms`: then, or as much later as those sources lag that have not
        delivered past it."""
        behind = [one for one in self._lately(group, now_ms) if one.newest_ns <= t_ms * NS_PER_MS]
        return t_ms + self._lag_ms(behind)

    def lag_ms(self, group: str, now_ms: int) -> int:
        """How much any of a group's sources lags, up to the limit."""
        return self._lag_ms(self._lately(group, now_ms))

    def _lately(self, group: str, now_ms: int) -> list[_Source]:
        return [one for one in self._sources.values() if now_ms - one.groups.get(group, 0) <= LATELY_MS]

    def _lag_ms(self, sources: Iterable[_Source]) -> int:
        lag_ms = max((max(one.lag_ms, one.lag_before_ms) for one in sources), default=0)
        return 0 if lag_ms < _NEGLIGIBLE_MS else min(lag_ms, self._limit_ms)

    def judged(self, group: str, t_ms: int) -> None:
        """A group was judged for a time: what comes for it later is late."""
        self._judged_ms[group] = t_ms
