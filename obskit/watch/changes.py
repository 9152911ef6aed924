"""Notices that a config or rule file changed: by name, size and time, looked at every two seconds.

Polling works on every file system; what a folder watch would save is not worth a package.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from obskit.clock import Clock

EVERY_S: Final = 2.0
Signature = tuple[tuple[str, int, int], ...]


def signature(files: Iterable[Path]) -> Signature:
    """What would be different if one of the files were; a missing file counts as empty."""
    return tuple((str(file), *_stamp(file)) for file in files)


def _stamp(file: Path) -> tuple[int, int]:
    try:
        stat = file.stat()
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


async def changed(files: Iterable[Path], clock: Clock) -> None:
    """Return once one of the files is another than now, and has been left alone for one look: it may be half written."""
    known = tuple(files)
    before = seen = signature(known)
    while True:
        await clock.sleep(EVERY_S)
        now = signature(known)
        if now != before and now == seen:
            return
        seen = now
