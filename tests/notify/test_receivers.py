from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from obskit.notify import ReceiverSettings, preview_integrations
from obskit.notify.receivers import KINDS, find_kind
from obskit.notify.webhook import WebhookSettings

HOOK = "https://hooks.example/x"


def errors(**receiver: Any) -> dict[tuple[Any, ...], str]:
    with pytest.raises(ValidationError) as caught:
        ReceiverSettings.model_validate({"name": "ops", **receiver})
    return {tuple(error["loc"]): error["msg"] for error in caught.value.errors()}


def test_every_kind_of_the_table_exists() -> None:
    for key in KINDS:
        assert find_kind(key).name == key.removesuffix("_configs")


def test_all_that_is_wrong_is_found_at_once_and_placed() -> None:
    found = errors(
        webhook_configs=[{"url": HOOK}, {"url": "ftp://x", "max_alerts": "-1"}],
        slack_configs=[{"api_url": HOOK, "title": "{{ .x }}"}],
        victorops_configs=[{"to": "a@b"}],
    )
    assert set(found) == {
        ("webhook_configs", 1, "url"),
        ("webhook_configs", 1, "max_alerts"),
        ("slack_configs", 0, "title"),
        ("victorops_configs",),
    }
    assert found[("victorops_configs",)] == "obskit does not deliver to victorops yet"
    assert found[("slack_configs", 0, "title")].startswith("Value error, the template is wrong: there is no .x")


@pytest.mark.parametrize(
    ("key", "settings", "place", "said"),
    [
        ("msteams_configs", {}, (), "use msteamsv2_configs"),
        ("opsgenie_configs", {"api_key": "k", "http_config": {}}, ("http_config",), "does not use yet"),
        ("discord_configs", {"webhook_url": HOOK, "title": "{{ .Nonsense }}"}, ("title",), "there is no .Nonsense"),
        ("discord_configs", {"webhook_url": HOOK, "title": "{{ if }}"}, ("title",), "the template is wrong"),
        ("sns_configs", {"message": '{{ template "x" . }}'}, ("message",), "there is no template 'x'"),
        ("opsgenie_configs", {"api_key": "k", "responders": [{"type": "team"}]}, ("responders", 0), "give an id"),
        ("jsm_configs", {"api_key": "k", "update_alerts": "true"}, ("update_alerts",), "not permitted"),
        ("discord_configs", {"webhook_url": HOOK, "content": "{{ .x }}"}, ("content",), "templates are not evaluated"),
        ("discord_configs", {"webhook_url": "http://[::ffff:169.254.169.254]/"}, ("webhook_url",), "cloud metadata"),
        ("telegram_configs", {"bot_token": "t", "chat_id": "x"}, ("chat_id",), "valid integer"),
        ("telegram_configs", {"bot_token": "t", "chat_id": "1", "parse_mode": "Text"}, ("parse_mode",), "'HTML'"),
        ("ntfy_configs", {"topic": "a b"}, ("topic",), "should match"),
        ("ntfy_configs", {"topic": "a", "token": "t", "username": "u"}, (), "give either a token"),
        ("ntfy_configs", {"topic": "a", "username": "u"}, (), "go together"),
        ("pushover_configs", {"user_key": "u", "token": "t", "retry": "10s"}, ("retry",), "greater than or equal"),
        ("pushover_configs", {"user_key": "u", "token": "t", "retry": "2m", "expire": "1m"}, (), "not be shorter"),
        ("sns_configs", {"sigv4": {}, "topic_arn": "a"}, ("sigv4", "region"), "required"),
        (
            "sns_configs",
            {"sigv4": {"region": "r", "access_key": "a", "secret_key": "s"}, "topic_arn": "a", "phone_number": "+1"},
            (),
            "give one of",
        ),
        ("email_configs", {"to": "nobody", "from": "a@b", "smarthost": "h:25"}, ("to",), "must be mail addresses"),
        ("email_configs", {"to": "a@b", "from": "a@b, c@d", "smarthost": "h:25"}, ("from",), "exactly one"),
        ("email_configs", {"to": "a@b", "from": "a@b", "smarthost": "h"}, ("smarthost",), "HOST:PORT"),
        (
            "email_configs",
            {"to": "a@b", "from": "a@b", "smarthost": "h:25", "headers": {"Message-ID": "x"}},
            ("headers",),
            "not a header",
        ),
        ("apprise_configs", {"url": "nonsense"}, ("url",), "must be a URL of Apprise's"),
        ("slack_configs", {"api_url": HOOK, "http_config": {}}, ("http_config",), "does not use yet"),
        ("slack_configs", {"api_url": HOOK, "fields": [{"title": "x"}]}, ("fields", 0, "value"), "required"),
        ("opsgenie_configs", {"api_key": "k", "priority": "P6"}, ("priority",), "must be P1 to P5"),
        ("slack_configs", {"api_url": HOOK, "nonsense": "x"}, ("nonsense",), "not permitted"),
        ("slack_configs", {"api_url": HOOK, "update_message": "false"}, ("update_message",), "always edits"),
        ("slack_configs", {"app_token": "xoxb-1"}, (), "needs a channel"),
        ("slack_configs", {}, (), "give either app_token"),
        ("slack_configs", {"api_url": HOOK, "app_token": "x", "channel": "c"}, (), "give either app_token"),
        ("slack_configs", {"app_token": "x", "channel": "{{ .x }}"}, ("channel",), "templates are not evaluated"),
        ("slack_configs", {"api_url": HOOK, "timeout": "0s"}, ("timeout",), "greater than 0"),
        ("pagerduty_configs", {}, ("routing_key",), "required"),
        ("pagerduty_configs", {"routing_key": "x", "service_key": "y"}, ("service_key",), "Events API v1"),
        ("pagerduty_configs", {"routing_key": "x", "severity": "bad"}, ("severity",), "must be critical, error"),
        ("webhook_configs", {"url": HOOK, "payload": {}}, ("payload",), "version 4 body"),
        ("webhook_configs", {"url": "http://169.254.169.254/latest"}, ("url",), "cloud metadata"),
        ("webhook_configs", {"url": "http://metadata.google.internal/"}, ("url",), "cloud metadata"),
        ("webhook_configs", {"url": "http://[fe80::1]/"}, ("url",), "cloud metadata"),
        (
            "webhook_configs",
            {"url": HOOK, "http_config": {"tls_config": {}}},
            ("http_config", "tls_config"),
            "not use yet",
        ),
    ],
)
def test_what_we_do_not_have_is_refused_in_words(
    key: str, settings: dict[str, Any], place: tuple[str, ...], said: str
) -> None:
    found = errors(**{key: [settings]})
    assert any(said in message for message in found.values()), found
    assert (key, 0, *place) in found or (key,) in found


def test_errors_do_not_quote_secrets() -> None:
    with pytest.raises(ValidationError) as caught:
        ReceiverSettings.model_validate({"name": "ops", "webhook_configs": [{"url": "nope://very-secret"}]})
    assert "very-secret" not in str(caught.value)


def test_a_template_that_is_alertmanagers_default_reads_as_nothing_given() -> None:
    written = {"api_key": "k", "source": '{{ template "opsgenie.default.source" . }}'}
    receiver = ReceiverSettings.model_validate({"name": "ops", "opsgenie_configs": [written]})
    assert receiver.opsgenie_configs[0].source == ""  # type: ignore[attr-defined]


def test_what_is_refused_by_default_can_be_allowed() -> None:
    written = {"url": "http://169.254.169.254/hook", "allow_link_local": "true"}
    ReceiverSettings.model_validate({"name": "ops", "webhook_configs": [written]})


def test_alertmanagers_own_form_is_taken() -> None:
    receiver = ReceiverSettings.model_validate(
        {
            "name": "ops",
            "slack_configs": [
                {
                    "app_token": "xoxb-1",
                    "app_url": "https://slack.com/api/chat.postMessage",
                    "channel": "#ops",
                    "update_message": "true",
                    "timeout": "5s",
                }
            ],
        }
    )
    (slack,) = receiver.slack_configs
    assert slack.app_url == "https://slack.com/api/"  # type: ignore[attr-defined]
    assert slack.timeout_s == 5


def test_secrets_may_be_in_files(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"{HOOK}\n")
    settings = WebhookSettings.model_validate({"url_file": str(tmp_path / "url")})
    assert settings.url.reveal() == HOOK


def test_secret_files_are_looked_for_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(HOOK)
    written = {"name": "ops", "webhook_configs": [{"url_file": "url"}]}
    receiver = ReceiverSettings.model_validate(written, context={"folder": str(tmp_path)})
    assert receiver.webhook_configs[0].url.reveal() == HOOK


@pytest.mark.parametrize("key", KINDS)
def test_the_end_is_told_unless_it_is_switched_off(key: str) -> None:
    assert find_kind(key).settings.model_fields["send_resolved"].default is True


def test_destinations_are_numbered_within_their_kind() -> None:
    receiver = ReceiverSettings.model_validate(
        {"name": "ops", "webhook_configs": [{"url": HOOK}, {"url": HOOK}], "console_configs": [{}]}
    )
    assert [one.id for one in preview_integrations(receiver)] == ["ops/webhook[0]", "ops/webhook[1]", "ops/console[0]"]


def test_the_json_schema_knows_every_kind() -> None:
    schema = ReceiverSettings.model_json_schema()
    assert "routing_key" in json.dumps(schema)
    assert schema["properties"]["wechat_configs"]["not"] == {}


def test_a_kind_that_nobody_uses_is_not_loaded() -> None:
    code = (
        "import sys; from obskit.notify import ReceiverSettings;"
        "ReceiverSettings.model_validate({'name': 'x', 'webhook_configs': [{'url': 'http://h/x'}]});"
        "print([m for m in sys.modules if 'slack' in m or 'pagerduty' in m or m == 'rich'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
