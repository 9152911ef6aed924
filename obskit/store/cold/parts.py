"""What main.db knows of cold storage: days that were copied, the objects they became, objects that are to go; and the
manifest, which says the same in the bucket, so that another machine finds everything there.

A part is `fresh` while its day is being copied, `hot` when it is stored and the day's file still has the same lines, and
`cold` when the file is gone (or never was ours): then it is what is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import uuid4

from obskit.errors import ColdError
from obskit.store.database import Database, Transaction

MANIFEST: Final = "manifest.json"
FORM: Final = 1
FRESH: Final = "fresh"
HOT: Final = "hot"
COLD: Final = "cold"
_STORE: Final = "cold_store"
_TARGET: Final = "cold_target"
_WRITTEN: Final = "cold_manifest"
_BEFORE: Final = "cold_before"
_COLUMNS: Final = "day, source, key, size, sha256, n, raw_bytes, t0_ns, t1_ns, blocks, state"


class Part(NamedTuple):
    """An object: some lines of one source and day. `blocks` is up to which block of the day's file (in order) it goes."""

    day: int
    source: str
    key: str
    size: int
    sha256: str
    lines: int
    raw_bytes: int
    t0_ns: int
    t1_ns: int
    blocks: int
    state: str
    id: int = 0


class Day(NamedTuple):
    """A day: up to which head row it was copied and from which blocks, the same for a copy that is under way, and up to
    which head row its lines are in cold storage alone."""

    day: int
    head: int = 0
    listing: str = ""
    copying_head: int = 0
    copying_listing: str = ""
    gone: int = 0


class Parts:
    """Reads and writes these tables. Reading is for every thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def day(self, day: int) -> Day:
        """A day, be anything known of it or not."""
        rows = self._database.read(
            "SELECT day, head, listing, copying_head, copying_listing, gone FROM cold_day WHERE day = ?", (day,)
        )
        return Day(*rows[0]) if rows else Day(day)

    def days(self) -> list[Day]:
        """All days."""
        return [
            Day(*row)
            for row in self._database.read(
                "SELECT day, head, listing, copying_head, copying_listing, gone FROM cold_day ORDER BY day"
            )
        ]

    def of_day(self, day: int, *states: str) -> list[Part]:
        """A day's parts, the oldest first."""
        marks = ",".join("?" * len(states))
        rows = self._database.read(
            f"SELECT {_COLUMNS}, id FROM cold_part WHERE day = ? AND state IN ({marks}) ORDER BY id",  # noqa: S608 - marks only
            (day, *states),
        )
        return [Part(*row) for row in rows]

    def stored(self, day: int) -> tuple[int, list[Part]]:
        """Up to which head row a day's lines are cold, and its stored parts, at one moment."""
        rows = self._database.read(
            f"SELECT {_COLUMNS}, id, (SELECT gone FROM cold_day WHERE cold_day.day = cold_part.day)"  # noqa: S608 - names only
            " FROM cold_part WHERE day = ? AND state <> ? ORDER BY id",
            (day, FRESH),
        )
        return (rows[0][-1] or 0) if rows else 0, [Part(*row[:-1]) for row in rows]

    def stored_days(self, first: int, last: int) -> set[int]:
        """The days that have a stored part."""
        rows = self._database.read(
            "SELECT DISTINCT day FROM cold_part WHERE day BETWEEN ? AND ? AND state <> ?", (first, last, FRESH)
        )
        return {day for (day,) in rows}

    def stored_bytes(self) -> int:
        """Bytes of all stored parts."""
        return int(self._database.read("SELECT total(size) FROM cold_part WHERE state <> ?", (FRESH,))[0][0])

    def garbage(self) -> list[str]:
        """Objects that nothing refers to any more."""
        rows = self._database.read("SELECT key FROM cold_garbage WHERE key NOT IN (SELECT key FROM cold_part)")
        return [key for (key,) in rows]

    def is_written(self) -> bool:
        """Whether the manifest says what these tables say."""
        return self._meta(_WRITTEN) == "1"

    def store(self) -> str:
        """The name under which this store writes its manifest; empty before `claim`."""
        return self._meta(_STORE)

    def target(self) -> str:
        """The target that was claimed last."""
        return self._meta(_TARGET)

    def before(self) -> str:
        """The store whose manifest was taken over: it may be overwritten."""
        return self._meta(_BEFORE)

    async def claim(self, target: str, before: str, adopted: Iterable[tuple[Day, Sequence[Part]]]) -> None:
        """This store writes to the target from now on; what another one left there is ours, in the place of what we knew."""

        def work(tx: Transaction) -> None:
            _set(tx, _STORE, self.store() or uuid4().hex)
            _set(tx, _TARGET, target)
            _set(tx, _BEFORE, before)
            for day, parts in adopted:
                tx.execute(
                    "INSERT INTO cold_day (day, head, listing) VALUES (?, ?, ?)"
                    " ON CONFLICT (day) DO UPDATE SET head = excluded.head, listing = excluded.listing",
                    (day.day, day.head, day.listing),
                )
                tx.execute("DELETE FROM cold_part WHERE day = ? AND state <> ?", (day.day, FRESH))
                for part in parts:
                    _insert(tx, part)
            _set(tx, _WRITTEN, "0")

        await self._database.write(work)

    async def begin(self, day: int, head: int, listing: str) -> None:
        """A copy of the day as it is now is under way; what there is of an older unfinished one goes."""

        def work(tx: Transaction) -> None:
            _discard(tx, "day = ? AND state = ?", (day, FRESH))
            tx.execute(
                "INSERT INTO cold_day (day, copying_head, copying_listing) VALUES (?, ?, ?)"
                " ON CONFLICT (day) DO UPDATE"
                " SET copying_head = excluded.copying_head, copying_listing = excluded.copying_listing",
                (day, head, listing),
            )

        await self._database.write(work)

    async def announce(self, key: str) -> None:
        """An object is about to be stored: garbage, until it is added. If it never is, it is known that it is there."""
        await self._database.write(lambda tx: tx.execute("INSERT OR IGNORE INTO cold_garbage VALUES (?)", (key,)))

    async def add(self, part: Part) -> None:
        """An object of the copy is stored and verified."""
        await self._database.write(lambda tx: _insert(tx, part))

    async def finish(self, day: int, *, keep_older: bool) -> None:
        """The copy under way is complete and stands for the day's file; the one before it goes (or stays, and this goes)."""

        def work(tx: Transaction) -> None:
            # Released meanwhile (the disk was full): what was copied before stands for the file that is gone.
            row = tx.execute("SELECT 1 FROM cold_day WHERE day = ? AND gone >= copying_head", (day,)).fetchone()
            _discard(tx, "day = ? AND state = ?", (day, FRESH if keep_older or row else HOT))
            tx.execute("UPDATE cold_part SET state = ? WHERE day = ? AND state = ?", (HOT, day, FRESH))
            tx.execute(
                "UPDATE cold_day SET head = max(gone, copying_head), listing = copying_listing, copying_head = 0,"
                " copying_listing = '' WHERE day = ?",
                (day,),
            )
            _set(tx, _WRITTEN, "0")

        await self._database.write(work)

    async def release(self, day: int, head: int) -> None:
        """The day's file is not to be read any more: its lines up to this head row are read from the parts."""

        def work(tx: Transaction) -> None:
            tx.execute("UPDATE cold_part SET state = ? WHERE day = ? AND state = ?", (COLD, day, HOT))
            tx.execute("UPDATE cold_day SET gone = max(gone, ?), head = max(head, ?) WHERE day = ?", (head, head, day))

        await self._database.write(work, essential=True)

    async def forget_before(self, day: int) -> int:
        """Days before this one are no longer kept; how many there were."""

        def work(tx: Transaction) -> int:
            _discard(tx, "day < ? AND state <> ?", (day, FRESH))
            gone = tx.execute(
                "DELETE FROM cold_day WHERE day < ? AND NOT EXISTS (SELECT 1 FROM cold_part WHERE day = cold_day.day)",
                (day,),
            ).rowcount
            if gone:
                _set(tx, _WRITTEN, "0")
            return gone

        return await self._database.write(work, essential=True)

    async def written(self, manifest: bytes) -> None:
        """The manifest was written, and is as it would be written now (else it is written again)."""

        def work(tx: Transaction) -> None:
            if self.manifest() == manifest:
                _set(tx, _WRITTEN, "1")

        await self._database.write(work)

    async def deleted(self, keys: Sequence[str]) -> None:
        """Garbage is gone."""
        await self._database.write(
            lambda tx: tx.executemany("DELETE FROM cold_garbage WHERE key = ?", [(key,) for key in keys])
        )

    def manifest(self) -> bytes:
        """The manifest as it should be. What the day's files are to it is for this store alone."""
        days: dict[int, dict[str, Any]] = {}
        for one in self.days():
            days[one.day] = {"day": day_text(one.day), "head": one.head, "listing": one.listing, "parts": []}
        rows = self._database.read(
            f"SELECT {_COLUMNS} FROM cold_part WHERE state <> ? ORDER BY id",  # noqa: S608 - names only
            (FRESH,),
        )
        for part in map(Part._make, ((*row, 0) for row in rows)):
            fields = {name: getattr(part, name) for name in ("source", "key", "size", "sha256", "lines", "raw_bytes")}
            days[part.day]["parts"].append({**fields, "t0_ns": part.t0_ns, "t1_ns": part.t1_ns})
        stored = [day for day in days.values() if day["parts"]]
        return json.dumps({"form": FORM, "store": self.store(), "days": stored}, indent=1).encode()

    def _meta(self, key: str) -> str:
        rows = self._database.read("SELECT value FROM meta WHERE key = ?", (key,))
        return rows[0][0] if rows else ""


def give_up_file(tx: Transaction, day: int) -> None:
    """The day's file is broken and about to be put aside: what was copied of it is all there is."""
    tx.execute("UPDATE cold_part SET state = ? WHERE day = ? AND state = ?", (COLD, day, HOT))
    tx.execute("UPDATE cold_day SET gone = max(gone, head) WHERE day = ?", (day,))


def read_manifest(data: bytes) -> tuple[str, list[tuple[Day, list[Part]]]]:
    """Who wrote a manifest, and what there is. Its parts are cold: who takes it over knows better, if anybody does."""
    try:
        manifest = json.loads(data)
        if manifest["form"] != FORM:
            raise ColdError(f"{MANIFEST} was written by a newer obskit (form {manifest['form']})", reason="config")
        found = []
        for one in manifest["days"]:
            day = _day_of(one["day"])
            parts = [Part(day=day, blocks=0, state=COLD, **part) for part in one["parts"]]
            found.append((Day(day, one["head"], one["listing"]), parts))
        return str(manifest["store"]), found
    except (ValueError, KeyError, TypeError) as error:
        raise ColdError(f"{MANIFEST} cannot be read ({type(error).__name__})", reason="corrupt") from None


def day_text(day: int) -> str:
    """A day as people write it."""
    return f"{datetime.fromtimestamp(day * 86_400, UTC):%Y-%m-%d}"


def _day_of(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) // 86_400


def _insert(tx: Transaction, part: Part) -> None:
    tx.execute(
        f"INSERT OR REPLACE INTO cold_part ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - names only
        part[:-1],
    )
    tx.execute("DELETE FROM cold_garbage WHERE key = ?", (part.key,))


def _discard(tx: Transaction, which: str, values: Sequence[object]) -> None:
    tx.execute(f"INSERT OR IGNORE INTO cold_garbage SELECT key FROM cold_part WHERE {which}", values)  # noqa: S608 - ours
    tx.execute(f"DELETE FROM cold_part WHERE {which}", values)  # noqa: S608 - ours


def _set(tx: Transaction, key: str, value: str) -> None:
    tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))
