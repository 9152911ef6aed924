"""A machine of Fly.io and what happened to it, read from the API's JSON. Pure: unknown words stay words, gaps stay gaps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from obskit.clock import NS_PER_MS
from obskit.model.labels import Labels
from obskit.model.records import Record, whole_text
from obskit_collectors.fly_access import part, text_at
from obskit_collectors.fly_lines import time_ns

GONE: Final = frozenset({"destroyed", "replaced", "migrated"})
TEMPORARY: Final = frozenset({"fly_app_release_command", "fly_app_console", "fly_app_test_machine_command"})
"""Process groups of machines that live for one command (fly-go, machine_types.go): they come and go by design."""
IGNORED_CHECKS: Final = "bg_deployments_compat"
LOOPING_MS: Final = 600_000
"""An exit that is older says nothing of a loop: the machine has run since."""


class ExitReason(StrEnum):
    """Why a machine's program ended."""

    OOM = "oom"
    CRASH = "crash"
    REQUESTED = "requested"
    CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a machine's program. Zero and false parts are left out by the API, so that missing ones are that."""

    exit_code: int = 0
    signal: int = 0
    oom_killed: bool = False
    requested_stop: bool = False
    restarting: bool = False
    restart_count: int = 0

    @classmethod
    def of(cls, request: Any) -> Exit | None:
        """From an event's `request`; a MonitorEvent's report wins over the other (fly-go, GetExitCode)."""
        told = part(request, "MonitorEvent", "exit_event") or part(request, "exit_event")
        if not isinstance(told, dict):
            return None
        return cls(
            exit_code=_number(told.get("exit_code")) or _number(told.get("guest_exit_code")),
            # -1 is none
            signal=max(_number(told.get("signal")), _number(told.get("guest_signal")), 0),
            oom_killed=told.get("oom_killed") is True,
            requested_stop=told.get("requested_stop") is True,
            restarting=told.get("restarting") is True,
            restart_count=_number(part(request, "restart_count")),
        )

    @property
    def reason(self) -> ExitReason:
        """The worst that is told of it."""
        if self.oom_killed:
            return ExitReason.OOM
        if self.requested_stop:
            return ExitReason.REQUESTED
        return ExitReason.CRASH if self.exit_code or self.signal else ExitReason.CLEAN


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a machine."""

    id: str
    type: str
    status: str
    source: str
    t_ms: int
    exit: Exit | None

    @classmethod
    def of(cls, told: Any) -> Event | None:
        """None for what has no time: it cannot be put in order."""
        t_ms = part(told, "timestamp")
        if not isinstance(t_ms, int) or isinstance(t_ms, bool) or t_ms <= 0:
            return None
        kind, status = text_at(told, "type"), text_at(told, "status")
        key = text_at(told, "id") or f"{kind} {status}"
        return cls(key, kind, status, text_at(told, "source"), t_ms, Exit.of(part(told, "request")))


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as it was last seen. `checks` are name and status, `events` newest first."""

    id: str
    app: str
    region: str
    group: str
    state: str
    updated_at: str
    host_status: str
    restart_policy: str
    release: str
    image: str
    checks: Mapping[str, str]
    events: tuple[Event, ...]

    @classmethod
    def of(cls, told: Any, app: str = "", before: Machine | None = None) -> Machine | None:
        """From the API; None for what has no id. While a host is unreachable the config is missing: `before` knows it."""
        key = text_at(told, "id")
        if not key:
            return None
        metadata = part(told, "config", "metadata")
        group = text_at(metadata, "fly_process_group") or text_at(metadata, "process_group")
        events = [Event.of(event) for event in _list(told, "events")]
        return cls(
            id=key,
            app=text_at(told, "app_name") or app,
            region=text_at(told, "region"),
            group=group or (before.group if before else ""),
            state=text_at(told, "state"),
            updated_at=text_at(told, "updated_at"),
            host_status=text_at(told, "host_status"),
            restart_policy=text_at(told, "config", "restart", "policy") or (before.restart_policy if before else ""),
            release=text_at(metadata, "fly_release_version") or (before.release if before else ""),
            image=text_at(told, "config", "image"),
            checks=_checks(told),
            events=tuple(sorted((event for event in events if event), key=lambda event: -event.t_ms)),
        )

    @property
    def temporary(self) -> bool:
        """Whether it lives for one command only."""
        return self.group in TEMPORARY

    @property
    def labels(self) -> dict[str, str]:
        """The labels of its series."""
        return {"app": self.app, "region": self.region, "process_group": self.group, "machine": self.id}

    @property
    def last_exit(self) -> tuple[int, Exit] | None:
        """When its program ended last, and how."""
        return next(((event.t_ms, event.exit) for event in self.events if event.exit is not None), None)

    def crash_loops(self, now_ms: int) -> bool:
        """As flyctl decides it (internal/machine), while it is news."""
        if self.last_exit is None:
            return False
        t_ms, last = self.last_exit
        failed = last.exit_code != 0 and not last.requested_stop and last.restarting and last.restart_count > 1
        return failed and now_ms - t_ms < LOOPING_MS

    @property
    def given_up(self) -> bool:
        """Whether it is down for good: its restarts (10 in 5 minutes by default) are used up."""
        if self.state != "stopped" or self.last_exit is None or self.restart_policy == "no":
            return False
        last = self.last_exit[1]
        return not last.restarting and last.reason in (ExitReason.CRASH, ExitReason.OOM)


def event_record(machine: Machine, event: Event) -> Record:
    """The event as a business event of the app."""
    metadata = {
        "name": f"machine.{event.type}",
        "vendor": "fly",
        "machine": machine.id,
        "region": machine.region,
        "process_group": machine.group,
        "status": event.status,
        "by": event.source,
        "url": f"https://fly.io/apps/{machine.app}/machines/{machine.id}",
        **_exit_metadata(event.exit),
    }
    place = ", ".join(filter(None, (machine.group, machine.region)))
    line = f"machine {machine.id} ({place}): {event.type}{_told(event.exit)}"
    return Record(
        Labels({"source": "event", "event": "machine", "app": machine.app}),
        event.t_ms * NS_PER_MS,
        whole_text(line),
        {key: whole_text(value) for key, value in metadata.items() if value},
    )


def updated_ms(machine: Machine) -> int | None:
    """When it last changed."""
    t_ns = time_ns(machine.updated_at)
    return None if t_ns is None else t_ns // NS_PER_MS


def _exit_metadata(end: Exit | None) -> dict[str, str]:
    if end is None:
        return {}
    bad = end.reason in (ExitReason.OOM, ExitReason.CRASH)
    return {
        "reason": end.reason.value,
        "exit_code": str(end.exit_code),
        "restart_count": str(end.restart_count or ""),
        "level": "error" if bad else "",
    }


def _told(end: Exit | None) -> str:
    if end is None:
        return ""
    words = {
        ExitReason.OOM: "out of memory",
        ExitReason.CRASH: f"crashed with code {end.exit_code}" + (f", signal {end.signal}" if end.signal else ""),
        ExitReason.REQUESTED: "as requested",
        ExitReason.CLEAN: "with code 0",
    }
    return f", {words[end.reason]}" + (f", restart {end.restart_count}" if end.restart_count else "")


def _checks(told: Any) -> dict[str, str]:
    found = {text_at(check, "name"): text_at(check, "status") for check in _list(told, "checks")}
    return {name: status for name, status in found.items() if name and status and not name.startswith(IGNORED_CHECKS)}


def _list(told: Any, key: str) -> list[Any]:
    found = part(told, key)
    return found if isinstance(found, list) else []


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
