"""From Config to the parts that need one: destinations of each receiver, the outbox's handler, windows to keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from obskit.collect import Source, find_kind
from obskit.config import Config
from obskit.model.actions import Outcome, OutcomeReason
from obskit.notify import Integration, build_integrations, preview_integrations
from obskit.outbound import httpx
from obskit.outbox import Delivery
from obskit.promql.plans import longest_range_ms, metric_names
from obskit.rules.groups import Group
from obskit.store.embedded import EmbeddedStore

OWN_METRICS: Final = "obskit"
PRINTS: Final = "console_configs"


@dataclass(frozen=True, slots=True)
class Destinations:
    """Every place a message can go, by receiver, and the one handler that delivers to them."""

    by_receiver: Mapping[str, Sequence[Integration]]

    @classmethod
    def build(cls, config: Config, http: httpx.AsyncClient, *, dry_run: bool) -> Destinations:
        """The configured ones; with `dry_run`, ones that print what they would have sent."""
        return cls(
            {
                receiver.name: preview_integrations(receiver) if dry_run else build_integrations(receiver, http)
                for receiver in config.receivers
            }
        )

    @property
    def all(self) -> dict[str, Integration]:
        """By destination id."""
        return {each.id: each for integrations in self.by_receiver.values() for each in integrations}

    @property
    def intervals(self) -> dict[str, float]:
        """The least seconds between two attempts, where a destination has one."""
        return {each.id: each.min_interval_s for each in self.all.values() if each.min_interval_s > 0}

    async def deliver(self, delivery: Delivery) -> Outcome:
        """One attempt. A destination that a reload removed can never be reached again."""
        integration = self.all.get(delivery.action.destination)
        if integration is None:
            return Outcome.permanent(OutcomeReason.CONFIG, f"{delivery.action.destination} is no longer configured")
        return await integration.deliver(delivery)


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
