"""Slack with texts of a person's own: Alertmanager's form, obskit's life of a message."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from obskit.model.context import Ack, Care
from obskit.model.labels import Labels
from obskit.testing.slack import TOKEN, FakeSlack
from tests.notify.deliveries import Conversation
from tests.notify.notices import START_MS, alert, notice, resolved


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with FakeSlack() as server:
        yield server


def talk(slack: FakeSlack, **settings: Any) -> Conversation:
    return Conversation("slack_configs", {"app_token": TOKEN, "channel": "#ops", "app_url": slack.api_url, **settings})


def test_what_is_left_out_says_what_it_says_in_alertmanager(slack: FakeSlack) -> None:
    labels = [
        Labels({"alertname": "HighErrors", "cluster": "prod", "instance": i, "severity": "critical"}) for i in "ab"
    ]
    one = notice(*(replace(alert(), labels=each, annotations={}) for each in labels))
    one = replace(one, receiver="all", group_labels=Labels({"alertname": "HighErrors", "cluster": "prod"}))
    talk(slack, callback_id="x").tell(replace(one, external_url="http://am.example"))
    (root,) = slack.messages()
    # Beside the body of a real one, delivery.md 6.3: without its empty texts.
    assert root.attachments == (
        {
            "title": "[FIRING:2] HighErrors prod (critical)",
            "title_link": "http://am.example/#/alerts?receiver=all",
            "fallback": "[FIRING:2] HighErrors prod (critical) | http://am.example/#/alerts?receiver=all",
            "callback_id": "x",
            "color": "danger",
            "mrkdwn_in": ["fallback", "pretext", "text"],
        },
    )


def test_the_message_is_edited_for_its_whole_life(slack: FakeSlack) -> None:
    told = talk(slack, title="{{ .Status }}", username="{{ .Receiver }} bot")
    told.tell(notice())
    acked = Care(ack=Ack("ann", START_MS, "slack"))
    told.tell(replace(notice(after_ms=400_000), care=acked))
    (before,) = slack.messages()
    told.tell(resolved())
    (root,) = slack.messages()
    assert (before.attachments[0]["title"], before.attachments[0]["color"]) == ("firing", "danger")
    assert before.attachments[0]["footer"].startswith("acked by ann in slack")
    assert (root.ts, root.attachments[0]["title"], root.attachments[0]["color"]) == (before.ts, "resolved", "good")
    posted = [json.loads(request.body) for request in slack.requests if request.path.endswith("chat.postMessage")]
    assert {body["username"] for body in posted} == {"ops bot"}


def test_a_name_alone_leaves_the_layout_to_obskit(slack: FakeSlack) -> None:
    talk(slack, icon_emoji=":fire:").tell(notice())
    (root,) = slack.messages()
    assert root.blocks
    assert root.text.startswith("FIRING critical: High5xx")


def test_an_alert_wakes_nobody_by_what_it_says(slack: FakeSlack) -> None:
    talk(slack, text="<!here> {{ .CommonAnnotations.description }} {{ .CommonAnnotations.link }}").tell(
        notice(alert(description="<!channel> and <@U1>", link="<https://x.example|this>"))
    )
    (root,) = slack.messages()
    assert root.attachments[0]["text"] == "<!here> &lt;!channel> and &lt;@U1> <https://x.example|this>"


def test_a_form_that_slack_refuses_goes_as_plain_text(slack: FakeSlack) -> None:
    told = talk(slack, title="x")
    told.attempt(told.actions(notice())[0], degraded=True)
    (root,) = slack.messages()
    assert (root.attachments, root.text[:6]) == ((), "FIRING")


def test_a_title_that_fails_is_said_in_obskits_words(slack: FakeSlack) -> None:
    talk(slack, title="{{ (index .Alerts 1).Status }}").tell(notice())
    (root,) = slack.messages()
    assert root.attachments[0]["title"].startswith("FIRING critical: High5xx")


def test_a_webhook_has_the_same_form(slack: FakeSlack) -> None:
    Conversation(
        "slack_configs", {"api_url": slack.webhook_url, "pretext": "{{ .Status }}", "link_names": "true"}
    ).tell(notice())
    body = json.loads(slack.requests[-1].body)
    assert (body["attachments"][0]["pretext"], body["link_names"]) == ("firing", True)
