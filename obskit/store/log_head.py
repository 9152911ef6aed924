"""The head rows in main.db: what was appended and does not lie in a day file yet.

A row is lines of one day: of several streams, to be sealed with others; or of one stream that brought enough for a block
of its own, which is made at once and only has to be moved. Rows have running numbers that are never given again.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Final, NamedTuple

from obskit.store.database import Database, Transaction
from obskit.store.day_file import DAY_NS, NewBlock
from obskit.store.record_block import Packed, RecordBlock

_LEVEL: Final = 1
"""A quicker level costs more than it saves: more pages are written."""
_ROWS_AT_ONCE: Final = 200
_BYTES_AT_ONCE: Final = 2_000_000
_INSERT: Final = (
    "INSERT INTO log_head (day, t0_ns, t1_ns, n, raw_bytes, streams, columns, text, counts, filter)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_LOAD: Final = "CASE WHEN counts IS NULL THEN raw_bytes ELSE length(text) END"
"""How much work there is with a row."""


class HeadRow(NamedTuple):
    """A row as it lies there. `sealed` is None where it is still to be done."""

    packed: Packed
    sealed: NewBlock | None


def insert_block(tx: Transaction, block: RecordBlock) -> int:
    """Write a row of lines; its number."""
    t0_ns, t1_ns = int(block.times_ns.min()), int(block.times_ns.max())
    return _insert(tx, (t0_ns, t1_ns, len(block), block.raw_bytes, *block.pack(_LEVEL), None, None))


def insert_sealed(tx: Transaction, block: NewBlock) -> int:
    """Write a row that is a block already; its number."""
    row = (block.t0_ns, block.t1_ns, block.lines, block.raw_bytes, *block.packed, block.counts, block.filter)
    return _insert(tx, row)


def _insert(tx: Transaction, row: tuple[object, ...]) -> int:
    t0_ns = row[0]
    assert isinstance(t0_ns, int)
    done = tx.execute(_INSERT, (t0_ns // DAY_NS, *row))
    assert done.lastrowid is not None, "a row was inserted"
    return done.lastrowid


def waiting(database: Database, latest_day: int) -> tuple[int, int]:
    """How many rows there are up to a day, and how much work."""
    ((rows, load),) = database.read(f"SELECT count(*), total({_LOAD}) FROM log_head WHERE day <= ?", (latest_day,))  # noqa: S608 - ours
    return rows, int(load)


def days(database: Database, latest_day: int) -> list[tuple[int, int]]:
    """The days that have rows, up to a day, and the last row of each."""
    return database.read("SELECT day, max(id) FROM log_head WHERE day <= ? GROUP BY day ORDER BY day", (latest_day,))


def numbers(database: Database, day: int, after: int, last: int, rows: int) -> Iterator[tuple[int, int]]:
    """The rows of a day after one of them and up to another, at most so many: number and work."""
    return iter(
        database.read(
            f"SELECT id, {_LOAD} FROM log_head WHERE day = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?",  # noqa: S608 - ours
            (day, after, last, rows),
        )
    )


def row(database: Database, number: int) -> HeadRow | None:
    """A row; None when it is gone."""
    found = database.read(
        "SELECT streams, columns, text, t0_ns, t1_ns, n, raw_bytes, counts, filter FROM log_head WHERE id = ?",
        (number,),
    )
    if not found:
        return None
    streams, columns, text, t0_ns, t1_ns, lines, raw_bytes, counts, filter_ = found[0]
    packed = Packed(streams, columns, text)
    if counts is None:
        return HeadRow(packed, None)
    return HeadRow(packed, NewBlock(t0_ns, t1_ns, lines, raw_bytes, False, counts, filter_, packed))


def delete(tx: Transaction, day: int, until: int) -> list[int]:
    """Let go of some rows of a day up to one, not so many that an append would wait for long; their numbers."""
    rows = tx.execute(
        "SELECT id, length(text) FROM log_head WHERE day = ? AND id <= ? ORDER BY id LIMIT ?",
        (day, until, _ROWS_AT_ONCE),
    ).fetchall()
    sizes = accumulate(size for _, size in rows)
    gone = [number for (number, _), size in zip(rows, sizes, strict=True) if size <= _BYTES_AT_ONCE] or [
        number for number, _ in rows[:1]
    ]
    if gone:
        tx.execute("DELETE FROM log_head WHERE day = ? AND id <= ?", (day, gone[-1]))
    return gone
