"""Some lines of a batch for the matcher of log rules: one text, and their columns once somebody asks for them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import Labels
from obskit.model.matchers import Matcher
from obskit.model.records import whole_text
from obskit.rules.guards import Needle
from obskit.store.log_interface import Records, StreamText


class Chunk:
    """Some lines, which are searched as one text. `there`: the needles that may be in it, where that is known."""

    def __init__(self, records: Records, places: NDArray[np.int64], there: AbstractSet[Needle] | None = None) -> None:
        self.records = records
        self.places = places
        """Of its lines among the records."""
        self.there = there

    def line(self, at: int) -> str:
        """The text of a line of the chunk."""
        line: str = self.records.lines[self.places[at]]
        return line

    def record(self, at: int) -> tuple[Labels, int, str, Mapping[str, str]]:
        """A line of the chunk with all that belongs to it."""
        records, place = self.records, self.places[at]
        return records.streams[place], records.times_ns[place], records.lines[place], records.metadata[place]

    @cached_property
    def _metadata(self) -> list[Mapping[str, str]]:
        return [self.records.metadata[place] for place in self.places.tolist()]

    @cached_property
    def _lines(self) -> list[str]:
        return [self.records.lines[place] for place in self.places.tolist()]

    @cached_property
    def mappings(self) -> list[Mapping[str, str]]:
        """Metadata as its lines have them, each once: sources reuse them."""
        return list(dict(zip(map(id, self._metadata), self._metadata, strict=True)).values())

    @cached_property
    def _values(self) -> dict[str, set[str]]:
        """What values names have, of those that were asked for."""
        return {}

    @cached_property
    def has_metadata(self) -> bool:
        return any(self.mappings)

    def lines_of(self, matcher: Matcher) -> list[int]:
        """The lines whose metadata have a label, and satisfy a matcher with it."""
        name = matcher.name
        if name not in self._values:
            self._values[name] = {metadata[name] for metadata in self.mappings if name in metadata}
        wanted = {value for value in self._values[name] if matcher.matches(whole_text(value))}
        if not wanted:
            return []
        return [place for place, metadata in enumerate(self._metadata) if metadata.get(name) in wanted]

    @cached_property
    def data(self) -> bytes:
        return "\n".join(self._lines).encode(errors="surrogatepass")

    @cached_property
    def _ends(self) -> list[int]:
        """Where each line ends in `data`, with the separator."""
        lengths = list(map(len, self._lines))
        if sum(lengths) + len(lengths) - 1 != len(self.data):
            lengths = [len(line.encode(errors="surrogatepass")) for line in self._lines]
        return list(accumulate(length + 1 for length in lengths))

    @cached_property
    def by_stream(self) -> Sequence[Sequence[int]]:
        """The lines of each stream."""
        grouped: dict[int, list[int]] = {}
        for at, place in enumerate(self.places.tolist()):
            grouped.setdefault(id(self.records.streams[place]), []).append(at)
        return [*grouped.values()]

    def lines_with(self, needle: Needle) -> list[int]:
        """The lines that a needle is found in; some more where a pattern matches over the end of a line."""
        data, places = self.data, []
        if needle.literal:
            text = needle.data
            found = data.find(text)
            while found >= 0:
                places.append(place := bisect_right(self._ends, found))
                found = data.find(text, self._ends[place])
            return places
        search = needle.compiled().search
        match = search(data)
        while match is not None:
            places.append(place := bisect_right(self._ends, match.start()))
            if place + 1 == len(self.places):
                break
            match = search(data, self._ends[place])
        return places


class SearchedText:
    """A text of the store, and the needles that are in it."""

    def __init__(self, text: StreamText, there: AbstractSet[Needle]) -> None:
        self.text = text
        self.there = there
        self._values: dict[str, set[str]] = {}
        self._lines_of: dict[Matcher, list[int]] = {}

    @cached_property
    def mappings(self) -> list[Mapping[str, str]]:
        """Mappings with such keys as its lines have."""
        return [dict.fromkeys(shape, "") for shape in self.text.metadata.shapes]

    def lines_of(self, matcher: Matcher) -> list[int]:
        """The lines whose metadata have a label, and satisfy a matcher with it."""
        lines = self._lines_of.get(matcher)
        if lines is None:
            name, metadata = matcher.name, self.text.metadata
            if name not in self._values:
                self._values[name] = metadata.values_of(name)
            wanted = {value for value in self._values[name] if matcher.matches(whole_text(value))}
            lines = self._lines_of[matcher] = metadata.lines_with(name, wanted).tolist()
        return lines


class TextChunk(Chunk):
    """Lines of one stream whose text is there already."""

    def __init__(self, records: Records, searched: SearchedText, start: int, end: int) -> None:
        super().__init__(records, searched.text.order[start:end], searched.there)
        self._searched = searched
        self._range = start, end

    @property
    def mappings(self) -> list[Mapping[str, str]]:
        return self._searched.mappings

    @property
    def has_metadata(self) -> bool:
        return not self._searched.text.metadata.empty

    def lines_of(self, matcher: Matcher) -> list[int]:
        start, end = self._range
        lines = self._searched.lines_of(matcher)
        if not lines:
            return lines
        return [line - start for line in lines[bisect_left(lines, start) : bisect_left(lines, end)]]

    @cached_property
    def data(self) -> bytes:
        (start, end), text = self._range, self._searched.text
        return text.data[int(text.starts[start]) : int(text.ends[end - 1])]

    @cached_property
    def _ends(self) -> list[int]:
        (start, end), text = self._range, self._searched.text
        ends: list[int] = (text.ends[start:end] - text.starts[start] + 1).tolist()
        return ends

    @property
    def by_stream(self) -> Sequence[Sequence[int]]:
        return [range(len(self.places))]
