"""How histograms travel beside floats: an array of objects of the values' shape, None where a float stands.

Blocks and columns have no such array at all as long as there is no histogram, so that floats cost what they did.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.model.histograms import NativeHistogram, ResetHint

Histograms = NDArray[np.object_]

_is_there: Final = np.frompyfunc(lambda item: item is not None, 1, 1)


def held(histograms: Histograms) -> NDArray[np.bool_]:
    """Where there is a histogram."""
    found: NDArray[np.bool_] = _is_there(histograms).astype(bool)
    return found


def none_of(shape: tuple[int, ...]) -> Histograms:
    """An array without any."""
    return np.full(shape, None, object)


def column(items: Iterable[NativeHistogram | None]) -> Histograms:
    """A column of these."""
    kept = list(items)
    made = none_of((len(kept),))
    made[:] = kept
    return made


def unrelated(histograms: Histograms) -> Histograms:
    """A column whose hints are forgotten but for gauges: what is known of the sample before says nothing here."""
    return column(one if one is None or one.is_gauge else one.hinted(ResetHint.UNKNOWN) for one in histograms.tolist())
