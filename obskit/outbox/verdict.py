"""What the outcome of an attempt means for its action; pure. When it is tried is sender.py's, how it is kept rows.py's.

    outcome                                          the action
    sent                                             is done; its handle is kept
    asks for plain text, first time                  is tried again at once, degraded
    asks for plain text, again                       is a dead letter
    lost its handle, and had one                     is tried again at once, without
    permanent, but a person can mend it              waits a minute, and so does its whole destination
    permanent otherwise                              is a dead letter
    waiting, and its content is older than max_age   is a dead letter
    retry, with a time                               waits exactly that long
    retry                                            waits 1 s, 2 s, 4 s … 5 min, less up to a fifth by chance

A receiver that limits its rate (429) means every action for it: the whole destination waits as long as this one.
One that is out of reach (network, time-out, 5xx) is probed by one action at a time, 1 s, 2 s … 30 s apart, however many
lanes wait for it; when it answers again they all go.

A revoked token or an archived channel is mended by a person, at night perhaps after an hour: what was decided until
then must still arrive. Rules see it meanwhile by obskit_outbox_oldest_age_seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from obskit.model.actions import Outcome, OutcomeReason, OutcomeStatus

FIRST_BACKOFF_MS: Final = 1_000
LONGEST_BACKOFF_MS: Final = 300_000
LONGEST_PROBE_MS: Final = 30_000
OUT_OF_REACH: Final = (OutcomeReason.NETWORK, OutcomeReason.TIMEOUT, OutcomeReason.SERVER)
AMBIGUOUS: Final = (*OUT_OF_REACH, OutcomeReason.INTERNAL)
"""After these an action may have arrived all the same."""
MENDABLE: Final = (OutcomeReason.CREDENTIAL, OutcomeReason.DESTINATION)
MENDED_WAIT_MS: Final = 60_000
_JITTER: Final = 0.2


class RowState(StrEnum):
    """Where an action stands."""

    WAITING = "waiting"
    SENT = "sent"
    DEAD = "dead"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Limits:
    """The outbox's limits. `parallel` counts lanes of one destination; `receipts_ms` is how long done rows are kept.

    With more than `waiting` actions, the oldest that only lead up to a newer one of their lane and step are left out.
    """

    parallel: int = 4
    waiting: int = 20_000
    attempt_s: float = 30.0
    max_age_ms: int = 3 * 86_400_000
    receipts_ms: int = 7 * 86_400_000
    dead_ms: int = 30 * 86_400_000
    handles_ms: int = 90 * 86_400_000


@dataclass(frozen=True, slots=True)
class Tried:
    """What is known of an action when an attempt at it ends: `attempt` counts from 1, `age_ms` is of its content."""

    attempt: int
    age_ms: int
    degraded: bool = False
    had_handle: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an action; `wait_ms` and the flags matter while it is waiting."""

    state: RowState
    wait_ms: int = 0
    degraded: bool = False
    forget_handle: bool = False
    pause: bool = False
    in_another_form: bool = False


def judge(outcome: Outcome, tried: Tried, limits: Limits, luck: float) -> Verdict:
    """The verdict of the table above. `luck` is uniform in [0, 1)."""
    if outcome.status is OutcomeStatus.SENT:
        return Verdict(RowState.SENT)
    if outcome.degrade:
        if tried.degraded:
            return Verdict(RowState.DEAD, degraded=True)
        return Verdict(RowState.WAITING, degraded=True, in_another_form=True)
    if outcome.forget_handle and tried.had_handle:
        return Verdict(RowState.WAITING, degraded=tried.degraded, forget_handle=True, in_another_form=True)
    mendable = outcome.reason in MENDABLE
    if (outcome.status is OutcomeStatus.PERMANENT and not mendable) or tried.age_ms >= limits.max_age_ms:
        return Verdict(RowState.DEAD, degraded=tried.degraded)
    if outcome.status is OutcomeStatus.PERMANENT:
        return Verdict(RowState.WAITING, wait_ms=MENDED_WAIT_MS, degraded=tried.degraded, pause=True)
    return Verdict(
        RowState.WAITING,
        wait_ms=_wait_ms(outcome, tried.attempt, luck),
        degraded=tried.degraded,
        pause=outcome.reason is OutcomeReason.RATE_LIMITED,
    )


def probe_wait_ms(failures: int) -> int:
    """How long a destination is left alone after so many failures in a row to reach it."""
    return min(LONGEST_PROBE_MS, _doubled_ms(failures))


def _wait_ms(outcome: Outcome, attempt: int, luck: float) -> int:
    if outcome.retry_after_s is not None and outcome.retry_after_s > 0:  # "0 seconds" would be a tight loop
        return max(1, round(outcome.retry_after_s * 1000))
    return round(min(LONGEST_BACKOFF_MS, _doubled_ms(attempt)) * (1 - _JITTER * luck))


def _doubled_ms(times: int) -> int:
    # Bounded, because attempts go on for days, and 2**900 is a slow way to say "long".
    return FIRST_BACKOFF_MS << min(times - 1, 16)
