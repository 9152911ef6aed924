"""What a collector is, and what its module gives: one Kind with settings, factory and doctor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from obskit.clock import Clock
from obskit.collect.feed import Feed
from obskit.model.settings import Settings

S = TypeVar("S", bound=Settings)


class Collector(Protocol):
    """Reads one source, or one family of targets, and pushes what it finds.

    `name` is its kind (`redis`), or kind and own name (`redis/upstash`): the `collector` label of our metrics, and what
    `obskit collectors run NAME` takes. A new collector has read nothing and opened nothing.
    """

    @property
    def name(self) -> str:
        """Kind, or kind/own name; never a secret or a URL with one."""
        ...

    async def run(self, feed: Feed) -> None:
        """Collect until cancelled; release connections on the way out.

        A source that cannot be read is told to its Book and tried again. What escapes restarts the collector, with
        backoff; a CollectorError's `retry_after` is honoured.
        """
        ...

    async def once(self, feed: Feed) -> None:
        """Read everything once and return. Raises CollectorError when a source could not be read."""
        ...


@dataclass(frozen=True, slots=True)
class Check:
    """One finding of a doctor: what was looked at, whether it is well, and if not, the exact thing to do."""

    what: str
    ok: bool
    fix: str = ""


def ok(what: str) -> Check:
    """A check that passed."""
    return Check(what, ok=True)


def failed(what: str, fix: str) -> Check:
    """A check that failed, with the command or setting that mends it."""
    return Check(what, ok=False, fix=fix)


@dataclass(frozen=True, slots=True)
class Kind(Generic[S]):
    """What a collector's module gives, as its `KIND`. `build` does no I/O; `doctor` reads, and never raises."""

    settings: type[S]
    build: Callable[[S], Collector]
    doctor: Callable[[S, Clock], Awaitable[Sequence[Check]]]


@dataclass(frozen=True, slots=True)
class Source:
    """One configured collector: the name of its kind, and its settings. Equal sources survive a reload."""

    kind: str
    settings: Any
