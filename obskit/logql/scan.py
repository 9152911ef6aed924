"""Line filters over whole blocks: a search runs over all lines of a block at once, and only hits are looked at closely.

An expression searched for in joined lines finds every line that it matches alone: `.` stops at the separator, `^` and `$`
are made to match beside it, and what may begin in one line and end in the next is asked of the first line by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from obskit.errors import PatternError
from obskit.logql.class_runs import RunSearch, required_run
from obskit.logql.filters import is_literal, line_predicate
from obskit.logql.literals import required_choices, required_literals
from obskit.logql.log_nodes import LineFilter, LineOp, Text
from obskit.model.patterns import compile_pattern
from obskit.store.log_interface import LogBlock, TextTest

Indices: TypeAlias = NDArray[np.int64]
Sieve: TypeAlias = Callable[[LogBlock, Indices], Indices]
"""Which of some lines of a block pass: indices in, indices out, ascending."""

_FEW: Final = 8
"""Where fewer than one line in this many is left, lines are asked one by one."""
_ALONE: Final = re.compile(r"\\[AzZC]|\(\?[a-zA-Z]*[ms-]")
"""What asks for the ends of the text, or for newlines: joined lines would answer differently."""
_DENSE: Final = 64


def sieves(filters: Sequence[LineFilter]) -> list[Sieve]:
    """The filters, each as a sieve. All of them leave what passes every filter."""
    return [_sieve(one) for one in filters]


def text_test(filters: Sequence[LineFilter]) -> TextTest | None:
    """Whether a text of joined lines may have one that passes: what expressions and alternatives need to be in it.

    What a filter with one text needs is left to `containing`. RE2 looks for texts and leaves the interpreter to others.
    """
    tests = [test for one in filters if not one.op.negative and (test := _filter_test(one)) is not None]
    if not tests:
        return None
    return lambda data: all(test(data) for test in tests)


def run_test(filters: Sequence[LineFilter]) -> TextTest | None:
    """As `text_test`: expressions that need a run of character classes. Looking for it takes the interpreter's time."""
    single = [one.operands[0] for one in filters if one.op is LineOp.MATCHES and len(one.operands) == 1]
    runs = [run for one in single if isinstance(one, Text) and (run := _run_search(one.text)) is not None]
    return (lambda data: all(len(run.places(data)) for run in runs)) if runs else None


def _filter_test(one: LineFilter) -> TextTest | None:
    texts = [operand.text for operand in one.operands if isinstance(operand, Text)]
    if not all(texts) or len(texts) < len(one.operands):
        return None
    if one.op is LineOp.CONTAINS and len(texts) > 1:
        return _any_text(texts)
    if one.op is not LineOp.MATCHES:
        return None
    tests = [_expression_test(text, asks_texts=len(texts) > 1) for text in texts]
    return lambda data: any(test(data) for test in tests)


def _any_text(texts: Sequence[str]) -> TextTest:
    searches = [
        compile_pattern(re.escape(text)).search if text.isascii() else finder(encoded(text)).search for text in texts
    ]
    return lambda data: any(search(data) is not None for search in searches)


def _expression_test(pattern: str, *, asks_texts: bool) -> TextTest:
    needed = [_any_text(choice) for choice in required_choices(pattern) if asks_texts or len(choice) > 1]
    if _run_search(pattern) is not None:
        return lambda _: True  # see run_test
    joined = None if _ALONE.search(pattern) else _joined_search(pattern)
    return lambda data: all(test(data) for test in needed) and (joined is None or joined(data, 0) is not None)


def _run_search(pattern: str) -> RunSearch | None:
    """For patterns in which no text is needed, which would be quicker to look for."""
    run = () if required_choices(pattern) else required_run(pattern)
    return RunSearch(run) if run else None


def encoded(text: str) -> bytes:
    """A text as blocks hold it."""
    return text.encode(errors="surrogatepass")


@lru_cache(maxsize=1024)
def finder(needle: bytes) -> re.Pattern[bytes]:
    """A search for bytes: quicker over a block than bytes.find, which looks at each hit anew."""
    return re.compile(re.escape(needle))


def holding(block: LogBlock, lines: Indices, pattern: re.Pattern[bytes]) -> Indices:
    """Those of the lines in which a pattern is found, which has no newline in it."""
    if not len(lines):
        return lines
    data, starts, ends = block.data, block.starts, block.ends
    first, last = int(lines[0]), int(lines[-1])
    if len(lines) * _FEW < last - first + 1 or not _separated(block):
        search = pattern.search
        spans = zip(starts[lines].tolist(), ends[lines].tolist(), strict=True)
        return lines[np.fromiter((search(data, *span) is not None for span in spans), np.bool_, len(lines))]
    found = [match.start() for match in pattern.finditer(data, int(starts[first]), int(ends[last]))]
    hits = np.searchsorted(starts, np.array(found, np.int64), side="right") - 1
    return _both(block, lines, hits)


def _both(block: LogBlock, lines: Indices, hits: Indices) -> Indices:
    mask = np.zeros(len(block.starts), np.bool_)
    mask[hits] = True
    return lines[mask[lines]]


def without(block: LogBlock, lines: Indices, dropped: Indices) -> Indices:
    """The lines less some of them."""
    mask = np.zeros(len(block.starts), np.bool_)
    mask[lines] = True
    mask[dropped] = False
    return np.flatnonzero(mask)


def _sieve(one: LineFilter) -> Sieve:
    positive = _any_of([_operand(one, text) for text in one.operands])
    if not one.op.negative:
        return positive
    return lambda block, lines: without(block, lines, positive(block, lines))


def _any_of(searches: list[Sieve]) -> Sieve:
    if len(searches) == 1:
        return searches[0]

    def sieve(block: LogBlock, lines: Indices) -> Indices:
        found = [search(block, lines) for search in searches]
        return np.unique(np.concatenate(found))

    return sieve


def _operand(one: LineFilter, operand: Any) -> Sieve:
    """The lines that hold an operand, whether the filter wants or refuses them."""
    plain = {
        LineOp.CONTAINS_NOT: LineOp.CONTAINS,
        LineOp.MATCHES_NOT: LineOp.MATCHES,
        LineOp.PATTERN_NOT: LineOp.PATTERN,
    }
    op = plain.get(one.op, one.op)
    exact = _one_by_one(LineFilter(op, (operand,)))
    if not isinstance(operand, Text):
        return exact
    if op is LineOp.CONTAINS or (op is LineOp.MATCHES and is_literal(operand.text)):
        return _containing(operand.text) if operand.text else lambda _, lines: lines
    if op is LineOp.MATCHES:
        return _matching(operand.text)
    literals = [text for text in re.split(r"<_>", operand.text) if text]
    return _after_needle(max(literals, key=len, default=""), exact)


def _one_by_one(one: LineFilter) -> Sieve:
    accepts = line_predicate(one)

    def sieve(block: LogBlock, lines: Indices) -> Indices:
        line = block.line
        return lines[np.fromiter((accepts(line(index)) for index in lines.tolist()), np.bool_, len(lines))]

    return sieve


def _containing(text: str) -> Sieve:
    pattern = finder(encoded(text))
    if "\n" in text:
        return _one_by_one(LineFilter(LineOp.CONTAINS, (Text(text),)))
    return lambda block, lines: holding(block, lines, pattern)


def _after_needle(needle: str, exact: Sieve) -> Sieve:
    """First those that hold a needle, then those that are right."""
    if not needle or "\n" in needle:
        return exact
    contains = _containing(needle)
    return lambda block, lines: exact(block, contains(block, lines))


def _matching(pattern: str) -> Sieve:
    literals = required_literals(pattern)
    needle = finder(encoded(max(literals, key=len))) if literals else None
    run = _run_search(pattern)
    alone = compile_pattern(pattern).search
    joined = None if _ALONE.search(pattern) else _joined_search(pattern)

    def sieve(block: LogBlock, lines: Indices) -> Indices:
        if needle is not None:
            lines = holding(block, lines, needle)
        elif run is not None:
            lines = _both(block, lines, np.searchsorted(block.starts, run.places(block.data), side="right") - 1)
        if joined is not None and len(lines) * _FEW > len(block.starts) and _separated(block):
            lines = _suspects(block, lines, joined)
        data = block.data
        spans = zip(block.starts[lines].tolist(), block.ends[lines].tolist(), strict=True)
        return lines[np.fromiter((alone(data[start:end]) is not None for start, end in spans), np.bool_, len(lines))]

    return sieve


def _joined_search(pattern: str) -> Callable[[bytes, int], Any] | None:
    """A search whose `^` and `$` match beside a newline, too; None where RE2 has no room for that."""
    try:
        search: Callable[[bytes, int], Any] = compile_pattern(f"(?m:{pattern})").search
    except PatternError:
        return None
    return search


def _separated(block: LogBlock) -> bool:
    """Whether one newline stands between any two lines, as a search over all of them needs it."""
    gaps = block.starts[1:] - block.ends[:-1]
    data = np.frombuffer(block.data, np.uint8)
    return bool((gaps == 1).all() and (data[block.ends[:-1]] == ord("\n")).all())


def _suspects(block: LogBlock, lines: Indices, search: Callable[[bytes, int], Any]) -> Indices:
    """The lines in which a match begins. Where that is most of them, all: looking on would not be quicker."""
    found: list[int] = []
    starts = block.starts
    at, end = int(starts[lines[0]]), int(block.ends[lines[-1]])
    while at <= end and (match := search(block.data, at)) is not None:
        line = int(np.searchsorted(starts, match.start(), side="right")) - 1
        found.append(line)
        if line + 1 >= len(starts):
            break
        at = int(starts[line + 1])
        if len(found) > _DENSE and len(found) * 4 > line - int(lines[0]):
            return lines
    return _both(block, lines, np.array(found, np.int64))
