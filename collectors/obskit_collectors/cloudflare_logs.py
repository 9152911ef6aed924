"""Logs of Workers, read by the telemetry query of Workers Observability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic import Field

from obskit.clock import Clock
from obskit.collect import Ask, Check, Collector, failed, ok, poll
from obskit.errors import CollectorError
from obskit.model.settings import Duration, Settings
from obskit.store.interface import Batch
from obskit_collectors.cloudflare_account import Account

PERMISSION: Final = "Workers Observability: Edit"


class LogsSettings(Settings):
    """`logs:` of the account's Workers."""

    every: Duration = Field(15_000, gt=0, description="how often to ask")


def build_parts(account: Account, settings: LogsSettings) -> Sequence[Collector]:
    """One poll."""
    api = account.api(PERMISSION)

    async def read(now_ms: int) -> Batch:
        await api.result(_query(now_ms))
        return Batch()

    return [poll(read, name=account.collector, target="logs", every_ms=settings.every, close=api.close)]


async def checks(account: Account, _: LogsSettings, clock: Clock) -> Sequence[Check]:
    """Whether the token may ask."""
    api = account.api(PERMISSION)
    try:
        await api.result(_query(clock.now_ms()))
    except CollectorError as error:
        return [failed(f"logs: {error}", api.fix)]
    finally:
        await api.close()
    return [ok("logs can be read")]


def _query(now_ms: int) -> Ask:
    body = {"queryId": "obskit", "view": "events", "timeframe": {"from": now_ms - 3_600_000, "to": now_ms}}
    return Ask("/workers/observability/telemetry/query", "POST", body=body)
