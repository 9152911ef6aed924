from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from obskit.model.labels import Labels
from obskit.routing.tree import Route, RouteSettings, build_tree, check_tree


def tree(**settings: Any) -> Route:
    return build_tree(RouteSettings.model_validate({"receiver": "root", **settings}))


TREE = tree(
    group_by=["alertname"],
    group_wait="10s",
    routes=[
        {"receiver": "pages", "matchers": ['severity="critical"'], "continue": "true"},
        {"receiver": "db", "match": {"team": "db"}, "group_by": [], "routes": [{"matchers": ["owner=~a|b, env!=dev"]}]},
        {"receiver": "all", "match_re": {"team": "web.*"}, "group_by": ["..."], "group_interval": "1m"},
        {"receiver": "late", "matchers": ["team=db"], "repeat_interval": "1h"},
    ],
)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ({}, ["root"]),
        ({"team": "ops"}, ["root"]),
        ({"severity": "critical"}, ["pages"]),
        ({"severity": "critical", "team": "db"}, ["pages", "db"]),
        ({"team": "db", "owner": "a"}, ["db"]),
        ({"team": "db", "owner": "a", "env": "dev"}, ["db"]),
        ({"team": "webshop"}, ["all"]),
        ({"team": "a-web"}, ["root"]),
    ],
)
def test_an_alert_takes_the_first_route_that_matches_and_more_where_it_says_continue(
    labels: dict[str, str], receivers: list[str]
) -> None:
    assert [route.receiver for route in TREE.match(labels)] == receivers


@pytest.mark.parametrize(
    ("labels", "key"),
    [
        ({"alertname": "y", "x": "1"}, '{}:{alertname="y"}'),
        ({"x": "1"}, "{}:{}"),
        ({"alertname": "y", "team": "db"}, '{}/{team="db"}:{}'),
        ({"team": "db", "owner": "b"}, '{}/{team="db"}/{env!="dev",owner=~"a|b"}:{}'),
        ({"team": "web", "b": "2", "a": '"\t\\é\u200b\x01\U000e0001'}, None),
    ],
)
def test_a_group_has_the_key_that_alertmanager_gives_it(labels: dict[str, str], key: str | None) -> None:
    (route,) = TREE.match(labels)
    group_labels = route.group_labels(Labels(labels))
    awkward = '{}/{team=~"^(?:web.*)$"}:{a="\\"\\t\\\\é\\u200b\\x01\\U000e0001", b="2", team="web"}'
    assert route.group_key(group_labels) == (key or awkward)


def test_what_a_route_does_not_say_it_inherits() -> None:
    pages, db, everything, late = TREE.routes
    assert (pages.group_by, pages.group_wait_ms, pages.group_interval_ms) == ({"alertname"}, 10_000, 300_000)
    assert (db.group_by, db.routes[0].receiver, db.routes[0].group_by) == (frozenset(), "db", frozenset())
    assert (everything.group_by, everything.group_interval_ms) == (None, 60_000)
    assert late.repeat_interval_ms == 3_600_000
    assert [route.goes_on for route in TREE.walk()] == [False, True, False, False, False, False]


def test_the_defaults_are_alertmanagers() -> None:
    route = tree()
    assert (route.group_wait_ms, route.group_interval_ms, route.repeat_interval_ms) == (30_000, 300_000, 14_400_000)
    assert route.group_labels(Labels({"a": "b"})) == Labels()


@pytest.mark.parametrize(
    ("settings", "where", "message"),
    [
        ({"group_by": ["a", "b", "a"]}, ("group_by",), 'duplicated label "a" in group_by'),
        ({"group_by": ["...", "a"]}, ("group_by",), "wildcard"),
        ({"group_by": [""]}, ("group_by",), "empty"),
        ({"group_interval": "0s"}, ("group_interval",), "must not be zero"),
        ({"repeat_interval": "0"}, ("repeat_interval",), "must not be zero"),
        ({"group_wait": "soon"}, ("group_wait",), "not a duration"),
        ({"matchers": ["team"]}, ("matchers", 0), "bad matcher format: team"),
        ({"matchers": ['a="b"', 'a=~"("']}, ("matchers", 1), "not an RE2 pattern"),
        ({"matchers": [{"a": "b"}]}, ("matchers", 0), "must be text"),
        ({"match_re": {"a": "("}}, ("match_re",), "a: not an RE2 pattern"),
        ({"mute_time_intervals": "nights"}, ("mute_time_intervals",), "valid list"),
        ({"reciever": "x"}, ("reciever",), "Extra inputs"),
        ({"routes": [{"group_by": ["a", "a"]}]}, ("routes", 0, "group_by"), "duplicated"),
    ],
)
def test_what_is_wrong_in_a_route_is_said_at_its_key(
    settings: dict[str, Any], where: tuple[str | int, ...], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        RouteSettings.model_validate(settings)
    (error,) = caught.value.errors()
    assert error["loc"] == where
    assert message in error["msg"]


def test_the_whole_tree_is_checked() -> None:
    root = RouteSettings.model_validate(
        {
            "matchers": ["a=b"],
            "match": {"a": "b"},
            "continue": True,
            "routes": [{"receiver": "ops"}, {"routes": [{"receiver": "slak"}]}],
        }
    )
    assert [(problem.path, problem.message) for problem in check_tree(root, ["ops", "slack"])] == [
        ((), "the root route must name a default receiver"),
        (("matchers",), "the root route must not have any matchers: every alert takes it"),
        (("match",), "the root route must not have any matchers: every alert takes it"),
        (("continue",), "the root route cannot have `continue`"),
        (("routes", 1, "routes", 0, "receiver"), 'undefined receiver "slak" used in route (did you mean "slack"?)'),
    ]
    assert check_tree(RouteSettings(receiver="ops"), ["ops"]) == []


def test_the_settings_have_a_json_schema() -> None:
    schema = TypeAdapter(RouteSettings).json_schema()
    assert schema["$defs"]["RouteSettings"]["properties"]["matchers"]["items"] == {"type": "string"}
