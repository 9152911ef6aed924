"""What a decoder makes of one body, and the answers that senders get. Shared by every wire format of this room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from obskit.store.interface import Batch


class UnsupportedError(ValueError):
    """A content type or encoding that this path does not take."""


@dataclass(slots=True)
class Invalid:
    """What of a body is not data: how many items by reason, and a text that tells of one of each."""

    counts: Counter[str] = field(default_factory=Counter)
    texts: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, count: int, text: str) -> None:
        """Note more of them."""
        self.counts[reason] += count
        self.texts.setdefault(reason, text)


@dataclass(frozen=True, slots=True)
class Delivery:
    """The batch of a body. `ignored` is what we have no use for, by kind."""

    batch: Batch
    invalid: Invalid = field(default_factory=Invalid)
    ignored: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sender is told. Its text is for people."""

    status: int
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Format(Protocol):
    """A wire format: pure, except that it may remember what bodies have in common. Called by one thread at a time."""

    name: str

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise UnsupportedError when a body with these headers (in lower case) is not of this format."""
        ...

    def size(self, headers: Mapping[str, str], body: bytes) -> int:
        """How many bytes the body is once unpacked, as far as it says so itself. MalformedError when what it says is none."""
        ...

    def decode(self, headers: Mapping[str, str], body: bytes, most: int) -> Delivery:
        """What the body holds. MalformedError and TooLargeError (more than `most` bytes unpacked) refuse it as a whole."""
        ...

    def written(self, headers: Mapping[str, str], stored: Mapping[str, int]) -> Mapping[str, str]:
        """Headers of the answer; `stored` is how many items of each kind were."""
        ...
