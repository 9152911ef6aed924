from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.model.actions import Notice, NoticeReason, Outcome, OutcomeReason, OutcomeStatus
from obskit.model.alerts import Alert, ResolveReason
from obskit.model.labels import Labels

TEXTS = st.text(max_size=6)
LABELS = st.dictionaries(st.text(min_size=1, max_size=4), TEXTS, max_size=3).map(Labels)
TIMES = st.integers(0, 2**53)
ALERTS = st.builds(
    Alert,
    labels=LABELS,
    annotations=st.dictionaries(TEXTS, TEXTS, max_size=2),
    starts_ms=TIMES,
    ends_ms=st.none() | TIMES,
    value=st.floats(allow_nan=False),
    generator_url=TEXTS,
    source=TEXTS,
    resolve_reason=st.none() | st.sampled_from(ResolveReason),
    resolved_value=st.none() | st.floats(allow_nan=False),
    resolved_summary=TEXTS,
)
NOTICES = st.builds(
    Notice,
    receiver=TEXTS,
    group_key=TEXTS,
    group_labels=LABELS,
    alerts=st.lists(ALERTS, max_size=3).map(tuple),
    reason=st.sampled_from(NoticeReason),
    incident=TEXTS,
    decided_ms=TIMES,
    external_url=TEXTS,
    changed=st.frozensets(TEXTS, max_size=2),
)


def alert(labels: dict[str, str], annotations: dict[str, str], *, ends_ms: int | None = None) -> Alert:
    return Alert(Labels(labels), annotations, starts_ms=1, ends_ms=ends_ms)


def notice(*alerts: Alert) -> Notice:
    return Notice("ops", "{}:{}", Labels(), alerts, NoticeReason.FIRST, "i1", 5)


@given(NOTICES)
def test_a_notice_survives_the_outbox(original: Notice) -> None:
    assert Notice.from_json(original.to_json()) == original


def test_a_value_that_is_no_number_survives_the_outbox() -> None:
    restored = Notice.from_json(notice(alert({"a": "b"}, {})).to_json())
    assert math.isnan(restored.alerts[0].value)


def test_a_group_fires_while_one_alert_does() -> None:
    on, off = alert({"n": "1"}, {}), alert({"n": "2"}, {}, ends_ms=4)
    assert notice(on, off).status == "firing"
    assert (notice(on, off).firing, notice(on, off).resolved) == ((on,), (off,))
    assert notice(off).status == "resolved"


def test_what_all_alerts_share_is_common() -> None:
    both = notice(
        alert({"app": "a", "host": "1"}, {"summary": "s", "only": "x"}),
        alert({"app": "a", "host": "2"}, {"summary": "s"}),
    )
    assert both.common_labels == Labels({"app": "a"})
    assert both.common_annotations == {"summary": "s"}
    assert notice().common_labels == Labels()


def test_an_alert_is_known_by_the_fingerprint_of_its_labels() -> None:
    one = alert({"alertname": "QueueBacklog"}, {"summary": "x"})
    assert one.fingerprint == alert({"alertname": "QueueBacklog"}, {}).fingerprint == one.labels.fingerprint()
    assert one.name == "QueueBacklog"
    assert one.firing


@pytest.mark.parametrize(
    ("outcome", "status", "reason"),
    [
        (Outcome.sent({"ts": "1"}), OutcomeStatus.SENT, OutcomeReason.NONE),
        (
            Outcome.retry(OutcomeReason.RATE_LIMITED, "429", after_s=3.0),
            OutcomeStatus.RETRY,
            OutcomeReason.RATE_LIMITED,
        ),
        (Outcome.permanent(OutcomeReason.CREDENTIAL, "401"), OutcomeStatus.PERMANENT, OutcomeReason.CREDENTIAL),
    ],
)
def test_an_outcome_says_what_became_of_an_attempt(
    outcome: Outcome, status: OutcomeStatus, reason: OutcomeReason
) -> None:
    assert (outcome.status, outcome.reason) == (status, reason)
