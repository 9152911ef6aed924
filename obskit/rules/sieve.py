"""The combined matcher of all log rules: each line is looked at once, and only the rules it may concern see more of it.

Streams choose the leaves; one RE2 set over many lines at once says which of their guards are there at all, a search
for each of those in which lines. What a line gives is decided by the leaf's own pipeline, in sampler.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import chain, islice, pairwise
from operator import gt
from typing import Any, Final

from obskit.logql.entries import Entry, Step, own_labels
from obskit.logql.filters import condition_step
from obskit.logql.log_nodes import JsonStage, LabelFilter, LineFilter, LogfmtStage
from obskit.logql.pipeline import Pipeline
from obskit.logql.samples import Extraction, Sampler
from obskit.logql.stages import Demands, steps
from obskit.model.labels import Labels
from obskit.model.matchers import match_all
from obskit.rules.guards import Guard, Needle, guard_of
from obskit.rules.line_chunks import Chunk, TextChunk
from obskit.store.log_interface import Records

CHUNK: Final = 1_000
_FEW: Final = 5
_RUN: Final = 100
"""So many lines of a stream in a row are looked at by themselves."""
_MEMORY: Final = 20_000
_SET_BYTES: Final = 64 << 20
_PROBE: Final = "\x00obskit\x00"


class Kind:
    """One extraction that rules ask for, ready to be made of lines.

    Where a query parses the line and then asks for a label, `parse` and `condition` are these: many rules parse the
    same lines in the same way, and only the lines for which the condition holds need go through the whole pipeline.
    Kinds with the same parser have the same `parse`.
    """

    parse: Step | None
    condition: Step | None

    def __init__(self, extraction: Extraction) -> None:
        self.extraction = extraction
        self.sampler = Sampler(extraction)
        self.containing = Pipeline(extraction.query, extraction.demands(0)).containing
        self.guard = guard_of(extraction.query)
        self.parse, self.condition = None, None
        match [stage for stage in extraction.query.stages if not isinstance(stage, LineFilter)]:
            case [(JsonStage() | LogfmtStage()) as parser, LabelFilter() as asked, *_]:
                self.parse, self.condition = _parser_step(parser), condition_step(asked.condition)


@lru_cache(maxsize=64)
def _parser_step(parser: JsonStage | LogfmtStage) -> Step:
    (step,) = steps((parser,), Demands())
    return step


class Found:
    """Which records gave samples of one series, by their places, and the values; None where each is 1."""

    __slots__ = ("places", "values")

    def __init__(self, *, counting: bool) -> None:
        self.places: list[int] = []
        self.values: list[float] | None = None if counting else []

    def in_order(self) -> Found:
        """The same in the order of the records, however they were looked at."""
        places, values = self.places, self.values
        if any(map(gt, places, islice(places, 1, None))):
            order = sorted(range(len(places)), key=places.__getitem__)
            self.places = [places[at] for at in order]
            self.values = None if values is None else [values[at] for at in order]
        return self


Sifted = dict[Kind, dict[Labels, Found]]


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
        sifted: Sifted = {}
        for plan, chunk in self._chunks(records):
            plan.sift(chunk, sifted)
        return {
            kind: {labels: found.in_order() for labels, found in of_kind.items()} for kind, of_kind in sifted.items()
        }

    def _chunks(self, records: Records) -> Iterator[tuple[_Plan, Chunk]]:
        """The lines that concern anybody, some at a time, by who that may be."""
        left: dict[_Plan, list[int]] = {}
        for text in records.texts:
            plans = self._plans_of(text.streams)
            for stream, (start, end) in zip(text.streams, pairwise(text.edges), strict=True):
                plan = plans[id(stream)][1]
                if plan.concerns and end - start < _RUN:
                    left.setdefault(plan, []).extend(text.order[start:end].tolist())
                elif plan.concerns:
                    for begin in range(start, end, CHUNK):
                        yield plan, TextChunk(records, text, begin, min(begin + CHUNK, end))
        for plan, places in left.items() if records.texts else self._by_plan(records.streams):
            for begin in range(0, len(places), CHUNK):
                yield plan, Chunk(records, places[begin : begin + CHUNK])

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
        self._needles = {needle for _, guard in self._guarded for needle in guard.needles}
        self._asks_metadata = any(guard.matcher is not None for _, guard in self._guarded)
        self.concerns = bool(self._open or self._guarded)

    def sift(self, chunk: Chunk, sifted: Sifted) -> None:
        """Add the samples of some lines."""
        stepwise: dict[int, list[Kind]] = {}
        for kind, places in self._candidates(chunk):
            if kind.sampler.bare:
                _take_bare(kind, chunk, places, sifted)
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
        if not hits and not (self._asks_metadata and chunk.has_metadata):
            return
        for kind, guard in self._guarded:
            places = [hits[needle] for needle in guard.needles if needle in hits]
            if guard.matcher is not None and chunk.has_metadata:
                places += [own] if (own := chunk.lines_of(guard.matcher)) else []
            if len(places) == 1:
                yield kind, places[0]
            elif places:
                yield kind, sorted(set().union(*places))

    def _hits(self, chunk: Chunk) -> dict[Needle, list[int]]:
        """The needles that are there, and in which lines."""
        if len(self._needles) < _FEW and all(needle.literal for needle in self._needles):
            there: Iterable[Needle] = self._needles
        else:
            there = self._needles.intersection(self._search.found_in(chunk.data))
        hits = {needle: chunk.lines_with(needle) for needle in there}
        return {needle: places for needle, places in hits.items() if places}


class _Search:
    """All needles at once: an RE2 set."""

    def __init__(self, needles: Iterable[Needle]) -> None:
        self._needles = list(dict.fromkeys(needles))

    def found_in(self, data: bytes) -> list[Needle]:
        """Those that are somewhere in a text."""
        return [self._needles[number] for number in self._set.Match(data) or () if number < len(self._needles)]

    @cached_property
    def _set(self) -> Any:
        import re2  # noqa: PLC0415 - as in obskit.model.patterns

        options = re2.Options()
        options.log_errors = False
        options.max_mem = _SET_BYTES
        made = re2.Set.SearchSet(options)
        for needle in self._needles:
            made.Add(needle.pattern)
        made.Add(_PROBE)
        made.Compile()
        # A set that has run out of memory finds nothing, and does not say so.
        return made if made.Match(_PROBE.encode()) else _FindsAll(len(self._needles))


class _FindsAll:
    """A set that is of no use: every needle has to be looked for."""

    def __init__(self, needles: int) -> None:
        self._all = list(range(needles))

    def Match(self, _: bytes) -> list[int]:  # noqa: N802 - as RE2's set
        return self._all


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


def _found(kind: Kind, labels: Labels, sifted: Sifted) -> Found:
    of_kind = sifted.setdefault(kind, {})
    found = of_kind.get(labels)
    if found is None:
        found = of_kind[labels] = Found(counting=kind.sampler.counting)
    return found


def _take_bare(kind: Kind, chunk: Chunk, places: Sequence[int], sifted: Sifted) -> None:
    sampler = kind.sampler
    if sampler.accepts is not None:
        accepts, line = sampler.accepts, chunk.line
        places = [place for place in places if accepts(line(place))]
    if not places:
        return
    for stream, metadata, of_stream in _series_of_lines(kind, chunk, places):
        found = _found(kind, sampler.bare_series(stream, metadata), sifted)
        found.places += (
            chunk.places if len(of_stream) == len(chunk.places) else map(chunk.places.__getitem__, of_stream)
        )
        if found.values is not None:
            found.values += [sampler.length(chunk.line(place)) for place in of_stream]


def _series_of_lines(
    kind: Kind, chunk: Chunk, places: Sequence[int]
) -> Iterable[tuple[Labels, Mapping[str, str], Sequence[int]]]:
    """The lines of one stream and such metadata as tell series apart, together."""
    metadata_key = kind.sampler.metadata_key
    if len(places) == len(chunk.places) and not any(map(metadata_key, chunk.mappings)):
        return [(stream, {}, of_stream) for stream, of_stream in chunk.by_stream]
    grouped: dict[object, tuple[Labels, Mapping[str, str], list[int]]] = {}
    for place in places:
        stream, _, _, metadata = chunk.record(place)
        key = (id(stream), metadata_key(metadata)) if metadata else id(stream)
        grouped.setdefault(key, (stream, metadata, []))[2].append(place)
    return grouped.values()


def _take_stepwise(kind: Kind, chunk: Chunk, place: int, sifted: Sifted) -> None:
    sampled = kind.sampler.sample(*chunk.record(place))
    if sampled is not None:
        found = _found(kind, sampled[0], sifted)
        found.places.append(chunk.places[place])
        if found.values is not None:
            found.values.append(sampled[1])
