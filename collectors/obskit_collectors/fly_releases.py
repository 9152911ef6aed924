"""Releases as deploy events, and whether one is under way or failed. The API is flyctl's own (internal/uiex/releases.go).

A release is told once it is over: what goes on is `fly_release_in_progress`, what failed never went live.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from obskit.clock import NS_PER_MS
from obskit.collect import Ask, Collector, PartialReadError, Reading, Resumed, Snapshots, poll
from obskit.errors import CollectorError
from obskit.model.context import Deploy
from obskit.model.deploys import deploy_record
from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.model.samples import MetricMeta, MetricType
from obskit.store.interface import Batch, Cursor
from obskit_collectors.fly_access import FlyApi, items, part, text_at
from obskit_collectors.fly_lines import time_ns
from obskit_collectors.fly_logs import Apps
from obskit_collectors.fly_settings import DAY_MS, FlySettings

TARGET: Final = "releases"
FAILED: Final = frozenset({"failed", "interrupted", "cancelled", "canceled", "dead"})
RUNNING: Final = frozenset({"running", "pending"})
_LIMIT: Final = "10"
_META: Final = {
    "fly_release_version": MetricMeta(MetricType.GAUGE, "The newest release of an app."),
    "fly_release_in_progress": MetricMeta(MetricType.GAUGE, "Whether the newest release is being deployed."),
    "fly_release_failed": MetricMeta(MetricType.GAUGE, "Whether the newest release failed."),
}


@dataclass(frozen=True, slots=True)
class Release:
    """A release as the API tells it."""

    version: int
    status: str
    in_progress: bool
    by: str
    image: str
    reverted_to: str
    t_ms: int

    @classmethod
    def of(cls, told: Any, now_ms: int) -> Release | None:
        """None for what has no version."""
        version = text_at(told, "version")
        if not version.isdigit():
            return None
        t_ns = time_ns(text_at(told, "created_at"))
        status = text_at(told, "status").lower()
        return cls(
            version=int(version),
            status=status,
            in_progress=part(told, "in_progress") is True or status in RUNNING,
            by=text_at(told, "user", "name") or text_at(told, "user", "email"),
            image=text_at(told, "image_ref"),
            reverted_to=text_at(told, "reverted_to"),
            t_ms=now_ms if t_ns is None else t_ns // NS_PER_MS,
        )

    @property
    def failed(self) -> bool:
        """Whether it never went live."""
        return self.status in FAILED

    def record(self, app: str) -> Record:
        """A deploy, or the news that there was none."""
        if self.failed:
            return self._failure(app)
        kind = "rollback" if self.reverted_to else "release"
        return deploy_record(app, Deploy(self.t_ms, self.image, self.by, str(self.version)), vendor="fly", kind=kind)

    def _failure(self, app: str) -> Record:
        metadata = {"name": "release.failed", "vendor": "fly", "version": str(self.version), "level": "error"}
        by = {"by": self.by} if self.by else {}
        stream = Labels({"source": "event", "event": "release", "app": app})
        line = f"release {app} {self.version}: {self.status}"
        return Record(stream, self.t_ms * NS_PER_MS, line, {**metadata, **by, "status": self.status})


class FlyReleases:
    """The releases of all apps; `told` is the version up to which each app's were told."""

    def __init__(self, settings: FlySettings, api: FlyApi, apps: Apps) -> None:
        self.owner = f"{settings.own_name} {TARGET}"
        self._api = api
        self._apps = apps
        self._told: dict[str, int] = {}
        self._snapshots = Snapshots({})

    def resume(self, saved: str | None) -> None:
        """Go on where a cursor says."""
        self._told = dict(json.loads(saved)) if saved else {}

    async def read(self, now_ms: int) -> Batch:
        """Every app's newest releases; an app that cannot be read is told after the others were."""
        readings: list[Reading] = []
        records: list[Record] = []
        problem: CollectorError | None = None
        for app in await self._apps.names(now_ms):
            try:
                answer = await self._api.json(Ask(f"/api/v1/apps/{app}/releases", params={"limit": _LIMIT}))
                found = [one for told in items(answer, "releases") if (one := Release.of(told, now_ms))]
            except CollectorError as error:
                if error.reason in ("auth", "rate_limited"):
                    raise
                problem = error if problem is None or problem.reason == "missing" else problem
                continue
            found.sort(key=lambda one: one.version)
            records += [one.record(app) for one in self._news(app, found, now_ms)]
            readings += _readings(app, found[-1]) if found else []
        cursor = Cursor(self.owner, json.dumps(self._told, separators=(",", ":")))
        batch = Batch(self._snapshots.take(readings, now_ms), records, _META, cursor)
        if problem is not None:
            raise PartialReadError(str(problem), batch, reason=problem.reason)
        return batch

    def _news(self, app: str, found: Sequence[Release], now_ms: int) -> list[Release]:
        """What is over and was not told; at the first look, what is of the last day."""
        before = self._told.get(app)
        news: list[Release] = []
        for one in found:
            newest = one is found[-1]
            if one.in_progress and newest:
                break
            if before is None and one.t_ms < now_ms - DAY_MS:
                self._told[app] = one.version
            elif one.version > (before or 0):
                # One that is left behind `running` by a newer one never came to an end.
                news += [] if one.in_progress else [one]
                self._told[app] = one.version
        return news


def releases_poll(settings: FlySettings, api: FlyApi, apps: Apps) -> Collector:
    """The part of the collector that reads releases."""
    releases = FlyReleases(settings, api, apps)
    every_ms, name = settings.slow_every, settings.own_name
    inner = poll(releases.read, name=name, target=TARGET, every_ms=every_ms, timeout_ms=60_000, close=api.close)
    return Resumed(inner, releases.owner, releases.resume)


def _readings(app: str, newest: Release) -> Iterator[Reading]:
    labels = {"app": app}
    yield "fly_release_version", labels, float(newest.version)
    yield "fly_release_in_progress", labels, float(newest.in_progress)
    yield "fly_release_failed", labels, float(newest.failed)
