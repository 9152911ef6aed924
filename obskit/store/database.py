"""main.db: one SQLite file, one writer thread, transactions as functions.

It decides how a write is made durable and what happens when the disk is full; what is written is left to the rooms
that own the tables. Readers have a connection of their own, and never wait for the writer (WAL).
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from obskit.errors import StoreError, StoreFull, StoreLocked
from obskit.store.schema import MIGRATIONS

T = TypeVar("T")
Transaction = sqlite3.Connection
"""What a write function gets: execute on it, never commit."""

FILE: Final = "main.db"
RESERVE_BYTES: Final = 8 * 1024 * 1024
_FULL_CODES: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)


class Database:
    """The folder's main.db, open for writing by this process alone, or for reading by anybody.

    Full disk: `write` raises StoreFull and keeps nothing of its transaction. A reserve file holds back a few megabytes;
    an `essential` write (alert state, outbox) may spend it, so alerting goes on where bulk data is refused. Once there
    is room again the reserve is laid back by the next write, without a restart.
    """

    def __init__(self, folder: Path, *, readonly: bool = False, reserve_bytes: int = RESERVE_BYTES) -> None:
        self.folder = folder
        self.path = folder / FILE
        self.readonly = readonly
        self._reserve = folder / "reserve"
        self._reserve_bytes = reserve_bytes
        self._read_lock = threading.Lock()
        self._scan_lock = threading.Lock()
        self._lock_file: int | None = None
        self._connections: list[sqlite3.Connection] = []
        self._afterwards: list[Callable[[], object]] = []  # in the writer's thread
        try:
            if readonly:
                self._check_is_there()
            else:
                self._claim()
                self._writer = self._connect("rwc")
                _migrate(self._writer)
                self._lay_reserve()
            self._reader = self._connect("ro")
            self._scanner = self._connect("ro")
            _check_schema(self._reader)
        except BaseException:
            self._release()
            raise
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="obskit-writer")

    @classmethod
    def open(cls, folder: Path | str, *, reserve_bytes: int = RESERVE_BYTES) -> Self:
        """The writer. Makes the folder; StoreLocked when another process writes it."""
        path = Path(folder)
        try:
            # Log lines and alert texts lie in it: nobody else's business. A folder that is there keeps its mode.
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the store's folder {path}: {error.strerror}") from error
        return cls(path, reserve_bytes=reserve_bytes)

    @classmethod
    def open_readonly(cls, folder: Path | str) -> Self:
        """A reader beside a running daemon; StoreError when there is no store."""
        return cls(Path(folder), readonly=True)

    async def write(
        self,
        work: Callable[[Transaction], T],
        *,
        essential: bool = False,
        committed: Callable[[T], object] | None = None,
    ) -> T:
        """Run `work` in the writer thread in one transaction, and return its result after COMMIT.

        An exception from `work` rolls back and is raised. StoreFull when there is no room. `committed` gets the result
        in the writer thread after COMMIT and before the next transaction begins: for what is kept in memory as well.
        """
        return await self.call(lambda: self._transact(work, essential, committed))

    def after_commit(self, work: Callable[[], object]) -> None:
        """Inside a transaction: run `work` in the writer thread once it has committed, or never if it is undone."""
        self._afterwards.append(work)

    async def call(self, work: Callable[[], T]) -> T:
        """Run `work` in the writer thread between two transactions."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query, seen at one committed state."""
        with self._read_lock:
            return self._reader.execute(sql, parameters).fetchall()

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection for several queries on one committed state, or for large ones: it does not hold up `read`."""
        with self._scan_lock:
            self._scanner.execute("BEGIN")
            try:
                yield self._scanner
            finally:
                self._scanner.execute("ROLLBACK")

    def data_bytes(self) -> int:
        """Bytes of main.db that hold data; free pages, which are used again, not counted."""
        return self.file_bytes() - self._pragma("page_size") * self._pragma("freelist_count")

    def file_bytes(self) -> int:
        """Bytes of main.db, once what is in its write-ahead log is there."""
        return self._pragma("page_size") * self._pragma("page_count")

    def log_bytes(self) -> int:
        """Bytes of the write-ahead log."""
        log = self.path.with_name(f"{FILE}-wal")
        return log.stat().st_size if log.exists() else 0

    @property
    def low_space(self) -> bool:
        """Whether the reserve is spent: bulk data is refused."""
        return self._reserve_bytes > 0 and not self._reserve.exists()

    async def close(self) -> None:
        """Wait for the writes that were begun, then close."""
        await asyncio.to_thread(self._thread.shutdown)
        with self._read_lock, self._scan_lock:
            self._release()

    def _release(self) -> None:
        for connection in self._connections:
            connection.close()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _check_is_there(self) -> None:
        if not self.path.exists():
            raise StoreError(f"no store in {self.folder}: is `obskit watch` running with this store.path?")

    def _pragma(self, name: str) -> int:
        return int(self.read(f"PRAGMA {name}")[0][0])

    def _transact(
        self, work: Callable[[Transaction], T], essential: bool, committed: Callable[[T], object] | None
    ) -> T:
        result = self._commit(work, essential)
        if committed is not None:
            committed(result)
        return result

    def _commit(self, work: Callable[[Transaction], T], essential: bool) -> T:
        if self.low_space and not self._lay_reserve() and not essential:
            raise StoreFull(f"no space left for {self.folder}: data is refused until there is room")
        try:
            return self._attempt(work)
        except StoreFull:
            if not essential or not self._spend_reserve():
                self._spend_reserve()
                raise
            return self._attempt(work)

    def _attempt(self, work: Callable[[Transaction], T]) -> T:
        connection = self._writer
        self._afterwards.clear()
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
            for each in self._afterwards:
                each()
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError) and self._is_full(error):
                raise StoreFull(f"no space left for {self.folder}: {error}") from error
            raise
        return result

    def _is_full(self, error: sqlite3.OperationalError) -> bool:
        return error.sqlite_errorcode in _FULL_CODES or error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL

    def _spend_reserve(self) -> bool:
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True

    def _lay_reserve(self) -> bool:
        """Hold space back; False (and no file) when there is none to hold."""
        if self._reserve_bytes <= 0 or self._reserve.exists():
            return True
        try:
            stat = os.statvfs(self.folder)
            if stat.f_bavail * stat.f_frsize < 2 * self._reserve_bytes:
                return False
            with self._reserve.open("xb") as file:
                os.posix_fallocate(file.fileno(), 0, self._reserve_bytes)
        except OSError:
            self._spend_reserve()
            return False
        return True

    def _claim(self) -> None:
        """One writer per folder: a lock that the kernel drops with the process, however it ends."""
        self._lock_file = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock_file)
            self._lock_file = None
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise StoreLocked(f"{self.folder} is in use by another `obskit watch`") from None
            raise StoreError(f"cannot lock {self.folder}: {error.strerror}") from error

    def _connect(self, mode: str) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                f"file:{self.path}?mode={mode}",
                uri=True,
                timeout=5,
                isolation_level=None,
                check_same_thread=False,  # used under locks, or by the writer thread alone
            )
            self._connections.append(connection)
            if mode == "rwc":
                # Takes effect in a new file only, and before anything else is written to it.
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA journal_size_limit = 16777216")
                connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA cache_size = -2048")
        except sqlite3.DatabaseError as error:
            raise StoreError(f"cannot open {self.path}: {error}") from error
        return connection


def _schema_of(connection: sqlite3.Connection) -> int:
    """How many migrations made it; a store made by a newer obskit is refused, not guessed at."""
    try:
        (done,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise StoreError(f"this is not an obskit store: {error}") from error
    if done > len(MIGRATIONS):
        raise StoreError(f"the store was written by a newer obskit (schema {done}, this one knows {len(MIGRATIONS)})")
    return int(done)


def _check_schema(connection: sqlite3.Connection) -> None:
    """A reader cannot migrate."""
    done = _schema_of(connection)
    if done < len(MIGRATIONS):
        raise StoreError(
            f"the store was written by an older obskit (schema {done}): `obskit watch` brings it up to date"
        )


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables up to the newest schema."""
    done = _schema_of(connection)
    for number, script in enumerate(MIGRATIONS[done:], start=done + 1):
        connection.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT;")
