"""Notifications that Cloudflare posts to us: a record each, and a series for as long as what was told goes on.

A START is ended by the END with the same correlation id, in whatever order and however often the two come. Without an
END it ends after a day: not every kind sends one.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import Field

from obskit.clock import NS_PER_MS, Clock
from obskit.collect import Call, Check, Collector, Feed, Said, Snapshots, ok
from obskit.collect.snapshots import Reading
from obskit.errors import CollectorError
from obskit.model.labels import Labels
from obskit.model.records import Record, whole_text
from obskit.model.samples import MetricMeta, MetricType
from obskit.model.settings import Secret, Settings
from obskit.store.interface import Batch, Cursor
from obskit_collectors.cloudflare_account import Account

HEADER: Final = "cf-webhook-auth"
START: Final = "ALERT_STATE_EVENT_START"
END: Final = "ALERT_STATE_EVENT_END"
INCIDENTS: Final = frozenset({"incident_alert", "maintenance_event_notification"})
"""Kinds that tell of the vendor's own trouble."""
LONGEST_MS: Final = 24 * 3_600_000
EVERY_S: Final = 60.0
AGAIN_MS: Final = 300_000
"""How often an incident that goes on is told again: the rule on it looks 15 minutes back."""
METADATA: Final = {
    "cloudflare_notification_active": MetricMeta(MetricType.GAUGE, "1 while what was notified of goes on."),
    "obskit_vendor_incident": MetricMeta(MetricType.GAUGE, "1 while a vendor's incident is open."),
}
_MOST: Final = 200
"""Open ones, and ended ones that are remembered."""
_LONGEST_TEXT: Final = 8_000
_LONGEST_LABEL: Final = 200


class NotificationsSettings(Settings):
    """`notifications:` a webhook destination of the account's Notifications."""

    secret: Secret = Field(description="the destination's secret, sent as cf-webhook-auth")


@dataclass(frozen=True, slots=True)
class Notification:
    """What was posted. `key` is what START and END have in common; `state` is START, END or empty."""

    key: str
    state: str
    t_ms: int
    kind: str
    policy: str
    about: str
    text: str
    incident: Mapping[str, str] | None = None
    """Component, region and impact of an incident of the vendor's own."""

    @classmethod
    def read(cls, told: Mapping[str, Any], now_ms: int) -> Notification:
        """Everything but the text may be missing."""
        data: Mapping[str, Any] = found if isinstance(found := told.get("data"), dict) else {}
        kind = _label(told.get("alert_type")) or "unknown"
        policy = _label(told.get("policy_name"))
        correlation = told.get("alert_correlation_id") or f"{told.get('policy_id') or policy} {kind}"
        return cls(
            key=_label(correlation),
            state=_state(told.get("alert_event"), data.get("status")),
            t_ms=_time_ms(told.get("ts"), now_ms),
            kind=kind,
            policy=policy,
            about=_about(data),
            text=whole_text(str(told.get("text") or ""))[:_LONGEST_TEXT],
            incident=_incident(data) if kind in INCIDENTS else None,
        )

    def record(self, t_ms: int) -> Record:
        """As an event. The pack vendors reads those of incidents: by `vendor`, `state` and how lately they were told."""
        what = {START: "started", END: "resolved"}.get(self.state, "told")
        metadata = {
            "name": f"{'vendor.incident' if self.incident is not None else 'vendor.notification'}",
            "vendor": "cloudflare",
            "state": what,
            "alert_type": self.kind,
            "policy": self.policy,
            "about": self.about,
            "title": self.text.partition("\n")[0][:_LONGEST_LABEL],
            **(self.incident or {}),
        }
        kept = {key: value for key, value in metadata.items() if value}
        return Record(
            Labels({"source": "event", "app": "cloudflare"}), t_ms * NS_PER_MS, self.text or metadata["title"], kept
        )

    def reading(self, value: float) -> Reading:
        """Its series, with 1 while it goes on."""
        if self.incident is not None:
            return "obskit_vendor_incident", {"vendor": "cloudflare", **self.incident}, value
        labels = {"alert_type": self.kind, "policy": self.policy, "about": self.about}
        return "cloudflare_notification_active", labels, value


@dataclass(frozen=True, slots=True)
class Open:
    """What goes on, and when what is over had ended; both by key. The cursor's value."""

    going_on: Mapping[str, Notification] = field(default_factory=dict)
    ended_ms: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> Open:
        """CollectorError when the cursor is not ours."""
        try:
            kept = json.loads(text or '{"open": [], "ended": {}}')
            found = [Notification(**one) for one in kept["open"]]
            return cls({one.key: one for one in found}, {str(key): int(at) for key, at in kept["ended"].items()})
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CollectorError("the stored cursor cannot be read", reason="config") from None

    def text(self) -> str:
        """As a cursor's value."""
        rows = [
            {name: getattr(one, name) for name in Notification.__slots__} | {"text": one.text[:_LONGEST_LABEL]}
            for one in self.going_on.values()
        ]
        return json.dumps({"open": rows, "ended": self.ended_ms}, separators=(",", ":"))

    def with_one(self, one: Notification) -> Open:
        """What is known when this came too. A START that is older than its END changes nothing."""
        going_on, ended = dict(self.going_on), dict(self.ended_ms)
        if one.state == START and one.t_ms > ended.get(one.key, -1):
            going_on[one.key] = one
        elif one.state == END:
            ended.pop(one.key, None)
            ended[one.key] = one.t_ms
            if one.key in going_on and going_on[one.key].t_ms <= one.t_ms:
                del going_on[one.key]
        return Open(dict(list(going_on.items())[-_MOST:]), dict(list(ended.items())[-_MOST:]))

    def incidents(self) -> list[Notification]:
        """The vendor's own trouble that goes on."""
        return [one for one in self.going_on.values() if one.incident is not None]

    def at(self, now_ms: int) -> Open:
        """Without what began more than a day ago."""
        fresh = {key: one for key, one in self.going_on.items() if one.t_ms > now_ms - LONGEST_MS}
        return self if len(fresh) == len(self.going_on) else replace(self, going_on=fresh)


class NotificationsCollector:
    """Takes what is posted, and tells once a minute what goes on."""

    def __init__(self, account: Account, settings: NotificationsSettings) -> None:
        self.name = account.collector
        self.paths = (f"{account.inbox}/notifications",)
        self._owner = account.owner("notifications")
        self._secret = settings.secret.reveal().encode()
        self._snapshots = Snapshots({"account": account.name} if account.name else {})
        self._open = Open()
        self._feed: Feed | None = None
        self._turn = asyncio.Lock()

    async def run(self, feed: Feed) -> None:
        """Keep telling what goes on."""
        self._open = Open.read(await feed.cursor(self._owner))
        self._feed = feed
        told_ms = feed.clock.now_ms()
        while True:
            now_ms = feed.clock.now_ms()
            async with self._turn:
                after = self._open.at(now_ms)
                again = after.incidents() if now_ms >= told_ms + AGAIN_MS else []
                await self._store(feed, after, [one.record(now_ms) for one in again])
            told_ms = now_ms if now_ms >= told_ms + AGAIN_MS else told_ms
            await feed.clock.sleep(EVERY_S)

    async def once(self, feed: Feed) -> None:
        """Nothing can be asked for: it comes by itself."""

    async def receive(self, call: Call) -> Said:
        """The answer is given when it is stored. Refuses who does not know the secret."""
        if self._feed is None:
            return Said.later()
        if not hmac.compare_digest(call.headers.get(HEADER, "").encode(), self._secret):
            self._feed.book("notifications").dropped(1, "unauthorized")
            return Said(401, f"the header {HEADER} is not the secret of this destination\n")
        if call.method != "POST" or call.rest.strip("/"):
            return Said(404 if call.rest.strip("/") else 405, "notifications are posted here\n")
        try:
            told = json.loads(call.body)
        except (ValueError, RecursionError):
            return Said(400, "not JSON\n")
        if not isinstance(told, dict):
            return Said(400, "not an object\n")
        now_ms = self._feed.clock.now_ms()
        one = Notification.read(told, now_ms)
        async with self._turn:
            await self._store(self._feed, self._open.at(now_ms).with_one(one), [one.record(one.t_ms)])
        return Said(200, "taken\n")

    async def _store(self, feed: Feed, after: Open, records: Sequence[Record]) -> None:
        """The series of what goes on, a 0 for what was and no longer is, and then nothing."""
        now = list(_readings(after))
        names = {(name, tuple(labels.items())) for name, labels, _ in now}
        over = [
            (name, labels, 0.0)
            for name, labels, _ in _readings(self._open)
            if (name, tuple(labels.items())) not in names
        ]
        samples = self._snapshots.take([*now, *over], feed.clock.now_ms())
        if not samples and not records and after is self._open:
            return
        await feed.offer(Batch(samples, records, METADATA, cursor=Cursor(self._owner, after.text())), "notifications")
        self._open = after


def build_parts(account: Account, settings: NotificationsSettings) -> Sequence[Collector]:
    """One listener."""
    return [NotificationsCollector(account, settings)]


async def checks(account: Account, _: NotificationsSettings, __: Clock) -> Sequence[Check]:
    """Nothing can be asked: it says where notifications are expected."""
    return [
        ok(f"notifications are taken at POST {account.inbox}/notifications (a webhook destination, with the secret)")
    ]


def _readings(what: Open) -> Iterator[Reading]:
    """One for each series: two of the same labels are one."""
    found = {(name, tuple(labels.items())): (name, labels, value) for name, labels, value in _all(what)}
    yield from found.values()


def _all(what: Open) -> Iterator[Reading]:
    return (one.reading(1.0) for one in what.going_on.values())


def _state(event: Any, status: Any) -> str:
    """By the event; alerts on Workers also have a status."""
    if event in (START, END):
        return str(event)
    return {"firing": START, "resolved": END}.get(str(status).lower(), "") if event is None else ""


def _about(data: Mapping[str, Any]) -> str:
    """What it is about, where the data says so: kinds differ, and most are not documented."""
    config = data.get("config")
    named = config.get("name") if isinstance(config, dict) else None
    return _label(named or data.get("name") or data.get("zone_name") or data.get("job_name"))


def _incident(data: Mapping[str, Any]) -> dict[str, str]:
    components = data.get("affected_components")
    first = components[0] if isinstance(components, list) and components else None
    component = first.get("name") if isinstance(first, dict) else first
    return {
        "component": _label(component) or "unknown",
        "region": _label(data.get("region")) or "unknown",
        "impact": _label(data.get("impact") or data.get("incident_impact")) or "unknown",
    }


def _label(value: Any) -> str:
    return whole_text(str(value))[:_LONGEST_LABEL] if isinstance(value, str | int) and value else ""


def _time_ms(ts: Any, now_ms: int) -> int:
    """Its own time in Unix seconds; ours where it has none, or one that is not of this day."""
    if isinstance(ts, int | float) and not isinstance(ts, bool) and abs(ts * 1000 - now_ms) < LONGEST_MS:
        return round(ts * 1000)
    return now_ms
