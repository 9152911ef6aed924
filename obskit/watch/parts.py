"""From Config to the parts that need one: destinations of each receiver, the outbox's handler, windows to keep."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from obskit.clock import Clock, bounded
from obskit.collect import Source, find_kind
from obskit.config import Config
from obskit.grouping.issues import State
from obskit.grouping.rows import read_issues_since
from obskit.model.actions import Notice, Outcome, OutcomeReason
from obskit.model.context import UNKNOWN, Context, Deploy, TopError
from obskit.model.deploys import deploy_of, deploys_of
from obskit.notify import Integration, Look, build_integrations, preview_integrations
from obskit.outbound import httpx
from obskit.outbox import Budget, Delivery, Paces
from obskit.promql.plans import longest_range_ms, metric_names
from obskit.rules.backdrop import Backdrop
from obskit.rules.groups import Group
from obskit.store.database import Database
from obskit.store.embedded import EmbeddedStore
from obskit.store.log_interface import LogReader

log = logging.getLogger(__name__)

LOOK_S: Final = 2.0
ERRORS_BEFORE_MS: Final = 3_600_000
DEPLOYS: Final = 5
DEPLOYS_BEFORE_MS: Final = 24 * 3_600_000
_NS_PER_MS: Final = 1_000_000
OWN_METRICS: Final = "obskit"
PRINTS: Final = "console_configs"


@dataclass(frozen=True, slots=True)
class Destinations:
    """Every place a message can go, by receiver, and the one handler that delivers to them."""

    by_receiver: Mapping[str, Sequence[Integration]]

    @classmethod
    def build(cls, config: Config, http: httpx.AsyncClient, look: Look) -> Destinations:
        """The configured ones; `look` finds out what the store knows around a notice."""
        return cls({receiver.name: build_integrations(receiver, http, look) for receiver in config.receivers})

    @classmethod
    def preview(cls, config: Config) -> Destinations:
        """Ones that print what the configured ones would have sent."""
        return cls({receiver.name: preview_integrations(receiver) for receiver in config.receivers})

    @property
    def all(self) -> dict[str, Integration]:
        """By destination id."""
        return {each.id: each for integrations in self.by_receiver.values() for each in integrations}

    @property
    def paces(self) -> Paces:
        """How fast each may be tried."""
        return Paces({each.id: each.min_interval_s for each in self.all.values()}, self._budget)

    async def deliver(self, delivery: Delivery) -> Outcome:
        """One attempt. A destination that a reload removed can never be reached again."""
        integration = self.all.get(delivery.action.destination)
        if integration is None:
            return Outcome.permanent(OutcomeReason.CONFIG, f"{delivery.action.destination} is no longer configured")
        return await integration.deliver(delivery)

    def _budget(self, delivery: Delivery) -> Budget | None:
        integration = self.all.get(delivery.action.destination)
        return None if integration is None else integration.budget(delivery)


class Onlooker:
    """Looks at what is around a notice without holding up its delivery: in a thread, for a moment."""

    def __init__(
        self, backdrop: Backdrop, database: Database, logs: LogReader, clock: Clock, *, app_labels: Sequence[str]
    ) -> None:
        self._backdrop = backdrop
        self._database = database
        self._logs = logs
        self._clock = clock
        self._app_labels = app_labels
        self._one_at_a_time = threading.Lock()  # engines are for one thread; one that is slow is not waited for
        self._trouble = ""

    async def __call__(self, notice: Notice) -> Context:
        """What is known; nothing when that takes too long, or fails."""
        try:
            return await bounded(self._clock, LOOK_S, asyncio.to_thread(self._look, notice))
        except TimeoutError:
            return self._without("it took too long")
        except Exception as error:  # noqa: BLE001 - a message without its context is better than none
            return self._without(f"{type(error).__name__}: {error}")

    def _look(self, notice: Notice) -> Context:
        if not self._one_at_a_time.acquire(timeout=LOOK_S):
            return UNKNOWN
        try:
            known = self._backdrop.look(notice)
            app = next((value for name in self._app_labels if (value := notice.common_labels.get(name))), "")
            if not app:
                return known
            return replace(known, top_error=self._top_error(notice, app), deploys=self._deploys(notice, app))
        finally:
            self._one_at_a_time.release()

    def _top_error(self, notice: Notice, app: str) -> TopError | None:
        """The most frequent error of a program since an hour before the notice began."""
        if not notice.firing:
            return None
        since_ms = min(alert.starts_ms for alert in notice.firing) - ERRORS_BEFORE_MS
        counted = [(issue.count_since(since_ms), issue) for issue in read_issues_since(self._database, app, since_ms)]
        told = [(count, issue.title) for count, issue in counted if issue.state in (State.OPEN, State.REGRESSED)]
        return TopError(max(told)[1], max(told)[0]) if told else None

    def _deploys(self, notice: Notice, app: str) -> tuple[Deploy, ...]:
        """The last deploys of a program within a day, the newest first."""
        until_ns = (notice.decided_ms + 1) * _NS_PER_MS
        since_ns = until_ns - DEPLOYS_BEFORE_MS * _NS_PER_MS
        found = self._logs.select(deploys_of(app), since_ns, until_ns, newest_first=True)
        return tuple(deploy_of(record) for record in islice(found, DEPLOYS))

    def _without(self, trouble: str) -> Context:
        if trouble != self._trouble:
            log.warning("messages go without their context: reason=%s", trouble)
        self._trouble = trouble
        return UNKNOWN


def sources_of(config: Config) -> list[Source]:
    """What is configured, and our own metrics, which rules about obskit itself need."""
    own = [] if any(source.kind == OWN_METRICS for source in config.sources) else [own_source()]
    return [*config.sources, *own]


def own_source() -> Source:
    """Our own metrics, with the settings they have by default."""
    return Source(OWN_METRICS, find_kind(OWN_METRICS).settings())


def only_prints(config: Config) -> bool:
    """Whether no message leaves this machine: every receiver is a console."""
    return all(key == PRINTS for receiver in config.receivers for _, key, _ in receiver.configured())


def keep_windows(store: EmbeddedStore, groups: Iterable[Group]) -> None:
    """Ask the store to keep in memory what rules look back at, so that they do not read the disk each time."""
    for group in groups:
        if group.type.reads_logs:
            continue
        for rule in group.rules:
            for query in rule.queries:
                window_ms = longest_range_ms(query) + group.query_offset_ms
                for name in metric_names(query) or ():
                    store.reserve_window(name, window_ms)
