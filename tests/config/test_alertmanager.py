"""Alertmanager's own file, named or pasted: it works, or is refused with its line."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from obskit.config import Config, load_config
from obskit.config.alertmanager import SECRETS, SPREAD, original
from obskit.model.settings import Secret
from obskit.notify.slack import SlackSettings
from obskit.notify.webhook import WebhookSettings
from tests.config.files import SECRET, found, lay, told

THEIRS = """
global:
  resolve_timeout: 7m
  slack_api_url: https://hooks.slack.example/services/x
  pagerduty_url: https://events.pagerduty.example/v2/enqueue
  smtp_smarthost: mail.example:25
route:
  receiver: chat
  group_by: [alertname, $cluster]
  routes:
    - receiver: pages
      matchers: [severity="critical", 'team=~"a|b"']
      continue: true
      mute_time_intervals: [nights]
      routes:
        - match_re: {service: "db.*"}
          group_wait: 5s
inhibit_rules:
  - source_match: {severity: critical}
    target_matchers: ['severity="warning"']
    equal: [alertname]
receivers:
  - name: chat
    slack_configs:
      - send_resolved: true
  - name: pages
    pagerduty_configs:
      - routing_key: R0UT1NG
time_intervals:
  - name: nights
    time_intervals:
      - times: [{start_time: '22:00', end_time: '24:00'}]
        weekdays: ['monday:friday']
mute_time_intervals:
  - name: old
    time_intervals: [{months: ['december']}]
"""


def load(folder: Path, theirs: str, ours: str = "alertmanager_config: am/alertmanager.yml\n") -> Config:
    return load_config(lay(folder, {"obskit.yaml": ours, "am/alertmanager.yml": theirs}), {})


def slack_url(settings: object) -> Secret | None:
    assert isinstance(settings, SlackSettings)
    return settings.api_url


def as_it_is(config: Config) -> tuple[Any, ...]:
    return config.policy, [list(each.configured()) for each in config.receivers]


def test_a_file_that_is_named_is_taken_as_if_it_were_pasted(tmp_path: Path) -> None:
    named = load(tmp_path, THEIRS)
    pasted = load_config(lay(tmp_path / "pasted", THEIRS.replace("$cluster", "$$cluster")), {})
    assert as_it_is(named) == as_it_is(pasted)
    assert named.policy.resolve_timeout_ms == 420_000
    assert [rule.equal for rule in named.policy.inhibit_rules] == [("alertname",)]
    assert set(named.policy.intervals) == {"nights", "old"}
    assert named.policy.route.group_by == {"alertname", "$cluster"}
    (pages,) = named.policy.route.routes
    assert (pages.mutes, pages.routes[0].mutes) == (("nights",), ())
    ((_, _, slack),) = named.receivers[0].configured()
    assert slack_url(slack) == Secret("https://hooks.slack.example/services/x")
    assert {path.name for path in named.files} >= {"obskit.yaml", "alertmanager.yml"}


def test_ours_may_stand_beside_it(tmp_path: Path) -> None:
    ours = """
        alertmanager_config: am/alertmanager.yml
        global: {evaluation_interval: 5s}
        receivers: [{name: screen, console_configs: [{}]}]
    """
    config = load(tmp_path, THEIRS, ours)
    assert config.general.evaluation_interval == 5_000
    assert [each.name for each in config.receivers] == ["screen", "chat", "pages"]


def test_a_receiver_keeps_what_it_says_itself(tmp_path: Path) -> None:
    theirs = """
        global: {slack_api_url: https://hooks.slack.example/services/x}
        route: {receiver: a}
        receivers: [{name: a, slack_configs: [{app_token: xoxb-1, channel: c}]}]
    """
    ((_, _, slack),) = load(tmp_path, theirs).receivers[0].configured()
    assert slack_url(slack) is None


def test_a_login_of_global_is_that_of_every_receiver_without_one(tmp_path: Path) -> None:
    theirs = """
        global: {http_config: {basic_auth: {password: p}}}
        route: {receiver: a}
        receivers:
          - name: a
            webhook_configs:
              - {url: 'http://h/', http_config: {authorization: {credentials: c}}}
              - {url: 'http://h/'}
    """
    (receiver,) = load(tmp_path, theirs).receivers
    logins = [settings.http_config for _, _, settings in receiver.configured() if isinstance(settings, WebhookSettings)]
    assert [login.basic_auth is None for login in logins if login] == [True, False]


def test_a_file_of_a_secret_lies_beside_the_file_that_names_it(tmp_path: Path) -> None:
    theirs = """
        global: {slack_api_url_file: url.txt}
        route: {receiver: a}
        receivers: [{name: a, slack_configs: [{}]}]
    """
    (tmp_path / "am").mkdir()
    (tmp_path / "am/url.txt").write_text("https://hooks.slack.example/y\n")
    ((_, _, slack),) = load(tmp_path, theirs).receivers[0].configured()
    assert slack_url(slack) == Secret("https://hooks.slack.example/y")


REST = "route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{url: 'http://h/'}]}]\n"


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ("collectors: []\n", '1:1  error  unknown-key  "collectors" is not a section of an alertmanager.yml'),
        ("reciever: []\n", '"reciever" is not a section of an alertmanager.yml (did you mean "receivers"?)'),
        ("global: {scrape_interval: 5s}\n", '1:10  error  unknown-key  global: "scrape_interval" is not a key of an'),
        ("templates: [x.tmpl]\n", "1:13  warn  file-missing  no file matches x.tmpl"),
        ("templates: x.tmpl\n", "1:12  error  bad-value  templates must be a list"),
        ("tracing: {endpoint: x}\n", "1:1  error  not-supported  tracing: obskit sends no traces: leave this out"),
        ("global: {resolve_timeout: soon}\n", "1:27  error  bad-value  global.resolve_timeout: not a duration"),
        ("inhibit_rules: [{equals: [a]}]\n", 'inhibit_rules[0]: "equals" is not a key here (did you mean "equal"?)'),
        ("inhibit_rules: [{source_matchers: ['(']}]\n", "bad matcher format: ("),
        ("time_intervals: [{name: x, time_intervals: [{weekdays: [mon]}]}]\n", "mon is not a valid weekday"),
        ("time_intervals: [{name: x}]\nmute_time_intervals: [{name: x}]\n", 'the name "x" is taken'),
        ("- 1\n", "the file must be a mapping"),
    ],
)
def test_what_is_not_supported_is_refused_with_its_line(tmp_path: Path, theirs: str, expected: str) -> None:
    rest = "" if theirs.startswith("-") else REST
    problems = found(tmp_path, {"obskit.yaml": "alertmanager_config: am.yml\n", "am.yml": theirs + rest})
    lines = told(problems, tmp_path)
    assert any(line.startswith("am.yml:") and expected in line for line in lines), lines


@pytest.mark.parametrize(
    ("receivers", "expected"),
    [
        ("[{name: a, wechat_configs: [{}]}]", "obskit does not deliver to wechat yet"),
        ("[{name: a, webhook_configs: [{url: 'http://h/', payload: {}}]}]", "obskit sends Alertmanager's version 4"),
    ],
)
def test_a_receiver_that_is_not_supported_is_refused_with_its_line(
    tmp_path: Path, receivers: str, expected: str
) -> None:
    theirs = f"route: {{receiver: a}}\nreceivers:\n  {receivers}\n"
    (line,) = told(found(tmp_path, {"obskit.yaml": "alertmanager_config: am.yml\n", "am.yml": theirs}), tmp_path)
    assert line.startswith("am.yml:3:")
    assert expected in line


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("{receiver: a, mute_time_intervals: [n]}", "the root route cannot have mute_time_intervals"),
        ("{receiver: a, routes: [{active_time_intervals: [n, m]}]}", 'undefined time interval "m" used in route'),
        ("{receiver: a, labels: {x: y}}", '"labels" is not a key here'),
    ],
)
def test_routes_name_intervals_that_are_there(tmp_path: Path, route: str, expected: str) -> None:
    lines = told(
        found(tmp_path, f"route: {route}\ntime_intervals: [{{name: n}}]\nreceivers: [{{name: a}}]\n"), tmp_path
    )
    assert any(expected in line and line.startswith("1:") for line in lines), lines


def test_what_is_in_both_files_is_given_twice(tmp_path: Path) -> None:
    files = {"obskit.yaml": "alertmanager_config: am.yml\nroute: {receiver: b}\n", "am.yml": REST}
    lines = told(found(tmp_path, files), tmp_path)
    assert any(line.startswith('am.yml:1:9  error  given-twice  "receiver" is already given in') for line in lines)


@pytest.mark.parametrize("value", ["nowhere.yml", "[a]", "''"])
def test_a_file_that_is_none_is_told(tmp_path: Path, value: str) -> None:
    lines = told(found(tmp_path, f"alertmanager_config: {value}\n"), tmp_path)
    assert lines
    assert all(line.startswith("1:") for line in lines)


def test_secrets_of_global_are_not_shown(tmp_path: Path) -> None:
    for key in SECRETS:
        theirs = f"global: {{{key}: {SECRET}, scrape_interval: x}}\n{REST}"
        problems = found(tmp_path, {"obskit.yaml": "alertmanager_config: am.yml\n", "am.yml": theirs})
        assert problems
        assert SECRET not in "".join(f"{each} {each.frame()}" for each in problems)


def test_every_key_that_is_spread_names_a_receivers_key() -> None:
    assert {kind for kind, _ in SPREAD.values()} <= _receiver_keys()
    assert set(SPREAD) >= SECRETS


def _receiver_keys() -> set[str]:
    from obskit.notify import ReceiverSettings

    return set(ReceiverSettings.model_fields)


@pytest.mark.server("amtool")
def test_the_original_routes_alike_and_holds_no_secret(tmp_path: Path) -> None:
    config = load(tmp_path, THEIRS.replace("$", ""))
    text = original(config)
    assert "R0UT1NG" not in text
    assert "hooks.slack" not in text
    again = tmp_path / "again.yml"
    again.write_text(text)
    command = [shutil.which("amtool") or "", "config", "routes", "test", f"--config.file={again}", "severity=critical"]
    answer = subprocess.run([*command, "team=a"], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "pages"
    assert yaml.safe_load(text)["route"]["routes"][0]["continue"] is True
    assert load_config(lay(tmp_path / "again", text), {}).policy.route == config.policy.route


def test_the_original_leaves_out_what_is_ours(tmp_path: Path) -> None:
    steps = "escalate: [{after: 5m, to: a}], repeat_growth: 2, max_repeat_interval: 1d"
    text = f"receivers: [{{name: a}}]\nroute: {{receiver: a, {steps}, routes: [{{matchers: [a=b], {steps}}}]}}\n"
    route = yaml.safe_load(original(load_config(lay(tmp_path, text), {})))["route"]
    assert route == {"receiver": "a", "routes": [{"matchers": ["a=b"]}]}


def test_a_maintenance_window_names_intervals_that_exist(tmp_path: Path) -> None:
    text = "maintenance: [{name: m, matchers: [a=b], time_intervals: [nigts]}]\ntime_intervals: [{name: nights}]\n"
    (problem,) = found(tmp_path, text)
    assert "nigts" in problem.message
    assert "did you mean" in problem.message
    config = load_config(lay(tmp_path, text.replace("nigts", "nights") + "flapping: {within: 2h}\n"), {})
    assert [each.name for each in config.policy.maintenance] == ["m"]
    assert config.policy.flapping.within == 7_200_000


@pytest.mark.server("amtool")
def test_without_a_route_of_ones_own_the_original_is_one_all_the_same(tmp_path: Path) -> None:
    config = load_config(lay(tmp_path, "rule_packs: []\n"), {})
    file = tmp_path / "again.yml"
    file.write_text(original(config))
    subprocess.run([shutil.which("amtool") or "", "check-config", str(file)], capture_output=True, check=True)
