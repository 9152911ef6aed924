"""Digest: what a channel is told instead of many new roots at once. Routing sums it up, a receiver draws it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Tally:
    """The groups of one place (`fly`) and rule (`High5xx`): how many fire, of how many."""

    place: str
    name: str
    firing: int
    total: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One group of a digest."""

    title: str
    place: str
    severity: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class Digest:
    """A flood of groups at one destination, as it stands. `tallies` are the largest, `entries` the worst that fire.

    `moved` counts groups that have a message of their own by now.
    """

    id: str
    receiver: str
    since_ms: int
    decided_ms: int
    total: int
    firing: int
    moved: int = 0
    more_tallies: int = 0
    tallies: tuple[Tally, ...] = ()
    entries: tuple[Entry, ...] = ()
    external_url: str = ""

    def to_json(self) -> str:
        """The digest as the outbox keeps it."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The digest `to_json` wrote."""
        said = json.loads(text)
        said["tallies"] = tuple(Tally(**tally) for tally in said["tallies"])
        said["entries"] = tuple(Entry(**entry) for entry in said["entries"])
        return cls(**said)
