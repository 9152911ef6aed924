"""How far back memory goes, per metric: the window that is wanted, and the floor above which nothing is missing.

Used by head.py under its lock.
"""

from __future__ import annotations

from collections.abc import Iterator

from obskit.store.rings import LONGEST_MS
from obskit.store.rounds import NEVER


class Windows:
    """One default window, larger ones where rules asked for them. Windows only grow, floors only rise.

    A metric has a floor of its own when its window is larger, or when some of its series were let go before their time.

    A window that was enlarged has a lower floor to come to: what lies between is `unfilled` until it was read from disk.
    """

    def __init__(self, default_ms: int, *, complete_after_ms: int = NEVER) -> None:
        self.default_ms = default_ms
        self._floor_ms = complete_after_ms
        self._larger: dict[str, int] = {}
        self._floors: dict[str, int] = {}
        self._unfilled: set[str] = set()

    def reserve(self, name: str | None, window_ms: int) -> None:
        """At least this much, for a metric or (None) for all; of more than LONGEST_MS, the rest stays on disk."""
        window_ms = min(window_ms, LONGEST_MS)
        if name is None:
            self.default_ms = max(self.default_ms, window_ms)
        elif window_ms > self.of(name):
            self._larger[name] = window_ms
            self._floors.setdefault(name, self._floor_ms)
            self._unfilled.add(name)

    def of(self, name: str) -> int:
        """A metric's window."""
        return max(self.default_ms, self._larger.get(name, 0))

    def room(self, name: str) -> int:
        """Metrics of one room keep samples about as long: 0 for up to twice the default, 1 up to four times, ..."""
        return (max(self.of(name), 1) // self.default_ms).bit_length() - 1

    def larger(self) -> Iterator[str]:
        """The metrics that have a window of their own."""
        return iter(self._larger)

    @property
    def longest_ms(self) -> int:
        """The longest of them."""
        return max([self.default_ms, *self._larger.values()])

    def floor(self, name: str | None) -> int:
        """Memory is complete after this time, for a metric or (None) for all."""
        if name is None:
            return max([self._floor_ms, *self._floors.values()])
        return self._floors.get(name, self._floor_ms)

    def advance(self, now_ms: int) -> None:
        """What is older than its window is about to be let go."""
        self._floor_ms = max(self._floor_ms, now_ms - self.default_ms)
        floors = {name: max(floor_ms, now_ms - self.of(name)) for name, floor_ms in self._floors.items()}
        self._floors = {n: floor_ms for n, floor_ms in floors.items() if n in self._larger or floor_ms > self._floor_ms}

    def unfilled(self, name: str | None) -> bool:
        """Whether disk holds more of the metric's window than memory."""
        return name in self._unfilled

    def filled(self, name: str, since_ms: int) -> None:
        """Memory holds the metric from here on."""
        self._unfilled.discard(name)
        self._floors[name] = min(self._floors[name], since_ms)

    def let_go(self, name: str, until_ms: int) -> None:
        """Samples of the metric up to here are on disk alone from now on, and are not brought back."""
        self._unfilled.discard(name)
        self._floors[name] = max(self.floor(name), until_ms)

    def restarted(self, now_ms: int, complete_after_ms: int) -> Windows:
        """The same windows for an empty memory that is about to get everything newer than `complete_after_ms`."""
        fresh = Windows(self.default_ms, complete_after_ms=max(now_ms - self.default_ms, complete_after_ms))
        for name, window_ms in self._larger.items():
            fresh.reserve(name, window_ms)
            fresh._floors[name] = max(now_ms - window_ms, complete_after_ms)
        return fresh
