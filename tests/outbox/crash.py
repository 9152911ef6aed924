"""A database that dies at a chosen step, as kill -9 would end its process: between any two statements, before or after
any COMMIT, before or after a receiver's yes. What follows is only what the next process finds in a copy of the files.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from obskit.store.database import Database


class Crash(BaseException):
    """The end of the process. No `except Exception` catches it."""


class Fuse:
    """Burns for `steps` steps, then everything that takes a step raises Crash, for ever."""

    def __init__(self, steps: int | None) -> None:
        self._left = steps
        self.burnt = False

    def step(self) -> None:
        if self._left is not None and not self.burnt:
            self._left -= 1
            self.burnt = self._left < 0
        if self.burnt:
            raise Crash


class _SteppingConnection:
    def __init__(self, connection: Any, fuse: Fuse) -> None:
        self._connection = connection
        self._fuse = fuse

    def execute(self, *args: Any) -> Any:
        self._fuse.step()
        return self._connection.execute(*args)


class MortalDatabase(Database):
    """A Database on a fuse."""

    def __init__(self, folder: Path, fuse: Fuse) -> None:
        self.fuse = fuse
        super().__init__(folder, reserve_bytes=0)

    def _attempt(self, work: Callable[[Any], Any]) -> Any:
        def stepping(connection: Any) -> Any:
            result = work(_SteppingConnection(connection, self.fuse))
            self.fuse.step()
            return result

        self.fuse.step()
        result = super()._attempt(stepping)
        self.fuse.step()
        return result


def lives(folder: Path, fuses: list[int]) -> Iterator[MortalDatabase]:
    """One database per life, each opened on a copy of the files that the one before left; the last lives for ever."""
    previous: Path | None = None
    for number, steps in enumerate(itertools.chain(fuses, [None])):
        home = folder / f"life-{number}"
        home.mkdir()
        for file in previous.glob("main.db*") if previous else ():
            shutil.copy(file, home)
        yield MortalDatabase(home, Fuse(steps))
        previous = home
