"""Reads cold lines: which row groups of which objects a query needs, fetched one by one when their time has come.

What a manifest row or a footer can rule out (day, source, times, streams) is not fetched. What cannot be read is reported
and left out, as a broken block of a day's file is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from obskit.errors import ColdError
from obskit.model.labels import Labels
from obskit.model.matchers import Matcher
from obskit.store import telemetry
from obskit.store.cold.parts import COLD, Part, Parts
from obskit.store.log_blocks import TextBlock, lines_holding
from obskit.store.log_interface import TextTest
from obskit.store.matching import matching

if TYPE_CHECKING:  # a store without cold storage never loads what reads it
    from obskit.store.cold.parquet_reading import Footer, Group
    from obskit.store.cold.ranges import Ranges
    from obskit.store.cold.rows import Rows
    from obskit.store.cold.target import Target

_RANK: Final = -(1 << 60)
"""Cold lines are older than hot ones of the same time."""
_GROUPS: Final = 1 << 20

log = logging.getLogger(__name__)


class ColdGroup(NamedTuple):
    """A row group that may hold what is looked for. `streams` are those that match, as indices into the footer's."""

    part: Part
    footer: Footer
    group: Group
    rank: int
    streams: frozenset[int]

    @property
    def labels(self) -> list[Labels]:
        """The matching streams that have lines here."""
        return [self.footer.streams[at] for at in self.group.streams.tolist() if at in self.streams]


class ColdReading:
    """Reads what `Parts` knows from a target. Without one (it is not configured) nothing can be read, and it is said."""

    def __init__(self, parts: Parts, target: Target | None) -> None:
        self._parts = parts
        self._ranges = _ranges_of(target) if target is not None else None
        self._reported: set[str] = set()

    def days(self, first: int, last: int) -> set[int]:
        """The days of which something is stored."""
        return self._parts.stored_days(first, last)

    def instead_of(self, day: int, sealed: int) -> tuple[bool, list[Part]]:
        """Whether a day's file (it holds head rows up to `sealed`, 0: it is not there) is to be read, and which parts."""
        gone, parts = self._parts.stored(day)
        hot = sealed > gone
        return hot, [part for part in parts if part.state == COLD] if hot else parts

    def groups(
        self, parts: Sequence[Part], matchers: Sequence[Matcher], start_ns: int, end_ns: int
    ) -> Iterator[ColdGroup]:
        """The row groups of some parts that may hold lines of matching streams in a range of time."""
        of_source = [matcher for matcher in matchers if matcher.name == "source"]
        for part in parts:
            if part.t1_ns < start_ns or part.t0_ns >= end_ns:
                continue
            if not all(matcher.matches(part.source) for matcher in of_source):
                continue
            footer = self._footer(part)
            if footer is None:
                continue
            wanted = frozenset(matching(matchers, dict(enumerate(footer.streams))))
            for number, group in enumerate(footer.groups):
                within = group.t1_ns >= start_ns and group.t0_ns < end_ns
                if within and not wanted.isdisjoint(group.streams.tolist()):
                    yield ColdGroup(part, footer, group, _RANK + part.id * _GROUPS + number, wanted)

    def ahead(self, groups: Sequence[ColdGroup]) -> None:
        """These are wanted next."""
        if self._ranges is not None:
            for cold in groups:
                self._ranges.ahead(cold.part, cold.group.at, cold.group.size)

    def close(self) -> None:
        """Nothing more is fetched."""
        if self._ranges is not None:
            self._ranges.close()

    def block(
        self, cold: ColdGroup, start_ns: int, end_ns: int, needles: Sequence[bytes], worth: TextTest | None
    ) -> TextBlock | None:
        """The lines of a row group; None when none is looked for, or they cannot be read."""
        part = cold.part
        try:
            rows = self._rows(cold, needles, worth)
        except ColdError as error:
            self._report(part, error)
            return None
        except ValueError as error:
            self._report(part, ColdError(f"{part.key}: {error}", reason="corrupt"))
            return None
        if rows is None:
            return None
        by_text = {cold.footer.texts[at]: at for at in cold.group.streams.tolist()}
        places = [by_text.get(text, -1) for text in rows.streams]
        block = rows.block([cold.footer.streams[place] for place in places])
        mask = (block.times_ns >= start_ns) & (block.times_ns < end_ns)
        mask &= np.array([place in cold.streams for place in places])[block.stream_of]
        for needle in needles:
            if mask.any():
                mask = lines_holding(block, mask, needle)
        return block.choosing(mask) if mask.any() else None

    def _rows(self, cold: ColdGroup, needles: Sequence[bytes], worth: TextTest | None) -> Rows | None:
        """A row group; None when its text shows that nothing is looked for. Other columns are not read then."""
        from obskit.store.cold.parquet_reading import read_rows, read_text  # noqa: PLC0415 - see above
        from obskit.store.cold.rows import separated  # noqa: PLC0415

        assert self._ranges is not None, "there was a footer"
        group = cold.group
        data = self._ranges.read(cold.part, group.at, group.size)
        if group.is_utf8 and (needles or worth is not None):
            text, ends = read_text(group, data)
            if any(needle not in text for needle in needles):
                return None
            if worth is not None and not worth(separated(text, ends)):
                return None
        return read_rows(group, data)

    def _footer(self, part: Part) -> Footer | None:
        try:
            if self._ranges is None:
                raise ColdError(
                    "there are log lines in cold storage, and store.cold says nothing of it", reason="config"
                )
            return self._ranges.footer(part)
        except ColdError as error:
            self._report(part, error)
            return None

    def _report(self, part: Part, error: ColdError) -> None:
        """An object could not be read: said once for each."""
        telemetry.COLD_ERRORS.labels(error.reason).inc()
        what = part.key if self._ranges is not None else ""
        if what not in self._reported:
            self._reported.add(what)
            log.error("cold log lines cannot be read, they are left out: where=%s reason=%s", part.key, error)


def _ranges_of(target: Target) -> Ranges:
    from obskit.store.cold.ranges import Ranges  # noqa: PLC0415 - see above

    return Ranges(target)
