"""Fly.io: logs (asked for, or pushed by the log shipper), machines and events, releases, volumes, incidents, Prometheus.

One collector for one organisation, made of parts with rhythms and books of their own: `logs/APP`, `machines`, `releases`,
`volumes`, `incidents`, `prometheus`. What each API is like: the parts' own files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from obskit.collect import Call, Collector, Kind, Said, Several
from obskit_collectors.fly_access import Access, FlyApi, Gated
from obskit_collectors.fly_doctor import doctor
from obskit_collectors.fly_logs import Apps, FlyLogs
from obskit_collectors.fly_machines import machines_poll
from obskit_collectors.fly_platform import incidents_poll, volumes_poll
from obskit_collectors.fly_queries import queries_poll
from obskit_collectors.fly_receiver import ShipperReceiver
from obskit_collectors.fly_releases import releases_poll
from obskit_collectors.fly_settings import FlySettings


class PushedFly(Several):
    """As configured, and a Listener for the log shipper."""

    def __init__(self, name: str, parts: Sequence[Collector], receiver: ShipperReceiver) -> None:
        super().__init__(name, [*parts, receiver])
        self._receiver = receiver
        self.paths = (f"/in/{name}",)

    async def receive(self, call: Call) -> Said:
        """What the shipper pushes."""
        return await self._receiver.receive(call)


def parts_of(settings: FlySettings) -> list[Collector]:
    """Everything that polls; each part has connections of its own."""
    access = Access()

    def api(base: str, what: str) -> FlyApi:
        return FlyApi(base, settings.token, settings.organization).told_to(access, what, settings.own_name)

    apps = Apps(settings, api(settings.machines_url, "apps"))
    parts: list[Collector] = []
    if settings.logs == "poll":
        parts.append(FlyLogs(settings, api(settings.api_url, "logs"), apps))
    if settings.machines:
        parts.append(machines_poll(settings, api(settings.machines_url, "machines")))
    if settings.releases == "api":
        parts.append(releases_poll(settings, api(settings.api_url, "releases"), apps))
    if settings.volumes:
        parts.append(volumes_poll(settings, api(settings.machines_url, "volumes")))
    if settings.queries or settings.federate:
        parts.append(queries_poll(settings, api(settings.api_url, "prometheus")))
    open_to_all: list[Collector] = [incidents_poll(settings)] if settings.incidents else []
    return [*(Gated(part, access) for part in parts), *open_to_all]


def build(settings: FlySettings) -> Collector:
    """A collector for one organisation."""
    parts = parts_of(settings)
    if settings.secret is None:
        return Several(settings.own_name, parts)
    return PushedFly(settings.own_name, parts, ShipperReceiver(settings, settings.secret))


KIND: Final = Kind(settings=FlySettings, build=build, doctor=doctor)
