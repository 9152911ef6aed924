"""Rules that are asked together: every one as if it were alone."""

from __future__ import annotations

import itertools

import pytest

from obskit.logql.engine import Engine as LogQL
from obskit.model.labels import Labels
from obskit.promql.engine import Engine
from obskit.rules.batches import Batches, Sharing
from obskit.rules.evaluation import Evaluator, Outcome, Standing
from obskit.rules.files import load_rules
from obskit.rules.groups import Group
from obskit.store.listed_logs import ListedLogs
from obskit.testing.store import MemoryMetrics

AT_MS = 600_000
RULES = """\
groups:
- name: g
  rules:
  - {alert: Busy, expr: 'sum(rate(jobs_total{queue="mail"}[5m])) > 0.5', labels: {at: '{{ $value }}'}}
  - {alert: Busy, expr: 'sum(rate(jobs_total{queue="pay"}[5m])) > 0.5'}
  - {alert: Busy, expr: 'sum(rate(jobs_total{queue="none"}[5m])) > 0.5'}
  - {record: "deep", expr: 'depth{queue="mail"} > 1'}
  - {record: "deep", expr: 'depth{queue="pay"} > 4'}
  - {alert: Share, expr: 'depth{queue="mail"} / on () limits{kind="one"} > 1'}
  - {alert: Share, expr: 'depth{queue="pay"} / on () limits{kind="two"} > 1'}
  - {alert: Alone, expr: absent(nothing)}
"""


def store() -> MemoryMetrics:
    metrics = MemoryMetrics()
    times = range(AT_MS - 300_000, AT_MS + 1, 15_000)
    for place, queue in enumerate(("mail", "pay", "other"), 1):
        for shard in "ab":
            labels = {"queue": queue, "shard": shard}
            metrics.add(Labels({**labels, "__name__": "jobs_total"}), times, [10 * place * n for n in range(21)])
        metrics.add(Labels({"__name__": "depth", "queue": queue}), times, [3 * place] * 21)
    metrics.add(Labels({"__name__": "limits", "kind": "one"}), times, [2] * 21)
    for shard in "ab":
        metrics.add(Labels({"__name__": "limits", "kind": "two", "shard": shard}), times, [1] * 21)
    return metrics


def group_of(text: str) -> Group:
    read = load_rules(text, "x.yaml")
    assert read.usable, read.problems
    return read.groups[0]


def outcomes(group: Group, *, together: bool, keys: list[str] | None = None) -> list[Outcome]:
    evaluator = Evaluator(Engine(store()), LogQL(ListedLogs([])))
    sharing = evaluator.sharing(group, Batches.of(group), AT_MS, seconds=lambda: 0.0) if together else None
    found = []
    for rule in group.rules:
        if sharing is not None:
            sharing.only(keys or [one.key for one in group.rules])
            sharing.prepare(rule)
        found.append(evaluator.at_slot(group, rule, Standing(), AT_MS, sharing))
    return found


def test_rules_asked_together_say_what_they_say_alone() -> None:
    group = group_of(RULES)
    alone, together = outcomes(group, together=False), outcomes(group, together=True)
    assert [outcome.transitions for outcome in together] == [outcome.transitions for outcome in alone]
    assert [list(outcome.samples) for outcome in together] == [list(outcome.samples) for outcome in alone]
    assert [bool(outcome.samples) for outcome in together] == [True, True, False, True, True, True, False, True]


def test_each_rule_of_a_family_tells_its_own_error() -> None:
    errors = [outcome.error for outcome in outcomes(group_of(RULES), together=True)]
    assert [bool(error) for error in errors] == [False] * 6 + [True, False]
    assert "many-to-many" in errors[6]


def test_a_family_is_found_by_shape_and_only_among_metrics() -> None:
    group = group_of(RULES)
    sizes = {rule.key: len(batch.keys) for rule in group.rules if (batch := Batches.of(group).by_rule.get(rule.key))}
    assert list(sizes.values()) == [3, 3, 3, 2, 2, 2, 2]
    logs = group_of(RULES.partition("  rules:")[0] + "  type: loki\n  rules:\n" + 2 * LOG_RULE)
    assert Batches.of(logs) == Batches()


LOG_RULE = "  - {alert: Lines, expr: 'count_over_time({app=\"a\"}[1m]) > 1'}\n"


@pytest.mark.parametrize(("asking", "asked"), [(1, 0), (2, 1), (3, 1)])
def test_a_family_is_asked_when_enough_of_it_wants_to_know(asking: int, asked: int) -> None:
    group = group_of(RULES)
    engine, calls = Engine(store()), itertools.count()
    sharing = Sharing(engine, Batches.of(group), AT_MS, seconds=lambda: float(next(calls)))
    keys = [rule.key for rule in group.rules[:asking]]
    sharing.only(keys)
    shares = [sharing.prepare(rule) for rule in group.rules[:asking]]
    assert [sharing.answer(rule) is not None for rule in group.rules[:asking]] == [bool(asked)] * asking
    assert sum(shares) == pytest.approx(1.0)  # one second for all of them, whoever came first
