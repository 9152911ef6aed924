"""Signs of life: pings to a healthchecks-compatible URL while, and only while, this obskit could tell of trouble.

Nobody else watches the watcher. A process that runs is no proof, so each ping needs three: every group of rules was
evaluated lately, the store commits, and nothing has waited for long in the outbox.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from obskit.clock import Clock, bounded
from obskit.config.sections import SentHeartbeat, SentHeartbeats
from obskit.errors import StoreError
from obskit.model.telemetry import REGISTRY, Counter
from obskit.outbound import httpx
from obskit.outbox import OutboxStats
from obskit.rules.live import GroupStatus, RuleHealth
from obskit.store.database import Database

log = logging.getLogger(__name__)

SENT: Final = Counter(
    "obskit_heartbeats_sent_total",
    "Our own signs of life by result: ok, failed, withheld (obskit could not tell of trouble).",
    ("host", "result"),
    registry=REGISTRY,
)
_OUTBOX_LIMIT_S: Final = 600.0
"""Longer than any receiver's rate limit makes a message wait."""
_LATE_MS: Final = 180_000
"""Beyond two intervals: what rules over logs wait for sources that lag (2 minutes), and a slow evaluation."""
_COMMIT_S: Final = 10.0
_TICK_S: Final = 5.0


def trouble_of(groups: Iterable[GroupStatus], outbox: OutboxStats, *, started_ms: int, now_ms: int) -> str:
    """Why trouble could not be told now; empty when it could."""
    for status in groups:
        last_ms = max(status.last_evaluation_ms or 0, started_ms)
        if now_ms - last_ms > 2 * status.group.interval_ms + _LATE_MS:
            return f"rules of {status.group.name} were not evaluated for {(now_ms - last_ms) // 1000} s"
        if status.rules and all(rule.health is RuleHealth.ERR for rule in status.rules):
            return f"every rule of {status.group.name} fails"
    for destination, age_s in outbox.oldest_age_s.items():
        if age_s > _OUTBOX_LIMIT_S:
            return f"messages to {destination} wait for {age_s:.0f} s"
    return ""


class LifeSigns:
    """Sends them. `look` gives the groups of rules and the outbox as they are now."""

    def __init__(
        self,
        settings: SentHeartbeats,
        http: httpx.AsyncClient,
        clock: Clock,
        database: Database,
        look: Callable[[], tuple[Iterable[GroupStatus], OutboxStats]],
    ) -> None:
        self._settings = settings
        self._http = http
        self._clock = clock
        self._database = database
        self._look = look
        self._started_ms = clock.now_ms()
        self._due_s: dict[SentHeartbeat, float] = {}
        self._trouble = ""
        self._failing: set[str] = set()

    def reload(self, settings: SentHeartbeats) -> None:
        """Send these from now on."""
        self._settings = settings

    async def run(self) -> None:
        """Send what is due, for ever."""
        while True:
            await self.send_due()
            await self._clock.sleep(_TICK_S)

    async def send_due(self) -> None:
        """Each heartbeat whose time has come, or none of them."""
        now_s = self._clock.monotonic()
        due = [each for each in self._settings.send if self._due_s.get(each, now_s) <= now_s]
        if not due:
            return
        self._due_s = {each: self._due_s.get(each, now_s) for each in self._settings.send}
        self._due_s |= {each: now_s + each.every / 1000 for each in due}
        self._note(await self._found())
        if self._trouble:
            for each in due:
                SENT.labels(each.host, "withheld").inc()
            return
        await asyncio.gather(*(self._send(each) for each in due))

    async def _found(self) -> str:
        try:
            await bounded(self._clock, _COMMIT_S, self._database.write(lambda _: None, essential=True))
            groups, outbox = self._look()
        except TimeoutError:
            return f"the store does not commit within {_COMMIT_S:g} s"
        except StoreError as error:
            return f"the store does not commit: {error}"
        return trouble_of(groups, outbox, started_ms=self._started_ms, now_ms=self._clock.now_ms())

    def _note(self, trouble: str) -> None:
        if trouble and not self._trouble:
            log.error("heartbeats are withheld: reason=%s", trouble)
        elif self._trouble and not trouble:
            log.info("heartbeats go out again")
        self._trouble = trouble

    async def _send(self, heartbeat: SentHeartbeat) -> None:
        """One ping. The URL is the right to ping: it is not told."""
        host, reason = heartbeat.host, ""
        try:
            response = await self._http.get(heartbeat.url.reveal(), headers={"User-Agent": "obskit"})
            reason = "" if response.is_success else f"HTTP {response.status_code}"
        except httpx.HTTPError as error:
            reason = type(error).__name__
        SENT.labels(host, "failed" if reason else "ok").inc()
        if reason and host not in self._failing:
            log.warning("heartbeat not sent: host=%s reason=%s", host, reason)
        (self._failing.add if reason else self._failing.discard)(host)
