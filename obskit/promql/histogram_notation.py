"""Native histograms in the notation of test series (promql/parser, series descriptions).

`{{schema:1 sum:-3.1 count:22 z_bucket:2 z_bucket_w:0.01 buckets:[5 10 7] offset:-3 n_buckets:[4 1] n_offset:2}}`, with
`custom_values:[..]` under schema -53 and `counter_reset_hint:unknown|reset|not_reset|gauge`. `{{..}}xn` repeats it,
`{{..}}+{{..}}xn` and `{{..}}-{{..}}xn` add or subtract each time. Everything may be left out: `{{}}` is empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from obskit.model.histogram_arithmetic import difference, total
from obskit.model.histograms import CUSTOM_SCHEMA, NativeHistogram, ResetHint, filled
from obskit.promql.literals import parse_number

Sample = float | NativeHistogram

_ITEM: Final = re.compile(r"\{\{(?P<first>[^}]*)\}\}(?:(?P<sign>[-+])\{\{(?P<step>[^}]*)\}\})?(?:x(?P<times>\d+))?")
_FIELD: Final = re.compile(r"\s*(?P<name>\w+)\s*:\s*(?:\[(?P<list>[^\]]*)\]|(?P<one>[^\s\[]+))\s*")
_PIECE: Final = re.compile(r"(?:\{\{[^}]*\}\}|[^\s{])+|\S")


def split_items(text: str) -> list[str]:
    """The items of a series' values: what stands between spaces, but for those within histograms."""
    return _PIECE.findall(text)


def expand_histograms(item: str) -> list[Sample | None]:
    """The histograms of one item; ValueError says what is wrong with it."""
    match = _ITEM.fullmatch(item)
    if match is None:
        raise ValueError(f"not a histogram of a series: {item!r}")
    first, times = parse_histogram(match["first"]), match["times"]
    if match["step"] is None:
        return [first] * (int(times or 0) + 1)
    if times is None:
        raise ValueError(f"how many histograms? {item!r} needs a count like {item}x10")
    return [first, *_steps(first, parse_histogram(match["step"]), int(times), adds=match["sign"] == "+")]


def _steps(first: NativeHistogram, step: NativeHistogram, times: int, *, adds: bool) -> Iterator[NativeHistogram]:
    current = first
    for _ in range(times):
        found = total([current, step]) if adds else difference(current, step)
        if found is None:
            raise ValueError("exponential and custom buckets do not add up")
        # What is written is what is wanted: it is no gauge because something was subtracted.
        current = found.histogram.hinted(first.hint)
        yield current


def parse_histogram(text: str) -> NativeHistogram:
    """The histogram of the text between the braces; ValueError says what is wrong with it."""
    fields = _fields(text)
    schema = int(fields.pop("schema", 0))
    known = NativeHistogram(
        schema,
        fields.pop("count", 0.0),
        fields.pop("sum", 0.0),
        fields.pop("z_bucket_w", 0.0),
        fields.pop("z_bucket", 0.0),
        _side(fields.pop("offset", 0), fields.pop("buckets", [])),
        _side(fields.pop("n_offset", 0), fields.pop("n_buckets", [])),
        tuple(fields.pop("custom_values", ())),
        fields.pop("counter_reset_hint", ResetHint.UNKNOWN),
    )
    if fields:
        raise ValueError(f"a histogram has no {', '.join(fields)}")
    if schema != CUSTOM_SCHEMA and (known.bounds or not -4 <= schema <= 8):
        raise ValueError(f"schema {schema} has no custom values" if known.bounds else f"no such schema: {schema}")
    return known


def _side(offset: float, counts: list[float]) -> dict[int, float]:
    return filled(dict(enumerate(counts, int(offset))))


def _fields(text: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    position = 0
    while text[position:].strip():
        match = _FIELD.match(text, position)
        if match is None:
            raise ValueError(f"not a field of a histogram: {text[position:].strip()!r}")
        fields[match["name"]] = _value(match)
        position = match.end()
    return fields


def _value(match: re.Match[str]) -> Any:
    if match["list"] is not None:
        return [_signed(number) for number in match["list"].replace(",", " ").split()]
    return ResetHint(match["one"]) if match["name"] == "counter_reset_hint" else _signed(match["one"])


def _signed(text: str) -> float:
    return (-1.0 if text.startswith("-") else 1.0) * parse_number(text.lstrip("+-"))
