"""Fly.io: logs (asked for, or pushed by the log shipper), machines and events, releases, volumes, incidents, Prometheus.

One collector for one organisation, made of parts with rhythms and books of their own: `logs/APP`, `machines`, `releases`,
`volumes`, `incidents`, `prometheus`. What each API is like: the parts' own files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from obskit.collect import Call, Collector, Kind, Said, Several
from obskit_collectors.fly_access import FlyApi
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
    apps = Apps(settings, _machines_api(settings))
    parts: list[Collector] = []
    if settings.logs == "poll":
        parts.append(FlyLogs(settings, _api(settings), apps))
    if settings.machines:
        parts.append(machines_poll(settings, _machines_api(settings)))
    if settings.releases == "api":
        parts.append(releases_poll(settings, _api(settings), apps))
    if settings.volumes:
        parts.append(volumes_poll(settings, _machines_api(settings)))
    if settings.incidents:
        parts.append(incidents_poll(settings))
    if settings.queries or settings.federate:
        parts.append(queries_poll(settings, _api(settings)))
    return parts


def build(settings: FlySettings) -> Collector:
    """A collector for one organisation."""
    parts = parts_of(settings)
    if settings.secret is None:
        return Several(settings.own_name, parts)
    return PushedFly(settings.own_name, parts, ShipperReceiver(settings, settings.secret))


def _api(settings: FlySettings) -> FlyApi:
    return FlyApi(settings.api_url, settings.token, settings.organization)


def _machines_api(settings: FlySettings) -> FlyApi:
    return FlyApi(settings.machines_url, settings.token, settings.organization)


KIND: Final = Kind(settings=FlySettings, build=build, doctor=doctor)
