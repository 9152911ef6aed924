"""One open log file: where we are in it, and whether it is still the file it was.

A file is known by device, inode and the first bytes, so that a renamed file goes on where it was, a truncated one
starts again, and an inode that was given to another file is not mistaken for the old one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from glob import escape
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Self

HEAD_BYTES: Final = 256


@dataclass(slots=True)
class Mark:
    """How far a file was read, as the cursor keeps it. `head` is a digest of its first `head_bytes` bytes."""

    device: int
    inode: int
    offset: int
    head: str
    head_bytes: int
    skipping: bool = False
    """Inside a line that was cut: what comes before the next newline is left out."""

    def as_list(self) -> list[Any]:
        """The mark as JSON."""
        return [self.device, self.inode, self.offset, self.head, self.head_bytes, int(self.skipping)]

    @classmethod
    def from_list(cls, fields: list[Any]) -> Self:
        """The mark `as_list` wrote."""
        device, inode, offset, head, head_bytes, skipping = fields
        return cls(device, inode, offset, head, head_bytes, skipping=bool(skipping))


class Tail:
    """An open file, read from its mark on."""

    def __init__(self, path: Path, mark: Mark | None = None, *, at_end: bool = False) -> None:
        """OSError when it cannot be opened. `at_end`: what is in it now is not read."""
        self.path = path
        self._file = path.open("rb", buffering=0)
        stat = os.fstat(self._file.fileno())
        self.mark = mark or Mark(stat.st_dev, stat.st_ino, self._last_line_end(stat.st_size) if at_end else 0, "", 0)
        self._size = stat.st_size
        self._read_ns = -1
        if mark is None:
            self._remember_head(min(HEAD_BYTES, self.mark.offset))
        elif self._restarted(stat.st_size):
            self._start_over()

    @property
    def key(self) -> tuple[int, int]:
        """Device and inode."""
        return self.mark.device, self.mark.inode

    def read(self, limit: int) -> bytes:
        """Up to `limit` bytes behind the mark. The mark does not move: `advance` moves it."""
        stat = os.fstat(self._file.fileno())
        if (stat.st_size, stat.st_mtime_ns) == (self.mark.offset, self._read_ns):
            return b""
        self._read_ns = stat.st_mtime_ns
        if self._restarted(stat.st_size):
            self._start_over()
        return os.pread(self._file.fileno(), limit, self.mark.offset) if stat.st_size > self.mark.offset else b""

    def changed(self) -> bool:
        """Whether its size is another than at the last call."""
        before, self._size = self._size, os.fstat(self._file.fileno()).st_size
        return self._size != before

    def finished(self) -> bool:
        """Whether there is nothing behind the mark."""
        return os.fstat(self._file.fileno()).st_size <= self.mark.offset

    def mark_at(self, offset: int, *, skipping: bool = False) -> Mark:
        """The mark as it will be when everything before `offset` is done with."""
        mark = Mark(*self.key, offset, self.mark.head, self.mark.head_bytes, skipping)
        if mark.head_bytes < HEAD_BYTES:
            mark.head_bytes = min(HEAD_BYTES, offset)
            mark.head = self._digest(mark.head_bytes)
        return mark

    def advance(self, offset: int, *, skipping: bool = False) -> None:
        """Everything before `offset` is done with."""
        self.mark = self.mark_at(offset, skipping=skipping)

    def replaced(self) -> bool:
        """Whether the path now names another file, or none: this one was rotated away and gets no new lines for long."""
        try:
            stat = self.path.stat()
        except OSError:
            return True
        return (stat.st_dev, stat.st_ino) != self.key

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _restarted(self, size: int) -> bool:
        """Truncated, or truncated and written again past our offset: then its first bytes are others."""
        if size < self.mark.offset:
            return True
        return bool(self.mark.head_bytes) and self._digest(self.mark.head_bytes) != self.mark.head

    def _start_over(self) -> None:
        self.mark.offset, self.mark.skipping = 0, False
        self._remember_head(0)

    def _remember_head(self, length: int) -> None:
        self.mark.head, self.mark.head_bytes = self._digest(length), length

    def _digest(self, length: int) -> str:
        return blake2b(os.pread(self._file.fileno(), length, 0), digest_size=8).hexdigest()

    def _last_line_end(self, size: int) -> int:
        """The end of the last complete line: a line that is being written now is not lost."""
        window = min(size, 64 * 1024)
        tail = os.pread(self._file.fileno(), window, size - window)
        newline = tail.rfind(b"\n")
        return size - window + newline + 1 if newline >= 0 else size if window < size else 0


def find_renamed(path: Path, mark: Mark) -> Path | None:
    """The file that had this path when the mark was made, under the name a rotation gave it; None when it is gone."""
    for sibling in path.parent.glob(f"{escape(path.name)}*"):
        try:
            stat = sibling.stat()
        except OSError:
            continue
        if (stat.st_dev, stat.st_ino) == (mark.device, mark.inode):
            return sibling
    return None
