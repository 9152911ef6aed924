"""Receivers' texts as Alertmanager expands them; beside the real amtool where there is one."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from obskit.model.actions import Notice
from obskit.notify.templates import facts
from obskit.notify.webhook import payload
from obskit.notify.wording import filled, holds_template, template
from obskit.testing.discord import FakeDiscord
from obskit.testing.telegram import CHAT, TOKEN, FakeTelegram
from tests.notify.deliveries import Conversation
from tests.notify.notices import alert, notice
from tests.notify.stories import EVIL, FIRST

GROUP = notice(alert("a"), alert("b", summary="9 % <failed> & more"), alert("c", ended=True))

TEXTS = {
    "{{ .Status | toUpper }} {{ .Alerts.Firing | len }}/{{ len .Alerts }}": "FIRING 2/3",
    "{{ .GroupLabels.SortedPairs.Values | join \" \" }}": "High5xx api",
    "{{ .CommonLabels.Names | join \",\" }}": "alertname,app,region,severity",
    "{{ with .CommonLabels.Remove .GroupLabels.Names }}{{ .Values | join \" \" }}{{ end }}": "fra critical",
    "{{ range .Alerts }}{{ .Labels.machine }}={{ .Status }};{{ end }}": "a=firing;b=firing;c=resolved;",
    "{{ range .CommonLabels.SortedPairs }}{{ .Name }}:{{ .Value }} {{ end }}": "alertname:High5xx app:api region:fra severity:critical ",
    "{{ (index .Alerts 1).Annotations.summary }}": "9 % <failed> & more",
    "{{ .CommonLabels.nothing }}|{{ .CommonAnnotations.nothing }}": "|",
    "{{ if gt (len .CommonLabels) (len .GroupLabels) }}more{{ end }}": "more",
    "{{ define \"x\" }}<{{ .Receiver }}>{{ end }}{{ template \"x\" . }}": "<ops>",
    "{{ (index .Alerts 0).StartsAt.Format \"2006-01-02 15:04\" }}": "2023-11-14 22:13",
    "{{ reReplaceAll \"5(x+)\" \"$1\" .CommonLabels.alertname }} {{ match \"^Hi\" .CommonLabels.alertname }}": "Highxx true",
    "{{ stringSlice \"a\" \"b\" | join \"-\" }} {{ title \"two words\" }}": "a-b Two Words",
    "{{ .CommonLabels.app | toUpper | printf \"%s!\" }}": "API!",
    "{{ range $i, $a := .Alerts }}{{ if $i }}, {{ end }}{{ $a.Fingerprint }}{{ end }}": ", ".join(
        one.fingerprint for one in GROUP.alerts
    ),
}  # fmt: skip


def expand(text: str, one: Notice = GROUP) -> str:
    return template(text, None).expand(facts(one), data=one)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_says_what_it_says_in_alertmanager(text: str) -> None:
    assert expand(text) == TEXTS[text]


@pytest.mark.skipif(shutil.which("amtool") is None, reason="needs amtool: apt-get install prometheus-alertmanager")
@pytest.mark.parametrize("text", TEXTS)
def test_amtool_says_the_same(text: str, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(json.dumps(payload(GROUP)))
    (tmp_path / "none.tmpl").write_text("")
    command = ["amtool", "template", "render", f"--template.glob={tmp_path}/*.tmpl"]
    command += [f"--template.data={tmp_path}/data.json", f"--template.text={text}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # amtool's data are JSON, in which alerts have no methods that a notice's have not.
    assert said.removesuffix("\n") == expand(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{{ date "15:04" (tz "Europe/Berlin" (index .Alerts 0).StartsAt) }}', "23:13"),
        ("{{ since (index .Alerts 0).StartsAt | humanizeDuration }}", "6m 0s"),
        ("{{ toJson .GroupLabels }}", '{"alertname":"High5xx","app":"api"}'),
        ('{{ base64encode "a" }}{{ base64decode "YQ==" }}{{ urlUnescape "a%20b" }}', "YQ==aa b"),
        ('{{ index (dict "a" 1) "a" }}{{ len (append (list 1 2) 3) }}', "13"),
        ("{{ .NotificationReason }}", "first notification"),
        ('{{ trimSpace " x " }}', "x"),
    ],
)
def test_functions_of_later_alertmanagers_are_there_too(text: str, said: str) -> None:
    assert expand(text) == said


@pytest.mark.parametrize(
    "text",
    [
        '{{ join "," "x" }}',
        '{{ date "2006" "x" }}',
        '{{ dict "a" }}',
        "{{ .CommonLabels.Remove }}",
        '{{ match "(" "x" }}',
    ],
)
def test_a_mistake_is_an_error_and_nothing_else(text: str) -> None:
    from obskit.errors import TemplateError

    with pytest.raises(TemplateError):
        expand(text)


def talk(server: FakeDiscord, **settings: str) -> Conversation:
    return Conversation("discord_configs", {"webhook_url": server.url, **settings})


def test_a_receiver_says_what_its_texts_say() -> None:
    with FakeDiscord() as server:
        talk(server, title="{{ .Status }}: {{ .CommonLabels.app }}", message="{{ .CommonAnnotations.summary }}").tell(
            FIRST
        )
        (embed,) = server.messages[0].embeds
    assert (embed["title"], embed["description"]) == ("firing: api", "7.4 % of requests to api failed, limit 2 %")


def test_a_text_that_fails_for_one_notice_does_not_keep_it_from_being_told(caplog: pytest.LogCaptureFixture) -> None:
    with FakeDiscord() as server, caplog.at_level(logging.WARNING):
        talk(server, title="{{ (index .Alerts 1).Status }}").tell(FIRST)
        (embed,) = server.messages[0].embeds
    assert embed["title"] == "🔴 FIRING critical: High5xx"
    assert "a receiver's template fails: receiver=ops" in caplog.text


def test_what_alerts_say_is_text_in_html_too() -> None:
    with FakeTelegram() as server:
        settings: dict[str, Any] = {"bot_token": TOKEN, "chat_id": CHAT, "api_url": server.base_url}
        Conversation(
            "telegram_configs",
            {**settings, "message": "<b>{{ range .Alerts }}{{ .Annotations.description }}{{ end }}</b>"},
        ).tell(notice(alert(description="<script> & co")))
        assert (server.messages[0].text, server.messages[0].markup) == (
            "<script> & co",
            "<b>&lt;script&gt; &amp; co</b>",
        )


def test_a_text_that_grows_too_long_is_cut() -> None:
    with FakeDiscord() as server:
        told = talk(server, title="{{ .Alerts }}", message="{{ range .Alerts }}{{ .Annotations.summary }}{{ end }}")
        assert told.tell(EVIL)[0].status == "sent"


def test_only_settings_that_hold_templates_are_filled() -> None:
    from obskit.notify.opsgenie import OpsgenieSettings

    plain = OpsgenieSettings.model_validate({"api_key": "k", "details": {"a": "b"}})
    assert not holds_template(plain)
    assert filled(plain, FIRST) is plain
    written = {
        "api_key": "k",
        "details": {"a": "{{ .Status }}"},
        "responders": [{"type": "team", "name": "{{ .Receiver }}"}],
    }
    given = filled(OpsgenieSettings.model_validate(written), FIRST)
    assert (given.details, given.responders[0].name, given.api_key) == ({"a": "firing"}, "ops", plain.api_key)
