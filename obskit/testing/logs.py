"""MemoryLogs: a LogReader over a list of records, for tests of everything that reads logs."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Mapping, Sequence

from obskit.model.labels import Labels
from obskit.model.matchers import Matcher
from obskit.model.records import NO_METADATA, Record
from obskit.store.listed_logs import ListedLogs
from obskit.store.log_interface import LogBlock, Scan


class MemoryLogs(ListedLogs):
    """Records in memory, in order of time. Records of the same time keep the order in which they came."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        super().__init__(records)
        self.asked_for: list[tuple[str, ...]] = []
        """The `containing` of every select (and blocks), to see what a query hands down."""

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
        return super().select(matchers, start_ns, end_ns, containing=containing, newest_first=newest_first)

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
        """As LogReader.blocks."""
        self.asked_for.append(tuple(containing))
        within = (matchers, start_ns, end_ns)
        return super().blocks(*within, containing=containing, newest_first=newest_first, scan=scan)


def _time(record: Record) -> int:
    return record.t_ns
