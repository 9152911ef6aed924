"""Which rules are asked for many slots at once, and what becomes of those that cannot be."""

from __future__ import annotations

import json
from collections.abc import Sequence

from obskit.model.labels import Labels
from obskit.promql.engine import Engine
from obskit.rules.files import load_rules
from obskit.rules.foresight import SLOTS_AT_ONCE, Foresight, foreseeable
from obskit.rules.groups import Group
from obskit.testing.store import MemoryMetrics

SLOT = 60_000


def groups_of(*groups: dict[str, object]) -> Sequence[Group]:
    read = load_rules(json.dumps({"groups": [{"name": f"g{at}", **one} for at, one in enumerate(groups)]}), "x.yaml")
    assert read.usable, read.problems
    return read.groups


def alerts(*exprs: str) -> list[dict[str, object]]:
    return [{"alert": f"A{at}", "expr": expr, "labels": {"severity": "page"}} for at, expr in enumerate(exprs)]


def names(groups: Sequence[Group]) -> set[str]:
    name_of = {rule.key: rule.name for group in groups for rule in group.rules}
    return {name_of[key] for one in foreseeable(groups) for key in one.keys}


def test_rules_that_read_what_rules_write_are_not_foreseen() -> None:
    recording = {"rules": [{"record": "written", "expr": "sum(x)"}]}
    reading = alerts("x > 1", "written > 1", "ALERTS == 1", '{a="b"} > 1', "rate(x[5m]) > 1")
    assert names(groups_of({"rules": reading}, recording)) == {"A0", "A4", "written"}


def test_rules_that_ask_for_the_range_of_the_query_are_not_foreseen() -> None:
    exprs = alerts("x > 1", "x @ end() > 1", "rate(x[step()]) > 1", "x offset range() > 1", "x > 0 * x - end()")
    assert names(groups_of({"rules": exprs})) == {"A0"}


def test_rules_of_one_shape_are_one_family_whatever_their_group() -> None:
    groups = groups_of(
        {"rules": alerts("x > 1")}, {"rules": alerts("x > 2")}, {"query_offset": "1m", "rules": alerts("x > 3")}
    )
    assert [(len(one.keys), one.query_offset_ms) for one in foreseeable(groups)] == [(2, 0), (1, SLOT)]


def test_each_slot_gets_its_own_answer_however_many_there_are() -> None:
    metrics, slots = MemoryMetrics(), 2 * SLOTS_AT_ONCE + 3
    series = Labels({"__name__": "x"})
    metrics.add(series, [at * SLOT for at in range(slots)], [float(at) for at in range(slots)])
    groups = groups_of({"rules": alerts("x > 2")}, {"query_offset": "1m", "rules": alerts("x >= 2")})
    first, second = (group.rules[0].key for group in groups)
    foresight = Foresight(Engine(metrics), foreseeable(groups), end_ms=(slots - 1) * SLOT, step_ms=SLOT)
    for at in range(slots):
        found = {first: [(series, float(at))]} if at > 2 else {}
        delayed = {second: [(series, float(at - 1))]} if at > 2 else {}
        assert foresight.at(at * SLOT) == found | delayed


def test_what_has_no_answer_together_is_not_foreseen_any_more() -> None:
    metrics = MemoryMetrics()
    for job in "ab":
        metrics.add(Labels({"__name__": "x", "job": job}), [0, SLOT], [1.0, 1.0])
    groups = groups_of({"rules": alerts("x > 0", "x * on () x > 0")})
    foresight = Foresight(Engine(metrics), foreseeable(groups), end_ms=SLOT, step_ms=SLOT)
    assert len(foresight.keys) == 2
    assert len(foresight.at(0)[groups[0].rules[0].key]) == 2
    assert foresight.keys == {groups[0].rules[0].key}
