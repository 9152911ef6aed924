"""Machines and their events, of a whole organisation: one listing of what changed, a closer look at where it did.

There is no stream of events: the listing of the organisation says which machines changed (`updated_after`, with a
minute's overlap because changes show up late), the listing of their app brings checks and events. A region that did not
answer (`error_regions`) leaves its machines as they were: not seen is not gone.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from obskit.clock import NS_PER_MS, NS_PER_S
from obskit.collect import Ask, Collector, Overlap, PartialReadError, Reading, Resumed, Snapshots, poll
from obskit.errors import CollectorError
from obskit.model.context import Deploy
from obskit.model.deploys import deploy_record
from obskit.model.records import Record
from obskit.model.samples import MetricMeta, MetricType
from obskit.store.interface import Batch, Cursor
from obskit_collectors.fly_access import FlyApi, items, part, text_at
from obskit_collectors.fly_machine import GONE, Event, ExitReason, Machine, event_record, updated_ms
from obskit_collectors.fly_settings import FlySettings

TARGET: Final = "machines"
WHOLE_EVERY_MS: Final = 600_000
"""How often everything is listed and looked at, whatever the listing says has changed."""
EVENTS_SETTLE_NS: Final = 6 * 3600 * NS_PER_S
_BEHIND_MS: Final = 60_000
_PAGES: Final = 50
_AT_ONCE: Final = 4
_META: Final = {
    "fly_machine_state": MetricMeta(MetricType.GAUGE, "1 for the state a machine is in."),
    "fly_machine_check": MetricMeta(MetricType.GAUGE, "1 for the status a health check has."),
    "fly_machine_host_up": MetricMeta(MetricType.GAUGE, "Whether the machine's host can be reached."),
    "fly_machine_crash_loop": MetricMeta(MetricType.GAUGE, "Whether the machine fails again and again."),
    "fly_machine_given_up": MetricMeta(
        MetricType.GAUGE, "Whether the machine is down because its restarts are used up."
    ),
    "fly_machine_exits_total": MetricMeta(MetricType.COUNTER, "Ends of machines' programs by reason."),
}
Place = tuple[str, str, str]


@dataclass(slots=True)
class _Listing:
    """What the listing of the organisation said."""

    machines: dict[str, Machine] = field(default_factory=dict)
    error_regions: set[str] = field(default_factory=set)


class FlyMachines:
    """What is known of all machines, and of what happened to them."""

    def __init__(self, settings: FlySettings, api: FlyApi) -> None:
        self.owner = f"{settings.own_name} {TARGET}"
        self._settings = settings
        self._api = api
        self._wanted = frozenset(settings.apps)
        self._known: dict[str, Machine] = {}
        self._exits: Counter[tuple[Place, str]] = Counter()
        self._events = Overlap(EVENTS_SETTLE_NS)
        self._releases: dict[str, int] = {}
        self._whole_ms: int | None = None
        self._unread: set[str] = set()
        """Apps at which the closer look failed: what changed there is not known yet."""
        self._snapshots = Snapshots({})

    def resume(self, saved: str | None) -> None:
        """Go on where a cursor says."""
        if saved is None:
            return
        kept = json.loads(saved)
        self._events = Overlap.read(kept["events"], EVENTS_SETTLE_NS)
        self._exits = Counter({((app, region, group), why): n for app, region, group, why, n in kept["exits"]})
        self._releases = dict(kept["releases"])

    async def read(self, now_ms: int) -> Batch:
        """The machines as they are now, and what happened to them since the last read."""
        whole = self._whole_ms is None or now_ms - self._whole_ms >= WHOLE_EVERY_MS
        listing = await self._listed(whole=whole)
        known = dict(self._known)
        if whole:
            known = {key: one for key, one in known.items() if one.region in listing.error_regions}
        known |= {key: one for key, one in listing.machines.items() if key not in known or whole}
        changed = {one.app for key, one in listing.machines.items() if whole or self._changed(key, one)}
        checked = {one.app for one in known.values() if one.checks}
        looked, problem = await self._looked_at(changed | checked | self._unread)
        known = self._with(known, listing, looked)
        fresh = self._fresh(looked.values(), now_ms)
        batch = self._batch(known, fresh, now_ms)
        if problem is None:
            self._whole_ms = now_ms if whole else self._whole_ms
        else:
            raise PartialReadError(str(problem), batch, reason=problem.reason, retry_after=problem.retry_after)
        if listing.error_regions:
            regions = ", ".join(sorted(listing.error_regions))
            raise PartialReadError(f"regions that did not answer: {regions}", batch, reason="server")
        return batch

    def _changed(self, key: str, one: Machine) -> bool:
        before = self._known.get(key)
        return before is None or before.updated_at != one.updated_at or before.state != one.state

    async def _listed(self, *, whole: bool) -> _Listing:
        found = _Listing()
        params = {"include_deleted": "true", "limit": "1000"}
        since = None if whole else self._since()
        if since:
            params["updated_after"] = since
        for _ in range(_PAGES):
            answer = await self._api.json(Ask(f"/v1/orgs/{self._settings.organization}/machines", params=params))
            for told in items(answer, "machines"):
                machine = Machine.of(told, before=self._known.get(text_at(told, "id")))
                if machine is not None and (not self._wanted or machine.app in self._wanted):
                    found.machines[machine.id] = machine
            regions = part(answer, "error_regions")
            found.error_regions |= {str(region) for region in regions} if isinstance(regions, list) else set()
            following = text_at(answer, "next_cursor")
            if not following or following == params.get("cursor"):
                return found
            params = {**params, "cursor": following}
        return found

    def _since(self) -> str | None:
        times_ms = [t_ms for one in self._known.values() if (t_ms := updated_ms(one)) is not None]
        if not times_ms:
            return None
        moment = datetime.fromtimestamp((max(times_ms) - _BEHIND_MS) / 1000, UTC)
        return moment.isoformat(timespec="seconds").replace("+00:00", "Z")

    async def _looked_at(self, apps: Iterable[str]) -> tuple[dict[str, Machine], CollectorError | None]:
        """The machines of these apps with checks and events, and the first error: one app's takes nothing from another."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def look(app: str) -> list[Machine]:
            async with turns:
                answer = await self._api.json(Ask(f"/v1/apps/{app}/machines"))
                found = [
                    Machine.of(told, app, self._known.get(text_at(told, "id"))) for told in items(answer, "machines")
                ]
                return [await self._whole_story(one) for one in found if one is not None]

        names = sorted(apps)
        answers = await asyncio.gather(*(look(app) for app in names), return_exceptions=True)
        looked: dict[str, Machine] = {}
        problem: CollectorError | None = None
        self._unread.clear()
        for app, answer in zip(names, answers, strict=True):
            if isinstance(answer, list):
                looked |= {one.id: one for one in answer}
            elif not isinstance(answer, CollectorError):
                raise answer
            elif answer.reason != "missing":  # an app that was deleted since the listing
                problem = problem or answer
                self._unread.add(app)
        return looked, problem

    async def _whole_story(self, machine: Machine) -> Machine:
        """With the events that its short list leaves out, when none of those in it is known."""
        before = self._known.get(machine.id)
        known_ns = before.events[0].t_ms * NS_PER_MS if before and before.events else self._events.newest_ns
        if known_ns is None or not machine.events or machine.events[-1].t_ms * NS_PER_MS <= known_ns:
            return machine
        answer = await self._api.json(Ask(f"/v1/apps/{machine.app}/machines/{machine.id}/events"))
        told = {"id": machine.id, "events": items(answer, "events")}
        events = Machine.of(told)
        return machine if events is None or not events.events else _with_events(machine, events.events)

    def _with(
        self, known: Mapping[str, Machine], listing: _Listing, looked: Mapping[str, Machine]
    ) -> dict[str, Machine]:
        """What is known after all answers: the closer look wins, and keeps what an earlier one saw."""
        now: dict[str, Machine] = {}
        for key, one in {**known, **looked}.items():
            listed = listing.machines.get(key)
            if (listed or one).state in GONE:
                continue
            seen = looked.get(key)
            if seen is None and key in self._known:
                before = self._known[key]
                seen = _with_events(listed, before.events, before.checks) if listed else before
            now[key] = seen or one
        return now

    def _fresh(self, machines: Iterable[Machine], now_ms: int) -> list[tuple[Machine, Event]]:
        """The events that nobody told of yet, oldest first."""
        first_ms = now_ms - self._settings.backfill if self._events.newest_ns is None else 0
        told = sorted(
            ((one, event) for one in machines for event in reversed(one.events) if event.t_ms >= first_ms),
            key=lambda pair: pair[1].t_ms,
        )
        lines = [(event.t_ms * NS_PER_MS, f"{one.id} {event.id}") for one, event in told]
        self._events, new = self._events.take(lines, now_ms * NS_PER_MS)
        return [told[position] for position in new]

    def _batch(self, known: dict[str, Machine], fresh: list[tuple[Machine, Event]], now_ms: int) -> Batch:
        for machine, event in fresh:
            if event.exit is not None:
                self._exits[_place(machine), event.exit.reason.value] += 1
        apps = {one.app for one in known.values()}
        self._exits = Counter({key: count for key, count in self._exits.items() if key[0][0] in apps})
        records = [event_record(machine, event) for machine, event in fresh]
        if self._settings.releases == "machines":
            records += self._deploys(known.values(), now_ms)
        self._known = known
        samples = self._snapshots.take(self._readings(now_ms), now_ms)
        return Batch(samples, records, _META, Cursor(self.owner, self._saved()))

    def _readings(self, now_ms: int) -> Iterator[Reading]:
        lasting = [one for one in self._known.values() if not one.temporary]
        for one in lasting:
            labels = one.labels
            yield "fly_machine_state", {**labels, "state": one.state}, 1.0
            for name, status in one.checks.items():
                yield "fly_machine_check", {**labels, "check": name, "status": status}, 1.0
            if one.host_status in ("ok", "unreachable"):
                yield "fly_machine_host_up", labels, float(one.host_status == "ok")
            yield "fly_machine_crash_loop", labels, float(one.crash_loops(now_ms))
            yield "fly_machine_given_up", labels, float(one.given_up)
        for place in sorted({_place(one) for one in lasting}):
            app, region, group = place
            for why in ExitReason:
                labels = {"app": app, "region": region, "process_group": group, "reason": why.value}
                yield "fly_machine_exits_total", labels, float(self._exits[place, why.value])

    def _deploys(self, machines: Iterable[Machine], now_ms: int) -> list[Record]:
        """A release that a machine runs, and that none ran before; what ran at the first start is no news."""
        newest: dict[str, Machine] = {}
        for one in machines:
            if one.release.isdigit() and int(one.release) > int(newest[one.app].release if one.app in newest else -1):
                newest[one.app] = one
        found = []
        for app, one in newest.items():
            before, release = self._releases.get(app), int(one.release)
            if before is not None and release > before:
                deploy = Deploy(updated_ms(one) or now_ms, one.image, "", one.release)
                found.append(deploy_record(app, deploy, vendor="fly"))
            self._releases[app] = max(release, before or 0)
        return found

    def _saved(self) -> str:
        exits = [[*place, why, count] for (place, why), count in self._exits.items()]
        events = self._events.text() if self._events.newest_ns is not None else None
        kept: dict[str, Any] = {"events": events, "exits": exits, "releases": self._releases}
        return json.dumps(kept, separators=(",", ":"))


def machines_poll(settings: FlySettings, api: FlyApi) -> Collector:
    """The part of the collector that reads machines."""
    machines = FlyMachines(settings, api)
    every_ms = settings.machines_every
    inner = poll(
        machines.read, name=settings.own_name, target=TARGET, every_ms=every_ms, timeout_ms=60_000, close=api.close
    )
    return Resumed(inner, machines.owner, machines.resume)


def _place(machine: Machine) -> Place:
    return machine.app, machine.region, machine.group


def _with_events(machine: Machine, events: tuple[Event, ...], checks: Mapping[str, str] | None = None) -> Machine:
    return replace(machine, events=events, checks=machine.checks if checks is None else checks)
