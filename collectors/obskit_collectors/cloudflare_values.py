"""Values in Cloudflare's answers: what is not a number or a time is None, which is unknown and never 0."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Final

_LATEST_MS: Final = 9_000_000_000_000
"""In the year 2255: later ones are no times, and do not fit into 64 bits of nanoseconds."""


def number(value: Any) -> float | None:
    """A finite number that is not negative: all that is counted or measured here is one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # JSON knows no largest whole number
        return None
    return found if math.isfinite(found) and found >= 0 else None


def time_ms(text: Any) -> int | None:
    """A time as RFC 3339 writes it, in Unix milliseconds; without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(str(text))
        at_ms = round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return at_ms if 0 <= at_ms < _LATEST_MS else None
