"""Traces that come line by line: joined to what they are as one record, whatever comes between and however it is cut."""

import random

import pytest

from obskit.clock import SystemClock
from obskit.grouping.book import Book
from obskit.grouping.joining import HOLD_S, MAX_LINES, MAX_OPEN, Joiner
from obskit.grouping.settings import GroupingSettings
from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.store.log_interface import Records
from tests.grouping import traces

SHOP, WEB = Labels({"app": "shop"}), Labels({"app": "web"})
SPLIT = ["PYTHON", "NODE", "WORKER", "GO", "JAVA", "RUBY", "PHP", "RUST", "RUST_SHORT", "GROUP"]


def lines_of(text: str, stream: Labels = SHOP, **metadata: str) -> list[Record]:
    return [Record(stream, at * 1_000_000, line, metadata) for at, line in enumerate(text.splitlines())]


def joined(batches: list[list[Record]], book: Book | None = None) -> list[Record]:
    book, joiner = book or Book(GroupingSettings()), Joiner()
    found: list[Record] = []
    for batch in batches:
        records = Records.of(batch)
        found += joiner.join(records, book.candidates(records), 0.0)
    return [*found, *joiner.let_go()]


def issues(records: list[Record]) -> dict[str, int]:
    book = Book(GroupingSettings())
    book.read(Records.of(records), 1)
    return {issue.id: issue.count for issue in book.issues.values()}


@pytest.mark.parametrize("name", SPLIT)
def test_a_trace_in_lines_is_the_issue_of_the_whole(name: str) -> None:
    text = getattr(traces, name)
    whole = issues([Record(SHOP, 0, text)])
    assert len(whole) == 1
    assert issues(joined([lines_of(text, level="info")])) == whole
    assert issues(joined([[line] for line in lines_of(text)])).keys() >= whole.keys()


def test_half_a_surrogate_pair_is_no_obstacle() -> None:
    assert len(joined([lines_of("Error: \ud800\n    at f (/app/\udc00.js:1:1)")])) == 1


@pytest.mark.parametrize("seed", range(20))
def test_traces_of_two_streams_come_in_any_pieces(seed: int) -> None:
    chance = random.Random(seed)
    names = chance.sample([name for name in SPLIT if name != "PYTHON"], 4)
    texts = [getattr(traces, name) for name in names]
    calm = "GET /health 200"
    shop = lines_of("\n".join([calm, texts[0].rstrip(), calm, texts[1].rstrip(), calm]))
    web = lines_of("\n".join([texts[2].rstrip(), calm, texts[3].rstrip()]), WEB)
    mixed: list[Record] = []
    while shop or web:
        mixed.append((shop if shop and (not web or chance.random() < 0.5) else web).pop(0))
    batches: list[list[Record]] = [[]]
    for record in mixed:
        batches[-1].append(record)
        if chance.random() < 0.3:
            batches.append([])
    wholes = [Record(stream, 0, text) for stream, text in zip((SHOP, SHOP, WEB, WEB), texts, strict=True)]
    assert issues(joined(batches)) == issues(wholes)


@pytest.mark.parametrize(
    "lines",
    [
        ["ValueError: no such thing", "all is well"],
        ["ERROR cannot pay", "ERROR cannot pay"],
        ["ERROR cannot pay", "TypeError: x is not a function", "  and more of it"],
        ["panic: at the disco", "ERROR in the line after it"],
        ['{"level":"error","msg":"a"}', "Traceback (most recent call last):", "INFO it was not that bad"],
    ],
)
def test_what_is_no_trace_is_as_it_came(lines: list[str]) -> None:
    records = lines_of("\n".join(lines))
    found = list(Book(GroupingSettings()).candidates(Records.of(records)))
    assert sorted(joined([records]), key=lambda one: one.t_ns) == found


def test_a_trace_does_not_go_on_after_a_pause() -> None:
    head, *rest = lines_of(traces.JAVA)
    late = [Record(SHOP, record.t_ns + int((HOLD_S + 0.1) * 1e9), record.line) for record in rest]
    assert head in joined([[head, *late]])


def test_what_waits_is_bounded_in_lines_streams_and_time() -> None:
    head, frame = "Error: deep", "    at f (/app/a.js:1:1)"
    (first, *_), *_ = [joined([lines_of("\n".join([head, *[frame] * (2 * MAX_LINES)]))])]
    assert len(first.line.splitlines()) == MAX_LINES
    joiner = Joiner()
    for number in range(MAX_OPEN + 9):
        records = Records.of([Record(Labels({"app": str(number)}), 0, head)])
        joiner.join(records, records, float(number))
    assert len(joiner) == MAX_OPEN
    assert len(joiner.let_go(20.0)) == 12
    assert len(joiner.let_go()) == MAX_OPEN - 12
    assert not joiner


def test_the_line_that_says_error_before_a_trace_is_part_of_it() -> None:
    text = "INFO begun\nERROR could not pay\n" + traces.NODE.rstrip()
    (one,) = joined([lines_of(text)])
    assert one.line.startswith("ERROR could not pay\nTypeError: ")


@pytest.mark.parametrize(
    "line", ["(" * 60_000, "a." * 30_000, " in :1" * 10_000, "A" * 60_000, "panic: " + "x(" * 30_000]
)
@pytest.mark.parametrize("head", ["panic: x", "Traceback (most recent call last):", "Uncaught Error: x in a:1"])
def test_hostile_lines_cost_no_more_than_others(head: str, line: str) -> None:
    begun = SystemClock().monotonic()
    joined([[Record(SHOP, 0, head), Record(SHOP, 1, line), Record(SHOP, 2, f"Error Uncaught {line}")]])
    assert SystemClock().monotonic() - begun < 1
