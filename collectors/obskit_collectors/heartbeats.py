"""The collector `heartbeats`: jobs ping it, in healthchecks.io's protocol, and silence is the alarm.

What a ping says is stored before it is answered. What follows from pings is heartbeats_state.py's to say.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from obskit.clock import Clock, bounded
from obskit.collect import Call, Check, Collector, Feed, Kind, Reading, Said, Snapshots, ok
from obskit.collect.polling import Schedule
from obskit.model.labels import Labels, is_label_name
from obskit.model.records import Record
from obskit.model.settings import Duration, Secret, Settings
from obskit.store.interface import Batch, Cursor, Samples
from obskit_collectors import heartbeats_state as state
from obskit_collectors.heartbeats_cron import Cron
from obskit_collectors.heartbeats_state import Beat, Ping, Plan, State

LARGEST_BODY: Final = 10_000
"""Bytes of a ping's body that are kept; healthchecks.io's own limit."""
_APPEND_S: Final = 5.0
_EVERY_MS: Final = 15_000
_NS_PER_MS: Final = 1_000_000
_SHORTEST_KEY: Final = 12
_TAKEN: Final = frozenset({"heartbeat", "state", "job", "instance", "__name__"})


class CheckSettings(Settings):
    """One job that pings."""

    name: str = Field(
        pattern=r"^[a-z0-9_-]+$", description="its slug: the `heartbeat` label, and the URL behind the ping key"
    )
    uuid: Secret | None = Field(None, description="the UUID of its own URL `/ping/<uuid>`; any you make (`uuidgen`)")
    period: Duration | None = Field(None, gt=0, description="a ping is due so long after the one before")
    schedule: str = Field("", description="or by a cron schedule: `30 3 * * mon-fri`, `@daily`")
    timezone: str = Field("UTC", description="the schedule's time zone, such as Europe/Berlin")
    grace: Duration = Field(3_600_000, ge=0, description="how late a ping may be")
    max_run: Duration | None = Field(None, gt=0, description="how long a run may take; default: the grace")
    labels: dict[str, str] = Field(default={}, description="labels of its series, such as tier")

    @field_validator("uuid")
    @classmethod
    def _is_uuid(cls, uuid: Secret | None) -> Secret | None:
        if uuid is None:
            return None
        try:
            return Secret(str(UUID(uuid.reveal())))
        except ValueError:
            raise ValueError("not a UUID") from None

    @field_validator("labels")
    @classmethod
    def _are_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        for name in labels:
            if not is_label_name(name) or name in _TAKEN:
                raise ValueError(f'"{name}" cannot be a label here')
        return labels

    @model_validator(mode="after")
    def _due_in_one_way(self) -> CheckSettings:
        if bool(self.schedule) == (self.period is not None):
            raise ValueError("give either period or schedule")
        self.plan()
        return self

    def plan(self) -> Plan:
        """When its pings are due; ValueError when the schedule or the zone cannot be read."""
        cron = None
        if self.schedule:
            try:
                zone = ZoneInfo(self.timezone)
            except (OSError, ValueError, LookupError):
                raise ValueError(f'there is no time zone "{self.timezone}"') from None
            cron = Cron.parse(self.schedule, zone)
        max_run_ms = self.max_run if self.max_run is not None else max(self.grace, 1)
        return Plan(self.grace, max_run_ms, self.period or 0, cron)


class HeartbeatsSettings(Settings):
    """`heartbeats:` the jobs that ping."""

    name: str = Field(
        "", pattern=r"^[a-z0-9_-]*$", description="own name, where there are several; their URLs begin `/ping/<name>`"
    )
    ping_key: Secret | None = Field(
        None, description="for URLs `/ping/<ping_key>/<name of the check>`; 12 characters or more"
    )
    checks: list[CheckSettings] = Field(min_length=1, description="the jobs")

    @field_validator("ping_key")
    @classmethod
    def _hard_to_guess(cls, key: Secret | None) -> Secret | None:
        if key is not None and not re.fullmatch(rf"[A-Za-z0-9_-]{{{_SHORTEST_KEY},}}", key.reveal()):
            raise ValueError(f"must have {_SHORTEST_KEY} letters or digits at least: it stands in URLs")
        return key

    @model_validator(mode="after")
    def _reachable(self) -> HeartbeatsSettings:
        names = [check.name for check in self.checks]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two checks are called {min(twice)}")
        uuids = [check.uuid for check in self.checks if check.uuid]
        if len(set(uuids)) < len(uuids):
            raise ValueError("two checks have the same uuid")
        if self.ping_key is None and len(uuids) < len(names):
            raise ValueError("give a ping_key, or each check its uuid: without them anybody could ping")
        return self

    @property
    def path(self) -> str:
        """Where all their URLs begin."""
        return f"/ping/{self.name}" if self.name else "/ping"

    def path_of(self, check: CheckSettings) -> str:
        """The path that pings a check: a secret."""
        if check.uuid is not None:
            return f"{self.path}/{check.uuid.reveal()}"
        assert self.ping_key is not None  # as _reachable has seen
        return f"{self.path}/{self.ping_key.reveal()}/{check.name}"


class Heartbeats:
    """Listens for pings, and looks at the clock."""

    def __init__(self, settings: HeartbeatsSettings) -> None:
        self.name = f"heartbeats/{settings.name}" if settings.name else "heartbeats"
        self.paths = (settings.path,)
        self._settings = settings
        self._plans = {check.name: check.plan() for check in settings.checks}
        self._beats = {check.name: Beat() for check in settings.checks}
        self._snapshots = {
            check.name: Snapshots({**check.labels, "heartbeat": check.name}) for check in settings.checks
        }
        self._feed: Feed | None = None
        self._writing = asyncio.Lock()
        self._awake_ms = 0
        self._stamped_ms = 0

    async def run(self, feed: Feed) -> None:
        """Take up what the last process knew, then look at the clock, for ever."""
        saved = json.loads(await feed.cursor(self.name) or "{}")
        self._beats.update({name: state.unpacked(saved[name]) for name in self._beats if name in saved})
        self._awake_ms = feed.clock.now_ms()
        self._feed = feed
        schedule = Schedule(_EVERY_MS, self.name)
        while True:
            await self.once(feed)
            await schedule.wait(feed.clock)

    async def once(self, feed: Feed) -> None:
        """How every job stands now."""
        async with self._writing:
            await self._write(feed, self._beats, [])
        feed.book().success(0.0)

    async def receive(self, call: Call) -> Said:
        """One ping."""
        feed = self._feed
        if feed is None:
            return Said.later()
        if call.method not in ("GET", "HEAD", "POST"):
            return Said(405, "GET, HEAD or POST\n", {"Allow": "GET, HEAD, POST"})
        check, rest = self._addressed(call.rest.strip("/").split("/"))
        if check is None:
            return Said(404, "not found")
        ping = _read(rest, call, feed.clock.now_ms())
        if isinstance(ping, Said):
            return ping
        try:
            await bounded(feed.clock, _APPEND_S, self._take(feed, check, ping, call))
        except TimeoutError:
            return Said.later()
        return Said(200, "OK", {"Ping-Body-Limit": str(LARGEST_BODY)})

    def _addressed(self, parts: list[str]) -> tuple[CheckSettings | None, list[str]]:
        """Whose ping it is, and what follows. Every secret is compared, and each in constant time."""
        given = parts[0].lower().encode()
        found: CheckSettings | None = None
        for check in self._settings.checks:
            if check.uuid is not None and hmac.compare_digest(check.uuid.reveal().encode(), given):
                found = check
        if found is not None:
            return found, parts[1:]
        key = self._settings.ping_key
        if key is None or len(parts) < 2 or not hmac.compare_digest(key.reveal().encode(), parts[0].encode()):
            return None, []
        return next((check for check in self._settings.checks if check.name == parts[1]), None), parts[2:]

    async def _take(self, feed: Feed, check: CheckSettings, ping: Ping, call: Call) -> None:
        async with self._writing:
            heard = {**self._beats, check.name: self._beats[check.name].heard(ping)}
            await self._write(feed, heard, [_record(check, ping, call)])

    async def _write(self, feed: Feed, beats: dict[str, Beat], records: list[Record]) -> None:
        """Store how all stand, with the news of those whose state has changed; what is stored is what is true then."""
        now_ms = feed.clock.now_ms()
        # Two pings may come within a millisecond, and a series has one value at a time.
        self._stamped_ms = max(now_ms, self._stamped_ms + 1)
        samples, told, news = Samples(), {}, list(records)
        for check in self._settings.checks:
            before, plan = beats[check.name], self._plans[check.name]
            now = before.state_at(now_ms, plan, self._awake_ms)
            if now.wrong != before.state.wrong or (now.wrong and now is not before.state):
                news.append(_news(check, now, now_ms))
            told[check.name] = beat = replace(before, state=now)
            readings = _readings(beat, plan, now_ms, self._awake_ms)
            samples.extend(self._snapshots[check.name].take(readings, self._stamped_ms))
        saved = json.dumps({name: state.packed(beat) for name, beat in told.items()})
        await feed.append(Batch(samples, records=news, cursor=Cursor(self.name, saved)))
        self._beats = told


def _read(rest: list[str], call: Call, now_ms: int) -> Ping | Said:
    """What a ping says; an answer when it cannot be read."""
    run = call.query.get("rid", "")
    if run:
        try:
            run = str(UUID(run))
        except ValueError:
            return Said(400, "invalid uuid format")
    word = rest[0] if rest else ""
    if len(rest) > 1:
        return Said(400, "invalid url format")
    if word.isascii() and word.isdecimal() and int(word[:4]) <= 255:
        status = int(word)
        return Ping(state.Kind.FAIL if status else state.Kind.SUCCESS, now_ms, run, status)
    kinds = {"": state.Kind.SUCCESS, "start": state.Kind.START, "fail": state.Kind.FAIL, "log": state.Kind.LOG}
    if word not in kinds:
        return Said(400, "invalid url format")
    return Ping(kinds[word], now_ms, run)


def _record(check: CheckSettings, ping: Ping, call: Call) -> Record:
    """A ping as a line: its body, or what it says."""
    said = ping.kind.value if ping.exit_status is None else f"exit status {ping.exit_status}"
    body = call.body[:LARGEST_BODY].decode("utf-8", "replace").strip()
    metadata = {
        "name": f"heartbeat.{ping.kind.value}",
        "level": "warning" if ping.kind is state.Kind.FAIL else "info",  # an error would be told twice
        "run_id": ping.run,
        "exit_status": "" if ping.exit_status is None else str(ping.exit_status),
    }
    return Record(
        Labels({"source": "heartbeat", "app": check.name}),
        ping.t_ms * _NS_PER_MS,
        body or said,
        {key: value for key, value in metadata.items() if value},
    )


def _news(check: CheckSettings, now: State, now_ms: int) -> Record:
    name, level = (f"heartbeat.{now.slug}", "warning") if now.wrong else ("heartbeat.recovered", "info")
    stream = Labels({"source": "event", "app": check.name})
    return Record(stream, now_ms * _NS_PER_MS, f"{name}: {check.name}", {"name": name, "level": level})


def _readings(beat: Beat, plan: Plan, now_ms: int, awake_ms: int) -> list[Reading]:
    """The series of one job. What is not known yet has none."""
    seconds: dict[str, float | None] = {
        "last_ping_timestamp_seconds": beat.last_ms,
        "last_success_timestamp_seconds": beat.success_ms,
        "duration_seconds": beat.duration_ms,
        "max_run_seconds": plan.max_run_ms,
        "running_seconds": now_ms - min(beat.runs.values()) if beat.runs else None,
    }
    if beat.last_ms is not None:
        due_ms = plan.due_ms(beat.last_ms)
        seconds["expected_timestamp_seconds"] = due_ms
        seconds["deadline_timestamp_seconds"] = beat.deadline_ms(due_ms, plan, awake_ms)
    readings: list[Reading] = [
        ("obskit_heartbeat_up", {}, 0.0 if beat.state.wrong else 1.0),
        ("obskit_heartbeat_state", {"state": beat.state.slug}, 1.0),
    ]
    if beat.exit_status is not None:
        readings.append(("obskit_heartbeat_exit_status", {}, beat.exit_status))
    return readings + [
        (f"obskit_heartbeat_{name}", {}, value / 1000) for name, value in seconds.items() if value is not None
    ]


def build(settings: HeartbeatsSettings) -> Collector:
    """The collector of these jobs."""
    return Heartbeats(settings)


async def doctor(settings: HeartbeatsSettings, clock: Clock) -> Sequence[Check]:
    """Nothing is asked: tells when each job's next ping would be due, which is how a wrong schedule shows."""
    return [_told(check, settings.path, clock.now_ms()) for check in settings.checks]


def _told(check: CheckSettings, path: str, now_ms: int) -> Check:
    from datetime import UTC, datetime  # noqa: PLC0415 - the doctor alone prints a time

    due = datetime.fromtimestamp(check.plan().due_ms(now_ms) / 1000, UTC)
    where = f"{path}/<uuid>" if check.uuid else f"{path}/<ping_key>/{check.name}"
    return ok(f"{check.name} pings {where}; after a ping now the next is due {due:%Y-%m-%d %H:%M} UTC")


KIND: Final = Kind(HeartbeatsSettings, build, doctor)
