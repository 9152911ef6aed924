"""The table of functions: what each takes and returns. What they compute stands in the functions_* modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from obskit.promql.nodes import ValueType

_S, _V, _M, _T = ValueType.SCALAR, ValueType.VECTOR, ValueType.MATRIX, ValueType.STRING


@dataclass(frozen=True, slots=True)
class Signature:
    """Types of a function's arguments.

    `optional` counts the last arguments that may be left out; -1 lets the last one repeat any number of times,
    zero included (Prometheus' "variadic").
    """

    args: tuple[ValueType, ...]
    returns: ValueType = _V
    optional: int = 0
    experimental: bool = False

    @property
    def minimum(self) -> int:
        """How many arguments there must be."""
        return len(self.args) - abs(self.optional)

    @property
    def maximum(self) -> int | None:
        """How many there may be; None when the last one repeats."""
        return None if self.optional < 0 else len(self.args)

    def type_of(self, position: int) -> ValueType:
        """The type expected at a position."""
        return self.args[min(position, len(self.args) - 1)]


def _all(names: str, signature: Signature) -> dict[str, Signature]:
    return dict.fromkeys(names.split(), signature)


SIGNATURES: Final[dict[str, Signature]] = {
    **_all(
        "abs absent acos acosh asin asinh atan atanh ceil cos cosh deg exp floor ln log10 log2 rad sgn sin sinh sort"
        " sort_desc sqrt tan tanh timestamp histogram_avg histogram_count histogram_sum histogram_stddev"
        " histogram_stdvar",
        Signature((_V,)),
    ),
    **_all(
        "absent_over_time avg_over_time changes count_over_time delta deriv idelta increase irate last_over_time"
        " max_over_time min_over_time present_over_time rate resets stddev_over_time stdvar_over_time sum_over_time"
        " first_over_time",
        Signature((_M,)),
    ),
    **_all(
        "mad_over_time ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time ts_of_min_over_time",
        Signature((_M,), experimental=True),
    ),
    **_all(
        "day_of_month day_of_week day_of_year days_in_month hour minute month year",
        Signature((_V,), optional=1),
    ),
    "clamp": Signature((_V, _S, _S)),
    "clamp_max": Signature((_V, _S)),
    "clamp_min": Signature((_V, _S)),
    "double_exponential_smoothing": Signature((_M, _S, _S), experimental=True),
    "end": Signature((), _S, experimental=True),
    "histogram_fraction": Signature((_S, _S, _V)),
    "histogram_quantile": Signature((_S, _V)),
    "histogram_quantiles": Signature((_V, _T, _S, _S), optional=-1, experimental=True),
    "info": Signature((_V, _V), optional=1, experimental=True),
    "label_join": Signature((_V, _T, _T, _T), optional=-1),
    "label_replace": Signature((_V, _T, _T, _T, _T)),
    "max_of": Signature((_S, _S), _S, experimental=True),
    "min_of": Signature((_S, _S), _S, experimental=True),
    "pi": Signature((), _S),
    "predict_linear": Signature((_M, _S)),
    "quantile_over_time": Signature((_S, _M)),
    "range": Signature((), _S, experimental=True),
    "round": Signature((_V, _S), optional=1),
    "scalar": Signature((_V,), _S),
    "sort_by_label": Signature((_V, _T), optional=-1, experimental=True),
    "sort_by_label_desc": Signature((_V, _T), optional=-1, experimental=True),
    "start": Signature((), _S, experimental=True),
    "start_timestamp": Signature((_V,), experimental=True),
    "step": Signature((), _S, experimental=True),
    "time": Signature((), _S),
    "vector": Signature((_S,)),
}

ANCHORED_FUNCTIONS: Final = ("changes", "delta", "increase", "rate", "resets")
SMOOTHED_FUNCTIONS: Final = ("delta", "increase", "rate")
PARAMETER_TYPES: Final = {
    **dict.fromkeys(("topk", "bottomk", "quantile", "limitk", "limit_ratio"), _S),
    "count_values": _T,
}
"""Aggregations that take a parameter, and its type."""
