"""Wakes when something happens in a folder: inotify where the kernel has it, else nothing (the collector polls too).

Called through libc, because the standard library has no inotify and a package for three calls is not worth its weight.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import Struct
from typing import Final

from obskit.clock import Clock

log = logging.getLogger(__name__)

# linux/inotify.h
_MODIFY: Final = 0x0002
_MOVED: Final = 0x00C0
_CREATE: Final = 0x0100
_DELETE: Final = 0x0200
_EVENTS: Final = _MODIFY | _MOVED | _CREATE | _DELETE
_EVENT: Final = Struct("iIII")
"""struct inotify_event: watch, mask, cookie, length of the name behind it."""


class FolderWatch:
    """Watches folders. Missing the kernel's help costs latency, never a line."""

    def __init__(self) -> None:
        self.other_files = False
        """Whether files came, went or were renamed; the reader of this resets it."""
        self._descriptor = -1
        self._folders: set[Path] = set()
        self._woken = asyncio.Event()
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor >= 0:
            asyncio.get_running_loop().add_reader(self._descriptor, self._drain)

    def watch(self, folders: Iterable[Path]) -> None:
        """Watch these folders too."""
        for folder in set(folders) - self._folders:
            if self._descriptor < 0:
                return
            if self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _EVENTS) < 0:
                reason = os.strerror(ctypes.get_errno())
                log.info("folder is polled, not watched: folder=%s reason=%s", folder, reason)
            # Also when it failed (too many watches): polling goes on, and asking again would not help.
            self._folders.add(folder)

    async def wait(self, clock: Clock, seconds: float) -> None:
        """Return when something happened since the last call, or after `seconds`."""
        if not self._woken.is_set():
            event = asyncio.ensure_future(self._woken.wait())
            alarm = asyncio.ensure_future(clock.sleep(seconds))
            try:
                await asyncio.wait((event, alarm), return_when=asyncio.FIRST_COMPLETED)
            finally:
                event.cancel()
                alarm.cancel()
        self._woken.clear()

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _drain(self) -> None:
        """Which file it was does not matter: every one is looked at anyway."""
        try:
            while news := os.read(self._descriptor, 65536):
                self._woken.set()
                self.other_files |= any(mask != _MODIFY for mask in _masks(news))
        except BlockingIOError:
            return


def _masks(news: bytes) -> Iterator[int]:
    at = 0
    while at < len(news):
        _, mask, _, name_bytes = _EVENT.unpack_from(news, at)
        yield mask
        at += _EVENT.size + name_bytes
