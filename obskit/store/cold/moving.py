"""The loop that copies days of log lines to a folder or bucket, and says when a day's hot file may go.

A day is copied when it has been over for a while, and again when late lines came since. First every object is stored and
verified, then one transaction makes them the day's copy, then the manifest is written, then retention may let the file
go (`release`): in this order nothing is lost wherever it is interrupted, and nothing is read twice, because one row in
main.db says which of the two is read. After an interruption it goes on with the first object that is not yet known.
Off the append path: a slice at a time in a thread, with pauses.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from obskit.clock import NS_PER_MS, Clock
from obskit.errors import ColdError, StoreFull
from obskit.store import telemetry
from obskit.store.cold.parts import COLD, FRESH, HOT, MANIFEST, Day, Part, Parts, day_text, read_manifest
from obskit.store.cold.slices import FrozenDay, PartFile, part_key
from obskit.store.cold.target import Sealed, Stop, Target
from obskit.store.day_file import DAY_NS, Unmade
from obskit.store.day_files import DayFiles
from obskit.store.settings import StoreSettings

EVERY_S: Final = 300.0
SOON_S: Final = 10.0
"""After a failure; doubled with each further one."""
PAUSE_S: Final = 0.05
_NICE: Final = 10

T = TypeVar("T")

log = logging.getLogger(__name__)


class Mover:
    """Run `run` beside the store; retention asks `release`."""

    def __init__(
        self, parts: Parts, files: DayFiles, target: Target, *, limits: StoreSettings, folder: Path, clock: Clock
    ) -> None:
        self._parts = parts
        self._files = files
        self._target = target
        self._limits = limits
        self._folder = folder
        self._clock = clock
        self._stop = Stop()
        self._claimed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="obskit-cold", initializer=_step_back)
        """One thread: what several need of memory is kept by each."""
        self._quiet: dict[int, tuple[int, int]] = {}
        """By day: the last head row that its file had, and since when."""

    async def _apart(self, work: Callable[..., T], *given: object) -> T:
        """Run it in the mover's own thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *given))

    async def run(self) -> None:
        """The loop: a round now and then, for ever. One that fails is counted and tried again."""
        telemetry.COLD_SUCCESS.set(self._clock.now_ms() / 1000)
        failing, wait_s = "", SOON_S
        try:
            while True:
                failing = await self._round(failing)
                await self._clock.sleep(wait_s if failing else EVERY_S)
                wait_s = min(2 * wait_s, EVERY_S) if failing else SOON_S
        finally:
            self._stop.set()

    async def _round(self, failing: str) -> str:
        """A round; why it failed, or nothing. It is said once for each reason in a row."""
        try:
            await self.once(self._clock.now_ms())
        except (ColdError, StoreFull) as error:
            reason = error.reason if isinstance(error, ColdError) else "full"
            if reason != failing:
                log.error("log lines are not copied, it is tried again: to=%s reason=%s", self._target.name, error)
        except Exception:  # the loop: what could not be copied must be tried again, or the disk fills
            reason = "crash"
            if reason != failing:
                log.exception("log lines are not copied, it is tried again: to=%s", self._target.name)
        else:
            telemetry.COLD_SUCCESS.set(self._clock.now_ms() / 1000)
            return ""
        telemetry.COLD_ERRORS.labels(reason).inc()
        return reason

    def stop(self) -> None:
        """What is on its way ends soon."""
        self._stop.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def once(self, now_ms: int) -> None:
        """Copy what is due, forget what is too old, and bring manifest and objects up to date."""
        if not self._claimed:
            await self._claim()
        await self._parts.forget_before(self._oldest(now_ms))
        try:
            due = await self._apart(self._due, now_ms)
            telemetry.COLD_BACKLOG.set(len(due))
            for done, day in enumerate(due, start=1):
                try:
                    await self._copy(day)
                except sqlite3.DatabaseError as error:
                    if self._files.get(day).path.exists():  # else retention was faster
                        self._files.report(self._files.get(day).path.name, error)
                await self._write_manifest()
                telemetry.COLD_BACKLOG.set(len(due) - done)
        finally:
            telemetry.COLD_BYTES.set(self._parts.stored_bytes())
        await self._write_manifest()
        await self._delete_garbage()

    async def release(self, day: int, *, at_once: bool = False) -> bool:
        """Whether the day's file may go: from then on its lines are read from the copy. Called while nobody writes to it.

        Not until it is copied with all late lines, and the manifest says so; `at_once` (the disk is full) what has come
        since the copy goes with the file.
        """
        known = self._parts.day(day)
        try:
            # Not in our own thread: an upload may be busy there, and sealing waits for us.
            sealed = await asyncio.to_thread(self._files.get(day).sealed)
        except sqlite3.DatabaseError:
            return False
        if sealed <= known.gone:
            return True
        if not known.head or not (at_once or (known.head == sealed and self._parts.is_written())):
            return False
        if known.head != sealed:
            log.warning("no room for late log lines that are not copied yet: day=%s", day_text(day))
        await self._parts.release(day, sealed)
        return True

    # Which days

    def _due(self, now_ms: int) -> list[int]:
        """The days that are to be copied, the oldest first."""
        due = []
        oldest = self._oldest(now_ms)
        for day in self._files.days():
            if day < oldest or ((day + 1) * DAY_NS) // NS_PER_MS + self._limits.cold.after > now_ms:
                continue
            sealed = self._sealed(day)
            known = self._parts.day(day)
            if sealed <= max(known.gone, known.head):
                continue
            head, since_ms = self._quiet.get(day, (0, 0))
            if head != sealed:
                self._quiet[day] = head, since_ms = sealed, now_ms
            # A first copy is made soon; late lines are waited for, or every one of them would cost a copy of the day.
            if not known.head or now_ms - since_ms >= self._limits.cold.after:
                due.append(day)
        return due

    def _oldest(self, now_ms: int) -> int:
        """The oldest day that is kept."""
        return (now_ms - self._limits.retention.cold) * NS_PER_MS // DAY_NS

    def _sealed(self, day: int) -> int:
        file = self._files.get(day)
        try:
            return file.sealed()
        except Unmade:
            return 0
        except sqlite3.DatabaseError as error:
            self._files.report(file.path.name, error)
            return 0

    # Copying

    async def _copy(self, day: int) -> None:
        """Copy a day's file as it is now."""
        with ExitStack() as opened:
            frozen = await self._apart(lambda: FrozenDay(opened.enter_context(self._files.get(day).frozen())))
            head, listing = frozen.head, frozen.listing
            sources = await self._apart(frozen.sources, self._limits.retention.sources)
        known = self._parts.day(day)
        if (known.copying_head, known.copying_listing) != (head, listing):
            await self._parts.begin(day, head, listing)
        for source, streams in sources.items():
            if not await self._copy_source(self._parts.day(day), source, streams):
                return  # the file has changed: the next round begins anew
        fresh, older = (self._parts.of_day(day, state) for state in (FRESH, HOT))
        fewer = sum(part.lines for part in fresh) < sum(part.lines for part in older)
        if fewer:
            log.error("a day of log lines has become less than its copy, the copy stays: day=%s", day_text(day))
        await self._parts.finish(day, keep_older=fewer)
        log.info("log lines copied: day=%s parts=%d lines=%d", day_text(day), len(fresh), sum(p.lines for p in fresh))

    async def _copy_source(self, day: Day, source: str, streams: Mapping[int, str]) -> bool:
        """Copy what is not copied yet of a source's lines; whether the file stayed as it was."""
        done = [part for part in self._parts.of_day(day.day, FRESH) if part.source == source]
        place = max((part.blocks for part in done), default=0)
        number = len(done) + 1
        while True:
            with ExitStack() as opened:
                connection = opened.enter_context(self._files.get(day.day).frozen())
                frozen = await self._apart(FrozenDay, connection)
                if frozen.listing != day.copying_listing:
                    return False
                place = frozen.begins(streams, place)
                if place < 0:
                    return True
                path = self._workspace() / f"{day.day}-{number}.parquet"
                part = await self._write(path, frozen, day.day, streams, place)
            key = part_key(day.day, source, self._parts.store(), number, day.copying_head)
            place = part.blocks
            if part.lines:
                await self._parts.announce(key)
                file = await self._store(path, key)
                await self._parts.add(part._replace(source=source, key=key, size=file.size, sha256=file.sha256))
                number += 1
            path.unlink()

    async def _write(self, path: Path, frozen: FrozenDay, day: int, streams: Mapping[int, str], place: int) -> Part:
        """Write one file, from a place among the day's blocks on."""
        try:
            with closing(PartFile(path, day, streams)) as file:
                while not file.full and (place := frozen.begins(streams, place)) >= 0:
                    taken, place = await self._apart(frozen.take, streams, place)
                    await self._apart(file.add, taken, self._files)
                    await self._clock.sleep(PAUSE_S)
                file.finish()
        except OSError as error:
            raise ColdError(f"{path.name} cannot be written: {error.strerror}", reason="full") from None
        end = place if place >= 0 else 1 << 40
        written = file.writer
        return Part(
            day, "", "", 0, "", written.rows, written.raw_bytes, written.t0_ns, written.t1_ns, blocks=end, state=FRESH
        )

    async def _store(self, path: Path, key: str) -> Sealed:
        """Store and verify a file."""
        file = await self._apart(Sealed.of, path)
        await self._apart(self._target.send, file, key, self._stop)
        await self._apart(self._target.verify, file, key, self._stop)
        telemetry.COLD_COPIED.inc(file.size)
        return file

    def _workspace(self) -> Path:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        return self._folder

    # The bucket as a whole

    async def _claim(self) -> None:
        """Find out whose the target is; take it over when there are no objects of ours elsewhere."""
        found = await self._apart(self._target.get, MANIFEST)
        theirs, days = read_manifest(found) if found is not None else ("", [])
        parts = self._parts
        own, before = parts.store(), parts.before()
        if parts.stored_bytes() and theirs not in ("", own, before):
            raise ColdError(
                f"{self._target.name} belongs to another obskit: give each its own folder or prefix", reason="config"
            )
        if parts.stored_bytes() and not theirs and parts.target() != self._target.name:
            raise ColdError(
                f"what was copied lies in {parts.target()}: copy all of it to {self._target.name} first",
                reason="config",
            )
        # A manifest that is not as we left it: main.db was put back from a copy, and the manifest knows better.
        newer = theirs == own and parts.is_written() and found != parts.manifest()
        known = set() if newer else {one.day for one in parts.days()}
        adopted = [self._adopted(day, objects) for day, objects in days if day.day not in known]
        await parts.claim(self._target.name, before if theirs in ("", own) else theirs, adopted)
        await self._release_missing()
        await self._apart(self._clear_workspace)
        self._claimed = True

    def _adopted(self, day: Day, parts: list[Part]) -> tuple[Day, list[Part]]:
        """A day of a manifest. Our file of that day may be the one that was copied: main.db was lost then, not the file."""
        file = self._files.get(day.day)
        if file.path.exists():
            try:
                with file.frozen() as connection:
                    frozen = FrozenDay(connection)
                if frozen.listing == day.listing and frozen.head > self._parts.day(day.day).gone:
                    return day, [part._replace(state=HOT) for part in parts]
            except sqlite3.DatabaseError as error:
                self._files.report(file.path.name, error)
        return Day(day.day), [part._replace(state=COLD) for part in parts]

    async def _release_missing(self) -> None:
        """Files that are gone without our doing: a main.db that was put back from a copy thinks that they are there."""
        here = set(self._files.days())
        for one in self._parts.days():
            if one.head > one.gone and one.day not in here:
                await self._parts.release(one.day, one.head)

    def _clear_workspace(self) -> None:
        for path in self._folder.glob("*.parquet"):
            path.unlink()

    async def _write_manifest(self) -> None:
        if self._parts.is_written():
            return
        found = await self._apart(self._target.get, MANIFEST)
        if found is not None and read_manifest(found)[0] not in (self._parts.store(), self._parts.before()):
            self._claimed = False
            raise ColdError(f"{self._target.name} was taken over by another obskit", reason="config")
        manifest = await self._apart(self._parts.manifest)
        await self._apart(self._target.put, MANIFEST, manifest)
        await self._parts.written(manifest)

    async def _delete_garbage(self) -> None:
        """Once no manifest names them."""
        for key in self._parts.garbage():
            await self._apart(self._target.delete, key)
            await self._parts.deleted([key])


def _step_back() -> None:
    """Copying has time: the thread gives way to all others (Linux knows priorities of threads)."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
