"""Samples on disk: rows of many series (the last hours), chunks of one series (everything older), labels by id.

Functions on a connection: the caller chooses the transaction or snapshot. Folding rows into chunks is left to fold.py.
"""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, exact_name
from obskit.store.matching import matching
from obskit.store.packing import (
    Packed,
    Values,
    blank,
    id_range,
    pack_samples,
    unpack_chunk,
    unpack_rows,
    unpack_samples,
)
from obskit.store.parts import EMPTY, Part
from obskit.store.rounds import NEVER, Round, by_slot, joined

SPAN_MS: Final = 7_200_000
"""A chunk lies within one such span of Unix time."""
_AT_ONCE: Final = 500
_BATCH: Final = 100_000
_UNPACKED_AT_ONCE: Final = 1 << 14


def to_text(labels: Labels) -> str:
    """Labels as the JSON of a `labels` column."""
    return json.dumps(dict(labels.pairs), separators=(",", ":"))


def from_text(text: str, known: dict[str, str]) -> Labels:
    """Labels of a `labels` column. `known` lets many of them share their names and values."""
    return Labels([(known.setdefault(n, n), known.setdefault(v, v)) for n, v in json.loads(text).items()])


def series_id(connection: sqlite3.Connection, labels: Labels, now_ms: int) -> int:
    """The series' id, given now if it has none."""
    row = connection.execute(
        "INSERT INTO series (labels, name, seen_ms) VALUES (?, ?, ?)"
        " ON CONFLICT (labels) DO UPDATE SET seen_ms = excluded.seen_ms RETURNING id",
        (to_text(labels), _storable(labels.name), now_ms),
    ).fetchone()
    return int(row[0])


def insert(connection: sqlite3.Connection, samples: Packed) -> None:
    """One head row."""
    t0_ms, t1_ms = int(samples.times_ms.min()), int(samples.times_ms.max())
    connection.execute(
        "INSERT INTO metric_head (t0_ms, t1_ms, n, data) VALUES (?, ?, ?, ?)",
        (t0_ms, t1_ms, len(samples.ids), pack_samples(samples, t0_ms)),
    )


def labels_of(connection: sqlite3.Connection, ids: Sequence[int], known: dict[str, str]) -> dict[int, Labels]:
    """Labels of those of the ids that exist."""
    found: dict[int, Labels] = {}
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        marks = ",".join("?" * len(part))
        rows = connection.execute(f"SELECT id, labels FROM series WHERE id IN ({marks})", part)  # noqa: S608 - marks only
        found.update((number, from_text(text, known)) for number, text in rows)
    return found


def folded_until(connection: sqlite3.Connection, now_ms: int) -> int:
    """Head rows hold everything newer than this."""
    # A chunk from the future is from a wrong clock; it says nothing about the present.
    (t1_ms,) = connection.execute("SELECT max(t1_ms) FROM metric_chunk WHERE t1_ms <= ?", (now_ms,)).fetchone()
    return NEVER if t1_ms is None else int(t1_ms)


def head_rows(connection: sqlite3.Connection, after_ms: int, until_ms: int) -> Iterator[Round]:
    """Samples of the head rows with `after_ms < t <= until_ms` as they came, about 100,000 at a time."""
    rows = connection.execute(
        "SELECT t0_ms, data FROM metric_head WHERE t1_ms > ? AND t0_ms <= ? ORDER BY id", (after_ms, until_ms)
    )
    waiting: list[Round] = []
    count = 0
    for t0_ms, data in rows:
        waiting.append(_between(_round_of(unpack_samples(data, t0_ms)), after_ms, until_ms))
        count += len(waiting[-1].slots)
        if count >= _BATCH:
            yield joined(waiting)
            waiting, count = [], 0
    yield joined(waiting)


def find(connection: sqlite3.Connection, matchers: Sequence[Matcher], known: Mapping[int, Labels]) -> dict[int, Labels]:
    """Every series on disk that satisfies the matchers, in the order of ids. `known` has labels that need no reading."""
    name = exact_name(matchers)
    if name is None:
        rows = connection.execute("SELECT id FROM series ORDER BY id")
    else:
        rows = connection.execute("SELECT id FROM series WHERE name = ? ORDER BY id", (_storable(name),))
    ids = [number for (number,) in rows]
    read = labels_of(connection, [number for number in ids if number not in known], {})
    candidates = {number: known.get(number) or read[number] for number in ids}
    return {number: candidates[number] for number in matching(matchers, candidates)}


def read(connection: sqlite3.Connection, labels: dict[int, Labels], start_ms: int, end_ms: int) -> Part:
    """Samples of these series (ids ascending) with `start_ms < t <= end_ms`."""
    if not labels or start_ms >= end_ms:
        return EMPTY
    wanted = np.fromiter(labels, np.int64, len(labels))
    found = _chunks_of(connection, list(labels), start_ms, end_ms)
    found.append(_rows_of(connection, wanted, start_ms, end_ms))
    samples = by_slot(joined(found))
    if not len(samples.slots):
        return EMPTY
    ids, counts, times_ms, values = samples
    return Part(ids, tuple(map(labels.__getitem__, ids.tolist())), counts, times_ms, values)


def _chunks_of(connection: sqlite3.Connection, ids: Sequence[int], start_ms: int, end_ms: int) -> list[Round]:
    """What chunks hold of these series."""
    if not connection.execute("SELECT 1 FROM metric_chunk WHERE t1_ms > ? LIMIT 1", (start_ms,)).fetchone():
        return []  # a query of the last hours: no need to ask for each series
    parts = []
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        marks = ",".join("?" * len(part))
        rows = connection.execute(
            f"SELECT series_id, t0_ms, n, data FROM metric_chunk WHERE series_id IN ({marks})"  # noqa: S608 - marks only
            " AND t0_ms > ? AND t0_ms <= ? AND +t1_ms > ? ORDER BY series_id, t0_ms",  # by the key, not by the end
            (*part, start_ms - SPAN_MS, end_ms, start_ms),
        )
        for number, t0_ms, count, data in rows:
            samples = Round(np.full(count, number, np.int64), *unpack_chunk(data, t0_ms, count))
            parts.append(_between(samples, start_ms, end_ms))
    return parts


def _rows_of(connection: sqlite3.Connection, wanted: NDArray[np.int64], start_ms: int, end_ms: int) -> Round:
    """What head rows hold of these series."""
    within = "FROM metric_head WHERE t1_ms > ? AND t0_ms <= ?"
    ((room,),) = connection.execute(f"SELECT total(n) {within}", (start_ms, end_ms))
    slots, times_ms, bits = blank(3, int(room))
    values: Values = bits.view(np.float64)
    # By id, with a last place for those beyond. What nobody looks at takes no memory.
    is_wanted = np.zeros(int(wanted[-1]) + 2, np.bool_)
    is_wanted[wanted] = True
    done = 0
    rows = connection.execute(f"SELECT n, t0_ms, data {within} ORDER BY id", (start_ms, end_ms))
    for some in _touching(rows, wanted.tolist()):
        samples = unpack_rows(some)
        mine = is_wanted.take(samples.ids, mode="clip")
        mine &= (samples.times_ms > start_ms) & (samples.times_ms <= end_ms)
        chosen = mine.nonzero()[0]
        filled = slice(done, done := done + len(chosen))
        slots[filled], times_ms[filled], values[filled] = (column.take(chosen) for column in samples)
    return Round(slots[:done], times_ms[:done], values[:done])


def _touching(rows: Iterable[tuple[int, int, bytes]], wanted: Sequence[int]) -> Iterator[list[tuple[bytes, int]]]:
    """The rows that may hold any of these ids, as many at a time as fit in the cache once they are unpacked."""
    found: list[tuple[bytes, int]] = []
    count = 0
    for samples, t0_ms, data in rows:
        low, high = id_range(data)
        if bisect_left(wanted, low) == bisect_right(wanted, high):
            continue
        found.append((data, t0_ms))
        count += samples
        if count >= _UNPACKED_AT_ONCE:
            yield found
            found, count = [], 0
    if found:
        yield found


def _between(samples: Round, after_ms: int, until_ms: int) -> Round:
    inside = (samples.times_ms > after_ms) & (samples.times_ms <= until_ms)
    return samples if inside.all() else samples.take(inside)


def _round_of(samples: Packed) -> Round:
    return Round(samples.ids.astype(np.int64), samples.times_ms, samples.values)


def _storable(name: str) -> str:
    # SQLite takes no lone surrogates; the labels' JSON keeps them, and the matchers look there.
    return name.encode("utf-8", "replace").decode()
