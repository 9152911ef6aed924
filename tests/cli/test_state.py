"""`obskit status` and `obskit alerts`: the daemon running, stopped, and in trouble."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from obskit.clock import SystemClock
from tests.cli.conftest import Obskit, watch_once, write_config

DOWN = {"redis": {"url": "redis://127.0.0.1:1/0", "lists": ["jobs"]}}


def columns(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_a_daemon_that_runs_and_has_everything_is_0(obskit: Obskit, watched: Path) -> None:
    result = obskit("status", "-c", watched)
    lines = result.stdout.splitlines()
    assert columns(lines[0]) == ["COLLECTOR", "TARGET", "STATE", "LAST READ", "NEWEST DATA"]
    assert columns(lines[1])[:3] == ["file", str(watched.parent / "app.log"), "up"]
    assert lines[-1] == "1 firing, 1 pending; 0 messages to deliver, 0 given up"
    assert result.exit_code == 0


def test_a_target_that_is_down_is_1(obskit: Obskit, tmp_path: Path) -> None:
    config = write_config(tmp_path, collectors=[DOWN])
    watch_once(config)
    result = obskit("status", "-c", config)
    assert columns(result.stdout.splitlines()[1]) == ["redis", "redis://127.0.0.1:1/0", "DOWN", "never", "none yet"]
    assert result.exit_code == 1


def test_a_daemon_that_stopped_is_shown_as_it_was(obskit: Obskit, config: Path) -> None:
    watch_once(config, ago_s=3 * 3600 + 60)
    result = obskit("status", "-c", config)
    lines = result.stdout.splitlines()
    assert lines[0] == "obskit watch does not run: this is what it knew 3h1m ago"
    assert columns(lines[3])[2:4] == ["up", "0s ago"]
    assert result.exit_code == 1


def test_a_store_that_nothing_was_collected_into(obskit: Obskit, config: Path) -> None:
    watch_once(config, ago_s=30 * 86_400)
    lines = obskit("status", "-c", config).stdout.splitlines()
    assert lines[0] == "obskit watch does not run"
    assert lines[2] == "nothing was collected yet"


def test_status_as_json(obskit: Obskit, watched: Path) -> None:
    status = json.loads(obskit("status", "-c", watched, "-o", "json").stdout)
    assert status["running"] is True
    assert status["alerts"] == {"firing": 1, "pending": 1}
    assert status["outbox"] == {"waiting": 0, "dead": 0}
    assert status["blind_rules"] == []
    target = status["targets"][0]
    assert (target["collector"], target["up"]) == ("file", True)
    assert target["last_success_ms"] == pytest.approx(status["last_seen_ms"], abs=60_000)
    assert 0 <= target["data_age_s"] < 60


def test_alerts_are_listed_firing_first(obskit: Obskit, watched: Path) -> None:
    result = obskit("alerts", "-c", watched)
    rows = [columns(line) for line in result.stdout.splitlines()]
    assert rows[0] == ["STATE", "ALERT", "SEVERITY", "SINCE", "VALUE", "TAKEN CARE OF", "LABELS"]
    assert [row[:3] for row in rows[1:]] == [["firing", "Here", "critical"], ["pending", "Soon", "info"]]
    assert [row[4:] for row in rows[1:]] == [["42", "-"], ["1", "-", "team=web"]]
    assert (result.exit_code, result.stderr) == (0, "")


def test_alerts_say_who_has_taken_care_of_them(obskit: Obskit, tmp_path: Path) -> None:
    watched = write_config(tmp_path)
    watch_once(watched)
    obskit("ack", "Here", "--by", "ann", "-m", "on it", "-c", watched)
    obskit("silence", "add", "Here", "-a", "bob", "-m", "known", "-d", "2h", "-c", watched)
    firing = columns(obskit("alerts", "-c", watched).stdout.splitlines()[1])
    assert firing[5].startswith("acked by ann ")
    assert "silenced by bob for " in firing[5]
    found, pending = json.loads(obskit("alerts", "-c", watched, "-o", "json").stdout)
    assert (found["ack"]["by"], found["ack"]["note"]) == ("ann", "on it")
    assert [(each["by"], each["comment"]) for each in found["silences"]] == [("bob", "known")]
    assert (pending["ack"], pending["silences"], pending["inhibited_by"]) == (None, [], [])


def test_alerts_as_json(obskit: Obskit, watched: Path) -> None:
    firing, pending = json.loads(obskit("alerts", "-c", watched, "-o", "json").stdout)
    assert firing["labels"] == {"alertname": "Here", "severity": "critical"}
    assert (firing["state"], firing["value"], firing["resolved_ms"]) == ("firing", "42", None)
    assert (pending["state"], pending["fired_ms"]) == ("pending", None)


def test_alerts_of_a_daemon_that_stopped_say_so_beside_the_output(obskit: Obskit, config: Path) -> None:
    watch_once(config, ago_s=7200)
    result = obskit("alerts", "-c", config)
    assert result.stderr == "obskit watch does not run: this is what it knew 2h ago\n"
    assert columns(result.stdout.splitlines()[1])[:4] == ["firing", "Here", "critical", "2h"]


def test_no_alert_is_said(obskit: Obskit, tmp_path: Path) -> None:
    config = write_config(tmp_path, rule_files=[])
    watch_once(config)
    assert obskit("alerts", "-c", config).stdout == "no alert is pending or firing\n"
    assert json.loads(obskit("alerts", "-c", config, "-o", "json").stdout) == []


def test_what_was_resolved_lately_is_shown_when_asked_for(obskit: Obskit, config: Path) -> None:
    until_s = SystemClock().now_ms() / 1000 - 30
    rule = {"alert": "Was", "expr": f"vector(42) and on () (vector(time()) < {until_s})"}
    (config.parent / "rules.yaml").write_text(json.dumps({"groups": [{"name": "a", "rules": [rule]}]}))
    watch_once(config, ago_s=60)
    watch_once(config)
    assert obskit("alerts", "-c", config).stdout == "no alert is pending or firing\n"
    (row,) = (columns(line) for line in obskit("alerts", "-c", config, "--all").stdout.splitlines()[1:])
    assert row[:3] == ["resolved", "Was", "-"]
