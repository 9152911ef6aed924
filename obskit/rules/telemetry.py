"""The rules' own metrics, with Prometheus' names behind our prefix where it has them."""

from __future__ import annotations

from typing import Final

from obskit.model.telemetry import REGISTRY, Counter, Gauge, Histogram

_GROUP: Final = ["rule_group"]

EVALUATIONS: Final = Counter("obskit_rule_evaluations_total", "Rules evaluated at a slot.", _GROUP, registry=REGISTRY)
FAILURES: Final = Counter(
    "obskit_rule_evaluation_failures_total", "Rule evaluations that failed.", _GROUP, registry=REGISTRY
)
ITERATIONS: Final = Counter(
    "obskit_rule_group_iterations_total", "Slots of a group, evaluated or missed.", _GROUP, registry=REGISTRY
)
MISSED: Final = Counter(
    "obskit_rule_group_iterations_missed_total",
    "Slots of a group that were skipped because the one before took too long.",
    _GROUP,
    registry=REGISTRY,
)
LAST_EVALUATION: Final = Gauge(
    "obskit_rule_group_last_evaluation_timestamp_seconds", "The group's last slot.", _GROUP, registry=REGISTRY
)
LAST_DURATION: Final = Gauge(
    "obskit_rule_group_last_duration_seconds", "How long the group's last evaluation took.", _GROUP, registry=REGISTRY
)
INTERVAL: Final = Gauge("obskit_rule_group_interval_seconds", "The group's interval.", _GROUP, registry=REGISTRY)
RULES: Final = Gauge("obskit_rule_group_rules", "Rules of the group.", _GROUP, registry=REGISTRY)
ARRIVALS: Final = Counter(
    "obskit_rule_arrival_evaluations_total", "Alerting rules evaluated because data came.", registry=REGISTRY
)
ARRIVAL_SECONDS: Final = Histogram(
    "obskit_rule_arrival_duration_seconds",
    "Time from an append to the commit of the transitions it caused.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1),
    registry=REGISTRY,
)
UNSAVED: Final = Counter(
    "obskit_rule_commit_failures_total", "Evaluations whose result could not be committed.", registry=REGISTRY
)
BLIND: Final = Gauge(
    "obskit_rule_blind", "1 while a rule of yours looks for series that do not exist.", ["rule"], registry=REGISTRY
)

LOG_LEAVES: Final = Gauge(
    "obskit_rule_log_windows",
    "Windows of log rules: warm ones answer from memory, for cold and given_up (too large) ones the store is asked.",
    ["state"],
    registry=REGISTRY,
)
LOG_SAMPLES: Final = Gauge(
    "obskit_rule_log_samples", "Samples of log lines that the windows of rules hold in memory.", registry=REGISTRY
)
LOG_REQUERIES: Final = Counter(
    "obskit_rule_log_requeries_total", "Log queries of rules that were answered by the store.", registry=REGISTRY
)
LOG_GROUPS_DROPPED: Final = Counter(
    "obskit_rule_log_groups_dropped_total",
    "Series of a log rule that were forgotten because there were more than 1,000.",
    registry=REGISTRY,
)
LOG_BACKLOG_LOST: Final = Counter(
    "obskit_rule_log_backlog_resets_total",
    "Times that rules fell behind the log lines and read their windows from the store again.",
    registry=REGISTRY,
)

LATE_RECORDS: Final = Counter(
    "obskit_late_records_total",
    "Log lines that came after rules had been judged for their time; they count from then on.",
    ["source"],
    registry=REGISTRY,
)

_OF_GROUPS: Final = (EVALUATIONS, FAILURES, ITERATIONS, MISSED, LAST_EVALUATION, LAST_DURATION, INTERVAL, RULES)


def show_group(group: str, *, interval_ms: int, rules: int) -> None:
    """Make a group's metrics, at zero, before anything happened to it."""
    for metric in _OF_GROUPS:
        metric.labels(group)
    INTERVAL.labels(group).set(interval_ms / 1000)
    RULES.labels(group).set(rules)


def drop_group(group: str) -> None:
    """Forget the metrics of a group that is no more."""
    for metric in _OF_GROUPS:
        metric.remove(group)
