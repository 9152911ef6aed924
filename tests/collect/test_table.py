from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from obskit.collect import BUILT_IN, PACKS, find_kind, kind_names, table
from obskit.errors import CollectorError
from obskit.shipped import OPT_IN, rule_packs


def with_entry_point(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    points = EntryPoints([EntryPoint(name, value, table.GROUP)])
    monkeypatch.setattr(table, "entry_points", points.select)


def test_a_collector_that_was_installed_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    with_entry_point(monkeypatch, "strange", "obskit.collect.own:KIND")
    assert find_kind("strange") is find_kind("obskit")
    assert kind_names() == sorted([*BUILT_IN, "strange"])


def test_an_installed_collector_does_not_replace_a_built_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with_entry_point(monkeypatch, "obskit", "nowhere:KIND")
    assert find_kind("obskit").settings.__name__ == "OwnSettings"


@pytest.mark.parametrize(
    ("value", "says"),
    [("not_installed_here:KIND", "needs a package"), ("obskit.collect.own:OwnSettings", "is not a Kind")],
)
def test_an_entry_point_that_cannot_be_used_says_why(monkeypatch: pytest.MonkeyPatch, value: str, says: str) -> None:
    with_entry_point(monkeypatch, "strange", value)
    with pytest.raises(CollectorError, match=says):
        find_kind("strange")


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(CollectorError, match='did you mean "prometheus"'):
        find_kind("promethues")


def test_packs_of_kinds_exist_and_so_do_their_kinds() -> None:
    assert PACKS.keys() <= rule_packs().keys() - OPT_IN
    assert frozenset[str]().union(*PACKS.values()) <= BUILT_IN.keys()
