"""The collector `probes`: asks pages, ports and names from outside, as users do; blackbox_exporter's names.

A failure is asked again at once, so that a blip wakes nobody. What fails is told in words: in the books, and as an event
when it begins and when it is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from obskit.clock import Clock, bounded
from obskit.collect import Check, Collector, Feed, Kind, PartialReadError, Reading, Several, Snapshots, failed, ok
from obskit.collect.polling import Schedule
from obskit.errors import CollectorError
from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.store.interface import Batch
from obskit_collectors.probes_addresses import Resolver
from obskit_collectors.probes_dns import DnsProber
from obskit_collectors.probes_found import Cause, Found, ProbeError
from obskit_collectors.probes_http import HttpProber
from obskit_collectors.probes_settings import DnsProbe, HttpProbe, Probe, ProbesSettings, TcpProbe, target_labels
from obskit_collectors.probes_tcp import TcpProber

Prober = Callable[[Found], Awaitable[None]]
_NS_PER_MS: Final = 1_000_000


class Watched:
    """One probe, asked again and again in a steady rhythm: that it fails is what the asking is for."""

    def __init__(self, name: str, settings: ProbesSettings, probe: Probe, slots: asyncio.Semaphore) -> None:
        self.name = name
        self.instance = probe.instance
        self._settings = settings
        self._probe = probe
        self._slots = slots
        self._attempts = probe.confirm or settings.confirm
        self._timeout_s = (probe.timeout or settings.timeout) / 1000
        self._schedule = Schedule(probe.every or settings.every, f"{name} {probe.instance}")
        self._snapshots = Snapshots(target_labels(settings, probe))
        self._down: Cause | None = None

    async def run(self, feed: Feed) -> None:
        """Ask, wait for the next point of the rhythm, for ever."""
        while True:
            with suppress(CollectorError):  # its book has told
                await self.once(feed)
            await self._schedule.wait(feed.clock)

    async def once(self, feed: Feed) -> None:
        """Ask once, and again at once while it fails. Raises what the last attempt failed for."""
        book = feed.book(self.instance)
        try:
            with book.call():
                batch = await self._ask(feed.clock)
        except PartialReadError as error:
            await feed.append(error.batch, self.instance)
            raise
        await feed.append(batch, self.instance)

    async def _ask(self, clock: Clock) -> Batch:
        async with self._slots:
            readings, error = await self.attempt(clock)
            for _ in range(self._attempts - 1):
                if error is None:
                    break
                readings, error = await self.attempt(clock)
        now_ms = clock.now_ms()
        batch = Batch(self._snapshots.take(readings, now_ms), records=self._news(error, now_ms))
        if error is not None:
            raise PartialReadError(f"{self.instance}: {error}", batch, reason=error.reason)
        return batch

    async def attempt(self, clock: Clock) -> tuple[list[Reading], ProbeError | None]:
        """One attempt: what it found, and why it failed."""
        prober = prober_of(self._probe, Resolver(self._settings.allow_link_local), clock, self._timeout_s)
        found = Found(clock)
        started, error = clock.monotonic(), None
        try:
            await bounded(clock, self._timeout_s, prober(found))
        except TimeoutError:
            error = ProbeError(Cause.TIMEOUT, f"no answer within {self._timeout_s:g} s")
        except ProbeError as problem:
            error = problem
        took_s = clock.monotonic() - started
        return [*found.all(), *_verdict(self._probe, found, error, took_s)], error

    def _news(self, error: ProbeError | None, now_ms: int) -> list[Record]:
        """An event when it begins to fail, fails for another cause, or is well again."""
        cause = error.cause if error else None
        if cause is self._down:
            return []
        self._down = cause
        # Not an error of its own for the grouping of errors: the pack probes tells it already.
        name, level = ("probe.failed", "warning") if error else ("probe.recovered", "info")
        stream = Labels({"source": "event", "app": self.instance})
        metadata = {"name": name, "level": level, **({"cause": cause.slug} if cause else {})}
        line = f"{name}: {self.instance}: {error}" if error else f"{name}: {self.instance}"
        return [Record(stream, now_ms * _NS_PER_MS, line, metadata)]


def _verdict(probe: Probe, found: Found, error: ProbeError | None, took_s: float) -> list[Reading]:
    readings: list[Reading] = [
        ("probe_success", {}, 0.0 if error else 1.0),
        ("probe_duration_seconds", {}, took_s),
    ]
    phases = {labels.get("phase"): value for _, labels, value in found.all()}
    readings.append(("probe_dns_lookup_time_seconds", {}, phases.get("resolve", 0.0)))
    if isinstance(probe, HttpProbe) and not any(name == "probe_http_status_code" for name, *_ in found.readings):
        readings.append(("probe_http_status_code", {}, 0.0))  # blackbox_exporter's word for no answer
    if error:
        readings.append(("obskit_probe_failed", {"cause": error.cause.slug}, 1.0))
    return readings


def prober_of(probe: Probe, resolver: Resolver, clock: Clock, timeout_s: float) -> Prober:
    """What asks for it."""
    if isinstance(probe, HttpProbe):
        return HttpProber(probe, resolver, clock, timeout_s)
    if isinstance(probe, TcpProbe):
        return TcpProber(probe, resolver, clock)
    assert isinstance(probe, DnsProbe)
    return DnsProber(probe, clock, timeout_s)


def _parts(settings: ProbesSettings) -> Sequence[Watched]:
    name = f"probes/{settings.name}" if settings.name else "probes"
    slots = asyncio.Semaphore(settings.at_once)
    return [Watched(name, settings, probe, slots) for probe in settings.probes]


def build(settings: ProbesSettings) -> Collector:
    """A collector of all its probes, side by side."""
    parts = _parts(settings)
    return Several(parts[0].name, parts)


async def doctor(settings: ProbesSettings, clock: Clock) -> Sequence[Check]:
    """Each probe once: it resolves, connects and answers as wanted, or what keeps it from that."""
    return await asyncio.gather(*(_check(watched, clock) for watched in _parts(settings)))


async def _check(watched: Watched, clock: Clock) -> Check:
    try:
        readings, error = await watched.attempt(clock)
    except CollectorError as problem:
        return failed(f"{watched.instance}: {problem}", "correct the setting that it names")
    if error is not None:
        return failed(f"{watched.instance}: {error}", error.cause.fix)
    by_name: Mapping[str, float] = {name: value for name, _, value in readings}
    said = f", HTTP {by_name['probe_http_status_code']:.0f}" if "probe_http_status_code" in by_name else ""
    return ok(f"{watched.instance} answers in {by_name['probe_duration_seconds'] * 1000:.0f} ms{said}")


KIND: Final = Kind(ProbesSettings, build, doctor)
