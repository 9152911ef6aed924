"""Cold files in a folder: written beside, flushed, then renamed, so that a name always stands for a whole file."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from obskit.errors import ColdError
from obskit.store.cold.target import Sealed, Stop, chunks


class Folder:
    """A Target that is a folder. It is not made: one that is missing is a disk that is not mounted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    is_far = False

    @property
    def name(self) -> str:
        """The folder."""
        return str(self._folder)

    def send(self, file: Sealed, key: str, stop: Stop) -> None:
        """See Target.send; a copy that was interrupted begins again."""
        with _told(key):
            self._write(key, chunks(file.path, 0, file.size, stop))

    def verify(self, file: Sealed, key: str, stop: Stop) -> None:
        """See Target.verify."""
        digest = hashlib.sha256()
        with _told(key):
            for data in chunks(self._path(key), 0, self._path(key).stat().st_size, stop):
                digest.update(data)
        if digest.hexdigest() != file.sha256:
            raise ColdError(f"{key} is not what was written", reason="corrupt")

    def put(self, key: str, data: bytes) -> None:
        """See Target.put."""
        with _told(key):
            self._write(key, iter([data]))

    def get(self, key: str) -> bytes | None:
        """See Target.get."""
        with _told(key):
            self._check_is_there()
            try:
                return self._path(key).read_bytes()
            except FileNotFoundError:
                return None

    def read(self, key: str, start: int, size: int) -> bytes:
        """See Target.read."""
        with _told(key), self._path(key).open("rb") as file:
            return os.pread(file.fileno(), size, start)

    def delete(self, key: str) -> None:
        """See Target.delete; folders of which nothing is left go, too."""
        path = self._path(key)
        with _told(key):
            self._check_is_there()
            path.unlink(missing_ok=True)
            for parent in path.parents:
                if parent == self._folder:
                    break
                try:
                    parent.rmdir()
                except OSError:
                    break

    def close(self) -> None:
        """There is nothing to let go of."""

    def _path(self, key: str) -> Path:
        return self._folder / key

    def _check_is_there(self) -> None:
        if not self._folder.is_dir():
            raise ColdError(f"there is no folder {self._folder}: is its disk mounted?", reason="missing")

    def _write(self, key: str, data: Iterator[bytes]) -> None:
        self._check_is_there()
        path = self._path(key)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.part")
        with beside.open("wb") as file:
            for piece in data:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        for parent in path.parents:
            _flush(parent)
            if parent == self._folder:
                break


def _flush(folder: Path) -> None:
    """What was renamed or made in a folder is on the disk then."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _told(key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ColdError(f"{key} is not there", reason="missing") from None
    except OSError as error:
        reason = "full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "server"
        raise ColdError(f"{key}: {error.strerror or error}", reason=reason) from None
