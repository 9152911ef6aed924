"""Rows of one scope (an account, or a zone): one query for all its nodes, and what to do when that is refused.

A span of too many rows is halved; a node that is refused is left out for a day, so that what a plan lacks never blinds
the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from obskit.collect import Book
from obskit.errors import CollectorError
from obskit_collectors.cloudflare_graphql import GraphQl, QueryRefusedError
from obskit_collectors.cloudflare_nodes import LIMIT, Node
from obskit_collectors.cloudflare_totals import MINUTE_MS

log = logging.getLogger(__name__)

LEFT_OUT_MS: Final = 24 * 3_600_000
"""How long a node that was refused is not asked for again."""
DENIED_WAIT_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose analytics: `field` of the viewer (`accounts`, `zones`), its id, and the labels of its series."""

    field: str
    id: str
    fix: str
    nodes: tuple[Node, ...]
    labels: Mapping[str, str]

    def query(self, nodes: Sequence[Node]) -> str:
        """One query for some of its nodes."""
        tag = "accountTag" if self.field == "accounts" else "zoneTag"
        selections = " ".join(node.selection() for node in nodes)
        return (
            f"query($tag: string!, $from: Time!, $to: Time!) {{ viewer {{ budget "
            f"{self.field}(filter: {{{tag}: $tag}}) {{ {selections} }} }} }}"
        )


class Rows:
    """The rows of one scope's nodes. `cut` says that a single minute of the last read had more than fit in an answer."""

    def __init__(self, graphql: GraphQl, scope: Scope) -> None:
        self.scope = scope
        self.cut = False
        self._graphql = graphql
        self._book: Book | None = None
        self._left_out: dict[str, int] = {}

    async def read(self, span: tuple[int, int], now_ms: int, book: Book | None = None) -> dict[str, list[Any]]:
        """The rows of each node, by its alias, from `span[0]` until before `span[1]`."""
        self.cut = False
        self._book = book
        return await self._rows(self._nodes(now_ms), span, now_ms)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._graphql.close()

    def _nodes(self, now_ms: int) -> list[Node]:
        self._left_out = {alias: until for alias, until in self._left_out.items() if until > now_ms}
        nodes = [node for node in self.scope.nodes if node.alias not in self._left_out]
        if not nodes:
            raise CollectorError("analytics: nothing of it can be read", reason="auth", retry_after=DENIED_WAIT_S)
        return nodes

    async def _rows(self, nodes: Sequence[Node], span: tuple[int, int], now_ms: int) -> dict[str, list[Any]]:
        """The rows of each node. A span of too many rows is halved; a refused query is asked node by node."""
        splits = span[1] - span[0] > MINUTE_MS
        try:
            found = await self.ask(nodes, span, now_ms)
        except QueryRefusedError as error:
            if error.too_wide and splits:
                return await self._halves(nodes, span, now_ms)
            if len(nodes) == 1:
                raise CollectorError(str(error), reason=error.reason, retry_after=DENIED_WAIT_S) from error
            return await self._one_by_one(nodes, span, now_ms)
        if any(len(rows) >= LIMIT for rows in found.values()):
            if splits:
                return await self._halves(nodes, span, now_ms)
            self.cut = True
        return found

    async def ask(self, nodes: Sequence[Node], span: tuple[int, int], now_ms: int) -> dict[str, list[Any]]:
        """One query, and the rows of each node."""
        variables = {"tag": self.scope.id, "from": _iso(span[0]), "to": _iso(span[1])}
        viewer = await self._graphql.viewer(self.scope.query(nodes), variables, now_ms, self._book)
        scopes = viewer.get(self.scope.field)
        if not isinstance(scopes, list) or not scopes or not isinstance(scopes[0], dict):
            raise CollectorError(
                f"analytics: no {self.scope.field} in the answer ({self.scope.fix})", reason="auth", retry_after=900.0
            )
        found = {node.alias: scopes[0].get(node.alias) for node in nodes}
        return {alias: rows if isinstance(rows, list) else [] for alias, rows in found.items()}

    async def _halves(self, nodes: Sequence[Node], span: tuple[int, int], now_ms: int) -> dict[str, list[Any]]:
        middle = (span[0] + span[1]) // 2 // MINUTE_MS * MINUTE_MS
        early = await self._rows(nodes, (span[0], middle), now_ms)
        late = await self._rows(nodes, (middle, span[1]), now_ms)
        return {alias: early.get(alias, []) + late.get(alias, []) for alias in early.keys() | late.keys()}

    async def _one_by_one(self, nodes: Sequence[Node], span: tuple[int, int], now_ms: int) -> dict[str, list[Any]]:
        """Each node alone; the refused ones are left out for a day, all refused is an error."""
        found: dict[str, list[Any]] = {}
        refused: dict[str, CollectorError] = {}
        for node in nodes:
            try:
                found |= await self._rows([node], span, now_ms)
            except CollectorError as error:
                if not isinstance(error.__cause__, QueryRefusedError):
                    raise
                refused[node.alias] = error
        if not found:
            raise next(iter(refused.values()))
        for alias, why in refused.items():
            log.warning("analytics are left out for a day: node=%s error=%s", alias, why)
            self._left_out[alias] = now_ms + LEFT_OUT_MS
        return found


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
