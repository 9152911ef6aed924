"""What a place for cold files must do. Synchronous: called in threads that may wait, each call with an end.

A target decides nothing: what is copied, when it is tried again, and what an object is worth, is decided in moving.py.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

from obskit.errors import ColdError

PIECE_BYTES: Final = 8 * 1024 * 1024
"""A file is sent in pieces of this size, so that an upload goes on where it was."""
_READ_BYTES: Final = 256 * 1024
AHEAD: Final = 4
"""So many reads at once: a bucket answers each after a while, but all of them together."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A file that is finished: what it weighs and how it can be recognised. `pieces_md5` are those of PIECE_BYTES."""

    path: Path
    size: int
    sha256: str
    md5: str
    pieces_md5: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> Self:
        """The file as it is now."""
        sha256, md5, pieces = hashlib.sha256(), hashlib.md5(usedforsecurity=False), []
        size = 0
        with path.open("rb") as file:
            piece = hashlib.md5(usedforsecurity=False)
            while data := file.read(_READ_BYTES):
                sha256.update(data)
                md5.update(data)
                piece.update(data)
                size += len(data)
                if not size % PIECE_BYTES:
                    pieces.append(piece.hexdigest())
                    piece = hashlib.md5(usedforsecurity=False)
        if size % PIECE_BYTES or not pieces:
            pieces.append(piece.hexdigest())
        return cls(path, size, sha256.hexdigest(), md5.hexdigest(), tuple(pieces))


class Stop:
    """Set when we are stopping: transfers ask it between two pieces of data."""

    def __init__(self) -> None:
        self._set = threading.Event()

    def set(self) -> None:
        """Everything that is under way ends soon."""
        self._set.set()

    def clear(self) -> None:
        """Begin again."""
        self._set.clear()

    def check(self) -> None:
        """Raise when we are stopping."""
        if self._set.is_set():
            raise ColdError("stopping", reason="stopped")


class Target(Protocol):
    """A folder or a bucket. All but `get` of what is missing raise ColdError when something is not as it should be."""

    @property
    def name(self) -> str:
        """For people: no secret in it."""
        ...

    @property
    def is_far(self) -> bool:
        """Whether an answer takes so long that it is worth to ask for the next thing meanwhile."""
        ...

    def send(self, file: Sealed, key: str, stop: Stop) -> None:
        """Store a file whole or not at all. Called again after a failure it goes on where it was, if it can."""
        ...

    def verify(self, file: Sealed, key: str, stop: Stop) -> None:
        """Raise unless the object is there and is the file, by size and checksum."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Store a small object, in the place of what is there, at once."""
        ...

    def get(self, key: str) -> bytes | None:
        """A whole small object; None when there is none."""
        ...

    def read(self, key: str, start: int, size: int) -> bytes:
        """Some bytes of an object."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object; that it is not there is fine."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def chunks(path: Path, start: int, size: int, stop: Stop) -> Iterator[bytes]:
    """Some bytes of a file, a little at a time."""
    with path.open("rb") as file:
        file.seek(start)
        while size > 0:
            stop.check()
            data = file.read(min(size, _READ_BYTES))
            if not data:
                raise ColdError("a file became shorter while it was sent", reason="corrupt")
            size -= len(data)
            yield data
