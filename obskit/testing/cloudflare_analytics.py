"""FakeAnalytics: the GraphQL API of analytics, with its habits: errors with HTTP 200, minutes that grow, a budget.

analytics = FakeAnalytics(cloudflare)
analytics.add("workersInvocationsAdaptive", minute_ms, {"scriptName": "shop", "status": "success"}, {"sum.requests": 412})
analytics.denied.add("hyperdriveQueriesAdaptiveGroups")      # or a zone's id: the plan lacks it
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from obskit.testing.cloudflare import Asked, FakeCloudflare, Route
from obskit.testing.http import Answer

ANALYTICS: Final = "Account Analytics Read"
ZONE_ANALYTICS: Final = "Analytics Read"
BUDGET: Final = 300
_BUDGET_MS: Final = 300_000
_MINUTE_MS: Final = 60_000
_TOKEN: Final = re.compile(r'"[^"]*"|[A-Za-z_$]\w*!?|\d+|[{}():,]')
_SPANS: Final = {"datetimeMinute": "%Y-%m-%dT%H:%M:00Z", "datetimeHour": "%Y-%m-%dT%H:00:00Z", "date": "%Y-%m-%d"}


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted in one minute. A measure's name is `sum.requests`, or `count`; None is null."""

    scope: str
    node: str
    minute_ms: int
    dimensions: Mapping[str, Any]
    measures: Mapping[str, float | None]


@dataclass(slots=True)
class Selected:
    """A field of a query: its alias, its name, its arguments as text, and what was selected in it."""

    alias: str
    name: str
    arguments: str = ""
    fields: list[Selected] = field(default_factory=list)

    def find(self, name: str) -> list[Selected]:
        """The fields in it that have this name."""
        return [one for one in self.fields if one.name == name]


class FakeAnalytics:
    """`denied` names nodes and zones without access; `unknown` fields that the schema lacks.

    Minutes younger than `grows_ms` show a part of their counts. `widest_ms` is the longest range of a query. `left` is
    what remains of the budget, None for the real one. With `bare_times` times come without their `Z`.
    """

    def __init__(self, cloudflare: FakeCloudflare) -> None:
        self.rows: list[Counted] = []
        self.denied: set[str] = set()
        self.unknown: set[str] = set()
        self.zones: set[str] = set()
        self.grows_ms = 3 * _MINUTE_MS
        self.widest_ms = 7 * 24 * 3_600_000
        self.left: int | None = None
        self.bare_times = False
        self.asked: list[tuple[str, int, int]] = []
        """Scope, begin and end of each query that was answered."""
        self._asked_ms: list[int] = []
        self._cloudflare = cloudflare
        cloudflare.serve(Route("POST", "/graphql", frozenset({ANALYTICS, ZONE_ANALYTICS}), self._answer, bare=True))

    def add(
        self,
        node: str,
        minute_ms: int,
        dimensions: Mapping[str, Any],
        measures: Mapping[str, float | None],
        *,
        scope: str = "",
    ) -> None:
        """Count this in a minute; of the account, or of the zone that `scope` is."""
        scope = scope or self._cloudflare.account
        self.rows.append(Counted(scope, node, minute_ms // _MINUTE_MS * _MINUTE_MS, dimensions, measures))

    def _answer(self, asked: Asked) -> Answer:
        left = self._spend()
        if left < 0:
            return _failed("rate limiter budget depleted, try again after 5 minutes", status=429)
        variables = asked.body.get("variables", {})
        viewer = parse(asked.body["query"]).find("viewer")[0]
        span = (_ms(variables["from"]), _ms(variables["to"]))
        said: dict[str, Any] = {"budget": left} if viewer.find("budget") else {}
        for scopes in (*viewer.find("accounts"), *viewer.find("zones")):
            refusal = self._refusal(scopes, variables["tag"], span)
            if refusal is not None:
                return refusal
            self.asked.append((variables["tag"], *span))
            there = variables["tag"] in {self._cloudflare.account, *self.zones}
            said[scopes.name] = (
                [{node.alias: self._of(node, variables["tag"], span) for node in scopes.fields}] if there else []
            )
        return Answer(200, json.dumps({"data": {"viewer": said}, "errors": None}).encode())

    def _spend(self) -> int:
        """What remains of the budget after one more query."""
        if self.left is not None:
            self.left -= 1
            return self.left
        now_ms = self._cloudflare.now_ms()
        self._asked_ms = [at for at in self._asked_ms if at > now_ms - _BUDGET_MS]
        if len(self._asked_ms) >= BUDGET:
            return -1
        self._asked_ms.append(now_ms)
        return BUDGET - len(self._asked_ms)

    def _refusal(self, scopes: Selected, tag: str, span: tuple[int, int]) -> Answer | None:
        need = ANALYTICS if scopes.name == "accounts" else ZONE_ANALYTICS
        if not self._cloudflare.may(frozenset({need})):
            return _failed(f"not authorized for that {scopes.name[:-1]}", ["viewer", scopes.name, "0"])
        if tag in self.denied:
            return _failed(f"zone '{tag}' does not have access to the path", ["viewer", scopes.name, "0"])
        if span[1] - span[0] > self.widest_ms:
            return _failed("query time range is too large")
        for node in scopes.fields:
            if node.name in self.denied:
                path = ["viewer", scopes.name, "0", node.alias]
                return _failed(f"account '{tag}' does not have access to the path", path)
            for name in (part.name for group in node.fields for part in (group, *group.fields)):
                if name in self.unknown:
                    return _failed(f'unknown field "{name}"')
        return None

    def _of(self, node: Selected, tag: str, span: tuple[int, int]) -> list[dict[str, Any]]:
        """The rows of a node, grouped by the dimensions that were asked for."""
        names = [one.name for group in node.find("dimensions") for one in group.fields]
        groups: dict[tuple[Any, ...], dict[str, float | None]] = {}
        for row in self.rows:
            if (row.scope, row.node) == (tag, node.name) and span[0] <= row.minute_ms < span[1]:
                key = tuple(self._time(row.minute_ms, name) or row.dimensions.get(name) for name in names)
                sums = groups.setdefault(key, {})
                for measure, value in self._grown(row):
                    before = sums.get(measure)
                    sums[measure] = value if before is None else before + (value or 0.0)
        limit = int((re.search(r"limit : (\d+)", node.arguments) or ["", "0"])[1])
        return [_row(names, key, sums, node) for key, sums in groups.items()][:limit]

    def _grown(self, row: Counted) -> Iterator[tuple[str, float | None]]:
        """As much of a minute as is known by now: sums and counts of a young one are smaller."""
        age_ms = self._cloudflare.now_ms() - row.minute_ms - _MINUTE_MS
        share = min(1.0, max(0.0, age_ms / self.grows_ms)) if self.grows_ms else 1.0
        for measure, value in row.measures.items():
            grows = measure == "count" or measure.startswith("sum.")
            yield measure, float(int(value * share)) if grows and value is not None and share < 1 else value

    def _time(self, minute_ms: int, name: str) -> str | None:
        form = _SPANS.get(name)
        text = None if form is None else datetime.fromtimestamp(minute_ms / 1000, UTC).strftime(form)
        return text.rstrip("Z") if text and self.bare_times else text


def parse(query: str) -> Selected:
    """The selections of a query, below a root without a name."""
    tokens = _TOKEN.findall(query[query.index("{") :])
    root = Selected("", "")
    end = _selections(tokens, 1, root)
    if end != len(tokens):
        raise ValueError("more follows the query")
    return root


def _selections(tokens: list[str], at: int, into: Selected) -> int:
    while tokens[at] != "}":
        name = tokens[at]
        one = Selected(name, name)
        at += 1
        if tokens[at] == ":":
            one.name = tokens[at + 1]
            at += 2
        if tokens[at] == "(":
            end = tokens.index(")", at)
            one.arguments = " ".join(tokens[at + 1 : end])
            at = end + 1
        if tokens[at] == "{":
            at = _selections(tokens, at + 1, one)
        into.fields.append(one)
    return at + 1


def _row(names: list[str], key: tuple[Any, ...], sums: Mapping[str, float | None], node: Selected) -> dict[str, Any]:
    row: dict[str, Any] = {"dimensions": dict(zip(names, key, strict=True))}
    for group in node.fields:
        if group.name == "count":
            row["count"] = sums.get("count", 0)
        elif group.name != "dimensions":
            row[group.name] = {one.name: sums.get(f"{group.name}.{one.name}") for one in group.fields}
    return row


def _failed(message: str, path: list[str] | None = None, *, status: int = 200) -> Answer:
    error = {"message": message, "path": path, "extensions": {"timestamp": "2026-10-02T08:16:00Z"}}
    return Answer(status, json.dumps({"data": None, "errors": [error]}).encode())


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
