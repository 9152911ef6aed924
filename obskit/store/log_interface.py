"""The store's view of log lines for everybody else: the columns in which they come in, and LogReader to read them.

The embedded store, remote back ends and lists in memory are readers; LogQL does not know which one it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from obskit.errors import QueryError
from obskit.model.labels import Labels
from obskit.model.matchers import Matcher
from obskit.model.records import NO_METADATA, Record
from obskit.store.metadata_table import MetadataTable
from obskit.store.text_search import Answers

MINUTE_NS: Final = 60_000_000_000


@dataclass(frozen=True, slots=True)
class StreamText:
    """Lines of some records once more, as one text, stream by stream: those of `streams[k]` from `edges[k]` to `edges[k + 1]`.

    Line `i` is `data[starts[i]:ends[i]]` (UTF-8, as in LogBlock) of the record at `order[i]`; between two lines lies one
    byte. The lines of a stream are in the order of the records.
    """

    streams: Sequence[Labels]
    edges: Sequence[int]
    order: NDArray[np.int64]
    data: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    metadata: MetadataTable
    found: Answers
    """What there is in `data` of all that was looked for when it came."""


@dataclass(slots=True)
class Records(Sequence[Record]):
    """Records as columns of one length: the form in which they are appended. A Record is made only when asked for.

    Reuse Labels objects: the store finds a stream it knows by identity first.
    """

    streams: list[Labels] = field(default_factory=list)
    times_ns: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    metadata: list[Mapping[str, str]] = field(default_factory=list)
    """NO_METADATA where a line has none."""
    texts: Sequence[StreamText] = field(default=(), compare=False, repr=False)
    """All lines by stream, where the store has them so: of what it tells its subscribers. Nothing is added then."""

    @classmethod
    def of(cls, records: Iterable[Record]) -> Records:
        """The columns of some records; themselves if they are columns."""
        if isinstance(records, Records):
            return records
        columns = cls()
        for record in records:
            columns.add(record.stream, record.t_ns, record.line, record.metadata)
        return columns

    def add(self, stream: Labels, t_ns: int, line: str, metadata: Mapping[str, str] = NO_METADATA) -> None:
        """Append one record."""
        self.streams.append(stream)
        self.times_ns.append(t_ns)
        self.lines.append(line)
        self.metadata.append(metadata)

    def extend(self, more: Records) -> None:
        """Append all of the others."""
        self.streams += more.streams
        self.times_ns += more.times_ns
        self.lines += more.lines
        self.metadata += more.metadata

    def take(self, indices: Sequence[int]) -> Records:
        """Some of them, in this order."""
        return Records(
            [self.streams[i] for i in indices],
            [self.times_ns[i] for i in indices],
            [self.lines[i] for i in indices],
            [self.metadata[i] for i in indices],
        )

    def __len__(self) -> int:
        return len(self.lines)

    def __iter__(self) -> Iterator[Record]:
        return map(Record, self.streams, self.times_ns, self.lines, self.metadata)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> Record | Records:
        if isinstance(index, slice):
            return Records(self.streams[index], self.times_ns[index], self.lines[index], self.metadata[index])
        return Record(self.streams[index], self.times_ns[index], self.lines[index], self.metadata[index])


class LogBlock(Protocol):
    """Some lines of one or several streams, flat: so that a search runs over all of them at once. Nobody changes it.

    `times_ns`, `starts` and `ends` ascend: line `i` is `data[starts[i]:ends[i]]` (UTF-8, lone surrogates let through) of
    stream `streams[stream_of[i]]`. Between two lines lies nothing or one byte; a line may hold any byte itself.
    `chosen` are the indices of the lines that were asked for, ascending: the others may be looked at, but do not count.
    """

    @property
    def streams(self) -> Sequence[Labels]: ...
    @property
    def stream_of(self) -> NDArray[np.int32]: ...
    @property
    def times_ns(self) -> NDArray[np.int64]: ...
    @property
    def data(self) -> bytes: ...
    @property
    def starts(self) -> NDArray[np.int64]: ...
    @property
    def ends(self) -> NDArray[np.int64]: ...
    @property
    def chosen(self) -> NDArray[np.int64]: ...
    @property
    def metadata_names(self) -> Collection[str]:
        """The names that metadata of its lines may have."""
        ...

    def metadata_column(self, name: str) -> NDArray[np.object_]:
        """The values of one name, by line; None where a line has none."""
        ...

    def line(self, index: int) -> str:
        """The text of a line."""
        ...

    def metadata(self, index: int) -> Mapping[str, str]:
        """The metadata of a line."""
        ...

    def record(self, index: int) -> Record:
        """A line with all that belongs to it."""
        ...


MinuteCounts = tuple[Labels, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""A stream, some minutes (ascending), and for each how many lines and bytes of lines there are."""


TextTest = Callable[[bytes], bool]
"""Whether some line of a text, in which one newline stands between two lines, may be wanted."""


class Progress:
    """How far a query over log lines is, and a way to end it. For every thread.

    Bytes are those of the lines as they came in; what is left out because nothing can be in it counts as read.
    """

    def __init__(self) -> None:
        self.bytes_total = 0
        self.bytes_read = 0
        self.lines_found = 0
        self._stopped = False

    def stop(self) -> None:
        """The query ends with a QueryError before it looks at the next block."""
        self._stopped = True

    def check(self) -> None:
        """QueryError when it was stopped."""
        if self._stopped:
            raise QueryError("the query was cancelled")


@dataclass(frozen=True, slots=True)
class Scan:
    """A run over blocks: those whose text is not `worth` a look may be left out, and `progress` is told how far it is.

    `worth` is asked in any thread and leaves the interpreter to others; `holds` is the same of what would stop them, and
    asked by whoever takes the blocks.
    """

    worth: TextTest | None = None
    holds: TextTest | None = None
    progress: Progress = field(default_factory=Progress)


class LogReader(Protocol):
    """Reads records. Synchronous, as MetricReader.

    All but `streams` raise QueryError when there is more to read than the limits let (bytes, time).
    """

    def select(
        self,
        matchers: Sequence[Matcher],
        start_ns: int,
        end_ns: int,
        *,
        containing: Sequence[str] = (),
        newest_first: bool = False,
    ) -> Iterator[Record]:
        """Records with `start_ns <= t < end_ns` of every stream that satisfies all matchers, in order of time.

        `containing` is a hint: lines without all of these substrings may be left out (they need not be).
        """
        ...

    def blocks(
        self,
        matchers: Sequence[Matcher],
        start_ns: int,
        end_ns: int,
        *,
        containing: Sequence[str] = (),
        newest_first: bool = False,
        scan: Scan | None = None,
    ) -> Iterator[LogBlock]:
        """What `select` would return as blocks: each record is chosen in one of them, unless `containing` leaves it out.

        Blocks come in the order of their first times (newest first: of their last), but may overlap. None is empty of
        chosen lines. QueryError, too, when the scan's `progress` is stopped.
        """
        ...

    def counts(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> Iterator[MinuteCounts] | None:
        """Lines and bytes per stream and minute of `start_ns <= t < end_ns`, without a look at the lines.

        A minute `m` is `m < t <= m + 60 s`, as the windows of LogQL are. None when the range is not made of whole ones:
        when `start_ns - 1` or `end_ns - 1` is no multiple of a minute.
        """
        ...

    def streams(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[Labels]:
        """The streams that have a record in the range."""
        ...
