"""One call to a model as a gateway logged it, and the counters made of calls. Pure.

`obskit_ai_*` is the form that rules share over all gateways. What a log does not say (tokens, cost) is not counted as 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from obskit.clock import NS_PER_MS
from obskit.model.labels import NAME, Labels
from obskit.model.records import whole_text
from obskit.model.samples import MetricMeta, MetricType
from obskit.store.interface import Samples
from obskit_collectors.cloudflare_values import number, time_ms

SYSTEM: Final = "cloudflare_ai_gateway"
BOUNDS_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)
MOST_MODELS: Final = 100
"""Pairs of gateway and model; names of models are the caller's, so more of them count as `other`."""
METADATA: Final = {
    "obskit_ai_requests_total": MetricMeta(MetricType.COUNTER, "Calls to models, by how they ended."),
    "obskit_ai_tokens_total": MetricMeta(MetricType.COUNTER, "Tokens of calls, in and out."),
    "obskit_ai_cost_dollars_total": MetricMeta(MetricType.COUNTER, "What calls cost."),
    "obskit_ai_duration_seconds": MetricMeta(MetricType.HISTOGRAM, "How long calls took."),
}
_MOST_TOLD: Final = 10
_LONGEST_TOLD: Final = 200


@dataclass(frozen=True, slots=True)
class Call:
    """One call. None is unknown. `told` is what the caller said of it (tenant, user), as far as it is short."""

    gateway: str
    id: str
    t_ns: int
    provider: str
    model: str
    outcome: str
    cached: bool
    status: float | None
    duration_s: float | None
    tokens_in: float | None
    tokens_out: float | None
    cost: float | None
    told: Mapping[str, str] = field(default_factory=dict)


def read_call(gateway: str, row: Any) -> Call | None:
    """The call of a log; None when it has no id or no time."""
    if not isinstance(row, dict) or not row.get("id"):
        return None
    t_ms = time_ms(row.get("created_at"))
    if t_ms is None:
        return None
    duration_ms = number(row.get("duration"))
    status = number(row.get("status_code"))
    return Call(
        gateway=gateway,
        id=str(row["id"]),
        t_ns=t_ms * NS_PER_MS,
        provider=str(row.get("provider") or "unknown"),
        model=str(row.get("model") or "unknown"),
        outcome=_outcome(row.get("success"), status),
        cached=row.get("cached") is True,
        status=status,
        duration_s=None if duration_ms is None else duration_ms / 1000,
        tokens_in=number(row.get("tokens_in")),
        tokens_out=number(row.get("tokens_out")),
        cost=number(row.get("cost")),
        told=_told(row.get("metadata")),
    )


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals by series. They never change: keep the new ones once they are stored."""

    _totals: Mapping[Labels, float] = field(default_factory=dict, repr=False)
    _models: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def read(cls, rows: Any) -> Self:
        """From `rows` of the cursor."""
        totals = {Labels(labels): float(total) for labels, total in rows}
        return cls(totals, frozenset((labels["gateway"], labels["model"]) for labels in totals))

    def rows(self) -> list[Any]:
        """As JSON can say it."""
        return [[dict(labels), total] for labels, total in self._totals.items()]

    def count(self, calls: Iterable[Call], more: Mapping[str, str], since_ms: int, now_ms: int) -> tuple[Self, Samples]:
        """The totals with these calls, and a sample of each. A new series has a 0 at `since_ms`, where nothing was."""
        totals, models = dict(self._totals), set(self._models)
        samples = Samples()
        for call in calls:
            pair = (call.gateway, call.model)
            model = call.model if pair in models or len(models) < MOST_MODELS else "other"
            models.add((call.gateway, model))
            for labels, value in _counted(call, model, more):
                if labels not in totals:
                    samples.add(labels, since_ms, 0.0)
                totals[labels] = totals.get(labels, 0.0) + value
        for labels, total in totals.items():
            samples.add(labels, now_ms, total)
        return type(self)(totals, frozenset(models)), samples


def _counted(call: Call, model: str, more: Mapping[str, str]) -> Iterator[tuple[Labels, float]]:
    own = {"system": SYSTEM, "gateway": call.gateway, "provider": call.provider, "model": model, **more}

    def series(metric: str, **labels: str) -> Labels:
        return Labels({NAME: metric, **own, **labels})

    cached = str(call.cached).lower()
    yield series("obskit_ai_requests_total", outcome=call.outcome, cached=cached), 1.0
    for direction, tokens in (("in", call.tokens_in), ("out", call.tokens_out)):
        if tokens is not None:
            yield series("obskit_ai_tokens_total", direction=direction), tokens
    if call.cost is not None:
        yield series("obskit_ai_cost_dollars_total"), call.cost
    if call.duration_s is not None:
        yield series("obskit_ai_duration_seconds_sum"), call.duration_s
        yield series("obskit_ai_duration_seconds_count"), 1.0
        for bound in (*BOUNDS_S, math.inf):
            le = "+Inf" if bound == math.inf else str(bound)
            yield series("obskit_ai_duration_seconds_bucket", le=le), float(call.duration_s <= bound)


def _outcome(success: Any, status: float | None) -> str:
    if status == 429:
        return "rate_limited"
    if success is None:
        return "unknown" if status is None else ("error" if status >= 400 else "ok")
    return "ok" if success else "error"


def _told(text: Any) -> dict[str, str]:
    """The caller's metadata, which is JSON in a string; nothing when it is not."""
    try:
        told = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return {}
    if not isinstance(told, dict):
        return {}
    short = ((f"meta_{key}", whole_text(str(value))) for key, value in list(told.items())[:_MOST_TOLD])
    return {key[:_LONGEST_TOLD]: value[:_LONGEST_TOLD] for key, value in short}
