"""Volumes of the organisation, and Fly.io's own public incidents, which explain what rules would else blame on an app.

A volume's use is said only where the API says it; an incident is 1 while it is open, 0 once when it ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from obskit.clock import NS_PER_MS
from obskit.collect import Ask, Collector, Reading, Resumed, Snapshots, poll
from obskit.model.labels import Labels
from obskit.model.records import Record, whole_text
from obskit.model.samples import MetricMeta, MetricType
from obskit.store.interface import Batch, Cursor
from obskit_collectors.fly_access import FlyApi, items, part, text_at
from obskit_collectors.fly_lines import time_ns
from obskit_collectors.fly_settings import FlySettings

INCIDENT: Final = "obskit_vendor_incident"
_VOLUMES: Final = {
    "fly_volume_size_bytes": MetricMeta(MetricType.GAUGE, "Size of a volume."),
    "fly_volume_used_pct": MetricMeta(MetricType.GAUGE, "What of a volume is used, in percent."),
}
_INCIDENTS: Final = {INCIDENT: MetricMeta(MetricType.GAUGE, "1 while a vendor's incident is open.")}
AGAIN_MS: Final = 300_000
_KEPT: Final = 50
"""Incidents whose end is waited for."""


def volumes_poll(settings: FlySettings, api: FlyApi) -> Collector:
    """The part of the collector that reads volumes; the names are those of the managed Prometheus."""
    snapshots = Snapshots({})
    wanted = frozenset(settings.apps)

    async def read(now_ms: int) -> Batch:
        answer = await api.json(Ask(f"/v1/orgs/{settings.organization}/volumes"))
        volumes = items(answer, "volumes")
        mine = [one for one in volumes if not wanted or _app(one) in wanted or not _app(one)]
        return Batch(snapshots.take((reading for one in mine for reading in _volume(one)), now_ms), metadata=_VOLUMES)

    every_ms, name = settings.slow_every, settings.own_name
    return poll(read, name=name, target="volumes", every_ms=every_ms, timeout_ms=30_000, close=api.close)


def incidents_poll(settings: FlySettings) -> Collector:
    """The part of the collector that reads the incidents feed, which asks for no token."""
    api = FlyApi(settings.incidents_url, None, "")
    incidents = Incidents(f"{settings.own_name} incidents")

    async def read(now_ms: int) -> Batch:
        return incidents.take(items(await api.json(Ask("/v1/incidents")), "incidents"), now_ms)

    every_ms, name = settings.slow_every, settings.own_name
    inner = poll(read, name=name, target="incidents", every_ms=every_ms, close=api.close)
    return Resumed(inner, incidents.owner, incidents.resume)


class Incidents:
    """Which incidents are open, and which were told."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._open: dict[str, list[str]] = {}
        """The components of each open one."""
        self._told_ms: dict[str, int] = {}
        self._snapshots = Snapshots({})

    def resume(self, saved: str | None) -> None:
        """Go on where a cursor says."""
        self._open = dict(json.loads(saved)) if saved else {}

    def take(self, told: list[dict[str, Any]], now_ms: int) -> Batch:
        """The open ones; a record for each that begins or ends."""
        now = {key: one for one in told if (key := text_at(one, "id")) and not _over(one)}
        now = dict(list(now.items())[:_KEPT])
        components = {key: _components(one) for key, one in now.items()}
        ended = {key: names for key, names in self._open.items() if key not in now}
        by_id = {text_at(one, "id"): one for one in told}
        records = [_told(one, "open", now_ms) for key, one in now.items() if self._to_be_told(key, now_ms)]
        records += [_told(by_id.get(key, {"id": key}), "resolved", now_ms) for key in ended]
        values = {name: 0.0 for names in ended.values() for name in names}
        values |= {name: 1.0 for names in components.values() for name in names}
        self._open = components
        self._told_ms = {key: t_ms for key, t_ms in self._told_ms.items() if key in now}
        readings = ((INCIDENT, {"vendor": "fly", "component": name}, value) for name, value in values.items())
        cursor = Cursor(self.owner, json.dumps(self._open, separators=(",", ":")))
        return Batch(self._snapshots.take(readings, now_ms), records, _INCIDENTS, cursor)

    def _to_be_told(self, key: str, now_ms: int) -> bool:
        """At its beginning, and every few minutes while it is open: so the pack `vendors` wants it."""
        begun = key not in self._open
        told = not begun and now_ms - self._told_ms.setdefault(key, now_ms) < AGAIN_MS
        if not told:
            self._told_ms[key] = now_ms
        return not told


def _volume(one: dict[str, Any]) -> Iterator[Reading]:
    labels = {
        "id": text_at(one, "id"),
        "name": text_at(one, "name"),
        "app": _app(one),
        "region": text_at(one, "region"),
        "machine": text_at(one, "attached_machine_id"),
    }
    if not labels["id"]:
        return
    total, used, size_gb = part(one, "bytes_total"), part(one, "bytes_used"), part(one, "size_gb")
    size = (
        total if isinstance(total, int) and total > 0 else size_gb * 1e9 if isinstance(size_gb, int | float) else None
    )
    if size:
        yield "fly_volume_size_bytes", labels, float(size)
    if isinstance(used, int) and isinstance(total, int) and total > 0:
        yield "fly_volume_used_pct", labels, 100.0 * used / total


def _app(one: dict[str, Any]) -> str:
    return text_at(one, "app_name") or text_at(one, "app", "name") or text_at(one, "app")


def _over(one: dict[str, Any]) -> bool:
    return bool(part(one, "resolved_at")) or text_at(one, "status").lower() in ("resolved", "completed", "postmortem")


def _components(one: dict[str, Any]) -> list[str]:
    found = part(one, "components")
    names = [text_at(component, "name") for component in found] if isinstance(found, list) else []
    return sorted({name for name in names if name}) or ["platform"]


def _told(one: dict[str, Any], state: str, now_ms: int) -> Record:
    key = "started_at" if state == "open" else "resolved_at"
    t_ns = time_ns(text_at(one, key)) or now_ms * NS_PER_MS
    title = whole_text(text_at(one, "name") or text_at(one, "id"))
    metadata = {"name": "vendor.incident", "vendor": "fly", "title": title, "state": state, "id": text_at(one, "id")}
    components = ", ".join(_components(one)) if one.get("components") else ""
    line = f"Fly.io incident {state}: {title}" + (f" ({components})" if components else "")
    # Told when it is seen: what began an hour ago is news now, and a rule's window ends now.
    t_ns = min(max(t_ns, (now_ms - 60_000) * NS_PER_MS), now_ms * NS_PER_MS)
    return Record(Labels({"source": "event", "event": "incident", "vendor": "fly"}), t_ns, whole_text(line), metadata)
