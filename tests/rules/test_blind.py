"""Rules that look at nothing, and what is said of them."""

from __future__ import annotations

import asyncio
import json

import pytest

from obskit.model.labels import Labels
from obskit.model.telemetry import REGISTRY
from obskit.rules.blind import BlindRule, BlindRules
from obskit.rules.files import load_rules
from obskit.rules.groups import Group
from obskit.testing.clock import FakeClock, run
from obskit.testing.store import MemoryMetrics

MINUTE = 60_000
DEPTH = Labels({"__name__": "queue_depth", "queue": "mail", "job": "redis"})


def groups_of(
    *exprs: str, file: str = "x.yaml", type: str = "prometheus", interval: str = "15s", **fields: str
) -> list[Group]:
    rules = [{"alert": f"A{at}", "expr": expr, "labels": {"severity": "x"}, **fields} for at, expr in enumerate(exprs)]
    group = {"name": "g", "interval": interval, "type": type, "rules": rules}
    read = load_rules(json.dumps({"groups": [group]}), file)
    assert read.usable, read.problems
    return list(read.groups)


class Scene:
    """Blind rules over a store in memory, which knows one queue."""

    def __init__(self, *exprs: str, **fields: str) -> None:
        self.clock = FakeClock()
        self.metrics = MemoryMetrics()
        self.start_ms = self.clock.now_ms()
        self.put(DEPTH, self.start_ms)
        self.blind = BlindRules(self.metrics, lambda: ["queue_depth", "up"], self.clock)
        self.blind.watch(groups_of(*exprs, **fields))

    def put(self, labels: Labels, t_ms: int) -> None:
        self.metrics.add(labels, [t_ms], [1.0])

    def found(self, after_ms: int = 6 * MINUTE) -> list[str]:
        self.blind.look(self.start_ms + after_ms)
        return [f"{rule.source}: {rule.reason}" for rule in self.blind.found]


@pytest.mark.parametrize(
    ("expr", "reason"),
    [
        ("queue_dept > 5", 'there is no metric "queue_dept" (did you mean "queue_depth"?)'),
        ("zzz > 5", 'there is no metric "zzz"'),
        ('queue_depth{queue="mial"} > 5', 'queue_depth has no queue="mial" (did you mean "mail"?)'),
        ('queue_depth{que="mail"} > 5', 'queue_depth has no label "que" (did you mean "queue"?)'),
        ('queue_depth{queue=~"s.*"} > 5', 'no series of queue_depth matches queue_depth{queue=~"s.*"}'),
        ('{__name__=~"que.._len"} > 5', 'nothing matches {__name__=~"que.._len"}'),
        ("rate(zzz[5m]) / queue_depth > 5", 'there is no metric "zzz"'),
        ("queue_depth unless zzz > 5", None),
    ],
)
def test_a_blind_rule_says_what_does_not_exist(expr: str, reason: str | None) -> None:
    assert Scene(expr).found() == ([f"x.yaml:A0: {reason}"] if reason else [])


@pytest.mark.parametrize(
    "expr", ["absent(zzz)", "zzz or queue_depth > 5", "queue_depth unless zzz", "ALERTS > 0", "vector(1)"]
)
def test_what_may_find_nothing_is_not_blind(expr: str) -> None:
    assert Scene(expr).found() == []


def test_nobody_is_blind_in_the_first_five_minutes_or_three_intervals() -> None:
    assert Scene("zzz > 5").found(5 * MINUTE - 1) == []
    assert Scene("zzz > 5").found(5 * MINUTE) != []
    assert Scene("zzz > 5", interval="10m").found(30 * MINUTE - 1) == []
    assert Scene("zzz > 5", interval="10m").found(30 * MINUTE) != []


def test_what_resolve_expr_looks_for_must_exist_too() -> None:
    assert Scene("queue_depth > 5", resolve_expr="queue_dept < 3").found() == [
        'x.yaml:A0: there is no metric "queue_dept" (did you mean "queue_depth"?)'
    ]


def test_logs_are_not_looked_at() -> None:
    assert Scene('count_over_time({app="zzz"}[5m]) > 3', type="loki").found() == []


def test_a_rule_sees_again_when_its_series_comes_and_stays_so() -> None:
    scene = Scene("zzz > 5")
    assert scene.found() != []
    scene.put(Labels({"__name__": "zzz"}), scene.start_ms + 7 * MINUTE)
    assert scene.found(8 * MINUTE) == []
    assert scene.found(24 * 60 * MINUTE) == []


def test_a_reload_keeps_what_is_known_of_a_rule_that_stays_as_it_is() -> None:
    scene = Scene("zzz > 5")
    scene.found()
    scene.blind.watch(groups_of("zzz > 5"))
    assert scene.blind.found == (BlindRule("x.yaml:A0", 'there is no metric "zzz"'),)
    scene.blind.watch(groups_of("zzz > 6"))
    assert scene.blind.found == ()


def shown(rule: str) -> float | None:
    return REGISTRY.get_sample_value("obskit_rule_blind", {"rule": rule})


def test_the_loop_shows_blind_rules_as_a_metric_until_they_see_or_are_gone(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene("zzz > 5", "queue_depth > 5", file="loop.yaml")

    async def scenario() -> None:
        looking = asyncio.ensure_future(scene.blind.run())
        await scene.clock.sleep(299)
        assert shown("loop.yaml:A0") is None
        await scene.clock.sleep(90)
        assert (shown("loop.yaml:A0"), shown("loop.yaml:A1")) == (1, None)
        scene.put(Labels({"__name__": "zzz"}), scene.clock.now_ms())
        await scene.clock.sleep(90)
        assert shown("loop.yaml:A0") == 0
        scene.blind.watch([])
        assert shown("loop.yaml:A0") is None
        looking.cancel()

    run(scenario(), scene.clock)
    told = [record.getMessage() for record in caplog.records if "blind" in record.getMessage()]
    assert told == ['rule is blind: rule=loop.yaml:A0 reason=there is no metric "zzz"']
