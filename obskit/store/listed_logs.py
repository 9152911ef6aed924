"""A LogReader over records in memory: what rule tests and tests of queries read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np

from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, match_all
from obskit.model.records import Record
from obskit.store.log_blocks import TextBlock, counts_of, encoded, whole_minutes
from obskit.store.log_interface import LogBlock, MinuteCounts, Records, Scan


class ListedLogs:
    """Records in order of time. Records of the same time keep the order in which they came."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._records = sorted(records, key=_time)

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
        found = self._chosen(matchers, self._between(start_ns, end_ns), tuple(containing))
        return iter(found[::-1] if newest_first else found)

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
        """As LogReader.blocks: one for each hour, with lines in it that are not chosen."""
        hours = [list(some) for _, some in groupby(self._between(start_ns, end_ns), key=_hour)]
        if scan is not None:
            scan.progress.bytes_total += sum(map(_bytes, hours))
        for records in reversed(hours) if newest_first else hours:
            if scan is not None:
                scan.progress.check()
                scan.progress.bytes_read += _bytes(records)
            chosen = set(map(id, self._chosen(matchers, records, tuple(containing))))
            if chosen:
                block = TextBlock.of(Records.of(records))
                if scan is None or scan.worth is None or scan.worth(block.data):
                    yield block.choosing(np.array([id(record) in chosen for record in records]))

    def counts(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> Iterator[MinuteCounts] | None:
        """As LogReader.counts."""
        if not whole_minutes(start_ns, end_ns):
            return None
        found = self._chosen(matchers, self._between(start_ns, end_ns), ())
        return counts_of(TextBlock.of(Records.of(found)))

    def streams(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> list[Labels]:
        """As LogReader.streams."""
        found = dict.fromkeys(record.stream for record in self._between(start_ns, end_ns))
        return [stream for stream in found if match_all(matchers, stream)]

    def _between(self, start_ns: int, end_ns: int) -> list[Record]:
        start = bisect_left(self._records, start_ns, key=_time)
        return self._records[start : bisect_left(self._records, end_ns, key=_time)]

    @staticmethod
    def _chosen(matchers: Sequence[Matcher], records: list[Record], containing: tuple[str, ...]) -> list[Record]:
        wanted: dict[Labels, bool] = {}
        for record in records:
            if record.stream not in wanted:
                wanted[record.stream] = match_all(matchers, record.stream)
        return [
            record for record in records if wanted[record.stream] and all(text in record.line for text in containing)
        ]


def _bytes(records: list[Record]) -> int:
    return sum(len(encoded(record.line)) for record in records)


def _time(record: Record) -> int:
    return record.t_ns


def _hour(record: Record) -> int:
    return record.t_ns // 3_600_000_000_000
