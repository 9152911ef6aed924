"""FakeTelemetry: the part of FakeCloudflare that answers telemetry queries, with the quirks that the service was seen with.

Rows come newest first, behind a cursor that is the last row's id; late rows show up later; ranges above 6 hours are
thinned out; filters outside `parameters` are ignored, and `in` on services finds nothing; a token without the analytics
permission is shown no row and no error.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from obskit.testing.cloudflare import Asked, DeniedError, FakeCloudflare, Route

QUERY: Final = "/workers/observability/telemetry/query"
WRITE: Final = "Workers Observability Write"
READ: Final = "Workers Observability Read"
ANALYTICS: Final = "Account Analytics Read"
_LONGEST_MS: Final = 7 * 86_400_000
_EXACT_MS: Final = 6 * 3_600_000
_OPERATIONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda given, value: bool(given == value),
    "neq": lambda given, value: bool(given != value),
    "includes": lambda given, value: str(value) in str(given),
    "exists": lambda given, _: given is not None,
    "in": lambda _given, _value: False,  # seen so on services: no row, and no error
}


@dataclass(order=True, slots=True)
class _Row:
    t_ms: int
    number: int
    visible_ms: int = field(compare=False)
    event: dict[str, Any] = field(compare=False)


class FakeTelemetry:
    """`add` rows, or lists of them. `started` is how often each query is told to be running before its result comes;
    `twice` shows every row two times."""

    def __init__(self, cloudflare: FakeCloudflare) -> None:
        self.started = 0
        self.twice = False
        self.queries: list[dict[str, Any]] = []
        self._running: dict[str, int] = {}
        self._rows: list[_Row] = []
        self._cloudflare = cloudflare
        cloudflare.serve(Route("POST", QUERY, frozenset({WRITE, READ}), self._answer))

    def add(self, *events: dict[str, Any], late_ms: int = 0) -> None:
        """Rows that show up `late_ms` after their time."""
        for event in events:
            row = _Row(event["timestamp"], len(self._rows), event["timestamp"] + late_ms, event)
            insort(self._rows, row)

    def _answer(self, asked: Asked) -> Any:
        body = asked.body if isinstance(asked.body, dict) else {}
        self.queries.append(body)
        begin, end = _timeframe(body)
        limit = body.get("limit", 100)
        if not isinstance(limit, int) or not 0 < limit <= 2000:
            raise DeniedError(400, 10026, "limit must be at most 2000")
        run = {"id": "01JX3", "accountId": self._cloudflare.account, "dry": body.get("dry", False)}
        if self._still_running(body):
            return {"run": {**run, "status": "STARTED"}}
        level = 2 if end - begin > _EXACT_MS else 1
        found = self._found(body, begin, end, level)
        place = next((at for at, event in enumerate(found) if _id(event) == body.get("offset")), -1)
        page = found[place + 1 : place + 1 + limit]
        return {
            "run": {**run, "status": "COMPLETED", "timeframe": {"from": begin, "to": end}},
            "statistics": {
                "elapsed": 0.061,
                "rows_read": len(found),
                "bytes_read": 900 * len(found),
                "abr_level": level,
            },
            "events": {"count": len(page), "fields": [], "series": [], "events": page},
        }

    def _still_running(self, body: Mapping[str, Any]) -> bool:
        key = repr((body.get("timeframe"), body.get("offset")))
        self._running[key] = self._running.get(key, 0) + 1
        return self._running[key] <= self.started

    def _found(self, body: Mapping[str, Any], begin: int, end: int, level: int) -> list[dict[str, Any]]:
        if not self._cloudflare.may(frozenset({WRITE})) and not self._cloudflare.may(frozenset({ANALYTICS})):
            return []
        now_ms = self._cloudflare.now_ms()
        low = bisect_left(self._rows, _Row(begin, -1, 0, {}))
        high = bisect_left(self._rows, _Row(end, 1 << 60, 0, {}))
        wanted = _group(body.get("parameters", {}))
        shown = [row.event for row in self._rows[low:high] if row.visible_ms <= now_ms and wanted(row.event)]
        newest_first = shown[::-level]
        return [event for event in newest_first for _ in range(2)] if self.twice else newest_first


def log_row(t_ms: int, id: str, source: Any, *, service: str = "shop-api", **told: Any) -> dict[str, Any]:
    """A line that a Worker logged; `told` is more of `$metadata`."""
    metadata = {"id": id, "service": service, "type": "cf-worker-log", "requestId": f"r-{id}", "level": "info"}
    worker = {"scriptName": service, "requestId": f"r-{id}", "eventType": "fetch", "outcome": "ok"}
    return {
        "dataset": "cloudflare-workers",
        "timestamp": t_ms,
        "source": source,
        "$metadata": {**metadata, **told},
        "$workers": {**worker, "scriptVersion": {"id": "5a3e"}, "truncated": False},
    }


def invocation_row(
    t_ms: int, id: str, *, service: str = "shop-api", outcome: str = "ok", status: int = 200
) -> dict[str, Any]:
    """The row of an invocation. That of a failed one has the level error, as if it had logged once more."""
    event = {"request": {"method": "GET", "url": "https://shop.example/x"}, "response": {"status": status}}
    level = "info" if outcome == "ok" else "error"
    told = {"id": id, "service": service, "type": "cf-worker-event", "level": level}
    worker = {"scriptName": service, "requestId": f"r-{id}", "eventType": "fetch", "outcome": outcome}
    return {
        "dataset": "cloudflare-workers",
        "timestamp": t_ms,
        "source": {},
        "$metadata": {**told, "requestId": f"r-{id}", "message": "GET https://shop.example/x"},
        "$workers": {**worker, "cpuTimeMs": 12, "wallTimeMs": 812, "event": event},
    }


def _timeframe(body: Mapping[str, Any]) -> tuple[int, int]:
    frame = body.get("timeframe")
    if not isinstance(frame, dict) or not isinstance(frame.get("from"), int) or not isinstance(frame.get("to"), int):
        raise DeniedError(400, 10026, "timeframe.from and timeframe.to are required")
    if not body.get("queryId"):
        raise DeniedError(400, 10026, "queryId is required")
    if frame["to"] - frame["from"] > _LONGEST_MS:
        raise DeniedError(400, 10026, "the timeframe must not exceed 7 days")
    return frame["from"], frame["to"]


def _group(group: Any) -> Callable[[Mapping[str, Any]], bool]:
    filters = [_group(one) if one.get("kind") == "group" else _filter(one) for one in group.get("filters", [])]
    every = group.get("filterCombination", "and") == "and"
    if not filters:
        return lambda _: True
    return lambda event: (all if every else any)(fits(event) for fits in filters)


def _filter(one: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], bool]:
    fits = _OPERATIONS.get(one.get("operation", ""))
    if fits is None or one.get("type") not in ("string", "number", "boolean"):
        raise DeniedError(400, 10026, f"invalid filter on {one.get('key')}")
    return lambda event: fits(_at(event, str(one.get("key"))), one.get("value"))


def _at(event: Mapping[str, Any], key: str) -> Any:
    place, _, name = key.rpartition(".")
    holder = event.get(place or "source")
    return holder.get(name) if isinstance(holder, dict) else None


def _id(event: Mapping[str, Any]) -> Any:
    return event["$metadata"].get("id")
