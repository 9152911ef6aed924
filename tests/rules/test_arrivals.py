"""Who is woken by what, and who has to rest."""

from __future__ import annotations

import pytest

from obskit.rules.arrivals import REST, SAVED_S, Arrivals
from obskit.rules.files import load_rules
from obskit.rules.groups import Group
from obskit.store.interface import Touched


def groups_of(*rules: str, type: str = "prometheus", more: str = "") -> list[Group]:
    lines = "".join(f"  - {{alert: A{n}, expr: '{expr}'}}\n" for n, expr in enumerate(rules))
    text = f"groups:\n- name: g\n  type: {type}\n{more}  rules:\n  - {{record: r, expr: 'vector(1)'}}\n{lines}"
    return list(load_rules(text, "x.yaml").groups)


def touched(*names: str, newest_ms: int = 1) -> Touched:
    return Touched(frozenset(names), frozenset(), newest_ms)


@pytest.mark.parametrize(
    ("expr", "name", "woken"),
    [
        ("up == 0", "up", True),
        ("up == 0", "down", False),
        ("sum(rate(errors[5m])) / sum(rate(requests[5m])) > 0.1", "requests", True),
        ('{__name__=~"queue_.*"} > 5', "queue_depth", True),
        ('{__name__=~"queue_.*"} > 5', "depth", False),
        ('{job="x"} > 5', "anything", True),
        ("vector(1)", "up", False),
        ("time() > 5", "up", False),
    ],
)
def test_a_rule_is_woken_by_the_metrics_it_asks_for(expr: str, name: str, woken: bool) -> None:
    arrivals = Arrivals(groups_of(expr))
    assert arrivals.wake(touched(name), 0.0) is woken
    assert [one.rule.name for one in arrivals.take(0.0)] == ["A0"] * woken


def test_a_log_rule_is_woken_by_name() -> None:
    groups = groups_of('count_over_time({app="api"} [5m]) > 0', type="loki")
    arrivals, key = Arrivals(groups), groups[0].rules[1].key
    arrivals.wake_rules({key: 5, "gone": 6, groups[0].rules[0].key: 7}, 0.0)
    arrivals.wake_rules({key: 3}, 0.5)
    assert [(one.rule.key, one.newest_ms, one.woken_s) for one in arrivals.take(1.0)] == [(key, 5, 0.0)]


def test_a_group_that_looks_at_the_past_is_not_woken() -> None:
    arrivals = Arrivals(groups_of("up == 0", more="  query_offset: 1m\n"))
    assert not arrivals.wake(touched("up"), 0.0)


def test_a_rule_that_waits_is_woken_once_with_the_newest_time() -> None:
    arrivals = Arrivals(groups_of("up == 0"))
    for newest_ms in (5, 9, 7):
        arrivals.wake(touched("up", newest_ms=newest_ms), newest_ms / 1000)
    (one,) = arrivals.take(1.0)
    assert (one.newest_ms, one.woken_s) == (9, 0.005)
    assert arrivals.take(1.0) == []


def test_a_busy_group_waits() -> None:
    arrivals = Arrivals(groups_of("up == 0"))
    arrivals.wake(touched("up"), 0.0)
    assert arrivals.take(0.0, busy={"x.yaml;g"}) == []
    assert len(arrivals.take(0.0)) == 1


def test_what_was_taken_can_be_put_back() -> None:
    arrivals = Arrivals(groups_of("up == 0"))
    arrivals.wake(touched("up", newest_ms=5), 1.0)
    taken = arrivals.take(1.0)
    arrivals.wake(touched("up", newest_ms=3), 2.0)
    arrivals.put_back(taken)
    assert arrivals.take(2.0) == taken


def test_a_costly_rule_rests_for_a_multiple_of_its_time() -> None:
    arrivals = Arrivals(groups_of("up == 0", "up == 1"))
    arrivals.wake(touched("up"), 0.0)
    first, _ = arrivals.take(0.0)
    arrivals.rest(first.rule.key, took_s=1.0, now_s=1.0)
    arrivals.wake(touched("up"), 1.0)
    assert [one.rule.name for one in arrivals.take(1.0)] == ["A1"]
    assert arrivals.next_s() == 1.0 + REST
    assert [one.rule.name for one in arrivals.take(1.0 + REST)] == ["A0"]
    assert arrivals.next_s() is None


def test_the_more_rules_rest_the_longer_each_of_them_does() -> None:
    arrivals = Arrivals(groups_of("up == 0", "up == 1", "up == 2"))
    arrivals.wake(touched("up"), 0.0)
    for one in arrivals.take(0.0):
        arrivals.rest(one.rule.key, took_s=1.0, now_s=0.0)
    arrivals.wake(touched("up"), 0.0)
    names = [[one.rule.name for one in arrivals.take(REST * n)] for n in (1, 2, 3)]
    assert names == [["A0"], ["A1"], ["A2"]]


def test_a_quiet_time_pays_for_a_burst() -> None:
    arrivals = Arrivals(groups_of("up == 0"))

    def evaluations_until_a_rest(now_s: float) -> int:
        for count in range(1, 100):
            arrivals.wake(touched("up"), now_s)
            (one,) = arrivals.take(now_s)
            arrivals.rest(one.rule.key, took_s=SAVED_S / 4, now_s=now_s)
            arrivals.wake(touched("up"), now_s)
            if not arrivals.take(now_s):
                return count
            arrivals.put_back([one])
        return 0

    assert evaluations_until_a_rest(100.0) == 5
    assert evaluations_until_a_rest(100.6) == 3
    assert evaluations_until_a_rest(1_000.0) == 5


def test_a_reload_keeps_who_waits_as_long_as_the_rule_stays() -> None:
    before = Arrivals(groups_of("up == 0", "up == 1"))
    before.wake(touched("up"), 0.0)
    after = Arrivals(groups_of("up == 2"))
    after.take_over(before)
    assert [one.rule.expr for one in after.take(0.0)] == ["up == 2"]
