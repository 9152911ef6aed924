"""Folding: head rows (many series, one moment) that are older than two hours become chunks (one series, two hours).

A fold is planned once and written in small transactions, so that it never holds up an append; it is exactly once all
the same. The plan (which rows) is stored before the first chunk. Until the rows are deleted they and the chunks say the
same, and readers leave out repeats. After a crash the same plan is carried out again: its chunks are already there, or
are united with what is there. Rows are deleted only after it is noted that the last chunk is
written: a plan is never carried out with only some of its rows.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Final

import numpy as np

from obskit.store.database import Database, Transaction
from obskit.store.disk import SPAN_MS
from obskit.store.head import LATE_MS
from obskit.store.packing import id_range, pack_chunk, unpack_chunk, unpack_samples
from obskit.store.rounds import Round, joined, without_repeats

_KEY: Final = "fold"
_ROWS: Final = "FROM metric_head WHERE id <= :upto AND t1_ms <= :cutoff_ms"
_PASS_SAMPLES: Final = 1 << 16
"""Samples in memory at a time (about 4 MB with their copies): a fold of many series makes several passes."""
_CHUNKS_AT_ONCE: Final = 250
_ROWS_AT_ONCE: Final = 50

Chunk = tuple[int, int, int, int, bytes]
"""Series id, first and last time, count, data: a row of metric_chunk."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which head rows are folded: up to this id, with no sample after the cutoff. `stored`: their chunks are written."""

    upto: int
    cutoff_ms: int
    stored: bool = False


async def fold(database: Database, now_ms: int) -> int:
    """Fold what is due, in whole spans; returns the number of chunks. Call it as often as you like."""
    plan = _unfinished(database) or _due(database, now_ms)
    if plan is None:
        return 0
    written = 0 if plan.stored else await _store_chunks(database, plan)
    while await database.write(lambda tx: _delete(tx, plan)):
        pass
    return written


async def _store_chunks(database: Database, plan: Plan) -> int:
    await database.write(lambda tx: _note(tx, plan))
    written = 0
    for low, high in await asyncio.to_thread(_passes, database, plan):
        chunks = await asyncio.to_thread(_chunks, database, plan, low, high)
        for start in range(0, len(chunks), _CHUNKS_AT_ONCE):
            part = chunks[start : start + _CHUNKS_AT_ONCE]
            await database.write(partial(_store, chunks=part))
        written += len(chunks)
    await database.write(lambda tx: _note(tx, replace(plan, stored=True)))
    return written


def _unfinished(database: Database) -> Plan | None:
    rows = database.read("SELECT value FROM meta WHERE key = ?", (_KEY,))
    return Plan(**json.loads(rows[0][0])) if rows else None


def _due(database: Database, now_ms: int) -> Plan | None:
    cutoff_ms = (now_ms - LATE_MS) // SPAN_MS * SPAN_MS
    ((upto,),) = database.read("SELECT max(id) FROM metric_head WHERE t1_ms <= ?", (cutoff_ms,))
    return None if upto is None else Plan(upto, cutoff_ms)


def _note(tx: Transaction, plan: Plan) -> None:
    tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_KEY, json.dumps(asdict(plan))))


def _rows(connection: sqlite3.Connection, plan: Plan) -> Iterator[tuple[int, bytes]]:
    return connection.execute(f"SELECT t0_ms, data {_ROWS} ORDER BY id", asdict(plan))


def _passes(database: Database, plan: Plan) -> list[tuple[int, int]]:
    """Ranges of series ids (both ends included) of about `_PASS_SAMPLES` samples each."""
    counts = np.zeros(0, np.int64)
    with database.snapshot() as connection:
        for t0_ms, data in _rows(connection, plan):
            more = np.bincount(unpack_samples(data, t0_ms).ids)
            if len(more) > len(counts):
                counts = np.pad(counts, (0, len(more) - len(counts)))
            counts[: len(more)] += more
    ids = np.flatnonzero(counts)
    group = np.cumsum(counts[ids]) // _PASS_SAMPLES
    edges = np.flatnonzero(np.diff(group, prepend=-1))
    return [(int(part[0]), int(part[-1])) for part in np.split(ids, edges[1:]) if len(part)]


def _chunks(database: Database, plan: Plan, low: int, high: int) -> list[Chunk]:
    parts = []
    with database.snapshot() as connection:
        for t0_ms, data in _rows(connection, plan):
            lowest, highest = id_range(data)
            if highest < low or lowest > high:
                continue
            packed = unpack_samples(data, t0_ms)
            samples = Round(packed.ids.astype(np.int64), packed.times_ms, packed.values)
            parts.append(samples.take((packed.ids >= low) & (packed.ids <= high)))
    samples = without_repeats(joined(parts).ordered())
    return list(_cut(samples))


def _cut(samples: Round) -> Iterator[Chunk]:
    """Ordered samples as one chunk per series and span."""
    if not len(samples.slots):
        return
    spans = samples.times_ms // SPAN_MS
    begins = (np.diff(samples.slots, prepend=-1) != 0) | (np.diff(spans, prepend=spans[0]) != 0)
    edges: list[int] = [*np.flatnonzero(begins).tolist(), len(spans)]
    for start, end in pairwise(edges):
        yield _chunk(int(samples.slots[start]), samples.take(np.arange(start, end)))


def _chunk(series_id: int, samples: Round) -> Chunk:
    times = samples.times_ms
    return series_id, int(times[0]), int(times[-1]), len(times), pack_chunk(times, samples.values)


def _store(tx: Transaction, chunks: list[Chunk]) -> None:
    for chunk in chunks:
        done = tx.execute("INSERT INTO metric_chunk VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", chunk)
        if done.rowcount == 0:
            _unite(tx, chunk)


def _unite(tx: Transaction, chunk: Chunk) -> None:
    """A chunk of this series begins at the same time: the same one, written before a crash, or from before a jump of
    the clock. Either way both together are right."""
    series_id, t0_ms, _, count, data = chunk
    key = (series_id, t0_ms)
    row = tx.execute("SELECT n, data FROM metric_chunk WHERE series_id = ? AND t0_ms = ?", key).fetchone()
    if row == (count, data):
        return
    parts = [unpack_chunk(packed, t0_ms, n) for n, packed in (row, (count, data))]
    both = joined([Round(np.full(len(times), series_id, np.int64), times, values) for times, values in parts])
    united = without_repeats(both.ordered())
    tx.execute("INSERT OR REPLACE INTO metric_chunk VALUES (?, ?, ?, ?, ?)", _chunk(series_id, united))


def _delete(tx: Transaction, plan: Plan) -> bool:
    """Delete some of the folded rows; the plan with the last. Returns whether there are more."""
    chosen = f"SELECT id {_ROWS} ORDER BY id LIMIT {_ROWS_AT_ONCE}"
    deleted = tx.execute(f"DELETE FROM metric_head WHERE id IN ({chosen})", asdict(plan)).rowcount  # noqa: S608 - ours
    if deleted == _ROWS_AT_ONCE:
        return True
    tx.execute("DELETE FROM meta WHERE key = ?", (_KEY,))
    return False
