"""Notices that a config or rule file changed: by name, size and time, looked at every two seconds.

Polling works on every file system; what a folder watch would save is not worth a package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from obskit.clock import Clock

EVERY_S: Final = 2.0
Signature = Mapping[Path, tuple[int, int]]
"""When each file was changed (ns) and how long it is; a missing file is as if it were empty."""


def signature(files: Iterable[Path]) -> Signature:
    """What will be different if one of the files is."""
    return {file: _stamp(file) for file in files}


def _stamp(file: Path) -> tuple[int, int]:
    try:
        stat = file.stat()
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


async def changed(known: Callable[[], Signature], clock: Clock) -> None:
    """Return once a file is another than `known`, and has been left alone for one look: it may be half written."""
    seen = signature(known())
    while True:
        await clock.sleep(EVERY_S)
        now = signature(known())
        if now != known() and now == seen:
            return
        seen = now
