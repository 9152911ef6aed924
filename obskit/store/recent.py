"""Blocks that were written or read lately, opened: what is asked for again and again costs no look at the disk.

A rule that counts lines reads the same ones at every evaluation, and sealing wants the rows that were just appended.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Final

from obskit.store.record_block import RecordBlock

_ROOM: Final = 12_000_000


class RecentBlocks:
    """Opened blocks by key, the oldest let go first. For every thread."""

    def __init__(self, room: int = _ROOM) -> None:
        self._blocks: dict[Hashable, RecordBlock] = {}
        self._room = self._free = room
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> RecordBlock | None:
        """The block; None when it has to be opened."""
        return self._blocks.get(key)

    def keep(self, key: Hashable, block: RecordBlock) -> None:
        """Remember a block. One that has been written never changes."""
        size = block.memory_bytes
        if size > self._room // 2:
            return
        with self._lock:
            if key in self._blocks:
                return
            self._blocks[key] = block
            self._free -= size
            while self._free < 0:
                self._free += self._blocks.pop(next(iter(self._blocks))).memory_bytes

    def forget(self, key: Hashable) -> None:
        """It will not be asked for again."""
        with self._lock:
            block = self._blocks.pop(key, None)
            if block is not None:
                self._free += block.memory_bytes
