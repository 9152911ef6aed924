"""logs-YYYYMMDD.db: the sealed blocks of one UTC day, and up to which head row they hold what came in.

A file is written by sealing alone, and each time in one transaction: blocks and the number of the last head row in them.
A head row of the day at or below that number counts as sealed, whether main.db has let go of it or not; so a crash between
the two files neither loses nor doubles a line.

Blocks that are not full are `open`: the next sealing of the day takes their lines and writes them anew. Others never change.
The file knows the labels of its streams, so that it can be told whether main.db is the one that it belongs to.
What is small and asked of every block (times, streams, counts by minute) lies apart from the filters, and those from text.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from obskit.store.record_block import Packed

DAY_NS: Final = 86_400_000_000_000
_PATTERN: Final = "logs-*.db"
_FORM: Final = 2
_SCHEMA: Final = """
    CREATE TABLE sealed (head INTEGER NOT NULL);
    INSERT INTO sealed VALUES (0);
    CREATE TABLE block (
        id INTEGER PRIMARY KEY AUTOINCREMENT, t0_ns INTEGER NOT NULL, t1_ns INTEGER NOT NULL, n INTEGER NOT NULL,
        raw_bytes INTEGER NOT NULL, stored_bytes INTEGER NOT NULL, open INTEGER NOT NULL, streams BLOB NOT NULL,
        counts BLOB NOT NULL);
    CREATE INDEX block_time ON block (t1_ns, t0_ns);
    CREATE INDEX block_open ON block (id) WHERE open;
    CREATE TABLE stream (id INTEGER PRIMARY KEY, labels TEXT NOT NULL);
    CREATE TABLE filter (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE body (id INTEGER PRIMARY KEY, columns BLOB NOT NULL, text BLOB NOT NULL);
    PRAGMA user_version = 2;
"""


class Unmade(sqlite3.DatabaseError):
    """Its first sealing was interrupted: there is nothing in the file."""


class NewBlock(NamedTuple):
    """A block to be written."""

    t0_ns: int
    t1_ns: int
    lines: int
    raw_bytes: int
    open: bool
    counts: bytes
    filter: bytes
    packed: Packed


class BlockRow(NamedTuple):
    """What is known of a block without a look at its lines."""

    id: int
    t0_ns: int
    t1_ns: int
    raw_bytes: int
    open: bool
    streams: bytes


class DayFile:
    """One day's file. Made by the first `seal`; sqlite3.DatabaseError when it is not (or no longer) what it should be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._reader: sqlite3.Connection | None = None

    def listing(self, start_ns: int, end_ns: int) -> tuple[int, list[BlockRow], dict[int, Packed]]:
        """The last head row that is sealed, the blocks that overlap a range, and those of them that are open."""
        with self._snapshot() as connection:
            (head,) = connection.execute("SELECT head FROM sealed").fetchone()
            found = connection.execute(
                "SELECT id, t0_ns, t1_ns, raw_bytes, open, streams FROM block WHERE t1_ns >= ? AND t0_ns < ?",
                (start_ns, end_ns),
            )
            rows = [BlockRow(*row) for row in found]
            bodies = {row.id: _body(connection, row) for row in rows if row.open}
        return head, rows, bodies

    def counts(self, start_ns: int, end_ns: int) -> tuple[int, bytes]:
        """The last head row that is sealed, and the counts of the blocks that overlap a range, end to end."""
        with self._snapshot() as connection:
            (head,) = connection.execute("SELECT head FROM sealed").fetchone()
            found = connection.execute("SELECT counts FROM block WHERE t1_ns >= ? AND t0_ns < ?", (start_ns, end_ns))
            return head, b"".join([counts for (counts,) in found])

    def raw_bytes(self, start_ns: int, end_ns: int) -> int:
        """Bytes of the lines in the blocks that overlap a range."""
        with self._lock:
            statement = "SELECT total(raw_bytes) FROM block WHERE t1_ns >= ? AND t0_ns < ?"
            (found,) = self._reading().execute(statement, (start_ns, end_ns)).fetchone()
        return int(found)

    def filters(self, rows: Sequence[BlockRow]) -> list[bytes]:
        """The filters of some blocks; what is gone has an empty one."""
        with self._lock:
            marks = ",".join("?" * len(rows))
            ids = [row.id for row in rows]
            found = dict(self._reading().execute(f"SELECT id, data FROM filter WHERE id IN ({marks})", ids))  # noqa: S608 - marks only
        return [found.get(number, b"") for number in ids]

    def open_blocks(self) -> list[tuple[int, Packed]]:
        """The blocks that are not full."""
        with self._lock:
            ids = [number for (number,) in self._reading().execute("SELECT id FROM block WHERE open ORDER BY id")]
        return self.bodies(ids)

    def bodies(self, ids: Sequence[int]) -> list[tuple[int, Packed]]:
        """Blocks as they are stored; of those that exist."""
        with self._lock:
            statement = "SELECT streams, columns, text FROM block JOIN body USING (id) WHERE id = ?"
            found = [(number, self._reading().execute(statement, (number,)).fetchone()) for number in ids]
        return [(number, Packed(*packed)) for number, packed in found if packed is not None]

    def seal(
        self,
        heads: tuple[int, int],
        replaced: Iterable[int],
        blocks: Iterable[NewBlock],
        streams: Iterable[tuple[int, str]],
    ) -> bool:
        """Write blocks in the place of others; they hold the day's head rows after the first number up to the second.

        False, and nothing is written, when another sealing was here first: one that was cancelled goes on in its thread.
        """
        with closing(_connect(self.path, "rwc")) as connection:
            with _transaction(connection):
                after, until = heads
                if connection.execute("UPDATE sealed SET head = ? WHERE head = ?", (until, after)).rowcount == 0:
                    return False
                _replace(connection, replaced, blocks)
                connection.executemany("INSERT OR IGNORE INTO stream VALUES (?, ?)", streams)
            _tidy(connection)
        return True

    def replace(self, replaced: Iterable[int], blocks: Iterable[NewBlock] = ()) -> None:
        """Write blocks in the place of others, of the same lines or fewer, and give their pages back."""
        with closing(_connect(self.path, "rwc")) as connection:
            with _transaction(connection):
                _replace(connection, replaced, blocks)
            connection.executescript("PRAGMA incremental_vacuum;")  # execute would give back one page
            _tidy(connection)

    def sealed(self) -> int:
        """The last head row that is sealed; 0 when the file was never written."""
        if not self.path.exists():
            return 0
        with self._lock:
            try:
                (head,) = self._reading().execute("SELECT head FROM sealed").fetchone()
            except Unmade:
                return 0
            return int(head)

    def streams(self) -> list[tuple[int, str]]:
        """The numbers of its streams and their labels as JSON."""
        with self._lock:
            return self._reading().execute("SELECT id, labels FROM stream").fetchall()

    def stored(self) -> list[tuple[int, int, int, bytes]]:
        """Id, last time, bytes on disk and streams of every block, the oldest first."""
        with self._lock:
            return self._reading().execute(
                "SELECT id, t1_ns, stored_bytes, streams FROM block ORDER BY t1_ns"
            ).fetchall()  # fmt: skip

    @contextmanager
    def frozen(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own that sees the file as it is now until it is given back. For any thread, one at a time."""
        with closing(_connect(self.path, "ro")) as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT head FROM sealed").fetchone()  # the snapshot begins with the first look
            yield connection

    def close(self) -> None:
        """Close it; it is opened again when it is asked for anything."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()
            self._reader = None

    def set_aside(self) -> Path:
        """Rename it, so that a new one can be made; its new name."""
        self.close()
        aside = next(
            path for n in count(1) if not (path := self.path.with_name(f"{self.path.name}.broken-{n}")).exists()
        )
        self.path.rename(aside)
        self.delete()
        return aside

    def delete(self) -> None:
        """The file and what SQLite has beside it."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = self._reading()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    def _reading(self) -> sqlite3.Connection:
        if self._reader is None:
            self._reader = _connect(self.path, "ro")
        return self._reader


def day_of(t_ns: int) -> int:
    """The number of the UTC day of a time."""
    return t_ns // DAY_NS


def file_name(day: int) -> str:
    """The name of a day's file."""
    date = datetime.fromtimestamp(day * 86_400, UTC)
    return f"logs-{date:%Y%m%d}.db"


def days_in(folder: Path) -> dict[int, Path]:
    """The days that have a file."""
    found = {}
    for path in folder.glob(_PATTERN):
        try:
            date = datetime.strptime(path.stem, "logs-%Y%m%d").replace(tzinfo=UTC)
        except ValueError:
            continue
        found[int(date.timestamp()) // 86_400] = path
    return found


def _body(connection: sqlite3.Connection, row: BlockRow) -> Packed:
    found = connection.execute("SELECT columns, text FROM body WHERE id = ?", (row.id,)).fetchone()
    return Packed(row.streams, *(found or (b"", b"")))


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _tidy(connection: sqlite3.Connection) -> None:
    """Bring what was written from the write-ahead log to its place: the file's size says what it takes then."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _replace(connection: sqlite3.Connection, replaced: Iterable[int], blocks: Iterable[NewBlock]) -> None:
    for number in replaced:
        for table in ("block", "filter", "body"):
            connection.execute(f"DELETE FROM {table} WHERE id = ?", (number,))  # noqa: S608 - names from above
    for block in blocks:
        _insert(connection, block)


def _insert(connection: sqlite3.Connection, block: NewBlock) -> None:
    packed = block.packed
    stored = sum(map(len, packed)) + len(block.counts) + len(block.filter)
    row = (block.t0_ns, block.t1_ns, block.lines, block.raw_bytes, stored, block.open, packed.streams, block.counts)
    done = connection.execute(
        "INSERT INTO block (t0_ns, t1_ns, n, raw_bytes, stored_bytes, open, streams, counts)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        row,
    )
    connection.execute("INSERT INTO filter VALUES (?, ?)", (done.lastrowid, block.filter))
    connection.execute("INSERT INTO body VALUES (?, ?, ?)", (done.lastrowid, packed.columns, packed.text))


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{path}?mode={mode}",
        uri=True,
        timeout=5,
        isolation_level=None,
        check_same_thread=False,  # used under a lock, or by one sealing at a time
    )
    try:
        if mode == "rwc":
            connection.execute("PRAGMA page_size = 2048")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            # main.db lets go of its rows when this file has them: they must be on the disk by then, whatever happens.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_size_limit = 4194304")
        connection.execute("PRAGMA cache_size = -1024")
        (form,) = connection.execute("PRAGMA user_version").fetchone()
        if form == 0 and mode == "rwc":
            connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        elif form == 0:
            raise Unmade(f"{path.name} is empty")
        elif form != _FORM:
            raise sqlite3.DatabaseError(f"{path.name} is no file of logs, or a newer obskit wrote it (form {form})")
    except BaseException as error:
        connection.close()
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_ROLLBACK:
            # Only the making of a file has a rollback journal, which the next sealing will carry out.
            raise Unmade(f"{path.name} is empty") from None
        raise
    return connection
