"""Which lines are kept: line filters over the text, label filters over what was parsed from it."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Final

from obskit.logql.addresses import parse_range
from obskit.logql.captures import filtering_pattern
from obskit.logql.entries import Entry, Step
from obskit.logql.literals import required_literals
from obskit.logql.log_nodes import (
    Both,
    Compare,
    CompareIp,
    CompareOp,
    Condition,
    Either,
    IpRange,
    LineFilter,
    LineOp,
    Text,
)
from obskit.logql.units import byte_size, go_duration_ns, go_float
from obskit.model.matchers import Matcher
from obskit.model.patterns import compile_pattern

LINE_ERROR: Final = "LabelFilterErr"
LinePredicate = Callable[[str], bool]

_LITERAL: Final = re.compile(r"[A-Za-z0-9_ /:=,@-]+")
COMPARE: Final[dict[CompareOp, Callable[[float, float], bool]]] = {
    CompareOp.EQUAL: operator.eq,
    CompareOp.NOT_EQUAL: operator.ne,
    CompareOp.GREATER: operator.gt,
    CompareOp.GREATER_EQUAL: operator.ge,
    CompareOp.LESS: operator.lt,
    CompareOp.LESS_EQUAL: operator.le,
}


_CONVERT: Final[dict[str, Callable[[str], float]]] = {
    "number": go_float,
    "duration": lambda text: go_duration_ns(text) / 1e9,
    "bytes": byte_size,
}


def is_literal(pattern: str) -> bool:
    """Whether an expression matches its own text and nothing else."""
    return _LITERAL.fullmatch(pattern) is not None


def needles(line_filter: LineFilter) -> tuple[str, ...]:
    """The texts that every line which passes must contain."""
    if len(line_filter.operands) != 1:
        return ()
    operand = line_filter.operands[0]
    if not isinstance(operand, Text) or not operand.text:
        return ()
    match line_filter.op:
        case LineOp.CONTAINS:
            return (operand.text,)
        case LineOp.MATCHES:
            return (operand.text,) if is_literal(operand.text) else required_literals(operand.text)
        case LineOp.PATTERN:
            return tuple(text for text in operand.text.split("<_>") if text)
    return ()


def line_predicate(line_filter: LineFilter) -> LinePredicate:
    """The filter as a function of the line."""
    tests = [_operand_test(line_filter.op, operand) for operand in line_filter.operands]
    test = tests[0] if len(tests) == 1 else lambda line: any(each(line) for each in tests)
    return (lambda line: not test(line)) if line_filter.op.negative else test


def _operand_test(op: LineOp, operand: Text | IpRange) -> LinePredicate:
    if isinstance(operand, IpRange):
        return parse_range(operand.text).occurs_in
    text = operand.text
    if op in (LineOp.CONTAINS, LineOp.CONTAINS_NOT) or (
        op in (LineOp.MATCHES, LineOp.MATCHES_NOT) and is_literal(text)
    ):
        return lambda line: text in line
    if op in (LineOp.PATTERN, LineOp.PATTERN_NOT):
        return filtering_pattern(text).matches
    search = compile_pattern(text).search
    # Bytes spare RE2's wrapper the way back from bytes to characters, which is most of the cost of a hit.
    return lambda line: search(line.encode(errors="surrogatepass")) is not None


def all_of(predicates: list[LinePredicate]) -> LinePredicate:
    """Whether a line passes all filters, asked in their order."""
    if len(predicates) == 1:
        return predicates[0]
    return lambda line: all(each(line) for each in predicates)


def condition_step(condition: Condition) -> Step:
    """A label filter. It may set `__error__`, and then keeps the line."""
    match condition:
        case Matcher():
            return _match_step(condition)
        case Compare():
            return _compare_step(condition)
        case CompareIp():
            return _ip_step(condition)
        case Both():
            first, second = condition_step(condition.left), condition_step(condition.right)
            return lambda entry: first(entry) & second(entry)  # & asks both, since asking may set __error__
        case Either():
            left, right = condition_step(condition.left), condition_step(condition.right)
            return lambda entry: left(entry) or right(entry)


def _match_step(matcher: Matcher) -> Step:
    name, matches = matcher.name, matcher.matches
    return lambda entry: matches(entry.labels.get(name, ""))


def _compare_step(compare: Compare) -> Step:
    name, limit = compare.label, compare.limit
    holds, convert = COMPARE[compare.op], _CONVERT[compare.kind]

    def step(entry: Entry) -> bool:
        text = entry.labels.get(name)
        if text is None:
            return False
        try:
            return holds(convert(text), limit)
        except ValueError as error:
            if not entry.failed:  # the first error of a line stays
                entry.fail(LINE_ERROR, str(error))
            return True

    return step


def _ip_step(compare: CompareIp) -> Step:
    name, negative, addresses = compare.label, compare.negative, parse_range(compare.range.text)

    def step(entry: Entry) -> bool:
        if entry.failed:
            return True  # only a filter on __error__ drops it
        text = entry.labels.get(name)
        return text is not None and addresses.occurs_in(text) != negative

    return step


def labels_asked(condition: Condition) -> frozenset[str]:
    """The labels a label filter looks at."""
    match condition:
        case Matcher():
            return frozenset({condition.name})
        case Both() | Either():
            return labels_asked(condition.left) | labels_asked(condition.right)
        case Compare() | CompareIp():
            return frozenset({condition.label})
