"""`obskit routes`: what the tree is, and what amtool says of it too."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Obskit, write_config

ROUTE = {
    "receiver": "chat",
    "group_by": ["alertname"],
    "routes": [
        {"receiver": "pager", "matchers": ['severity="critical"'], "continue": True, "group_by": ["..."]},
        {"receiver": "db", "matchers": ["team=db"], "routes": [{"match": {"owner": "a"}, "group_by": []}]},
        {"matchers": ["team=web"], "mute_time_intervals": ["nights"], "repeat_interval": "1h"},
    ],
}
NIGHTS = {"name": "nights", "time_intervals": [{"times": [{"start_time": "22:00", "end_time": "24:00"}]}]}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    names = [{"name": name} for name in ("chat", "pager", "db")]
    return write_config(tmp_path, route=ROUTE, receivers=names, time_intervals=[NIGHTS])


def test_the_tree_is_shown_with_what_each_route_inherits(obskit: Obskit, config: Path) -> None:
    assert obskit("routes", "show", "-c", config).stdout.splitlines() == [
        "default-route  receiver: chat  group by: alertname  waits: 30s/5m/4h",
        '├── {severity="critical"}  receiver: pager  group by: all labels  waits: 30s/5m/4h  continue',
        '├── {team="db"}  receiver: db  group by: alertname  waits: 30s/5m/4h',
        '│   └── {owner="a"}  receiver: db  group by: nothing  waits: 30s/5m/4h',
        '└── {team="web"}  receiver: chat  group by: alertname  waits: 30s/5m/1h  mute: nights',
    ]


def test_what_is_beyond_alertmanager_is_shown_too(obskit: Obskit, tmp_path: Path) -> None:
    route = {"receiver": "chat", "escalate": [{"after": "5m", "to": ["pager", "db"]}], "repeat_growth": 1.5}
    config = write_config(tmp_path, route=route, receivers=[{"name": name} for name in ("chat", "pager", "db")])
    (line,) = obskit("routes", "show", "-c", config).stdout.splitlines()
    assert line.endswith("  escalates: pager+db after 5m unless acked  repeats grow: 1.5")


CASES = [
    (("team=x",), "chat"),
    (("severity=critical",), "pager"),
    (("severity=critical", "team=db"), "pager,db"),
    (("team=db", "owner=a"), "db"),
    (('team="web"', "alertname=two words"), "chat"),
]


@pytest.mark.parametrize(("labels", "receivers"), CASES)
def test_the_receivers_of_an_alert_are_told(
    obskit: Obskit, config: Path, labels: tuple[str, ...], receivers: str
) -> None:
    assert obskit("routes", "test", *labels, "-c", config).stdout == f"{receivers}\n"


@pytest.mark.server("amtool")
@pytest.mark.parametrize(("labels", "receivers"), CASES)
@pytest.mark.parametrize("expected", ["chat", "pager,db"])
def test_the_exit_code_is_amtools(
    *, obskit: Obskit, config: Path, tmp_path: Path, labels: tuple[str, ...], receivers: str, expected: str
) -> None:
    from obskit.config import load_config
    from obskit.config.alertmanager import original

    theirs = tmp_path / "alertmanager.yml"
    theirs.write_text(original(load_config(config, {})))
    words = ["test", *labels, f"--verify.receivers={expected}"]
    amtool = [shutil.which("amtool") or "", "config", "routes", *words, f"--config.file={theirs}"]
    real = subprocess.run(amtool, capture_output=True, text=True, check=False)
    ours = obskit("routes", *words, "-c", config)
    assert (ours.exit_code, ours.stdout) == (real.returncode, real.stdout)
    assert ours.stdout.splitlines()[0] == receivers


def test_the_way_an_alert_takes_is_shown(obskit: Obskit, config: Path) -> None:
    shown = obskit("routes", "test", "--tree", "severity=critical", "team=db", "owner=a", "-c", config).stdout
    assert shown.splitlines() == [
        "Matching routes:",
        "default-route",
        '    {severity="critical"}',
        '    {team="db"}',
        '        {owner="a"}',
        "pager,db",
    ]


@pytest.mark.parametrize(
    ("label", "message"), [("team", "bad matcher format: team"), ("team!=x", "labels must be specified as key=value")]
)
def test_what_is_no_label_is_wrong_usage(obskit: Obskit, config: Path, label: str, message: str) -> None:
    result = obskit("routes", "test", label, "-c", config)
    assert (result.exit_code, message in result.stderr) == (2, True)
