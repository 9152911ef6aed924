"""Calendar functions: Unix seconds to parts of a UTC date.

A value that is no time gives NaN. (Upstream converts NaN to an integer, which differs from processor to processor.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from obskit.promql.blocks import Floats

_Dates = NDArray[np.datetime64]


def _part(part: Callable[[_Dates], Any]) -> Callable[[Floats], Floats]:
    def change(values: Floats) -> Floats:
        usable = np.isfinite(values) & (np.abs(values) < 1e14)
        dates = np.where(usable, np.trunc(values), 0).astype(np.int64).astype("datetime64[s]")
        return np.where(usable, np.asarray(part(dates)).astype(float), np.nan)

    return change


def _since(dates: _Dates, larger: str, unit: str) -> Any:
    """Whole units since the start of the larger unit."""
    start = dates.astype(f"datetime64[{larger}]")
    return (dates.astype(f"datetime64[{unit}]") - start.astype(f"datetime64[{unit}]")).astype(np.int64)


def _days_in_month(dates: _Dates) -> Any:
    month = dates.astype("datetime64[M]")
    return ((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.int64)


CALENDAR: Final[dict[str, Callable[[Floats], Floats]]] = {
    "minute": _part(lambda dates: _since(dates, "h", "m")),
    "hour": _part(lambda dates: _since(dates, "D", "h")),
    # Day 0 of the epoch was a Thursday; weeks start on Sunday.
    "day_of_week": _part(lambda dates: (dates.astype("datetime64[D]").astype(np.int64) + 4) % 7),
    "day_of_month": _part(lambda dates: _since(dates, "M", "D") + 1),
    "day_of_year": _part(lambda dates: _since(dates, "Y", "D") + 1),
    "days_in_month": _part(_days_in_month),
    "month": _part(lambda dates: _since(dates, "Y", "M") + 1),
    "year": _part(lambda dates: dates.astype("datetime64[Y]").astype(np.int64) + 1970),
}
