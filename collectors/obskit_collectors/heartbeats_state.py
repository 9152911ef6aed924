"""What is known of one job from its pings, and what follows from it. Pure: time comes in as an argument.

    new ──ping──▶ up ──due──▶ late ──grace──▶ missed        any ──fail──▶ failed ──success──▶ up
                   └──start──▶ started ──max_run──▶ too_long

A ping that ends a run ends those that began before it, too: their ends are not to come any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

from obskit_collectors.heartbeats_cron import Cron

_MOST_RUNS: Final = 10


class State(Enum):
    """How a job stands. What is `wrong` is an alert."""

    NEW = ("new", False)
    UP = ("up", False)
    STARTED = ("started", False)
    LATE = ("late", False)
    MISSED = ("missed", True)
    FAILED = ("failed", True)
    TOO_LONG = ("too_long", True)

    def __init__(self, slug: str, wrong: bool) -> None:
        self.slug = slug
        self.wrong = wrong


STATES: Final = {state.slug: state for state in State}


class Kind(Enum):
    """What a ping says."""

    SUCCESS = "success"
    START = "start"
    FAIL = "fail"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Ping:
    """One ping."""

    kind: Kind
    t_ms: int
    run: str = ""
    exit_status: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """When pings are due: by a schedule, or so long after the last one."""

    grace_ms: int
    max_run_ms: int
    period_ms: int = 0
    cron: Cron | None = None

    def due_ms(self, last_ms: int) -> int:
        """When the ping after the last one is due."""
        return self.cron.after(last_ms) if self.cron is not None else last_ms + self.period_ms


@dataclass(frozen=True, slots=True)
class Beat:
    """What the pings of one job have left behind: all that has to survive a restart. Times are Unix milliseconds."""

    last_ms: int | None = None
    """Of the last success or failure."""
    success_ms: int | None = None
    runs: Mapping[str, int] = field(default_factory=dict)
    """Run id → when it began, of runs that have not ended."""
    failed: bool = False
    exit_status: int | None = None
    duration_ms: int | None = None
    state: State = State.NEW
    """As it was told last."""

    def heard(self, ping: Ping) -> Beat:
        """After a ping."""
        if ping.kind is Kind.LOG:
            return self
        if ping.kind is Kind.START:
            runs = {**self.runs, ping.run: ping.t_ms}
            return replace(self, runs=dict(list(runs.items())[-_MOST_RUNS:]))
        failed = ping.kind is Kind.FAIL
        began_ms = self.runs.get(ping.run)
        if began_ms is None and not ping.run and self.runs:
            began_ms = max(self.runs.values())
        return replace(
            self,
            last_ms=ping.t_ms,
            success_ms=self.success_ms if failed else ping.t_ms,
            runs=self._left(ping.run, began_ms),
            failed=failed,
            exit_status=ping.exit_status,
            duration_ms=None if began_ms is None else max(0, ping.t_ms - began_ms),
        )

    def _left(self, run: str, began_ms: int | None) -> dict[str, int]:
        if not run:
            return {}
        return {other: at for other, at in self.runs.items() if other != run and (began_ms is None or at > began_ms)}

    def state_at(self, now_ms: int, plan: Plan, awake_ms: int) -> State:
        """How the job stands. `awake_ms` is since when pings could be heard: before, one may have been lost, and what

        would have become wrong meanwhile is given its grace once more from then. What was told as wrong stays so.
        """
        if self.failed:
            return State.FAILED
        if self.runs:
            return self._running(now_ms, plan, awake_ms)
        if self.last_ms is None:
            return State.NEW
        due_ms = plan.due_ms(self.last_ms)
        if now_ms >= self.deadline_ms(due_ms, plan, awake_ms):
            return State.MISSED
        return State.LATE if now_ms >= due_ms else State.UP

    def _running(self, now_ms: int, plan: Plan, awake_ms: int) -> State:
        until_ms = min(self.runs.values()) + plan.max_run_ms
        if self.state is not State.TOO_LONG and until_ms < awake_ms:
            until_ms = awake_ms + plan.grace_ms
        return State.TOO_LONG if now_ms >= until_ms else State.STARTED

    def deadline_ms(self, due_ms: int, plan: Plan, awake_ms: int) -> int:
        """When a ping that is due then counts as missed."""
        return (due_ms if self.state is State.MISSED else max(due_ms, awake_ms)) + plan.grace_ms


def packed(beat: Beat) -> dict[str, Any]:
    """As JSON can write it."""
    return {
        "last": beat.last_ms,
        "success": beat.success_ms,
        "runs": dict(beat.runs),
        "failed": beat.failed,
        "exit": beat.exit_status,
        "took": beat.duration_ms,
        "state": beat.state.slug,
    }


def unpacked(saved: Mapping[str, Any]) -> Beat:
    """What `packed` wrote."""
    return Beat(
        last_ms=saved.get("last"),
        success_ms=saved.get("success"),
        runs=dict(saved.get("runs") or {}),
        failed=bool(saved.get("failed")),
        exit_status=saved.get("exit"),
        duration_ms=saved.get("took"),
        state=STATES.get(saved.get("state", ""), State.NEW),
    )
