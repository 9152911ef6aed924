"""The keeper of error groups: takes what was appended, lets the book read it in a thread, saves it and tells of it.

An append is never held up: what may be an error waits in a bounded queue, and what comes faster than it can be read is
counted and not grouped. What is told is a record of stream {source="error_group"}, for rules and for people:
`event` new, regressed or unmuted when that happens, and once a minute `seen` with the `count` of the minute. A
transition is saved as untold first and told after: a crash tells it twice rather than never.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final

from obskit.clock import NS_PER_MS, Clock
from obskit.errors import StoreFull
from obskit.grouping import rows, telemetry
from obskit.grouping.book import SOURCE, Book, Happened
from obskit.grouping.issues import FOREVER, Event, Issue, State
from obskit.grouping.joining import HOLD_S, Joiner
from obskit.grouping.settings import GroupingSettings
from obskit.grouping.words import QUESTION
from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.store.database import Database, Transaction
from obskit.store.interface import Batch, Intake, Touched
from obskit.store.log_interface import Records
from obskit.store.text_search import Question

MAX_WAITING: Final = 12_000_000
"""Characters of records that wait to be looked at."""
CHUNK: Final = 2_000
SEARCHED_AT_ONCE: Final = 5_000
_RECORD: Final = 100
PAUSE_S: Final = 0.1
SAVE_S: Final = 5.0
TELL_S: Final = 60.0
STREAM: Final = Labels({"source": SOURCE})

log = logging.getLogger(__name__)


class Keeper:
    """Error groups of a running daemon. `load` first; `take` subscribes to the store; `run` is a loop."""

    def __init__(self, database: Database, intake: Intake, clock: Clock, settings: GroupingSettings) -> None:
        self._database = database
        self._intake = intake
        self._clock = clock
        self._settings = settings
        self.book = Book(settings)
        self._batches: deque[tuple[int, Records, bool]] = deque()
        self._waiting = 0
        self._arrived = asyncio.Event()
        self._busy = asyncio.Lock()
        self._unsaved = Happened()
        self._untold: list[tuple[Event, Issue]] = []
        self._saved_s = clock.monotonic()
        self._templates_saved = 0
        self._joiner = Joiner()

    @property
    def question(self) -> Question:
        """What the store is to look for in lines, so that it need not be done here."""
        return QUESTION

    def load(self) -> None:
        """Read what was known. Synchronous: before the loop."""
        issues, releases = rows.read_issues(self._database), rows.read_releases(self._database)
        self.book.load(issues, releases, rows.read_templates(self._database))
        self._untold = [(Event(issue.untold), issue) for issue in issues if issue.untold]
        self._arrived.set()

    def take(self, touched: Touched) -> None:
        """A subscriber of the store: what may be an error is kept for the thread.

        The search is done here, where it takes a tenth of a microsecond a line: to hand every line to another thread
        costs the loop more than that, and the memory of all that wait.
        """
        records = Records.of(touched.records)
        searched = bool(records.texts) or len(records) <= SEARCHED_AT_ONCE
        if searched:
            records = self._joiner.join(records, self.book.candidates(records), self._clock.monotonic())
            if self._joiner:
                self._arrived.set()
        self._keep(records, searched=searched)

    def _keep(self, records: Records, *, searched: bool = True) -> None:
        if not records:
            return
        size = sum(map(len, records.lines)) + _RECORD * len(records)
        if self._batches and self._waiting + size > MAX_WAITING:
            telemetry.SKIPPED.inc(len(records))
            return
        self._waiting += size
        self._batches.append((size, records, searched))
        self._arrived.set()

    async def run(self) -> None:
        """The loops, for ever: reading what comes, and telling once a minute."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._follow())
            loops.create_task(self._tell_each_minute())

    async def close(self) -> None:
        """Read and save what waits."""
        await self.catch_up()
        await self._save(everything=True)

    async def catch_up(self, *, everything: bool = True) -> None:
        """Read what waits, in slices; transitions are saved and told at once. `everything`: traces that may go on, too."""
        self._keep(self._joiner.let_go(None if everything else self._clock.monotonic() - HOLD_S))
        while self._batches:
            size, records, searched = self._batches.popleft()
            self._waiting -= size
            if not searched:
                records = await asyncio.to_thread(self.book.candidates, records)
            for begin in range(0, len(records), CHUNK):
                async with self._busy:
                    part = records[begin : begin + CHUNK]
                    _add(self._unsaved, await asyncio.to_thread(self.book.read, part, self._clock.now_ms()))
        if self._unsaved.events or self._untold:
            await self._save()
            await self._tell_events()

    async def change(self, id_: str, what: str, until_ms: int = FOREVER) -> bool:
        """`resolve`, `reopen` or `mute` an issue; whether there is one of that id."""
        async with self._busy:
            issue = self.book.issues.get(id_)
            if issue is None or what not in {"resolve", "reopen", "mute"}:
                return False
            change_issue(issue, what, self._clock.now_ms(), until_ms)
            self._unsaved.changed[id_] = issue
        await self._save()
        return True

    async def _follow(self) -> None:
        failing = False
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            try:
                await self.catch_up(everything=False)
                if self._clock.monotonic() - self._saved_s >= SAVE_S:
                    await self._save()
                failing = False
            except StoreFull:
                pass  # what is not saved waits for the next round; the append that found out has said so
            except Exception:  # the loop: one bad record must not end grouping
                if not failing:
                    log.exception("grouping errors failed, it goes on with what comes next")
                failing = True
            await self._clock.sleep(PAUSE_S)  # a flood is read in batches, not record by record
            if self._joiner:
                self._arrived.set()

    async def _tell_each_minute(self) -> None:
        while True:
            await self._clock.sleep(TELL_S)
            try:
                await self.tidy()
            except StoreFull:
                pass  # next minute
            except Exception:  # as above
                log.exception("telling of error groups failed")

    async def tidy(self) -> None:
        """What is due once a minute: counts are told, old issues forgotten, all of it saved."""
        now_ms = self._clock.now_ms()
        async with self._busy:
            seen, self._unsaved.seen = self._unsaved.seen, {}
            _add(self._unsaved, self.book.forget_before(now_ms - self._settings.retention))
            told = [
                _record(issue, "seen", now_ms, {"count": str(count)})
                for id_, count in seen.items()
                if (issue := self.book.issues.get(id_)) is not None
            ]
        await self._save(everything=True)
        if told:
            await self._intake.append(Batch(records=told))
        states = [issue.state for issue in self.book.issues.values()]
        for state in State:
            telemetry.GROUPS.labels(state.value).set(states.count(state))

    async def _tell_events(self) -> None:
        if not self._untold:
            return
        now_ms = self._clock.now_ms()
        events = list(self._untold)
        await self._intake.append(Batch(records=[_record(issue, event.value, now_ms, {}) for event, issue in events]))
        del self._untold[: len(events)]
        for _, issue in events:
            issue.untold = ""
            if issue.id in self.book.issues:
                self._unsaved.changed[issue.id] = issue

    async def _save(self, *, everything: bool = False) -> None:
        """Write what changed. What could not be written is tried again with what comes next."""
        async with self._busy:
            for event, issue in self._unsaved.events:
                issue.untold = event.value
                self._untold.append((event, issue))
            self._unsaved.events = []
            saving, seen = self._unsaved, self._unsaved.seen
            templates = (
                self.book.miner.dump() if everything and self._templates_saved != self.book.miner.version else None
            )
            version = self.book.miner.version
            if saving or templates is not None:
                await self._database.write(lambda tx: _write(tx, saving, templates))
            self._unsaved = Happened(seen=seen)
            self._saved_s = self._clock.monotonic()
            if templates is not None:
                self._templates_saved = version


def change_issue(issue: Issue, what: str, now_ms: int, until_ms: int = FOREVER) -> None:
    """What a person asked for: `resolve`, `reopen` or `mute`."""
    if what == "resolve":
        issue.resolve(now_ms)
    elif what == "mute":
        issue.mute(now_ms, until_ms)
    else:
        issue.reopen(now_ms)


def _write(tx: Transaction, happened: Happened, templates: Sequence[Sequence[object]] | None) -> None:
    rows.delete_issues(tx, happened.gone)
    rows.save_issues(tx, happened.changed.values())
    rows.delete_releases(tx, happened.old_releases)
    rows.save_releases(tx, happened.releases)
    if templates is not None:
        rows.save_templates(tx, templates)


def _add(to: Happened, more: Happened) -> None:
    to.events += more.events
    for id_ in more.gone:
        to.changed.pop(id_, None)
    to.gone = (to.gone | more.gone) - more.changed.keys()
    to.changed.update(more.changed)
    for id_, count in more.seen.items():
        to.seen[id_] = to.seen.get(id_, 0) + count
    to.releases.update(more.releases)
    to.old_releases |= more.old_releases


def _record(issue: Issue, event: str, now_ms: int, more: dict[str, str]) -> Record:
    """What rules and people read of an issue: its title, and the rest as metadata."""
    metadata = {
        "event": event,
        "id": issue.id,
        "title": issue.title,
        "app": issue.app,
        "kind": issue.kind,
        "level": issue.level,
        "state": issue.state.value,
        "culprit": issue.culprit,
        "release": issue.last_release,
        **more,
    }
    told = {name: value for name, value in metadata.items() if value}
    return Record(STREAM, now_ms * NS_PER_MS, issue.title, told)
