"""What the code knows stands in the docs: keys, commands, metrics, kinds, packs, alerts and their runbooks."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from obskit.cli.main import COMMANDS
from obskit.collect import BUILT_IN
from obskit.config.sections import RootKeys
from obskit.notify.receivers import KINDS
from obskit.rules.files import load_rules
from obskit.rules.groups import AlertRule
from obskit.shipped import rule_packs
from tests.docs.pages import DOCS, PAGES, ROOT, generator

CONFIG = (DOCS / "config.md").read_text()
COLLECTORS = (DOCS / "collectors.md").read_text()
RECEIVERS = (DOCS / "receivers.md").read_text()
RULES = (DOCS / "rules.md").read_text()
ROUTING = (DOCS / "routing.md").read_text()
PAGE_OF = {
    "collector": COLLECTORS,
    "receiver": RECEIVERS,
    "receivers": RECEIVERS,
    **dict.fromkeys(("route", "inhibit_rules", "time_intervals", "maintenance", "flapping"), ROUTING),
}

ALERTS = [
    rule
    for path in rule_packs().values()
    for group in load_rules(path.read_text(), path.name).groups
    for rule in group.rules
    if isinstance(rule, AlertRule)
]


@pytest.mark.parametrize("name", generator.models())
def test_every_key_of_every_model_is_in_its_page_with_a_meaning(name: str) -> None:
    page = PAGE_OF.get(name.partition(" ")[0], CONFIG)
    assert f"<!-- generated: settings {name} -->" in page
    todo, seen = [generator.models()[name]], set()
    while todo:
        model = todo.pop()
        seen.add(model)
        for key, field in generator.keys_of(model):
            assert field.description, f"{model.__name__}.{key} has no description"
            assert f"| `{key}` |" in page, f"{model.__name__}.{key}"
            todo += [inner for inner in generator.models_in(field.annotation) if inner not in seen]


def test_every_section_is_in_the_overview_of_the_config() -> None:
    for name, field in RootKeys.model_fields.items():
        assert f"| `{field.alias or name}` |" in CONFIG


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_collector_has_its_section_in_which_it_says_what_it_gives_and_how_to_check_it(kind: str) -> None:
    section = COLLECTORS.partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
    assert f"generated: settings collector {kind}" in section
    assert "**Rules**" in section
    assert "**Doctor**" in section


@pytest.mark.parametrize("key", KINDS)
def test_every_kind_of_receiver_has_its_section(key: str) -> None:
    section = RECEIVERS.partition(f"\n## {key.removesuffix('_configs')}\n")[2].partition("\n## ")[0]
    assert f"generated: settings receiver {key}" in section


def test_every_command_is_in_the_page_of_commands() -> None:
    text = (DOCS / "cli.md").read_text()
    for name in COMMANDS:
        assert f"\n## obskit {name}\n" in text


def test_every_metric_of_our_own_is_in_the_page_of_metrics() -> None:
    text = (DOCS / "metrics.md").read_text()
    names = [name for name, *_ in generator.own_metrics()]
    assert len(names) > 30
    for name in names:
        assert f"| `{name}` |" in text


def test_every_pack_and_alert_is_in_the_page_of_rules() -> None:
    for pack in rule_packs():
        assert f"\n### {pack}" in RULES
    for alert in ALERTS:
        assert f"[{alert.name}](runbooks/{alert.name}.md)" in RULES


@pytest.mark.parametrize("alert", {alert.name: alert for alert in ALERTS}.values(), ids=lambda alert: alert.name)
def test_the_runbook_of_every_shipped_alert_is_there(alert: AlertRule) -> None:
    path = urlsplit(alert.annotations["runbook_url"]).path.partition("/blob/main/")[2]
    text = (ROOT / path).read_text()
    assert text.startswith(f"# {alert.name}\n")


def test_every_runbook_belongs_to_an_alert() -> None:
    assert {path.stem for path in (DOCS / "runbooks").glob("*.md")} == {alert.name for alert in ALERTS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nobody_is_told_to_install_somebody_elses_package(page: Path) -> None:
    assert not re.search(r"(pip|uv|uvx|pipx)\b.*\binstall\s+obskit(?!-toolkit)\b", page.read_text())


@pytest.mark.parametrize("page", sorted((DOCS / "decisions").glob("*.md")), ids=lambda page: page.name)
def test_a_decision_fits_on_a_page(page: Path) -> None:
    assert len(page.read_text().splitlines()) <= 60
