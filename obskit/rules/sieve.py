"""The combined matcher of all log rules: each line is looked at once, and only the rules it may concern see more of it.

Streams choose the leaves; one RE2 set over many lines at once, which the store has read already where they come from it, says
which of their guards are there at all, a search for each of those in which lines. What a line gives is decided by the leaf's own pipeline, in sampler.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property, lru_cache
from itertools import chain, dropwhile, pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from obskit.logql.entries import Entry, Step, own_labels
from obskit.logql.filters import condition_step
from obskit.logql.log_nodes import JsonStage, LabelFilter, LineFilter, LogfmtStage
from obskit.logql.pipeline import Pipeline
from obskit.logql.samples import Extraction, Sampler
from obskit.logql.stages import Demands, steps
from obskit.model.labels import Labels
from obskit.model.matchers import match_all
from obskit.rules.guards import Guard, Needle, guard_of
from obskit.rules.line_chunks import Chunk, SearchedText, TextChunk
from obskit.store.log_interface import Records, StreamText
from obskit.store.text_search import PatternSet, Question

CHUNK: Final = 1_000
_FEW: Final = 5
_RUN: Final = 100
"""So many lines of a stream in a row are looked at by themselves."""
_MEMORY: Final = 20_000
_SERIES: Final = 2_000


class Kind:
    """One extraction that rules ask for, ready to be made of lines.

    Where a query parses the line and then asks for a label, `parse` and `condition` are these: many rules parse the
    same lines in the same way, and only the lines for which the condition holds need go through the whole pipeline.
    Kinds with the same parser have the same `parse`. `of_labels`: what a line gives depends on its stream and metadata,
    once the sampler accepts it.
    """

    parse: Step | None
    condition: Step | None

    def __init__(self, extraction: Extraction) -> None:
        self.extraction = extraction
        self.sampler = Sampler(extraction)
        self.containing = Pipeline(extraction.query, extraction.demands(0)).containing
        self.guard = guard_of(extraction.query)
        self._series: dict[tuple[Labels, object], Labels | None] = {}
        self.parse, self.condition = None, None
        after = list(dropwhile(lambda stage: isinstance(stage, LineFilter), extraction.query.stages))
        self.of_labels = self.sampler.counting and all(isinstance(stage, LabelFilter) for stage in after)
        match [stage for stage in extraction.query.stages if not isinstance(stage, LineFilter)]:
            case [(JsonStage() | LogfmtStage()) as parser, LabelFilter() as asked, *_]:
                self.parse, self.condition = _parser_step(parser), condition_step(asked.condition)

    def series_of(
        self, key: object, stream: Labels, t_ns: int, line: str, metadata: Mapping[str, str]
    ) -> Labels | None:
        """The series of an accepted line where only its stream and the key of its metadata matter; None where it has none."""
        if (stream, key) in self._series:
            return self._series[stream, key]
        if self.sampler.bare:
            series: Labels | None = self.sampler.bare_series(stream, metadata)
        else:
            sampled = self.sampler.sample(stream, t_ns, line, metadata)
            series = None if sampled is None else sampled[0]
        if len(self._series) >= _SERIES:
            self._series.clear()
        self._series[stream, key] = series
        return series


@lru_cache(maxsize=64)
def _parser_step(parser: JsonStage | LogfmtStage) -> Step:
    (step,) = steps((parser,), Demands())
    return step


class Found(NamedTuple):
    """Which records gave samples of one series, by their places (ascending), and the values; None where each is 1."""

    places: NDArray[np.int64]
    values: NDArray[np.float64] | None


class _Finds:
    """The samples of one series as they are found: many at a time, or one."""

    __slots__ = ("_many", "_places", "_values")

    def __init__(self, *, counting: bool) -> None:
        self._many: list[NDArray[np.int64]] = []
        self._places: list[int] = []
        self._values: list[float] | None = None if counting else []

    def add(self, place: int, value: float) -> None:
        self._places.append(place)
        if self._values is not None:
            self._values.append(value)

    def add_many(self, places: NDArray[np.int64], lengths: Iterable[float]) -> None:
        if self._values is None:
            self._many.append(places)
        else:
            self._places += places.tolist()
            self._values += lengths

    def in_order(self) -> Found:
        """In the order of the records, however they were looked at."""
        places = np.concatenate([*self._many, np.array(self._places, np.int64)])
        values = None if self._values is None else np.array(self._values, np.float64)
        if bool((places[1:] < places[:-1]).any()):
            order = np.argsort(places, kind="stable")
            places, values = places[order], None if values is None else values[order]
        return Found(places, values)


Sifted = dict[Kind, dict[Labels, Found]]
_Sifting = dict[Kind, dict[Labels, _Finds]]


class Sieve:
    """Takes lines, gives the samples they are for each kind."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self._kinds = kinds
        self._search = _Search(needle for kind in kinds if kind.guard is not None for needle in kind.guard.needles)
        self._plans: dict[tuple[tuple[int, bool], ...], _Plan] = {}
        self._by_labels: dict[Labels, _Plan] = {}
        self._by_identity: dict[int, tuple[Labels, _Plan]] = {}

    def sift(self, records: Records) -> Sifted:
        """The samples of some records, by kind and series."""
        sifted: _Sifting = {}
        for plan, chunk in self._chunks(records):
            plan.sift(chunk, sifted)
        return {
            kind: {labels: finds.in_order() for labels, finds in of_kind.items()} for kind, of_kind in sifted.items()
        }

    @property
    def question(self) -> Question:
        """What the store is to look for in lines, so that nobody has to do it here."""
        return self._search.question

    def _chunks(self, records: Records) -> Iterator[tuple[_Plan, Chunk]]:
        """The lines that concern anybody, some at a time, by who that may be."""
        if not records.texts:
            for plan, places in self._by_plan(records.streams):
                yield from ((plan, Chunk(records, some)) for some in _split(np.array(places)))
        left: dict[_Plan, list[NDArray[np.int64]]] = {}
        there: AbstractSet[Needle] = frozenset()
        for text in records.texts:
            searched = SearchedText(text, self._search.found_by_store(text))
            there |= searched.there
            plans = self._plans_of(text.streams)
            for stream, (start, end) in zip(text.streams, pairwise(text.edges), strict=True):
                plan = plans[id(stream)][1]
                if plan.concerns and end - start < _RUN:
                    left.setdefault(plan, []).append(text.order[start:end])
                elif plan.concerns:
                    yield plan, TextChunk(records, searched, start, end)
        for plan, lines in left.items():
            yield from ((plan, Chunk(records, some, there)) for some in _split(np.concatenate(lines)))

    def _by_plan(self, streams: list[Labels]) -> Iterable[tuple[_Plan, Sequence[int]]]:
        """The lines that concern anybody, by who that may be."""
        plans = {number: plan for number, (_, plan) in self._plans_of(streams).items()}
        if len({id(plan) for plan in plans.values()}) == 1:
            plan = plans.popitem()[1]
            return [(plan, range(len(streams)))] if plan.concerns else []
        places: dict[_Plan, list[int]] = {}
        for place, stream in enumerate(streams):
            plan = plans[id(stream)]
            if plan.concerns:
                places.setdefault(plan, []).append(place)
        return places.items()

    def concerned(self, records: Records) -> dict[int, tuple[Labels, Sequence[Kind]]]:
        """The distinct streams by identity (those of the texts, where there are any), and whom each may concern."""
        streams = chain.from_iterable(text.streams for text in records.texts) if records.texts else records.streams
        return {number: (stream, plan.kinds) for number, (stream, plan) in self._plans_of(streams).items()}

    def _plans_of(self, streams: Iterable[Labels]) -> dict[int, tuple[Labels, _Plan]]:
        known = self._by_identity
        distinct = {id(stream): stream for stream in streams}
        return {number: known.get(number) or self._plan(stream) for number, stream in distinct.items()}

    def _plan(self, stream: Labels) -> tuple[Labels, _Plan]:
        plan = self._by_labels.get(stream)
        if plan is None:
            if len(self._by_labels) >= _MEMORY:
                self._by_labels.clear()
            plan = self._by_labels[stream] = self._plan_for(stream)
        if len(self._by_identity) >= _MEMORY:
            self._by_identity.clear()
        self._by_identity[id(stream)] = found = (stream, plan)  # held, so that nobody else gets its number
        return found

    def _plan_for(self, stream: Labels) -> _Plan:
        key = tuple(
            (place, kind.guard is not None and kind.guard.holds_for(stream))
            for place, kind in enumerate(self._kinds)
            if match_all(kind.extraction.query.matchers, stream)
        )
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = _Plan([(self._kinds[place], guarded) for place, guarded in key], self._search)
        return plan


class _Plan:
    """What is asked of the lines of streams that concern the same kinds."""

    def __init__(self, kinds: Sequence[tuple[Kind, bool]], search: _Search) -> None:
        self.kinds = [kind for kind, _ in kinds]
        self._search = search
        self._open: list[Kind] = []
        self._guarded: list[tuple[Kind, Guard]] = []
        for kind, guarded in kinds:
            if guarded and kind.guard is not None:
                self._guarded.append((kind, kind.guard))
            else:
                self._open.append(kind)
        self._of_needle: dict[Needle, list[int]] = {}
        for number, (_, guard) in enumerate(self._guarded):
            for needle in guard.needles:
                self._of_needle.setdefault(needle, []).append(number)
        self._of_metadata = [
            (number, guard.matcher) for number, (_, guard) in enumerate(self._guarded) if guard.matcher is not None
        ]
        self.concerns = bool(self._open or self._guarded)

    def sift(self, chunk: Chunk, sifted: _Sifting) -> None:
        """Add the samples of some lines."""
        stepwise: dict[int, list[Kind]] = {}
        for kind, places in self._candidates(chunk):
            if kind.sampler.bare or kind.of_labels:
                _take_by_labels(kind, chunk, places, sifted)
            else:
                for place in places:
                    stepwise.setdefault(place, []).append(kind)
        for place, kinds in stepwise.items():
            parsed = _Parsed(chunk, place)
            for kind in kinds:
                if kind.parse is None or kind.condition is None or parsed.passes(kind.parse, kind.condition):
                    _take_stepwise(kind, chunk, place, sifted)

    def _candidates(self, chunk: Chunk) -> Iterator[tuple[Kind, Sequence[int]]]:
        for kind in self._open:
            yield kind, range(len(chunk.places))
        if not self._guarded:
            return
        hits = self._hits(chunk)
        metadata: dict[int, list[int]] = {}
        if chunk.has_metadata:
            metadata = {number: lines for number, matcher in self._of_metadata if (lines := chunk.lines_of(matcher))}
        for number in sorted(set(chain(metadata, *(self._of_needle[needle] for needle in hits)))):
            kind, guard = self._guarded[number]
            places = [hits[needle] for needle in guard.needles if needle in hits]
            if number in metadata:
                places.append(metadata[number])
            yield kind, places[0] if len(places) == 1 else sorted(set().union(*places))

    def _hits(self, chunk: Chunk) -> dict[Needle, list[int]]:
        """The needles that are there, and in which lines."""
        needles = self._of_needle.keys()
        if chunk.there is not None:
            there: Iterable[Needle] = needles & chunk.there
        elif len(needles) < _FEW and all(needle.literal for needle in needles):
            there = needles
        else:
            there = needles & self._search.found_in(chunk.data)
        hits = {needle: chunk.lines_with(needle) for needle in there}
        return {needle: places for needle, places in hits.items() if places}


class _Search:
    """All needles at once: the store looks for them in what is appended, an RE2 set of our own in other lines."""

    def __init__(self, needles: Iterable[Needle]) -> None:
        self._needles = list(dict.fromkeys(needles))
        self.question = Question(needle.pattern for needle in self._needles)

    def found_in(self, data: bytes) -> AbstractSet[Needle]:
        """Those that are somewhere in a text."""
        return frozenset(map(self._needles.__getitem__, self._set.found_in(data)))

    def found_by_store(self, text: StreamText) -> AbstractSet[Needle]:
        """The same for a text of the store."""
        numbers = text.found.get(self.question)
        if numbers is None:  # it came before these rules
            return self.found_in(text.data)
        return frozenset(map(self._needles.__getitem__, numbers))

    @cached_property
    def _set(self) -> PatternSet:
        return PatternSet(self.question.patterns)


class _Parsed:
    """A line, parsed once for all kinds that do so."""

    def __init__(self, chunk: Chunk, place: int) -> None:
        self._stream, _, self._line, self._metadata = chunk.record(place)
        self._entries: dict[Step, Entry] = {}

    def passes(self, parse: Step, condition: Step) -> bool:
        """Whether a condition may hold for the parsed line. Whether a bad line fails depends on what is asked of it."""
        entry = self._entries.get(parse)
        if entry is None:
            entry = self._entries[parse] = Entry(0, self._line, *own_labels(self._stream, self._metadata), self._stream)
            parse(entry)
        failed = entry.failed
        passes = failed or condition(entry)
        if entry.failed != failed:
            del self._entries[parse]  # that condition failed: the others must not see it
        return passes


def _split(places: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    return (places[begin : begin + CHUNK] for begin in range(0, len(places), CHUNK))


def _finds(kind: Kind, labels: Labels, sifted: _Sifting) -> _Finds:
    of_kind = sifted.setdefault(kind, {})
    finds = of_kind.get(labels)
    if finds is None:
        finds = of_kind[labels] = _Finds(counting=kind.sampler.counting)
    return finds


def _take_by_labels(kind: Kind, chunk: Chunk, places: Sequence[int], sifted: _Sifting) -> None:
    """Lines that give the same where stream and metadata are alike: one of them is looked at."""
    sampler = kind.sampler
    if sampler.accepts is not None:
        accepts, line = sampler.accepts, chunk.line
        places = [place for place in places if accepts(line(place))]
    if not places:
        return
    for key, some in _alike(kind, chunk, places):
        labels = kind.series_of(key, *chunk.record(some[0]))
        if labels is not None:
            taken = chunk.places if len(some) == len(chunk.places) else chunk.places[some]
            lengths = () if sampler.counting else [sampler.length(chunk.line(place)) for place in some]
            _finds(kind, labels, sifted).add_many(taken, lengths)


def _alike(kind: Kind, chunk: Chunk, places: Sequence[int]) -> Iterable[tuple[object, Sequence[int]]]:
    """The lines of one stream and such metadata as matter, together."""
    metadata_key = kind.sampler.metadata_key
    if len(places) == len(chunk.places) and not any(map(metadata_key, chunk.mappings)):
        return [((), of_stream) for of_stream in chunk.by_stream]
    streams, mappings = chunk.records.streams, chunk.records.metadata
    keys: dict[int, object] = {}  # by identity: sources reuse their mappings
    grouped: dict[tuple[int, object], list[int]] = {}
    for place, at in zip(places, chunk.places[places].tolist(), strict=True):
        metadata = mappings[at]
        key = keys.get(id(metadata))
        if key is None:
            key = keys[id(metadata)] = metadata_key(metadata)
        grouped.setdefault((id(streams[at]), key), []).append(place)
    return [(key, some) for (_, key), some in grouped.items()]


def _take_stepwise(kind: Kind, chunk: Chunk, place: int, sifted: _Sifting) -> None:
    sampled = kind.sampler.sample(*chunk.record(place))
    if sampled is not None:
        _finds(kind, sampled[0], sifted).add(int(chunk.places[place]), sampled[1])
