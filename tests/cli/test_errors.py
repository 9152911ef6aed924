"""What lines say and which errors there are: `obskit logs patterns` and `obskit errors`."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Obskit, watch_once, write_config


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A store with thirty orders that could not be paid and ten users who came."""
    config = write_config(tmp_path)
    lines = [f"ERROR order {number} could not be paid" for number in range(30)]
    lines += [f"welcome {name}, order {len(name)}" for name in ("alice", "bob", "carol", "dave", "erin") * 2]
    (tmp_path / "app.log").write_text("\n".join([*lines, '{"level":"error","msg":"no stock of 17"}', ""]))
    watch_once(config)
    return config


def test_patterns_are_shown_the_most_frequent_first(obskit: Obskit, shop: Path) -> None:
    result = obskit("logs", "patterns", '{app="shop"}', "-c", shop)
    assert result.exit_code == 0
    texts = [line.split("  ") for line in result.stdout.splitlines()[::2]]
    assert [row[-1] for row in texts][:1] == ["ERROR order <_> could not be paid"]
    assert "30" in result.stdout.splitlines()[0]
    assert "e.g. ERROR order" in result.stdout.splitlines()[1]
    assert result.stderr == "41 lines of 7 patterns\n"


def test_patterns_of_a_pipeline_and_as_json(obskit: Obskit, shop: Path) -> None:
    shown = obskit("logs", "patterns", '{app="shop"} |= "stock"', "-c", shop, "-o", "json").stdout
    found = json.loads(shown)
    assert (found["pattern"], found["count"], found["share"]) == ("no stock of <_>", 1, 1)
    assert found["example"] == '{"level":"error","msg":"no stock of 17"}'
    assert sum(found["counts"]) == 1


def test_without_a_selector_all_lines_are_taken(obskit: Obskit, shop: Path) -> None:
    assert "lines of" in obskit("logs", "patterns", "-c", shop).stderr
    limited = obskit("logs", "patterns", '{app="shop"}', "--limit", "2", "-c", shop)
    assert limited.stderr == "41 lines of 7 patterns, 2 of them shown\n"


@pytest.mark.parametrize(
    ("selector", "told"),
    [("{app=", "^"), ('sum(rate({a="b"}[5m]))', "a metric query has no lines")],
)
def test_a_selector_that_is_none_is_told(selector: str, told: str, obskit: Obskit, shop: Path) -> None:
    result = obskit("logs", "patterns", selector, "-c", shop)
    assert result.exit_code == 1
    assert told in result.stderr


def listed(obskit: Obskit, config: Path, *more: str) -> list[dict[str, object]]:
    shown = obskit("errors", "list", "-c", config, "-o", "json", *more).stdout
    return [json.loads(line) for line in shown.splitlines()]


def test_errors_are_listed_and_shown(obskit: Obskit, shop: Path) -> None:
    found = {each["title"]: each for each in listed(obskit, shop)}
    assert found.keys() == {"order <_> could not be paid", "no stock of <_>"}
    paid = found["order <_> could not be paid"]
    assert (paid["count"], paid["state"], paid["app"]) == (30, "open", "shop")
    table = obskit("errors", "list", "-c", shop).stdout
    assert table.splitlines()[0].split() == ["ID", "STATE", "APP", "COUNT", "24", "HOURS", "LAST", "TITLE"]
    shown = obskit("errors", "show", paid["id"], "-c", shop).stdout
    assert "#30" in shown
    assert "ERROR order 0 could not be paid" in shown
    assert listed(obskit, shop, "--app", "nobody") == []
    assert obskit("errors", "list", "--state", "muted", "-c", shop).stdout == "no such error group\n"


def test_a_group_is_resolved_muted_and_reopened(obskit: Obskit, shop: Path) -> None:
    id_ = str(listed(obskit, shop)[0]["id"])
    assert obskit("errors", "resolve", id_, "-c", shop).stdout == f"{id_}: resolved\n"
    assert [each["id"] for each in listed(obskit, shop, "--state", "resolved")] == [id_]
    assert obskit("errors", "mute", id_, "--for", "7d", "-c", shop).stdout == f"{id_}: muted\n"
    assert [each["id"] for each in listed(obskit, shop, "--state", "muted")] == [id_]
    assert obskit("errors", "reopen", id_, "-c", shop).stdout == f"{id_}: open again\n"
    assert len(listed(obskit, shop)) == 2


@pytest.mark.parametrize("verb", ["show", "resolve", "mute", "reopen"])
def test_a_group_that_is_not_there_is_told(verb: str, obskit: Obskit, shop: Path) -> None:
    result = obskit("errors", verb, "nobody", "-c", shop)
    assert result.exit_code == 1
    assert "no error group nobody" in result.stderr
