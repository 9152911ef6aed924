"""Prometheus durations (`1h30m`), parsed and printed. Always milliseconds inside."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

UNITS_MS: Final = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_FORM: Final = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII
)


@lru_cache(maxsize=512)
def parse_duration(text: str) -> int:
    """Milliseconds of a Prometheus duration; ValueError with the reason otherwise.

    Units run from long to short, each at most once (prometheus/common model/time.go); `0` needs no unit.
    """
    text = text.strip()
    if text == "0":
        return 0
    match = _FORM.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"not a duration: {text!r} (like 30s, 5m or 1h30m)")
    return sum(int(count) * unit for count, unit in zip(match.groups(), UNITS_MS.values(), strict=True) if count)


def format_duration(ms: int) -> str:
    """The shortest exact form, as Prometheus prints it: 90000 is `1m30s`, 0 is `0s`."""
    if ms == 0:
        return "0s"
    sign, rest, parts = ("-" if ms < 0 else ""), abs(ms), []
    for unit, size in UNITS_MS.items():
        # As upstream: years, weeks and days only when they are exact, so that 25h does not become 1d1h.
        if unit in ("y", "w", "d") and rest % size:
            continue
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return sign + "".join(parts)
