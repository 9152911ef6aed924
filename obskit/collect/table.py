"""The table of built-in collectors. Others are found as entry points of the group `obskit.collectors`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

from obskit.collect.contract import Kind
from obskit.errors import CollectorError
from obskit.model.problems import did_you_mean

GROUP: Final = "obskit.collectors"
BUILT_IN: Final = {
    "arq": "obskit_collectors.arq:KIND",
    "bullmq": "obskit_collectors.bullmq:KIND",
    "celery": "obskit_collectors.celery:KIND",
    "cloudflare": "obskit_collectors.cloudflare:KIND",
    "dramatiq": "obskit_collectors.dramatiq:KIND",
    "file": "obskit_collectors.file:KIND",
    "fly": "obskit_collectors.fly:KIND",
    "heartbeats": "obskit_collectors.heartbeats:KIND",
    "host": "obskit_collectors.host:KIND",
    "http_json": "obskit_collectors.http_json:KIND",
    "obskit": "obskit.collect.own:KIND",
    "probes": "obskit_collectors.probes:KIND",
    "postgres": "obskit_collectors.postgres:KIND",
    "prometheus": "obskit_collectors.prometheus:KIND",
    "rabbitmq": "obskit_collectors.rabbitmq:KIND",
    "redis": "obskit_collectors.redis:KIND",
    "sql": "obskit_collectors.sql:KIND",
    "sqs": "obskit_collectors.sqs:KIND",
    "rq": "obskit_collectors.rq:KIND",
    "upstash": "obskit_collectors.upstash:KIND",
}
"""Kind → module:attribute, imported when it is configured."""
PACKS: Final[Mapping[str, frozenset[str]]] = {
    "ai": frozenset({"cloudflare"}),
    "backups": frozenset({"postgres"}),
    "celery": frozenset({"celery"}),
    "cloudflare": frozenset({"cloudflare"}),
    "fly": frozenset({"fly"}),
    "fly-logs": frozenset({"fly"}),
    "postgres": frozenset({"postgres"}),
    "probes": frozenset({"probes", "heartbeats"}),
    "rabbitmq": frozenset({"rabbitmq"}),
    "redis": frozenset({"redis"}),
    "sqs": frozenset({"sqs"}),
}
"""Rule packs that are for some kinds alone: on without being named when one of these is configured."""


def find_kind(name: str) -> Kind[Any]:
    """The kind of this name; CollectorError (reason config) when there is none, or it cannot be imported."""
    if name in BUILT_IN:
        return _load(name, BUILT_IN[name])
    for point in entry_points(group=GROUP, name=name):
        return _load(name, point.value)
    raise CollectorError(f'no collector "{name}"{did_you_mean(name, BUILT_IN)}', reason="config")


def kind_names() -> list[str]:
    """Every kind that can be configured here, built in or installed."""
    return sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))})


def _load(name: str, address: str) -> Kind[Any]:
    module, _, attribute = address.partition(":")
    try:
        kind = getattr(import_module(module), attribute)
    except ImportError as error:
        raise CollectorError(f"collector {name} needs a package that is missing: {error}", reason="config") from error
    if not isinstance(kind, Kind):
        raise CollectorError(f"collector {name}: {address} is not a Kind", reason="config")
    return kind
