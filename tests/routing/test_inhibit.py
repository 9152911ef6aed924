"""Who keeps whom quiet."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from obskit.model.alerts import Alert
from obskit.model.labels import Labels
from obskit.routing.inhibit import Inhibitor, InhibitRuleSettings


def inhibitor(*rules: dict[str, Any]) -> Inhibitor:
    return Inhibitor([InhibitRuleSettings.model_validate(rule).rule() for rule in rules])


def alert(*, over: bool = False, **labels: str) -> Alert:
    return Alert(Labels(labels), {}, 0, 1 if over else None)


BY_SEVERITY = {
    "source_matchers": ["severity=critical"],
    "target_matchers": ["severity=warning"],
    "equal": ["alertname", "host"],
}


@pytest.mark.parametrize(
    ("source", "target", "quiet"),
    [
        ({"severity": "critical", "alertname": "A"}, {"severity": "warning", "alertname": "A"}, True),
        ({"severity": "critical", "alertname": "A"}, {"severity": "warning", "alertname": "B"}, False),
        (
            {"severity": "critical", "alertname": "A", "host": "x"},
            {"severity": "warning", "alertname": "A", "host": "x", "more": "1"},
            True,
        ),
        ({"severity": "critical", "alertname": "A", "host": "x"}, {"severity": "warning", "alertname": "A"}, False),
        ({"severity": "critical"}, {"severity": "warning"}, True),
        ({"severity": "critical"}, {"severity": "info"}, False),
        ({"severity": "error"}, {"severity": "warning"}, False),
    ],
)
def test_a_source_keeps_targets_with_equal_labels_quiet(
    source: dict[str, str], target: dict[str, str], quiet: bool
) -> None:
    found = inhibitor(BY_SEVERITY)
    found.note(alert(**source))
    assert found.inhibiting(Labels(target)) == ((alert(**source).fingerprint,) if quiet else ())


def test_it_ends_with_the_last_source() -> None:
    found = inhibitor(BY_SEVERITY, {"source_match": {"team": "db"}, "target_match_re": {"severity": "warn.*"}})
    sources = [{"severity": "critical", "pod": "1"}, {"severity": "critical", "pod": "2"}, {"team": "db"}]
    for labels in sources:
        found.note(alert(**labels))
    assert found.inhibiting(Labels({"severity": "warning"})) == tuple(alert(**each).fingerprint for each in sources)
    for labels in sources:
        found.note(alert(over=True, **labels))
    assert found.inhibiting(Labels({"severity": "warning"})) == ()


def test_an_alert_on_both_sides_is_kept_quiet_by_those_on_one_side_only() -> None:
    found = inhibitor({"source_matchers": ["a=1"], "target_matchers": ['b=~"1|2"']})
    both = {"a": "1", "b": "1"}
    found.note(alert(**both))
    assert found.inhibiting(Labels(both)) == ()
    assert found.inhibiting(Labels({"b": "2"})) == (alert(**both).fingerprint,)
    found.note(alert(a="1"))
    assert found.inhibiting(Labels(both)) == (alert(a="1").fingerprint,)


def test_a_rule_without_matchers_is_about_every_alert_and_so_about_none() -> None:
    found = inhibitor({})
    found.note(alert(a="1"))
    assert found.inhibiting(Labels({"b": "1"})) == ()


def test_an_empty_name_of_a_label_is_refused() -> None:
    with pytest.raises(ValidationError, match="a label of equal is empty"):
        inhibitor({"equal": [""]})
