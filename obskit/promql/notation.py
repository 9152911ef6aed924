"""Prometheus' notation of test series: `name{a="b"} 0+1x10 _x2 stale 5` (promtool tests, acceptance suite).

Histograms stand among the values as `{{schema:0 sum:3 count:2 buckets:[1 1]}}`; see histogram_notation.py.
"""

from __future__ import annotations

import re
from typing import Final

from obskit.model.labels import NAME, Labels
from obskit.model.matchers import MatchOp
from obskit.model.samples import STALE_NAN
from obskit.promql.histogram_notation import Sample, expand_histograms, split_items
from obskit.promql.literals import parse_number
from obskit.promql.parse_selectors import SelectorParser

# No hexadecimal numbers here: `0x5` is six zeros.
_NUMBER: Final = r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[iI]nf|[nN]a[nN])"
_ITEM: Final = re.compile(rf"({_NUMBER})(?:([-+])({_NUMBER}))?(?:x(\d+))?")
_GAP: Final = re.compile(r"_(?:x(\d+))?")

# Without escapes, and without a second way to name the metric.
_LABEL: Final = r'(?!__name__=)[a-zA-Z_][a-zA-Z0-9_]*="[^"\\\n]*"'
_PLAIN: Final = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{((?:{_LABEL}(?:, ?{_LABEL})*)?)\}})?", re.ASCII)
_PLAIN_LABEL: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="([^"]*)"', re.ASCII)


def parse_series(text: str) -> tuple[Labels, list[Sample | None]]:
    """A series and its values, None for a gap; ValueError or QuerySyntaxError says what is wrong.

    `a`, `axn` (n+1 values), `a+bxn` and `a-bxn` (n+1 values, b added each time), `_`, `_xn` (n gaps), `stale`.
    """
    labels, end = parse_labels(text)
    return labels, parse_values(text[end:])


def parse_labels(text: str) -> tuple[Labels, int]:
    """The label set at the start of the text, and where it ends."""
    if (plain := _PLAIN.fullmatch(text)) and plain[1].lower() not in ("inf", "nan"):
        # Nearly all are written so, and there are thousands of them; anything else is the parser's.
        return Labels([(NAME, plain[1]), *_PLAIN_LABEL.findall(plain[2] or "")]), len(text)
    close = _closing_brace(text)
    head = text[:close] if close else text.split(maxsplit=1)[0]
    if head.strip() == "{}":
        return Labels(), len(head)
    parser = SelectorParser(head)
    selector = parser.selector()
    if any(matcher.op is not MatchOp.EQUAL for matcher in selector.matchers):
        raise ValueError(f"a series is described with = only: {head}")
    return Labels([(matcher.name, matcher.value) for matcher in selector.matchers]), len(head)


def _closing_brace(text: str) -> int:
    """Where the label set's brace closes (braces within strings do not count); 0 when there are no braces."""
    quote = ""
    for position, char in enumerate(text):
        if quote:
            if char == quote and text[position - 1] != "\\":
                quote = ""
        elif char in "\"'":
            quote = char
        elif char == "}":
            return position + 1
        elif char.isspace() and "{" not in text[:position]:
            following = text[position:].lstrip()
            if not following.startswith("{") or following.startswith("{{"):
                return 0
    return 0


def parse_values(text: str) -> list[Sample | None]:
    """The values of a series; ValueError names the item that cannot be read."""
    values: list[Sample | None] = []
    for item in split_items(text):
        values.extend(expand_histograms(item) if item.startswith("{{") else _item(item))
    return values


def _item(item: str) -> list[float | None]:
    if item == "stale":
        return [STALE_NAN]
    if gap := _GAP.fullmatch(item):
        return [None] * int(gap[1] or 1)
    match = _ITEM.fullmatch(item)
    if match is None:
        raise ValueError(f"not a value of a series: {item!r}")
    first, sign, step, times = match.groups()
    value, change = _signed(first), (0.0 if step is None else _signed(step) * (-1 if sign == "-" else 1))
    if times is None:
        if step is not None:
            raise ValueError(f"how many values? {item!r} needs a count like {item}x10")
        return [value]
    return [value, *(value := value + change for _ in range(int(times)))]


def _signed(text: str) -> float:
    sign = -1.0 if text.startswith("-") else 1.0
    return sign * parse_number(text.lstrip("+-"))
