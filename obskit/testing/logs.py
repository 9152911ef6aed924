"""MemoryLogs: a LogReader over a list of records, for tests of everything that reads logs."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence

from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, match_all
from obskit.model.records import NO_METADATA, Record


class MemoryLogs:
    """Records in memory, in order of time. Records of the same time keep the order in which they came."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._records = sorted(records, key=_time)
        self.asked_for: list[tuple[str, ...]] = []
        """The `containing` of every select, to see what a query hands down."""

    def add(self, stream: Labels, t_ns: int, line: str, metadata: Mapping[str, str] = NO_METADATA) -> None:
        """One more line."""
        insort(self._records, Record(stream, t_ns, line, metadata), key=_time)

    def select(
        self,
        matchers: Sequence[Matcher],
        start_ns: int,
        end_ns: int,
        *,
        containing: Sequence[str] = (),
        newest_first: bool = False,
    ) -> Iterator[Record]:
        """As LogReader.select; uses the hint, as a store with a token index would."""
        self.asked_for.append(tuple(containing))
        return self._selected(matchers, self._between(start_ns, end_ns), tuple(containing), newest_first)

    def streams(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[Labels]:
        """As LogReader.streams."""
        found = dict.fromkeys(record.stream for record in self._between(start_ns, end_ns))
        return [stream for stream in found if match_all(matchers, stream)]

    def _between(self, start_ns: int, end_ns: int) -> list[Record]:
        start = bisect_left(self._records, start_ns, key=_time)
        return self._records[start : bisect_left(self._records, end_ns, key=_time)]

    @staticmethod
    def _selected(
        matchers: Sequence[Matcher], records: list[Record], containing: tuple[str, ...], newest_first: bool
    ) -> Iterator[Record]:
        wanted: dict[Labels, bool] = {}
        for record in reversed(records) if newest_first else records:
            stream = record.stream
            if stream not in wanted:
                wanted[stream] = match_all(matchers, stream)
            if wanted[stream] and all(text in record.line for text in containing):
                yield record


def _time(record: Record) -> int:
    return record.t_ns
