"""Units in LogQL: Go durations and byte sizes, in queries and in label values. ValueError says what is not one."""

from __future__ import annotations

import re
from math import isinf
from typing import Final

from obskit.model.durations import parse_duration

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
_BYTES: Final = re.compile(r"([0-9][0-9.,]*)[ ]*([A-Za-z]*)")
_BYTES_LITERAL: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(B|[kMGTPK]B|[KMGTP]iB)")
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}


def go_duration_ns(text: str) -> int:
    """Nanoseconds of a Go duration (`1.5h`, `100us`, `-2m3s`); no days, as in Go's time.ParseDuration."""
    if text in ("0", "+0", "-0"):
        return 0
    match = _GO_FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"not a duration: {text!r}")
    total = sum(float(number) * _GO_UNITS_NS[unit] for number, unit in _GO_PART.findall(match[2]))
    if total > MAX_DURATION_NS:
        raise ValueError(f"the duration is out of range: {text[:40]!r}")
    return round(-total if match[1] == "-" else total)


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
    match = _BYTES.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a size in bytes: {text!r}")
    number, unit = match[1].replace(",", ""), match[2].lower()
    prefix = unit.removesuffix("b")
    base = 1024 if prefix.endswith("i") else 1000
    power = _POWERS.get(prefix.removesuffix("i"))
    if power is None or prefix == "i":
        raise ValueError(f"not a size in bytes: {text!r}")
    size = float(number) * base**power
    if isinf(size):
        raise ValueError(f"the size is out of range: {text[:40]!r}")
    return float(int(size))


def literal_bytes(text: str) -> float:
    """Bytes of a size as it may stand in a query, where case counts: `1.5kB`, `10MiB`."""
    if _BYTES_LITERAL.fullmatch(text) is None:
        raise ValueError(f"not a size in bytes: {text!r}")
    return byte_size(text)
