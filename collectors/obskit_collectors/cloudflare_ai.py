"""The logs of AI Gateway: what each call to a model cost, took and said, as records and as `obskit_ai_*` counters.

Calls are read by the time they began, a little from before again and again: a call is logged when it has ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import Field

from obskit.clock import NS_PER_MS, NS_PER_S, Clock
from obskit.collect import Ask, Book, Check, Collector, Overlap, PartialReadError, failed, ok
from obskit.errors import CollectorError
from obskit.model.labels import Labels
from obskit.model.records import Record, whole_text
from obskit.model.settings import Duration, Settings
from obskit.store.interface import Batch, Cursor
from obskit_collectors.cloudflare_account import Account, AccountApi
from obskit_collectors.cloudflare_calls import METADATA, Call, Counters, read_call
from obskit_collectors.cloudflare_polled import Place, Polled

PERMISSION: Final = "AI Gateway: Read"
SETTLE_NS: Final = 300 * NS_PER_S
"""A call is logged under the time it began; one that takes longer than this is missed."""
PER_PAGE: Final = 50
MOST_PAGES: Final = 100
"""Pages of one read, which begins with what the last one ended with: more calls than that in 5 minutes are too many."""


class AiSettings(Settings):
    """`ai_gateway:` of the account."""

    gateways: list[str] = Field([], description="ids of gateways; default: all")
    records: bool = Field(True, description="keep a record of each call, without its prompt and answer")
    every: Duration = Field(60_000, ge=10_000, description="how often to ask")


@dataclass(frozen=True, slots=True)
class Progress:
    """What was read so far: one overlap for each gateway, and the counters. The cursor's value.

    `began_ns` is where a gateway begins of which no call was seen yet.
    """

    began_ns: int = 0
    overlaps: Mapping[str, Overlap] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)

    @classmethod
    def read(cls, text: str | None) -> Progress:
        """CollectorError when the cursor is not ours."""
        try:
            kept = json.loads(text or '{"began_ns": 0, "overlaps": {}, "counters": []}')
            overlaps = {str(name): Overlap.read(value, SETTLE_NS) for name, value in kept["overlaps"].items()}
            return cls(int(kept["began_ns"]), overlaps, Counters.read(kept["counters"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CollectorError("the stored cursor cannot be read", reason="config") from None

    def text(self) -> str:
        """As a cursor's value."""
        kept = {name: overlap.text() for name, overlap in self.overlaps.items() if overlap.newest_ns is not None}
        whole = {"began_ns": self.began_ns, "overlaps": kept, "counters": self.counters.rows()}
        return json.dumps(whole, separators=(",", ":"))


class GatewayReader:
    """Reads what was logged since the last time. The first time it looks back as far as one interval."""

    def __init__(self, account: Account, api: AccountApi, settings: AiSettings) -> None:
        self.owner = account.owner("ai_gateway")
        self.progress = Progress()
        self._api = api
        self._settings = settings
        self._account = {"account": account.name} if account.name else {}
        self._before_ms: int | None = None

    async def read(self, now_ms: int, book: Book | None = None) -> Batch:
        """Every gateway; one that fails is told after the others were read."""
        if not self.progress.began_ns:
            self.progress = replace(self.progress, began_ns=(now_ms - self._settings.every) * NS_PER_MS)
        gateways = self._settings.gateways or await self._all(book)
        overlaps = dict(self.progress.overlaps)
        calls: list[Call] = []
        wrong: list[CollectorError] = []
        for gateway in gateways:
            try:
                overlaps[gateway], found, problem = await self._gateway(gateway, now_ms, book)
            except CollectorError as error:
                if error.reason == "auth":
                    raise
                wrong.append(error)
                continue
            calls += found
            if problem:
                wrong.append(CollectorError(f"ai gateway {gateway}: {problem}", reason="bad_data"))
        since_ms = self._before_ms or now_ms - self._settings.every
        counters, samples = self.progress.counters.count(calls, self._account, since_ms, now_ms)
        self.progress = replace(self.progress, overlaps=overlaps, counters=counters)
        self._before_ms = now_ms
        records = [_record(call) for call in calls] if self._settings.records else []
        batch = Batch(samples, records, METADATA, cursor=Cursor(self.owner, self.progress.text()))
        if wrong:
            raise PartialReadError(str(wrong[0]), batch, reason=wrong[0].reason, retry_after=wrong[0].retry_after)
        return batch

    def resume(self, cursor: str | None) -> None:
        """Go on where the cursor says."""
        self.progress = Progress.read(cursor)

    async def _all(self, book: Book | None) -> list[str]:
        found = await self._api.result(Ask("/ai-gateway/gateways", params={"per_page": "100"}), book)
        return [str(row["id"]) for row in found or () if isinstance(row, dict) and row.get("id")]

    async def _gateway(self, gateway: str, now_ms: int, book: Book | None) -> tuple[Overlap, list[Call], str]:
        """What is known now, the calls that are new, and what was wrong with the others."""
        overlap = self.progress.overlaps.get(gateway, Overlap(SETTLE_NS))
        since_ns = overlap.since_ns or self.progress.began_ns
        new: list[Call] = []
        odd = 0
        for page in range(1, MOST_PAGES + 1):
            rows = await self._page(gateway, since_ns, page, book)
            calls = [call for call in (read_call(gateway, row) for row in rows) if call is not None]
            odd += len(rows) - len(calls)
            overlap, positions = overlap.take([(call.t_ns, call.id) for call in calls], now_ms * NS_PER_MS)
            new += [calls[position] for position in positions]
            if len(rows) < PER_PAGE:
                return overlap, new, f"{odd} logs without id or time" if odd else ""
        return overlap, new, f"more than {MOST_PAGES * PER_PAGE} calls in {SETTLE_NS // NS_PER_S} s: some are missed"

    async def _page(self, gateway: str, since_ns: int, page: int, book: Book | None) -> list[Any]:
        since = datetime.fromtimestamp(since_ns / NS_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        params = {
            "page": str(page),
            "per_page": str(PER_PAGE),
            "order_by": "created_at",
            "order_by_direction": "asc",
            "filters": json.dumps([{"key": "created_at", "operator": "gt", "value": [since]}]),
        }
        rows = await self._api.result(Ask(f"/ai-gateway/gateways/{gateway}/logs", params=params), book)
        if not isinstance(rows, list):
            raise CollectorError(f"ai gateway {gateway}: the answer is not a list", reason="bad_data")
        return rows


def build_parts(account: Account, settings: AiSettings) -> Sequence[Collector]:
    """One poll."""
    api = account.api(PERMISSION)
    reader = GatewayReader(account, api, settings)
    place = Place(reader.owner, reader.resume)
    return [Polled(account, "ai_gateway", settings.every, read=reader.read, close=api.close, place=place)]


async def checks(account: Account, settings: AiSettings, clock: Clock) -> Sequence[Check]:
    """Whether the logs of each gateway can be read."""
    api = account.api(PERMISSION)
    try:
        batch = await GatewayReader(account, api, settings).read(clock.now_ms())
    except CollectorError as error:
        fix = "name gateways by their ids, as the dashboard does" if error.reason == "missing" else api.fix
        return [failed(f"ai gateway: {error}", fix)]
    finally:
        await api.close()
    return [ok(f"ai gateway: logs can be read ({len(batch.records)} in the last interval)")]


def _record(call: Call) -> Record:
    """The call on one line. The caller's own words about it (tenant, user) become metadata of the record."""
    told = f"{call.status:g} " if call.status else ""
    line = f"{call.provider}/{call.model} {told}{call.outcome}" + (" cached" if call.cached else "")
    if call.duration_s is not None:
        line += f" in {call.duration_s:.3f} s"
    return Record(
        Labels({"source": "ai_gateway", "app": call.gateway}), call.t_ns, whole_text(line), dict(_metadata(call))
    )


def _metadata(call: Call) -> Iterator[tuple[str, str]]:
    yield "id", call.id
    yield "level", "info" if call.outcome == "ok" else "error"
    yield from (("provider", call.provider), ("model", call.model), ("cached", str(call.cached).lower()))
    numbers = {"tokens_in": call.tokens_in, "tokens_out": call.tokens_out, "cost": call.cost, "status": call.status}
    yield from ((key, f"{value:g}") for key, value in numbers.items() if value is not None)
    yield from call.told.items()
