"""What must stand in a line before a query can want it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.logql.log_nodes import LogQuery
from obskit.logql.parser import parse
from obskit.logql.samples import Extraction, Sampler
from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.model.records import NO_METADATA
from obskit.rules import sieve
from obskit.rules.guards import Guard, Needle, guard_of
from obskit.rules.sieve import Kind, Sieve
from obskit.store.log_interface import Records
from obskit.store.text_search import Question
from tests.store.shelf import told_of

API, OTHER = Labels({"app": "api"}), Labels({"app": "other"})


def query(stages: str) -> LogQuery:
    found = parse('{app="api"} ' + stages)
    assert isinstance(found, LogQuery)
    return found


@pytest.mark.parametrize(
    ("stages", "needles", "matcher"),
    [
        ('|= "error" |= "longer text"', ["longer text"], None),
        ('|= "a" or "b"', ["a", "b"], None),
        ('|~ "timeout"', ["timeout"], None),
        ('|> "<_>failed: <_>"', ["failed: "], None),
        ('| json | level="error"', ["error", "\\"], Matcher("level", MatchOp.EQUAL, "error")),
        (
            '| logfmt | level=~"error|warn" and took>3',
            ["error", "warn", "\\"],
            Matcher("level", MatchOp.REGEX, "error|warn"),
        ),
        ('|= "ab" | json | level="error"', ["ab"], None),
        ('| level="error" |= "text"', [], Matcher("level", MatchOp.EQUAL, "error")),
        ('| level!="" | json | status>500', [], Matcher("level", MatchOp.NOT_EQUAL, "")),
    ],
)
def test_the_best_guard_is_taken(stages: str, needles: list[str], matcher: Matcher | None) -> None:
    assert guard_of(query(stages)) == Guard(tuple(map(Needle, needles)), matcher)


@pytest.mark.parametrize(
    "stages",
    [
        "", '!= "error"', '!~ "e.*"', '|= ""', '|~ ".*"', '|~ "a|"', '|~ "\\\\Aab"', '|~ "(?-m)^ab"', '|= ip("10.0.0.1")',
        '|= "a" or ip("10.0.0.1")', '| decolorize |= "error"', '| json | status>=500', '| json | level!="error"',
        '| json | __error__=""', '| json | level="error" or status>3', '| label_format a=b | a="x"',
        '| json | app_extracted="x"', '| json | level=""',
    ],
)  # fmt: skip
def test_some_queries_may_want_any_line(stages: str) -> None:
    assert guard_of(query(stages)) is None


STAGES = [
    '|= "error"', '|= "e.r" or "(x"', '|~ "(?i)^ERR"', '|~ "rr+$"', '|~ "a[^b]*c"', '|~ "\\\\berr\\\\b"', '|~ "(?s)a.c"',
    '| level="error"', '| level!="error"', '| level=~"e.*|x" |= "e"', '| json | level="error"', '| logfmt | level=~"error|x"', '|> "<_>rr<_>"', '!= "error"', '|~ "é"',
]  # fmt: skip
texts = st.one_of(
    st.text(alphabet='aebrc .(x\n\\"=é\ud800{}:', max_size=12),
    st.sampled_from(
        ["error", "an err", "ERRor", "a\nc", "level=error", '{"level":"error"}', '{"level":"\\u0065rror"}', ""]
    ),
)


METADATA = (
    NO_METADATA,
    {"level": "error"},
    {"level": "x", "trace_id": "1"},
    {"level": ""},
    {"level": "e\ud800"},
    {"other": "error"},
)


@given(
    st.lists(st.tuples(texts, st.sampled_from(METADATA), st.sampled_from([API, OTHER])), max_size=30),
    st.sets(st.sampled_from(STAGES), min_size=1),
    st.sampled_from([0, 1, 4, 100]),
    st.booleans(),
)
def test_the_sieve_finds_what_each_query_finds_alone(
    rows: list[tuple[str, dict[str, str], Labels]], chosen: set[str], run: int, asked: bool
) -> None:
    kinds = [Kind(Extraction(query(stages), "lines")) for stages in sorted(chosen)]
    records = Records(
        [row[2] for row in rows], list(range(len(rows))), [row[0] for row in rows], [row[1] for row in rows]
    )
    combined = Sieve(kinds)
    if run and rows:
        records = told_of(records, combined.question if asked else Question([]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sieve, "_RUN", run)
        sifted = combined.sift(records)
    for kind in kinds:
        alone = Sampler(kind.extraction)
        expected = [
            place
            for place, (line, metadata, stream) in enumerate(rows)
            if stream["app"] == "api"
            if (alone.accepts is None or alone.accepts(line))
            if alone.bare or alone.sample(stream, place, line, metadata) is not None
        ]
        found = sorted(place for series in sifted.get(kind, {}).values() for place in series.places)
        assert found == expected, kind.extraction.query


def test_metadata_that_have_the_label_decide_by_it() -> None:
    kind = Kind(Extraction(query('| level=~"error|fatal"'), "lines", None, None))
    levels = ["info", "error", "debug", "fatal", None]
    metadata = [{"level": level} if level else NO_METADATA for level in levels]
    streams = [Labels({"app": "api"})] * len(levels)
    lines = ["an error that is none", "x", "x", "x", "fatal, but without a level"]
    found = Sieve([kind]).sift(Records(streams, list(range(5)), lines, metadata))
    assert sorted(labels["level"] for labels in found[kind]) == ["error", "fatal"]
