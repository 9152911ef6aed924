"""The collector `obskit`: our own metrics as samples, so that rules on them (`obskit_collector_up == 0`) work."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from pydantic import Field

from obskit.clock import Clock
from obskit.collect.contract import Check, Collector, Kind, ok
from obskit.collect.polling import poll
from obskit.collect.snapshots import Snapshots
from obskit.model.samples import MetricMeta, MetricType
from obskit.model.settings import Duration, Settings
from obskit.model.telemetry import REGISTRY
from obskit.store.interface import Batch

_TYPES: Final = {kind.value: kind for kind in MetricType}


class OwnSettings(Settings):
    """`obskit:` how often our own metrics are stored, and the `instance` label they carry (default: the host name)."""

    every: Duration = Field(15_000, description="how often our own metrics are stored")
    instance: str = Field("", description="the `instance` label; default: the host name")


class Registry:
    """A prometheus_client registry, read as batches."""

    def __init__(self, registry: CollectorRegistry, target_labels: Mapping[str, str]) -> None:
        self._registry = registry
        self._snapshots = Snapshots(target_labels)
        self._metadata: dict[str, MetricMeta] = {}

    def read(self, now_ms: int) -> Batch:
        """Every series there is, stamped `now_ms`."""
        families = list(self._registry.collect())
        if len(families) != len(self._metadata):
            self._metadata = {_family_name(family): _meta(family) for family in families}
        readings = (
            (sample.name, sample.labels, sample.value)
            for family in families
            for sample in family.samples
            if not sample.name.endswith("_created")
        )
        return Batch(self._snapshots.take(readings, now_ms), metadata=self._metadata)


def _family_name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _meta(family: Metric) -> MetricMeta:
    return MetricMeta(_TYPES.get(family.type, MetricType.UNTYPED), family.documentation, family.unit)


def build(settings: OwnSettings) -> Collector:
    """The collector of REGISTRY."""
    instance = settings.instance or socket.gethostname()
    registry = Registry(REGISTRY, {"job": "obskit", "instance": instance})

    async def read(now_ms: int) -> Batch:
        return registry.read(now_ms)

    return poll(read, name="obskit", target=instance, every_ms=settings.every)


async def doctor(settings: OwnSettings, clock: Clock) -> Sequence[Check]:  # noqa: ARG001 - the Kind's shape
    """Nothing can be missing: the registry is ours."""
    return [ok("our own metrics")]


KIND: Final = Kind(OwnSettings, build, doctor)
