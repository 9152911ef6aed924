from __future__ import annotations

import pytest

from obskit.model.actions import Outcome, OutcomeReason, OutcomeStatus
from obskit.outbox.verdict import Limits, RowState, Tried, Verdict, judge

WAITING, SENT, DEAD = RowState.WAITING, RowState.SENT, RowState.DEAD
LIMITS = Limits(max_age_ms=1_000)
SERVER = Outcome.retry(OutcomeReason.SERVER)
PLAINER = Outcome(OutcomeStatus.RETRY, OutcomeReason.PAYLOAD, degrade=True)
LOST = Outcome(OutcomeStatus.RETRY, OutcomeReason.HANDLE_LOST, forget_handle=True)


@pytest.mark.parametrize(
    ("outcome", "tried", "verdict"),
    [
        (Outcome.sent(), Tried(1, 0), Verdict(SENT)),
        (PLAINER, Tried(1, 0), Verdict(WAITING, degraded=True, in_another_form=True)),
        (PLAINER, Tried(2, 0, degraded=True), Verdict(DEAD, degraded=True)),
        (LOST, Tried(1, 0, had_handle=True), Verdict(WAITING, forget_handle=True, in_another_form=True)),
        (LOST, Tried(1, 0), Verdict(WAITING, wait_ms=1_000)),
        (Outcome.permanent(OutcomeReason.PAYLOAD), Tried(1, 0), Verdict(DEAD)),
        (Outcome.permanent(OutcomeReason.CONFIG), Tried(1, 0), Verdict(DEAD)),
        (Outcome.permanent(OutcomeReason.CREDENTIAL), Tried(7, 0), Verdict(WAITING, wait_ms=60_000, pause=True)),
        (Outcome.permanent(OutcomeReason.DESTINATION), Tried(1, 0), Verdict(WAITING, wait_ms=60_000, pause=True)),
        (Outcome.permanent(OutcomeReason.DESTINATION), Tried(99, 1_000), Verdict(DEAD)),
        (SERVER, Tried(1, 0), Verdict(WAITING, wait_ms=1_000)),
        (SERVER, Tried(4, 0), Verdict(WAITING, wait_ms=8_000)),
        (SERVER, Tried(900, 0), Verdict(WAITING, wait_ms=300_000)),
        (SERVER, Tried(2, 0, degraded=True), Verdict(WAITING, wait_ms=2_000, degraded=True)),
        (SERVER, Tried(2, 1_000), Verdict(DEAD)),
        (Outcome.retry(OutcomeReason.SERVER, after_s=7.5), Tried(9, 0), Verdict(WAITING, wait_ms=7_500)),
        (Outcome.retry(OutcomeReason.SERVER, after_s=0), Tried(2, 0), Verdict(WAITING, wait_ms=2_000)),
        (Outcome.retry(OutcomeReason.RATE_LIMITED, after_s=30), Tried(1, 0), Verdict(WAITING, 30_000, pause=True)),
        (Outcome.retry(OutcomeReason.RATE_LIMITED), Tried(1, 0), Verdict(WAITING, 1_000, pause=True)),
    ],
)
def test_an_outcome_means(outcome: Outcome, tried: Tried, verdict: Verdict) -> None:
    assert judge(outcome, tried, LIMITS, luck=0.0) == verdict


def test_luck_shortens_a_back_off_by_a_fifth_at_most() -> None:
    assert judge(SERVER, Tried(1, 0), LIMITS, luck=1.0).wait_ms == 800
