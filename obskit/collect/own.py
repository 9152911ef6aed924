"""The collector `obskit`: our own metrics as samples, so that rules on them (`obskit_collector_up == 0`) work."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from obskit.clock import Clock
from obskit.collect.contract import Check, Collector, Kind, ok
from obskit.collect.polling import poll
from obskit.model.labels import NAME, Labels
from obskit.model.samples import STALE_NAN, MetricMeta, MetricType
from obskit.model.settings import Duration, Settings
from obskit.model.telemetry import REGISTRY
from obskit.store.interface import Batch, Samples

_TYPES: Final = {kind.value: kind for kind in MetricType}


class OwnSettings(Settings):
    """`obskit:` how often our own metrics are stored, and the `instance` label they carry (default: the host name)."""

    every: Duration = 15_000
    instance: str = ""


class Snapshots:
    """Turns a registry into batches. A series that is gone since the last snapshot gets a stale marker."""

    def __init__(self, registry: CollectorRegistry, target_labels: dict[str, str]) -> None:
        self._registry = registry
        self._target_labels = target_labels
        self._known: dict[tuple[str, ...], Labels] = {}
        self._metadata: dict[str, MetricMeta] = {}
        self._before: dict[Labels, None] = {}

    def take(self, now_ms: int) -> Batch:
        """Every series of the registry, stamped `now_ms`."""
        families = list(self._registry.collect())
        if len(families) != len(self._metadata):
            self._metadata = {_family_name(family): _meta(family) for family in families}
        labels, values = self._columns(families)
        now = dict.fromkeys(labels)
        vanished = self._before.keys() - now.keys()
        if vanished:
            self._known = {key: known for key, known in self._known.items() if known not in vanished}
            labels += vanished
            values += [STALE_NAN] * len(vanished)
        self._before = now
        return Batch(Samples(labels, [now_ms] * len(labels), values), metadata=self._metadata)

    def _columns(self, families: Iterable[Metric]) -> tuple[list[Labels], list[float]]:
        labels: list[Labels] = []
        values: list[float] = []
        for family in families:
            for sample in family.samples:
                if sample.name.endswith("_created"):
                    continue
                key = (sample.name, *sample.labels.values())
                known = self._known.get(key)
                if known is None:
                    known = Labels({NAME: sample.name, **sample.labels, **self._target_labels})
                    self._known[key] = known
                labels.append(known)
                values.append(float(sample.value))
        return labels, values


def _family_name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _meta(family: Metric) -> MetricMeta:
    return MetricMeta(_TYPES.get(family.type, MetricType.UNTYPED), family.documentation, family.unit)


def build(settings: OwnSettings) -> Collector:
    """The collector of REGISTRY."""
    instance = settings.instance or socket.gethostname()
    snapshots = Snapshots(REGISTRY, {"job": "obskit", "instance": instance})

    async def read(now_ms: int) -> Batch:
        return snapshots.take(now_ms)

    return poll(read, name="obskit", target=instance, every_ms=settings.every)


async def doctor(settings: OwnSettings, clock: Clock) -> Sequence[Check]:  # noqa: ARG001 - the Kind's shape
    """Nothing can be missing: the registry is ours."""
    return [ok("our own metrics")]


KIND: Final = Kind(OwnSettings, build, doctor)
