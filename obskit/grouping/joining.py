"""Stack traces that came as one record per line, joined to one for grouping: the store keeps the lines as they came.

A line that begins a trace waits for those of its stream that go on with it. It is let go when another line comes, at
the limits, or when nothing came for a second. What turns out to be no trace is given on line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from obskit.model.labels import Labels
from obskit.model.patterns import compile_pattern
from obskit.model.records import Record
from obskit.store.log_interface import Records

HOLD_S: Final = 1.0
"""How long a trace waits for its next line, as lines come and by their own times."""
MAX_LINES: Final = 500
MAX_LENGTH: Final = 65_536
MAX_OPEN: Final = 256
_READ: Final = 2_048
"""So much of a line is looked at, as in traces.py."""

_HEAD: Final = re.compile(
    r"(?P<python>.{0,256}Traceback \(most recent call last\):\s*$)"
    r"|(?P<go>(?:.{0,64}\s)?(?:panic|fatal error): |goroutine \d+ \[)"
    r"|(?P<rust>.{0,64}thread '[^']*'(?: \(\d+\))? panicked at )"
    r"|(?P<ruby>\S+\.rb:\d+:in [`'])"
    r"|(?P<php>(?:.{0,128}\s)?Uncaught .*? in \S+:\d+$)"
    r"|(?P<other>(?:Exception in thread \"[^\"]*\" |Uncaught (?:\(in promise\) )?)?"
    r"(?:[a-zA-Z_$][\w$]*\.)*[A-Z]?[\w$]*(?:Error|Exception|Throwable)(?: \[[\w-]+\])?(?::.*)?$)"
)
# Most errors are no head, and this one tells so in a tenth of the time: it is RE2.
_MAY_BEGIN: Final = compile_pattern(
    r"Traceback \(most|panic: |fatal error: |goroutine \d| panicked at |\.rb:\d+:in |Uncaught |Exception in thread "
    r"|(?:^|\n)[\w$.]*(?:Error|Exception|Throwable)(?: \[[\w-]+\])?(?::|\n|$)"
)
_FOLLOWS: Final = re.compile(
    r"\s+\S|\s*$|Caused by: |\.\.\. \d+ |stack backtrace:|note: run with |Stack trace:|#\d+ |\S+\.rb:\d+:in [`']|\}$"
)
_FOLLOWS_GO: Final = re.compile(r"\S+\(.*\)$|goroutine \d+ |created by |exit status \d|\[signal |\[recovered\]")
_CHAIN: Final = re.compile(r"During handling of the above exception|The above exception was the direct cause")
_THROWN: Final = re.compile(r"[A-Za-z_][\w.]*(?:: .*|:?$)")
_FRAME: Final = re.compile(
    r"\s+at |[ |+]*File \"|goroutine \d+ \[|\s+\d+: |#\d+ |\s*(?:from )?\S+\.rb:\d+:in |note: run with"
)
_LOUD: Final = re.compile(r"(?<![\w./-])(?:ERROR|CRITICAL|FATAL|SEVERE|error|critical|fatal)(?![\w./-])")
_LEVELS: Final = frozenset({"level", "severity", "detected_level", "severity_text", "lvl", "loglevel", "levelname"})


@dataclass(slots=True)
class _Open:
    """A trace that may go on. `ends` says that a Python exception was named, `chained` that its cause comes next."""

    kind: str
    since_s: float
    records: list[tuple[Record, bool]]
    """With whether each is looked at alone, where it is no trace."""
    length: int = 0
    framed: bool = False
    ends: bool = False
    chained: bool = False

    def add(self, record: Record, alone: bool, now_s: float) -> None:
        self.records.append((record, alone))
        self.length += len(record.line) + 1
        self.framed = self.framed or _FRAME.match(record.line[:_READ]) is not None
        self.since_s = now_s

    def goes_on_with(self, record: Record) -> bool:
        """Whether a line is one of the trace. Asked once for each, in order."""
        line, last = record.line, self.records[-1][0]
        if len(self.records) >= MAX_LINES or self.length + len(line) > MAX_LENGTH or not _soon_after(last, record):
            return False
        line = line[:_READ]
        if _FOLLOWS.match(line):
            return True
        if self.kind == "go":
            return _FOLLOWS_GO.match(line) is not None
        if self.kind == "rust":
            return len(self.records) == 1 and last.line.endswith(":")
        return self.kind == "python" and self._goes_on_in_python(line)

    def _goes_on_in_python(self, line: str) -> bool:
        if self.chained and "Traceback (most recent call last):" in line:
            self.chained = self.ends = False
            return True
        if self.ends:
            self.chained = _CHAIN.match(line) is not None
            return self.chained
        self.ends = self.framed and _THROWN.match(line) is not None
        return self.ends


@dataclass(slots=True)
class Joiner:
    """Traces that are open, by stream; those whose lines came last at the end."""

    _open: dict[Labels, _Open] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._open)

    def join(self, records: Records, found: Records, now_s: float) -> Records:
        """What is to be looked at: `found`, which are some of `records`, but traces as one. A trace that may go on is
        kept back."""
        wanted = _streams_with_heads(found)
        if self._open:
            wanted |= self._open.keys() & set(records.streams)
        if not wanted:
            return found
        alone = set(map(id, found.lines))
        joined = [record for record in found if record.stream not in wanted]
        before: dict[Labels, Record] = {}
        for place, stream in enumerate(records.streams):
            if stream in wanted:
                record = records[place]
                self._feed(record, id(record.line) in alone, joined, before, now_s)
        while len(self._open) > MAX_OPEN:
            joined += _closed(self._open.pop(next(iter(self._open))))
        return Records.of(joined)

    def let_go(self, before_s: float | None = None) -> Records:
        """Traces to which nothing was added since; all of them without a time."""
        due = [stream for stream, one in self._open.items() if before_s is None or one.since_s <= before_s]
        return Records.of([record for stream in due for record in _closed(self._open.pop(stream))])

    def _feed(
        self, record: Record, alone: bool, joined: list[Record], before: dict[Labels, Record], now_s: float
    ) -> None:
        stream = record.stream
        trace = self._open.pop(stream, None)
        if trace is not None:
            if trace.goes_on_with(record):
                trace.add(record, alone, now_s)
                self._open[stream] = trace
                return
            joined += _closed(trace)
        line = record.line[:_READ]
        head = _HEAD.match(line) if alone and "\n" not in record.line and _may_begin(line) else None
        last = before.pop(stream, None)
        if head is not None:
            begun = self._open[stream] = _Open(head.lastgroup or "", now_s, [])
            if last is not None and _soon_after(last, record) and _LOUD.search(last.line, 0, 256):
                joined[:] = [one for one in joined if one is not last]
                begun.add(last, True, now_s)
            begun.add(record, True, now_s)
        elif alone:
            joined.append(record)
            if "\n" not in record.line and not record.line.startswith("{"):
                before[stream] = record


def _streams_with_heads(found: Records) -> set[Labels]:
    lines = [line[:_READ] for line in found.lines]
    if not _may_begin("\n".join(lines)):
        return set()
    pairs = zip(found.streams, lines, strict=True)
    return {stream for stream, line in pairs if _may_begin(line) and _HEAD.match(line)}


def _may_begin(text: str) -> bool:
    try:
        return _MAY_BEGIN.search(text) is not None
    except UnicodeEncodeError:  # half of a surrogate pair, which RE2 cannot be given
        return True


def _soon_after(last: Record, record: Record) -> bool:
    return abs(record.t_ns - last.t_ns) <= HOLD_S * 1_000_000_000


def _closed(trace: _Open) -> Iterable[Record]:
    if len(trace.records) == 1 or not trace.framed:
        return [record for record, alone in trace.records if alone]
    first = trace.records[0][0]
    # What prints a trace line by line gives every line of it the same level, mostly a mild one: the text says it better.
    metadata = {name: value for name, value in first.metadata.items() if name not in _LEVELS}
    return [Record(first.stream, first.t_ns, "\n".join(record.line for record, _ in trace.records), metadata)]
