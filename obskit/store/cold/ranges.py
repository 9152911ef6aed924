"""Bytes of cold files: fetched ahead of who reads them, and the last few kept, as people ask for the same again."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Generic, TypeVar

from obskit.errors import ColdError
from obskit.store import telemetry
from obskit.store.cold.parquet_reading import TAIL, Footer, footer_bytes, read_footer
from obskit.store.cold.parts import Part
from obskit.store.cold.target import AHEAD, Target

T = TypeVar("T")
_ROOM: Final = 8_000_000
_FOOTERS_ROOM: Final = 4_000_000


class Ranges:
    """Reads from a target. For every thread."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._bytes = _Kept[bytes](_ROOM)
        self._footers = _Kept[Footer](_FOOTERS_ROOM)
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._flying: dict[tuple[str, int], Future[bytes]] = {}

    def footer(self, part: Part) -> Footer:
        """The footer of an object. ColdError when it cannot be read."""
        known = self._footers.get(part.key, 0)
        if known is not None:
            return known
        size = min(TAIL, part.size)
        tail = self._fetch(part, part.size - size, size)
        try:
            wanted = footer_bytes(tail)
            if len(tail) < wanted <= part.size:
                tail = self._fetch(part, part.size - wanted, wanted)
            footer = read_footer(tail)
        except ValueError as error:
            raise ColdError(f"{part.key}: {error}", reason="corrupt") from None
        self._footers.keep(part.key, 0, footer, footer.memory_bytes)
        return footer

    def ahead(self, part: Part, start: int, size: int) -> None:
        """Some bytes will be read soon: begin to fetch them."""
        if not self._target.is_far:
            return
        key = (part.key, start)
        with self._lock:
            if key in self._flying or self._bytes.get(*key) is not None:
                return
            if self._pool is None:
                self._pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="obskit-cold-read")
            flying = self._flying[key] = self._pool.submit(self._fetch, part, start, size)
        flying.add_done_callback(lambda done: self._landed(key, done))

    def read(self, part: Part, start: int, size: int) -> bytes:
        """Some bytes of an object. ColdError when they cannot be read."""
        key = (part.key, start)
        with self._lock:
            flying = self._flying.get(key)
        if flying is not None:
            return flying.result()
        known = self._bytes.get(*key)
        if known is None:
            known = self._fetch(part, start, size)
            self._bytes.keep(*key, known, size)
        return known

    def close(self) -> None:
        """Nothing more is read ahead."""
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _landed(self, key: tuple[str, int], done: Future[bytes]) -> None:
        if not done.cancelled() and done.exception() is None:
            data = done.result()
            self._bytes.keep(*key, data, len(data))
        with self._lock:
            self._flying.pop(key, None)

    def _fetch(self, part: Part, start: int, size: int) -> bytes:
        data = self._target.read(part.key, start, size)
        telemetry.COLD_READ.inc(len(data))
        if len(data) != size:
            raise ColdError(f"{part.key} is shorter than it was", reason="corrupt")
        return data


class _Kept(Generic[T]):
    """Things by object and place, the oldest let go first."""

    def __init__(self, room: int) -> None:
        self._room = self._free = room
        self._things: dict[tuple[str, int], tuple[T, int]] = {}
        self._lock = threading.Lock()

    def get(self, key: str, start: int) -> T | None:
        found = self._things.get((key, start))
        return found[0] if found else None

    def keep(self, key: str, start: int, thing: T, size: int) -> None:
        if size > self._room:
            return
        with self._lock:
            if (key, start) in self._things:
                return
            self._things[key, start] = thing, size
            self._free -= size
            while self._free < 0:
                self._free += self._things.pop(next(iter(self._things)))[1]
