"""Listeners: collectors to which a service pushes over HTTP. What one is, and how the one that a path belongs to is found.

A collector that listens has `paths`, prefixes such as `/in/fly`; the web server brings it every request below them,
whole and within limits. It checks itself who is there: these paths ask for no token of obskit's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from obskit.collect.several import Several

PREFIXES: Final = ("/in/", "/ping/")
"""Below one of these every listener's paths lie."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request. `rest` is what follows the listener's path, `/` before it; names of headers are in lower case.

    `body` is unpacked already if it came in gzip; it may hold a secret, as headers and query may: none is printed.
    """

    method: str
    rest: str
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Said:
    """The answer to a Call. 503 with `retry_after_s` asks the sender to come back: nothing was taken."""

    status: int = 200
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def later(cls, seconds: int = 10) -> Said:
        """Nothing was taken: come again."""
        return cls(503, "not now\n", {"Retry-After": str(seconds)})


@runtime_checkable
class Listener(Protocol):
    """A collector to which a service pushes."""

    @property
    def paths(self) -> Sequence[str]:
        """Prefixes below PREFIXES, without a slash at their end: `/in/fly`, or `/in/fly/eu` of the one named `eu`."""
        ...

    async def receive(self, call: Call) -> Said:
        """Take what is pushed; the answer is given when it is stored (`Feed.offer`).

        StoreError: the sender is asked to come back.
        """
        ...


def listener_of(path: str, collectors: Iterable[Any]) -> tuple[Listener, str] | None:
    """Whose path it is, the longest first, and what follows it."""
    found: tuple[Listener, str] | None = None
    longest = -1
    for listener in _listening(collectors):
        for own in listener.paths:
            if len(own) > longest and (path == own or path.startswith(own + "/")):
                found, longest = (listener, path[len(own) :]), len(own)
    return found


def _listening(collectors: Iterable[Any]) -> Iterator[Listener]:
    """Those that listen, and the parts of others that do."""
    for collector in collectors:
        if isinstance(collector, Listener):
            yield collector
        elif isinstance(collector, Several):
            yield from _listening(collector.parts)
