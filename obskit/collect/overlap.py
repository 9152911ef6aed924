"""Overlap: what was already taken of a source that is read again and again, each time a little from before the last end.

Services show late lines, lines of equal times, and the same line twice. So each read begins `settle_ns` before the newest
line that was seen, and what was taken in that stretch is remembered by a hash. The text of it all is the cursor that is
stored with the lines: a crash neither loses nor doubles one.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final, Self

from obskit.clock import NS_PER_S
from obskit.errors import CollectorError

_HASH_BYTES: Final = 8
"""Of 64 bits: with 40,000 remembered lines, one new line in 10^14 is taken for an old one."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """What is known after some reads. It never changes: keep the new one once its lines are stored.

    `newest_ns` is the newest time seen (Unix nanoseconds), None before the first line.
    """

    settle_ns: int
    newest_ns: int | None = None
    _taken: Mapping[bytes, int] = field(default_factory=dict, repr=False)
    """The hash of each line and the second of its time."""

    @classmethod
    def read(cls, text: str | None, settle_ns: int) -> Self:
        """From a cursor's value; None: nothing was read yet. CollectorError when it is not ours."""
        if text is None:
            return cls(settle_ns)
        try:
            kept = json.loads(text)
            taken = {
                key: int(second)
                for second, keys in kept["taken"].items()
                for key in _parted(b64decode(keys, validate=True))
            }
            newest_ns = kept["newest_ns"]
            return cls(settle_ns, None if newest_ns is None else int(newest_ns), taken)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CollectorError("the stored cursor cannot be read", reason="config") from None

    @property
    def since_ns(self) -> int | None:
        """From when on to read; None: nothing was ever read. What is older is taken for known."""
        return None if self.newest_ns is None else self.newest_ns - self.settle_ns

    def __len__(self) -> int:
        """How many lines are remembered."""
        return len(self._taken)

    def take(self, lines: Iterable[tuple[int, str]], now_ns: int) -> tuple[Self, list[int]]:
        """What is known with these lines too, and the positions of those that are new.

        A line is its time and its id, or whatever tells it from others. Of equal ones the first is new. A time in the
        future does not move the beginning of the next read.
        """
        oldest_ns = self.since_ns or 0
        taken = dict(self._taken)
        new: list[int] = []
        newest_ns = self.newest_ns or 0
        for position, (t_ns, id) in enumerate(lines):  # noqa: A001 - a line's id
            key = blake2b(f"{t_ns} {id}".encode("utf-8", "replace"), digest_size=_HASH_BYTES).digest()
            if t_ns >= oldest_ns and key not in taken:
                taken[key] = t_ns // NS_PER_S
                newest_ns = max(newest_ns, min(t_ns, now_ns))
                new.append(position)
        if not new:
            return self, new
        horizon_s = (newest_ns - self.settle_ns) // NS_PER_S
        kept = {key: second for key, second in taken.items() if second >= horizon_s}
        return replace(self, newest_ns=newest_ns, _taken=kept), new

    def text(self) -> str:
        """As a cursor's value: about 11 bytes for each line of the last `settle_ns`."""
        seconds: dict[int, list[bytes]] = {}
        for key, second in self._taken.items():
            seconds.setdefault(second, []).append(key)
        taken = {str(second): b64encode(b"".join(keys)).decode() for second, keys in seconds.items()}
        return json.dumps({"newest_ns": self.newest_ns, "taken": taken}, separators=(",", ":"))


def _parted(keys: bytes) -> list[bytes]:
    return [keys[start : start + _HASH_BYTES] for start in range(0, len(keys), _HASH_BYTES)]
