"""Analytics: what was counted in each minute, of an account's products in one query, and of each zone in one of its own.

A minute is taken when it is old enough to be nearly whole, and asked for again while it may still grow. Samples are
stamped with the end of their minute, so they come minutes late: rules look at windows of 15 minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from pydantic import Field, field_validator, model_validator

from obskit.clock import Clock
from obskit.collect import Book, Check, Collector, PartialReadError, failed, ok
from obskit.errors import CollectorError
from obskit.model.labels import Labels
from obskit.model.settings import Duration, Settings
from obskit.store.interface import Batch, Cursor, Samples
from obskit_collectors.cloudflare_account import Account, AccountApi
from obskit_collectors.cloudflare_graphql import BUDGET_MS, GraphQl
from obskit_collectors.cloudflare_nodes import ACCOUNT_NODES, LIMIT, ZONE_NODES, Node, described
from obskit_collectors.cloudflare_polled import Place, Polled
from obskit_collectors.cloudflare_queues import PERMISSION as QUEUES
from obskit_collectors.cloudflare_queues import list_queues
from obskit_collectors.cloudflare_rows import Rows, Scope
from obskit_collectors.cloudflare_totals import MINUTE_MS, OVERLAP_MS, Counted, Totals

ACCOUNT_FIX: Final = 'give the API token the account permission "Account Analytics: Read"'
ZONE_FIX: Final = 'give the API token the zone permission "Analytics: Read" for this zone'
LONGEST_MS: Final = 30 * MINUTE_MS
"""New minutes of one query; what is behind more catches up with the next ones."""
EARLIEST_MS: Final = 90 * MINUTE_MS
"""Minutes that are older are skipped: the store takes two hours."""
REFRESH_MS: Final = 3_600_000
"""How often names are looked up."""
NO_ROWS: Final = "no rows"
_MOST_QUERIES: Final = 200
"""Of the 300 in 5 minutes: the rest is for splits, the doctor and others."""

Product = Literal["workers", "queues", "r2", "d1", "kv", "hyperdrive", "durable_objects", "ai_gateway"]


class AnalyticsSettings(Settings):
    """`analytics:` of the account and of zones."""

    products: list[Product] = Field([], description="default: all; those the plan or the token lacks are left out")
    zones: dict[str, str] = Field({}, description="zones by name, with their ids: `example.com: <zone id>`")
    names: dict[str, str] = Field({}, description="names for ids of databases, namespaces and Hyperdrive configs")
    settle: Duration = Field(300_000, ge=0, description="age at which a minute is taken: newer ones are not whole")
    every: Duration = Field(60_000, ge=10_000, description="how often to ask; one query each for account and zone")

    @field_validator("zones")
    @classmethod
    def _ids(cls, zones: dict[str, str]) -> dict[str, str]:
        for name, zone in zones.items():
            if len(zone) != 32 or not all(digit in "0123456789abcdefABCDEF" for digit in zone):
                raise ValueError(f"{name}: a zone's id is 32 hex digits, on the zone's overview page")
        return zones

    @model_validator(mode="after")
    def _within_budget(self) -> AnalyticsSettings:
        queries = (1 + len(self.zones)) * BUDGET_MS / self.every
        if queries > _MOST_QUERIES:
            enough_s = -(-(1 + len(self.zones)) * BUDGET_MS // _MOST_QUERIES // 1000)
            raise ValueError(f"{queries:.0f} queries in 5 minutes are too many: set every to {enough_s}s or more")
        return self


class Minutes:
    """The minutes of one scope. `totals` is what was counted so far; None before the first read."""

    def __init__(self, graphql: GraphQl, rows: Rows, names: Names, *, owner: str, settle_ms: int) -> None:
        self.owner = owner
        self.totals: Totals | None = None
        self._graphql = graphql
        self._rows = rows
        self._names = names
        self._settle_ms = settle_ms
        self._metadata = described(rows.scope.nodes)

    async def read(self, now_ms: int, book: Book | None = None) -> Batch:
        """The minutes that settled since the last read, and what older ones grew by."""
        settled_ms = (self._graphql.now_ms(now_ms) - self._settle_ms) // MINUTE_MS * MINUTE_MS
        before = self.totals or Totals(settled_ms - OVERLAP_MS)
        before = before.skipped_to(settled_ms - EARLIEST_MS)
        until_ms = min(settled_ms, before.until_ms + LONGEST_MS)
        if until_ms <= before.until_ms:
            return Batch()
        found = await self._rows.read((before.since_ms, until_ms), now_ms, book)
        await self._names.refresh(now_ms, book)
        counted: list[Counted] = []
        gauges = Samples()
        for node in self._rows.scope.nodes:
            rows, more = found.get(node.alias, []), self._rows.scope.labels
            counted += [
                (at, self._names.of(labels), value) for at, labels, value in node.rows(node.counters, rows, more)
            ]
            for at, labels, value in node.rows(node.gauges, rows, more):
                if before.until_ms <= at < until_ms:
                    gauges.add(self._names.of(labels), at + MINUTE_MS, value)
        totals, samples = before.advance(counted, until_ms)
        samples.extend(gauges)
        batch = Batch(samples, metadata=self._metadata, cursor=Cursor(self.owner, totals.text()))
        self.totals = totals
        if self._rows.cut:
            raise PartialReadError(
                f"analytics: more than {LIMIT} rows in a minute: numbers are too low; choose fewer products",
                batch,
                reason="bad_data",
            )
        return batch

    def resume(self, cursor: str | None) -> None:
        """Go on where the cursor says."""
        self.totals = Totals.read(cursor, 0) if cursor is not None else None

    async def close(self) -> None:
        """Let go of the connections."""
        await self._rows.close()
        await self._names.close()


class Names:
    """Names for ids in labels: of queues by the API, of others as the settings say. An id without a name stays."""

    def __init__(self, api: AccountApi, names: Mapping[str, str], *, queues: bool) -> None:
        self._api = api
        self._names = dict(names)
        self._asks = queues
        self._asked_ms: int | None = None
        self._known: dict[Labels, Labels] = {}

    async def refresh(self, now_ms: int, book: Book | None = None) -> None:
        """Look the queues up, once an hour. A token that may not sees ids."""
        if self._asked_ms is not None and now_ms < self._asked_ms + REFRESH_MS:
            return
        for id, name in (await self._queues(book) if self._asks else {}).items():  # noqa: A001 - a queue's id
            self._names.setdefault(id, name)
        self._asked_ms = now_ms
        self._known = {}

    def of(self, labels: Labels) -> Labels:
        """The labels with names; the same object for the same labels."""
        known = self._known.get(labels)
        if known is None:
            known = self._known[labels] = Labels({key: self._names.get(value, value) for key, value in labels.items()})
        return known

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()

    async def _queues(self, book: Book | None) -> dict[str, str]:
        try:
            return {queue.id: queue.name for queue in await list_queues(self._api, book)}
        except CollectorError as error:
            if error.reason != "auth":
                raise
            return {}


def build_parts(account: Account, settings: AnalyticsSettings) -> Sequence[Collector]:
    """A poll of the account, and one of each zone: what one of them lacks is no matter of the others."""
    graphql = GraphQl(account, f"{ACCOUNT_FIX}; {ZONE_FIX}")
    parts: list[Collector] = []
    for target, scope in _scopes(account, settings):
        queues = any(node.product == "queues" for node in scope.nodes)
        names = Names(account.api(QUEUES), settings.names, queues=queues)
        owner = account.owner(f"{target} {scope.id}")
        minutes = Minutes(graphql, Rows(graphql, scope), names, owner=owner, settle_ms=settings.settle)
        place = Place(owner, minutes.resume)
        parts.append(Polled(account, target, settings.every, read=minutes.read, close=minutes.close, place=place))
    return parts


async def checks(account: Account, settings: AnalyticsSettings, clock: Clock) -> Sequence[Check]:
    """Each node alone, over the last settled hour. Not one row anywhere may be a missing permission: it is told."""
    graphql = GraphQl(account, f"{ACCOUNT_FIX}; {ZONE_FIX}")
    until_ms = (clock.now_ms() - settings.settle) // MINUTE_MS * MINUTE_MS
    found: list[Check] = []
    try:
        for target, scope in _scopes(account, settings):
            rows = Rows(graphql, scope)
            span = (until_ms - 60 * MINUTE_MS, until_ms)
            of_nodes = [await check_node(rows, node, f"{target}: {node.field}", span) for node in scope.nodes]
            found += of_nodes
            if all(check.what.endswith(NO_ROWS) for check in of_nodes):
                found.append(failed(f"{target}: not one row in the last hour", f"unless nothing ran: {scope.fix}"))
    finally:
        await graphql.close()
    return found


async def check_node(source: Rows, node: Node, what: str, span: tuple[int, int]) -> Check:
    """Whether a node can be read; what to do if not."""
    scope = source.scope
    try:
        rows = (await source.ask([node], span, span[1]))[node.alias]
    except CollectorError as error:
        leave = " or take it out of zones" if scope.field == "zones" else f" or take {node.product} out of products"
        return failed(f"{what}: {error}", scope.fix + leave)
    if not rows:
        return ok(f"{what}: {NO_ROWS}")
    return ok(f"{what}: {len(rows)} rows")


def _scopes(account: Account, settings: AnalyticsSettings) -> list[tuple[str, Scope]]:
    """What is asked for, by the name of its target."""
    labels = {"account": account.name}
    wanted = settings.products
    nodes = tuple(node for node in ACCOUNT_NODES if not wanted or node.product in wanted)
    whole = ("analytics", Scope("accounts", account.id, ACCOUNT_FIX, nodes, labels))
    zones = [
        (f"analytics of {name}", Scope("zones", zone, ZONE_FIX, ZONE_NODES, {**labels, "zone": name}))
        for name, zone in settings.zones.items()
    ]
    return [whole, *zones]
