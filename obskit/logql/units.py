"""Units in LogQL: Go durations and byte sizes, in queries and in label values. ValueError says what is not one."""

from __future__ import annotations

import re
from math import isinf
from typing import Final

from obskit.model.durations import parse_duration
from obskit.model.labels import quote

NS_PER_MS: Final = 1_000_000
MAX_DURATION_NS: Final = 2**62
"""146 years: a time now, less a range and an offset, still fits 64 bits."""
_GO_UNITS_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, the micro sign
    "\u03bcs": 1_000,  # the Greek letter
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_GO_PART: Final = re.compile("([0-9]+(?:\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|\u03bcs|ms|s|m|h)")
_GO_FORM: Final = re.compile(f"([-+]?)((?:{_GO_PART.pattern})+)")
_BYTES: Final = re.compile(r"([0-9.,]*)(.*)", re.DOTALL)
_LETTERS: Final = re.compile(r"[^0-9.]+")
_GO_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_HEX_FLOAT: Final = re.compile(r"[-+]?0[xX][0-9a-fA-F]*\.?[0-9a-fA-F]*[pP][-+]?[0-9]+")
_SHOWN: Final = 200
"""How much of a value an error repeats."""
_BYTES_LITERAL: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(B|[kMGTPK]B|[KMGTP]iB)")
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}


def go_duration_ns(text: str) -> int:
    """Nanoseconds of a Go duration (`1.5h`, `100us`, `-2m3s`); no days, as in Go's time.ParseDuration."""
    if text in ("0", "+0", "-0"):
        return 0
    match = _GO_FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"time: {_why_no_duration(text)}")
    total = sum(float(number) * _GO_UNITS_NS[unit] for number, unit in _GO_PART.findall(match[2]))
    if total > MAX_DURATION_NS:
        raise ValueError(f"time: invalid duration {go_quoted(text)}")
    return round(-total if match[1] == "-" else total)


def _why_no_duration(text: str) -> str:
    """What Go's time.ParseDuration says of a text that is none."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    while rest:
        number = _GO_NUMBER.match(rest)
        if number is None:
            break
        rest = rest[number.end() :]
        unit = _LETTERS.match(rest)
        if unit is None:
            return f"missing unit in duration {go_quoted(text)}"
        if unit[0] not in _GO_UNITS_NS:
            return f"unknown unit {go_quoted(unit[0])} in duration {go_quoted(text)}"
        rest = rest[unit.end() :]
    return f"invalid duration {go_quoted(text)}"


def go_quoted(text: str) -> str:
    """A text as Go's errors show it, cut where it is long."""
    return quote(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def literal_duration_ns(text: str) -> int:
    """Nanoseconds of a duration as it may stand in a query: the Prometheus form first (`1d`), then Go's (`1.5h`)."""
    try:
        duration_ns = parse_duration(text) * NS_PER_MS
    except ValueError:
        return go_duration_ns(text)
    if duration_ns > MAX_DURATION_NS:
        raise ValueError(f"the duration is out of range: {text[:40]!r}")
    return duration_ns


def byte_size(text: str) -> float:
    """Bytes of a size in a label value, without regard to case: `10KB` (1000), `2 kib` (1024), `512`."""
    match = _BYTES.fullmatch(text)
    assert match is not None, "both groups match everything, too"
    digits, unit = match[1].replace(",", ""), match[2].strip().lower()
    size = go_float(digits)
    prefix = unit.removesuffix("b")
    base = 1024 if prefix.endswith("i") else 1000
    power = _POWERS.get(prefix.removesuffix("i"))
    if power is None or prefix == "i":
        raise ValueError(f"unhandled size name: {unit[:_SHOWN]}")
    size *= base**power
    if size >= 2**64:
        raise ValueError(f"too large: {text[:_SHOWN]}")
    return float(int(size))


def go_float(text: str) -> float:
    """A number as Go's strconv.ParseFloat reads it; ValueError in its words."""
    if "_" in text or not text.isascii() or text != text.strip():
        raise ValueError(f"strconv.ParseFloat: parsing {go_quoted(text)}: invalid syntax")
    try:
        value = float(text)
    except ValueError:
        if _HEX_FLOAT.fullmatch(text):
            return float.fromhex(text)
        raise ValueError(f"strconv.ParseFloat: parsing {go_quoted(text)}: invalid syntax") from None
    if isinf(value) and text[-1:].isdigit():
        raise ValueError(f"strconv.ParseFloat: parsing {go_quoted(text)}: value out of range")
    return value


def literal_bytes(text: str) -> float:
    """Bytes of a size as it may stand in a query, where case counts: `1.5kB`, `10MiB`."""
    if _BYTES_LITERAL.fullmatch(text) is None:
        raise ValueError(f"not a size in bytes: {text!r}")
    return byte_size(text)
