"""When memory is nearly full of series: how many are let go, which of them, and which target gets no more new ones.

Series that ended or fell silent go first, long before any new one is refused: a target that invents series with each
scrape pushes out its own. What is left to refuse is shared by a dynamic threshold, as in the memory of a network switch
(Choudhury and Hahne, 1998): a target may have up to eight times as many series as there is room for. So one target alone
gets eight ninths of memory, and the others always find some room; nothing has to be set, and nothing is wasted.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import Labels
from obskit.model.samples import STALE_NAN_BITS
from obskit.store.packing import Times, Values
from obskit.store.rounds import NEVER, bits_of

SILENT_MS: Final = 300_000
"""Without a sample for so long a series is in no instant vector any more (the lookback)."""
_SHARE: Final = 8


def excess(series: int, limit: int) -> int:
    """How many are to be let go: above seven eighths of the limit, down to three quarters, so that it is seldom."""
    return series - limit * 3 // 4 if series > limit * 7 // 8 else 0


def idle(newest_ms: Times, newest: Values, now_ms: int) -> NDArray[np.bool_]:
    """Which series ended or fell silent, by their last sample. One without any is about to get its first."""
    ended = bits_of(newest) == STALE_NAN_BITS
    useless: NDArray[np.bool_] = (ended | (newest_ms <= now_ms - SILENT_MS)) & (newest_ms > NEVER)
    return useless


def target_of(labels: Labels) -> str:
    """Who a series comes from. What we compute ourselves (alerts, rules that aggregate) comes from nobody."""
    return labels.get("instance") or labels.get("job")


def too_many(of_target: int, series: int, limit: int) -> bool:
    """Whether a target has so many series that there must be no more of it."""
    return of_target > _SHARE * (limit - series)
