from __future__ import annotations

import pytest

from obskit.model.actions import NoticeReason
from obskit.model.alerts import Alert
from obskit.model.labels import Labels
from obskit.routing.flush import Told, decide, stand

A, B = Labels({"alertname": "a"}), Labels({"alertname": "b"})
FIRST, NEW, ALL, SOME, REPEAT = (
    NoticeReason.FIRST,
    NoticeReason.NEW_ALERTS,
    NoticeReason.ALL_RESOLVED,
    NoticeReason.SOME_RESOLVED,
    NoticeReason.REPEAT,
)


def alerts(firing: str, resolved: str) -> list[Alert]:
    named = {"a": A, "b": B}
    return [Alert(named[name], {}, 0) for name in firing] + [Alert(named[name], {}, 0, 1) for name in resolved]


def told(firing: str, resolved: str, t_ms: int = 0) -> Told:
    prints = {"a": A.fingerprint(), "b": B.fingerprint()}
    return Told(frozenset(prints[name] for name in firing), frozenset(prints[name] for name in resolved), t_ms)


@pytest.mark.parametrize(
    ("last", "firing", "resolved", "now_ms", "reason"),
    [
        (None, "a", "", 0, FIRST),
        (None, "a", "b", 0, FIRST),
        (None, "", "a", 0, None),
        (told("", "a"), "a", "", 0, FIRST),
        (told("", "a"), "", "ab", 0, None),
        (told("a", ""), "ab", "", 0, NEW),
        (told("a", ""), "b", "a", 0, NEW),
        (told("a", ""), "", "a", 0, ALL),
        (told("ab", ""), "a", "b", 0, SOME),
        (told("a", ""), "a", "b", 0, SOME),
        (told("a", "b"), "a", "b", 0, None),
        (told("a", ""), "a", "", 99, None),
        (told("a", ""), "a", "", 100, REPEAT),
        (told("a", "", t_ms=500), "a", "", 400, REPEAT),
    ],
)
def test_a_destination_is_told(
    last: Told | None, firing: str, resolved: str, now_ms: int, reason: NoticeReason | None
) -> None:
    standing = stand(alerts(firing, resolved))
    assert decide(last, standing, now_ms=now_ms, repeat_interval_ms=100, send_resolved=True) is reason


def test_without_send_resolved_only_the_end_of_all_matters() -> None:
    some, all_over = stand(alerts("a", "b")), stand(alerts("", "ab"))
    assert decide(told("ab", ""), some, now_ms=0, repeat_interval_ms=100, send_resolved=False) is None
    assert decide(told("ab", ""), all_over, now_ms=0, repeat_interval_ms=100, send_resolved=False) is ALL


def test_without_an_interval_nothing_repeats() -> None:
    standing = stand(alerts("a", ""))
    assert decide(told("a", ""), standing, now_ms=10**12, repeat_interval_ms=None, send_resolved=True) is None


def test_changed_is_what_began_or_stopped() -> None:
    assert stand(alerts("a", "")).changed(None) == {A.fingerprint()}
    assert stand(alerts("a", "")).changed(told("b", "")) == {A.fingerprint(), B.fingerprint()}


def test_alerts_are_shown_by_job_and_instance_first() -> None:
    labels = [
        {"a": "1", "job": "x", "instance": "2"},
        {"z": "1", "job": "x", "instance": "1"},
        {"job": "a"},
        {"b": "1"},
    ]
    shown = stand([Alert(Labels(each), {}, 0) for each in labels]).alerts
    assert [dict(alert.labels) for alert in shown] == [labels[2], labels[1], labels[0], labels[3]]
