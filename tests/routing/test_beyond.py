"""The deciders beside Alertmanager's, each alone: steps, repeats, what counts as a change, flapping, windows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.model.alerts import LOG_LINES, Alert
from obskit.model.context import Escalated
from obskit.model.labels import Labels
from obskit.routing.content import LOOKED_AT, content_of
from obskit.routing.escalation import Step, Unless, due, first_told_ms, next_due_ms, taken
from obskit.routing.flaps import Flap, FlapSettings, turned
from obskit.routing.flush import Told
from obskit.routing.intervals import TimeIntervalSettings, build_intervals
from obskit.routing.maintenance import MaintenanceSettings, open_windows
from obskit.routing.repeats import LONGEST_MS, Growth, interval_ms
from obskit.routing.tree import RouteSettings, build_tree, check_tree

SOON, LATER = Step(300, Unless.ACKED, ("pd",)), Step(900, Unless.RESOLVED, ("pd", "boss"))
IDS = {"pd": ["pd[0]", "pd[1]"], "boss": ["boss[0]"], "nobody": []}
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@pytest.mark.parametrize(
    ("since_ms", "now_ms", "acked", "expected", "next_ms"),
    [
        (None, 5_000, False, [], None),
        (100, 399, False, [], 400),
        (100, 400, False, [SOON], 1_000),
        (100, 400, True, [], 1_000),
        (100, 1_000, False, [SOON, LATER], None),
        (100, 1_000, True, [LATER], None),
    ],
)
def test_which_steps_are_due(
    *, since_ms: int | None, now_ms: int, acked: bool, expected: list[Step], next_ms: int | None
) -> None:
    assert due([SOON, LATER], since_ms, now_ms, acked=acked) == expected
    assert next_due_ms([SOON, LATER], since_ms, now_ms) == next_ms


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"ops[0]"}, []),
        ({"ops[0]", "pd[0]"}, []),
        ({"pd[0]", "pd[1]"}, [Escalated("pd", 300)]),
        ({"pd[0]", "pd[1]", "boss[0]"}, [Escalated("pd", 300), Escalated("pd, boss", 900)]),
    ],
)
def test_a_step_is_taken_when_all_its_destinations_are_told(told: set[str], expected: list[Escalated]) -> None:
    assert list(taken([SOON, LATER, Step(1, Unless.ACKED, ("nobody",))], IDS, told)) == expected


def test_the_incident_counts_from_who_was_told_first() -> None:
    fires = frozenset({"f"})
    told = [None, Told(fires, fires, 9, since_ms=7), Told(fires, fires, 9, since_ms=5), Told(frozenset(), fires, 9)]
    assert first_told_ms(told) == 5
    assert first_told_ms([None, told[-1]]) is None


@pytest.mark.parametrize(
    ("growth", "repeats", "critical", "acked", "expected"),
    [
        (Growth(), 9, False, False, HOUR_MS),
        (Growth(2), 0, False, False, HOUR_MS),
        (Growth(2), 2, False, False, 4 * HOUR_MS),
        (Growth(2, 3 * HOUR_MS), 2, False, False, 3 * HOUR_MS),
        (Growth(2, 1), 2, False, False, HOUR_MS),
        (Growth(2), 2, True, False, HOUR_MS),
        (Growth(2), 2, True, True, None),
        (Growth(10), 10**6, False, False, LONGEST_MS),
    ],
)
def test_how_long_until_a_repeat(
    *, growth: Growth, repeats: int, critical: bool, acked: bool, expected: int | None
) -> None:
    assert interval_ms(HOUR_MS, growth, repeats, critical=critical, acked=acked) == expected
    assert interval_ms(None, growth, repeats, critical=critical, acked=acked) is None


def says(value: float = 1.0, name: str = "a", **annotations: str) -> Alert:
    return Alert(Labels({"alertname": name}), annotations, 0, value=value)


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        (says(summary="7.41 % fail"), says(summary="7.44 % fail"), True),
        (says(summary="7.4 % fail"), says(summary="8.1 % fail"), False),
        (says(summary="1041 lines"), says(summary="1043 lines"), True),
        (says(summary="a fails"), says(summary="b fails"), False),
        (says(1.0, summary="x"), says(9.0, summary="x"), True),
        (says(1.0), says(9.0), False),
        (says(float("nan")), says(float("nan")), True),
        (says(summary="x", **{LOG_LINES: "one"}), says(summary="x", **{LOG_LINES: "two"}), True),
        (says(summary="x", runbook_url="http://a"), says(summary="x", runbook_url="http://b"), False),
    ],
)
def test_what_counts_as_a_change(before: Alert, after: Alert, *, same: bool) -> None:
    assert (content_of([before]) == content_of([after])) is same


def test_what_is_over_or_far_down_the_list_says_nothing() -> None:
    many = [says(name=f"n{number}") for number in range(LOOKED_AT)]
    assert content_of(many) == content_of([*many, says(name="more")])
    assert content_of([]) == content_of([Alert(Labels({"alertname": "a"}), {}, 0, 5)])


RULE = FlapSettings(transitions=4, within=1_000)


def play(*turns: tuple[int, str]) -> Flap | None:
    """A group that fires in the incident of each turn, or is over (capitals and small letters)."""
    flap: Flap | None = None
    for now_ms, incident in turns:
        flap = turned(flap, incident.lower(), now_ms, RULE, firing=incident.isupper())
    return flap


@pytest.mark.parametrize(
    ("turns", "flaps", "home"),
    [
        ([(0, "A"), (1, "a"), (2, "B")], 0, "b"),
        ([(0, "A"), (1, "a"), (2, "B"), (3, "b")], 4, "b"),
        ([(0, "A"), (1, "a"), (2, "B"), (3, "b"), (4, "C"), (5, "C")], 5, "b"),
        ([(0, "A"), (1, "a"), (2, "B"), (3, "b"), (1_002, "C")], 2, "b"),  # it has not been calm for long enough
        ([(0, "A"), (1, "a"), (2, "B"), (3, "b"), (1_003, "C")], 0, "c"),
        ([(0, "A"), (400, "a"), (800, "B"), (1_200, "b")], 0, "b"),
    ],
)
def test_when_a_group_flaps(turns: list[tuple[int, str]], flaps: int, home: str) -> None:
    flap = play(*turns)
    assert flap is not None
    assert (flap.flaps_at(turns[-1][0], RULE), flap.home) == (flaps, home)
    assert flap.flaps_at(flap.calm_at_ms(RULE), RULE) == 0


def test_a_group_that_never_fired_does_not_turn() -> None:
    assert play((0, "a")) is None


@given(st.lists(st.tuples(st.integers(0, 5_000), st.sampled_from("Aa")), max_size=40))
def test_who_turned_less_often_never_flaps_and_a_calm_time_ends_it(turns: list[tuple[int, str]]) -> None:
    turns.sort(key=lambda each: each[0])
    flap = play(*turns)
    if flap is not None:
        assert len(flap.turns) <= len(turns)
        assert flap.flaps_at(flap.turns[-1], RULE) in (0, len(flap.turns))
        assert flap.flaps_at(flap.turns[-1] + RULE.within, RULE) == 0


def windows(now_ms: int, **interval: object) -> list[tuple[str, int]]:
    named = TimeIntervalSettings.model_validate({"name": "t", "time_intervals": [interval]})
    window = MaintenanceSettings.model_validate(
        {"name": "w", "matchers": ["a=b,c!=d"], "time_intervals": ["t", "gone"]}
    )
    found = open_windows([window.window()], build_intervals([named]), now_ms)
    return [(each.created_by, each.ends_ms) for each in found]


def test_a_window_is_open_until_the_end_of_its_hours() -> None:
    hours = [{"start_time": "22:00", "end_time": "24:00"}, {"start_time": "00:00", "end_time": "06:00"}]
    assert windows(21 * HOUR_MS, times=hours) == []
    assert windows(22 * HOUR_MS, times=hours) == [("maintenance w", 30 * HOUR_MS)]
    assert windows(30 * HOUR_MS, times=hours) == []


def test_the_end_of_a_window_that_is_always_open_is_the_next_days() -> None:
    assert windows(5 * HOUR_MS) == windows(20 * HOUR_MS) == [("maintenance w", 2 * DAY_MS)]


def test_steps_and_growth_are_inherited_and_taken_away() -> None:
    steps = [{"after": "5m", "to": "pd"}]
    child: dict[str, object] = {"matchers": ["a=b"]}
    tree = build_tree(
        RouteSettings.model_validate(
            {
                "receiver": "ops",
                "escalate": steps,
                "repeat_growth": 2,
                "max_repeat_interval": "1d",
                "routes": [child, {**child, "escalate": [], "repeat_growth": 1}],
            }
        )
    )
    first, second = tree.routes
    assert (first.escalate, first.growth) == ((Step(300_000, Unless.ACKED, ("pd",)),), Growth(2, DAY_MS))
    assert (second.escalate, second.growth) == ((), Growth(1, DAY_MS))


def test_who_is_escalated_to_must_exist() -> None:
    route = {"receiver": "ops", "escalate": [{"after": "5m", "to": ["ops", "opps"]}]}
    (problem,) = check_tree(RouteSettings.model_validate(route), ["ops"])
    assert (problem.path, "did you mean" in problem.message) == (("escalate", 0, "to"), True)


@pytest.mark.parametrize(
    "step",
    [
        {"to": "pd"},
        {"after": "0s", "to": "pd"},
        {"after": "5m"},
        {"after": "5m", "to": []},
        {"after": "5m", "to": "pd", "unless": "x"},
    ],
)
def test_a_step_that_says_too_little_is_refused(step: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        RouteSettings.model_validate({"receiver": "ops", "escalate": [step]})
