"""Log files: tailed through rotation and truncation, by glob, plain or JSON, one line or many to a record.

The cursor holds the position in every file and is stored with the lines before it: kill -9 loses and doubles nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, field_validator

from obskit.clock import Clock
from obskit.collect import Check, Collector, Feed, Kind, failed, ok
from obskit.errors import CollectorError, PatternError
from obskit.model.labels import Labels
from obskit.model.patterns import compile_pattern
from obskit.model.records import Record, whole_text
from obskit.model.settings import Duration, LocalPath, Settings, Size
from obskit.store.interface import Batch, Cursor
from obskit_collectors.file_lines import RecordMaker, Span, grouped, lines_of
from obskit_collectors.file_tail import Mark, Tail, find_renamed
from obskit_collectors.file_watch import FolderWatch

CHUNK_BYTES: Final = 1024 * 1024
BATCH_BYTES: Final = 4 * CHUNK_BYTES
MAX_FILES: Final = 500
PAUSE_S: Final = 1.0
"""A record of many lines, or a last line without newline, is taken as it is when its file is quiet for so long."""
RESTS: Final = 3
LONGEST_REST_S: Final = 0.2
"""A look is followed by a rest of so many times its length. The first line after a pause never waits for one."""
ROTATED_S: Final = 10.0
"""A rotated file is let go when it is quiet for so long: until then its writer may still hold it."""


class FileSettings(Settings):
    """`file:` log files of one kind."""

    name: str = Field("", description="own name, where there are several")
    paths: list[LocalPath] = Field(
        min_length=1, description="paths or globs (** crosses folders), relative ones beside the config"
    )
    exclude: list[LocalPath] = Field(default=[], description="globs of files to leave out")
    labels: dict[str, str] = Field(default={}, description="labels of the stream, such as app")
    format: Literal["auto", "plain", "json"] = Field(
        "auto", description="json: read time, level and trace id of each line"
    )
    multiline: str = Field("", description="RE2 pattern of a record's first line; what follows belongs to it")
    start: Literal["end", "beginning"] = Field(
        "end", description="where to begin in files that are there at the first start"
    )
    max_line: Size = Field(64 * 1024, gt=0, le=CHUNK_BYTES, description="longer lines are cut")
    every: Duration = Field(1_000, gt=0, description="how often files are looked at when the kernel tells no news")

    @field_validator("multiline")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            compile_pattern(pattern)
        except PatternError as error:
            raise ValueError(str(error)) from None
        return pattern


class FileCollector:
    """Tails every file that the globs name."""

    def __init__(self, settings: FileSettings) -> None:
        self.name = f"file/{settings.name}" if settings.name else "file"
        self._settings = settings
        self._target = ", ".join(settings.paths)
        self._owner = f"{self.name} {self._target}"
        self._begins = compile_pattern(settings.multiline) if settings.multiline else None
        self._tails: dict[tuple[int, int], Tail] = {}
        self._quiet_since: dict[tuple[int, int], float] = {}
        self._first_start = False
        self._unsaved = False

    async def run(self, feed: Feed) -> None:
        """Tail until cancelled."""
        watch = FolderWatch()
        try:
            await self._resume(feed)
            looked_s = float("-inf")
            while True:
                now_s = feed.clock.monotonic()
                # Not at each new line: matching the globs costs more than reading it.
                if watch.other_files or now_s - looked_s >= self._settings.every / 1000:
                    watch.other_files, looked_s = False, now_s
                    with suppress(CollectorError), feed.book(self._target).call():
                        self._discover()  # the book has told; files that are open are read on
                    self._let_go_of_rotated(now_s)
                    watch.watch(tail.path.parent for tail in self._tails.values())
                began_s = feed.clock.monotonic()
                while await self._round(feed):
                    pass
                # Each round looks at every file: many files, and lines that come one by one, must not take a whole core.
                worked_s = feed.clock.monotonic() - began_s
                await feed.clock.sleep(min(RESTS * worked_s, LONGEST_REST_S))
                await watch.wait(feed.clock, self._settings.every / 1000)
        finally:
            watch.close()
            self._close()

    async def once(self, feed: Feed) -> None:
        """What is new since the last time; the first time, the last lines of every file."""
        try:
            await self._resume(feed)
            first = self._first_start
            with feed.book(self._target).call():
                self._discover()
            for tail in self._tails.values() if first else ():
                start = max(0, tail.path.stat().st_size - 4096)
                tail.advance(start, skipping=start > 0)
            while await self._round(feed):
                pass
        finally:
            self._close()

    async def _resume(self, feed: Feed) -> None:
        """Open the files of the cursor where they were left, under the name they have now."""
        saved = await feed.cursor(self._owner)
        self._first_start = self._unsaved = saved is None
        for path_text, fields in json.loads(saved or "[]"):
            mark = Mark.from_list(fields)
            path = find_renamed(Path(path_text), mark)
            if path is not None:
                self._open(path, mark)

    def _discover(self) -> None:
        """Open files that are new to us; CollectorError when no file is there at all, or none can be read."""
        paths = list(self._matching())
        refused = ""
        for path in paths:
            try:
                stat = path.stat()
                if (stat.st_dev, stat.st_ino) in self._tails:
                    self._tails[stat.st_dev, stat.st_ino].path = path
                else:
                    self._open(path, None, at_end=self._first_start and self._settings.start == "end")
            except OSError as error:
                refused = f"cannot read {path}: {error.strerror}"
        self._first_start = False
        if refused and not self._tails:
            raise CollectorError(refused, reason="auth" if "ermission" in refused else "config")
        if not self._tails:
            raise CollectorError(f"no file matches {self._target}", reason="config")

    def _matching(self) -> Iterator[Path]:
        excluded = {match for pattern in self._settings.exclude for match in glob(pattern, recursive=True)}  # noqa: PTH207
        found = dict.fromkeys(
            match
            for pattern in self._settings.paths
            for match in sorted(glob(str(Path(pattern).expanduser()), recursive=True))  # noqa: PTH207 - Path.glob cannot take a whole path
            if match not in excluded
        )
        paths = (Path(match) for match in found)
        for count, path in enumerate(path for path in paths if path.is_file()):
            if count >= MAX_FILES:
                raise CollectorError(f"more than {MAX_FILES} files match {self._target}", reason="config")
            yield path

    def _open(self, path: Path, mark: Mark | None, *, at_end: bool = False) -> None:
        tail = Tail(path, mark, at_end=at_end)
        self._tails[tail.key] = tail
        self._unsaved = True

    async def _round(self, feed: Feed) -> bool:
        """Append what is new in all files, at most one batch; whether there may be more."""
        records: list[Record] = []
        moves: list[tuple[Tail, int, bool]] = []
        room = BATCH_BYTES
        for tail in list(self._tails.values()):
            data = tail.read(min(CHUNK_BYTES, room)) if room > 0 else b""
            room -= len(data)
            quiet_s = self._quiet_s(tail, feed.clock.monotonic())
            spans, end, skipping = self._spans(tail, data, quiet_s)
            if spans:
                records += self._records(tail, spans, feed.clock.now_ns() + len(records))
            if end != tail.mark.offset:
                moves.append((tail, end, skipping))
        if not moves and not self._unsaved:
            return False
        cursor = self._cursor({tail.key: (end, skipping) for tail, end, skipping in moves})
        await feed.append(Batch(records=records, cursor=cursor), self._target)
        self._unsaved = False
        for tail, end, skipping in moves:
            tail.advance(end, skipping=skipping)
        return bool(moves)

    def _spans(self, tail: Tail, data: bytes, quiet_s: float) -> tuple[list[Span], int, bool]:
        """The records in `data`, the offset behind them, and whether that is inside a line that was cut."""
        start = tail.mark.offset
        if not data:
            return [], start, tail.mark.skipping
        if tail.mark.skipping:
            newline = data.find(b"\n")
            return [], start + (newline + 1 if newline >= 0 else len(data)), newline < 0
        whole = quiet_s >= PAUSE_S and (self._begins is not None or tail.replaced())
        spans = lines_of(data, start, whole=whole)
        found = list(grouped(spans, self._begins, whole=whole) if self._begins else spans)
        if found or len(data) < CHUNK_BYTES:
            return found, found[-1].end if found else start, False
        # A line, or a record of many, that is longer than a chunk: what is there is cut off and the rest left out.
        length = data.rfind(b"\n") + 1 or len(data)
        return [Span(data[:length], start + length)], start + length, not data[:length].endswith(b"\n")

    def _quiet_s(self, tail: Tail, now: float) -> float:
        """For how long the file has not changed."""
        if tail.changed() or tail.key not in self._quiet_since:
            self._quiet_since[tail.key] = now
        return now - self._quiet_since[tail.key]

    def _let_go_of_rotated(self, now_s: float) -> None:
        for tail in list(self._tails.values()):
            quiet_s = now_s - self._quiet_since.get(tail.key, now_s)
            if quiet_s > ROTATED_S and tail.finished() and tail.replaced():
                tail.close()
                del self._tails[tail.key], self._quiet_since[tail.key]
                self._unsaved = True

    def _records(self, tail: Tail, spans: Iterable[Span], now_ns: int) -> Iterator[Record]:
        stream = Labels({"source": "file", "filename": whole_text(str(tail.path)), **self._settings.labels})
        json_lines = {"auto": None, "plain": False, "json": True}[self._settings.format]
        maker = RecordMaker(stream, json_lines, self._settings.max_line)
        for number, span in enumerate(spans):
            record = maker.make(span.text, now_ns + number)
            if record is not None:
                yield record

    def _cursor(self, moved: dict[tuple[int, int], tuple[int, bool]]) -> Cursor:
        """The positions of all files, as they will be once this batch is stored."""
        files: list[Any] = []
        for tail in self._tails.values():
            mark = tail.mark
            if tail.key in moved:
                end, skipping = moved[tail.key]
                mark = tail.mark_at(end, skipping=skipping)
            files.append([str(tail.path), mark.as_list()])
        return Cursor(self._owner, json.dumps(files, separators=(",", ":")))

    def _close(self) -> None:
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()


async def doctor(settings: FileSettings, clock: Clock) -> Sequence[Check]:  # noqa: ARG001 - the Kind's shape
    """Is there a file, and may we read it?"""
    return [check for pattern in settings.paths for check in _look_at(pattern)]


def _look_at(pattern: str) -> Iterator[Check]:
    found = glob(str(Path(pattern).expanduser()), recursive=True)  # noqa: PTH207
    if not found:
        yield failed(f"{pattern} matches no file", "check the path; a relative one starts at the working directory")
    for match in found[:20]:
        try:
            with Path(match).open("rb"):
                yield ok(f"{match} can be read")
        except OSError as error:
            yield failed(f"{match}: {error.strerror}", "let the user that runs obskit read it")


def build(settings: FileSettings) -> Collector:
    """One collector for all files of these settings."""
    return FileCollector(settings)


KIND: Final = Kind(settings=FileSettings, build=build, doctor=doctor)
