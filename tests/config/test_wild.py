"""Files as people have them for Alertmanager, with templates: they load unchanged and say what they say there."""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from obskit.config import Config, load_config
from obskit.model.actions import Notice
from obskit.model.labels import Labels
from obskit.notify.base import Request
from obskit.notify.receivers import find_kind
from obskit.outbound import httpx
from tests.config.files import found, lay, told
from tests.notify.notices import alert, notice, resolved

FOLDER = Path(__file__).parent / "alertmanagers"
NAMES = ["company", "homelab", "small"]
GROUP = notice(alert("a"), alert("b", summary="second <b>"))


def load(name: str, folder: Path) -> Config:
    return load_config(lay(folder, f"alertmanager_config: {FOLDER}/{name}/alertmanager.yml\n"), {})


def rendered(config: Config, receiver: str, one: Notice) -> dict[str, Request]:
    """The first request of each of a receiver's destinations."""
    return asyncio.run(_rendered(config, receiver, one))


async def _rendered(config: Config, receiver: str, one: Notice) -> dict[str, Request]:
    (found,) = [each for each in config.receivers if each.name == receiver]
    requests = {}
    async with httpx.AsyncClient() as client:
        for destination, key, settings in found.configured():
            notifier, _ = find_kind(key).connect(settings, client)
            drawn = [notifier.render(one, step.name, None, False) for step in notifier.steps(one)]
            requests[destination.partition("/")[2]] = next(request for request in drawn if request is not None)
    return requests


@pytest.mark.server("amtool")
@pytest.mark.parametrize("name", NAMES)
def test_alertmanager_takes_the_same_file(name: str) -> None:
    command = ["amtool", "check-config", f"{FOLDER}/{name}/alertmanager.yml"]
    assert "SUCCESS" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_without_a_word_and_every_receiver_has_something_to_say(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = load(name, tmp_path)
    assert config.warnings == ()
    for receiver in config.receivers:
        for one in (GROUP, resolved("a", "b")):
            assert all((rendered(config, receiver.name, one)).values())
    assert "template fails" not in caplog.text


def test_files_of_templates_are_watched_like_the_rest(tmp_path: Path) -> None:
    watched = {path.name for path in load("company", tmp_path).files}
    assert watched == {"obskit.yaml", "alertmanager.yml", "pagerduty.tmpl", "slack.tmpl"}


def test_slack_says_what_the_team_wrote(tmp_path: Path) -> None:
    requests = rendered(load("small", tmp_path), "slack", replace(GROUP, receiver="slack"))
    body = json.loads(requests["slack[0]"].body or b"")
    (attachment,) = body["attachments"]
    assert (body["username"], body["icon_emoji"], body["channel"]) == ("Prometheus", ":fire:", "#alerts")
    assert (attachment["title"], attachment["color"]) == ("[FIRING:2] High5xx", "danger")
    assert attachment["title_link"].startswith('https://obskit.example/#/silences/new?filter=%7Bapp%3D"api"%2C%20')
    link = "<https://docs.example/runbooks/high-5xx|:notebook: Runbook>"
    assert attachment["text"] == (
        f":fire: Critical\n  7.4 % of requests to api failed, limit 2 % {link}\nsecond <b> {link}"
    )
    assert (
        attachment["fallback"]
        == "[FIRING:2] High5xx api (fra critical) | https://obskit.example/#/alerts?receiver=slack"
    )
    assert attachment["mrkdwn_in"] == ["text", "pretext"]


def test_a_mail_has_the_html_that_was_written_with_values_escaped(tmp_path: Path) -> None:
    requests = rendered(load("small", tmp_path), "slack-and-mail", GROUP)
    mail = (requests["email[0]"].body or b"").decode()
    assert "Subject: [FIRING] High5xx (critical)" in mail
    assert "<h1>2 alerts for alertname=3DHigh5xx app=3Dapi </h1>" in mail
    assert "rate(x[5m])&gt;2" in mail
    slack = json.loads(requests["slack[0]"].body or b"")["attachments"][0]
    assert slack["pretext"].startswith("<!here>")  # written by the team, not by an alert
    assert "pool exhausted &lt;!channel>" in slack["text"]


def test_pagerduty_says_severity_and_details_as_written(tmp_path: Path) -> None:
    labels = Labels({**alert().labels, "service": "checkout", "cluster": "eu", "team": "payments"})
    one = notice(replace(alert(), labels=labels))
    event: dict[str, Any] = json.loads(
        rendered(load("company", tmp_path), "payments-pager", one)["pagerduty[0]"].body or b""
    )
    payload = event["payload"]
    assert (payload["severity"], payload["component"], payload["group"]) == ("critical", "checkout", "eu")
    assert payload["summary"] == "CHECKOUT: 7.4 % of requests to api failed, limit 2 %"
    assert payload["custom_details"]["firing"].startswith("Labels:\n - alertname = High5xx\n")
    assert event["links"][-1] == {"href": "https://docs.example/runbooks/high-5xx", "text": "Runbook"}


def test_a_default_that_a_file_redefines_is_said_where_nothing_else_is_given(tmp_path: Path) -> None:
    (request,) = (rendered(load("homelab", tmp_path), "telegram", GROUP)).values()
    said = json.loads(request.body or b"")
    assert said["text"].startswith("\n🔥 <b>High5xx</b> 7.4 % of requests")
    assert "second &lt;b&gt;" in said["text"]
    (request,) = (rendered(load("company", tmp_path), "payments-slack", GROUP)).values()
    (attachment,) = json.loads(request.body or b"")["attachments"]
    assert attachment["text"].startswith("\n:red_circle: 7.4 %")
    assert [field["short"] for field in attachment["fields"]] == [True, False]
    assert attachment["actions"][1]["style"] == "primary"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (
            '{{ define "x" }}\n  {{ if }}y{{ end }}\n{{ end }}',
            "x.tmpl:2:9  error  template-syntax  the template is wrong:",
        ),
        ('{{ define "x" }}', "x.tmpl:1:"),
    ],
)
def test_a_mistake_in_a_file_has_its_place(tmp_path: Path, file: str, expected: str) -> None:
    written = "templates: ['*.tmpl']\n"
    lines = told(found(tmp_path, {"obskit.yaml": written, "x.tmpl": file}), tmp_path)
    assert any(line.startswith(expected) for line in lines), lines


def test_a_name_that_nothing_defines_is_told_with_the_text_that_asks_for_it(tmp_path: Path) -> None:
    written = """
        templates: [x.tmpl]
        receivers:
          - name: a
            slack_configs:
              - api_url: https://hooks.slack.example/x
                title: '{{ template "nothing" . }}'
                text: '{{ template "x" . }}'
    """
    lines = told(found(tmp_path, {"obskit.yaml": written, "x.tmpl": '{{ define "x" }}y{{ end }}'}), tmp_path)
    (line,) = [line for line in lines if "error" in line]
    assert line.startswith("7:16  error  bad-value  receivers[0].slack_configs[0].title: the template is wrong")
    assert "there is no template 'nothing'" in line
