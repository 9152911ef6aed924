from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from obskit.testing.clock import FakeClock
from obskit.testing.http import Failure
from obskit.testing.slack import TOKEN, FakeSlack, SlackMessage
from tests.testing.calls import post


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def slack(clock: FakeClock) -> Iterator[FakeSlack]:
    with FakeSlack(clock) as server:
        yield server


def call(slack: FakeSlack, method: str, *, token: str = TOKEN, **arguments: Any) -> dict[str, Any]:
    answer = post(slack.api_url + method, arguments, {"Authorization": f"Bearer {token}"} if token else {})
    said: dict[str, Any] = json.loads(answer.body)
    return said


def section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def test_a_message_can_be_edited_and_answered_by_its_ts(slack: FakeSlack) -> None:
    posted = call(slack, "chat.postMessage", channel="#ops", text="one")
    place = {"channel": posted["channel"], "ts": posted["ts"]}
    assert call(slack, "chat.update", **place, text="two")["ok"]
    reply = call(slack, "chat.postMessage", channel=posted["channel"], thread_ts=posted["ts"], text="three")
    (root,) = slack.messages("ops")
    assert (root.text, root.edits) == ("two", 1)
    assert [message.ts for message in slack.replies(root)] == [reply["ts"]]


def test_ts_are_of_slacks_form_and_grow_even_when_time_stands(slack: FakeSlack) -> None:
    stamps = [call(slack, "chat.postMessage", channel="ops", text="x")["ts"] for _ in range(3)]
    assert stamps == ["1700000000.000100", "1700000000.000200", "1700000000.000300"]


@pytest.mark.parametrize(
    ("method", "arguments", "error"),
    [
        ("chat.postMessage", {"channel": "", "text": "x"}, "channel_not_found"),
        ("chat.postMessage", {"channel": "ops"}, "no_text"),
        ("chat.postMessage", {"channel": "ops", "text": "x", "thread_ts": "1.0"}, "thread_not_found"),
        ("chat.update", {"channel": "#ops", "ts": "1.0", "text": "x"}, "channel_not_found"),
        ("chat.update", {"channel": "C00000000", "ts": "1.0", "text": "x"}, "message_not_found"),
        ("chat.delete", {"channel": "C00000000", "ts": "1.0"}, "message_not_found"),
        ("conversations.info", {"channel": "C9"}, "channel_not_found"),
        ("chat.nonsense", {}, "unknown_method"),
        ("auth.test", {"token_to_use": ""}, "not_authed"),
        ("auth.test", {"token_to_use": "xoxb-other"}, "invalid_auth"),
    ],
)
def test_it_refuses_as_slack_refuses(slack: FakeSlack, method: str, arguments: dict[str, Any], error: str) -> None:
    call(slack, "chat.postMessage", channel="ops", text="there is a channel")
    token = arguments.pop("token_to_use", TOKEN)
    assert call(slack, method, token=token, **arguments) == {"ok": False, "error": error}


def test_known_channels_are_the_only_ones_when_given() -> None:
    with FakeSlack(channels={"ops": "C1"}) as slack:
        assert call(slack, "chat.postMessage", channel="#ops", text="x")["channel"] == "C1"
        assert call(slack, "chat.postMessage", channel="#dev", text="x")["error"] == "channel_not_found"
        assert call(slack, "conversations.info", channel="C1")["channel"]["name"] == "ops"


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"blocks": [{"type": "sections"}]}, "invalid_blocks"),
        ({"blocks": [section("x" * 3_001)]}, "invalid_blocks"),
        ({"blocks": [section("")]}, "invalid_blocks"),
        ({"blocks": [section("x")] * 51}, "invalid_blocks"),
        ({"blocks": [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}]}, "invalid_blocks"),
        ({"blocks": [{"type": "context", "elements": []}]}, "invalid_blocks"),
        ({"blocks": [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x"}] * 11}]}, "invalid_blocks"),
        ({"blocks": [section("x" * 2_900)] * 5}, "msg_blocks_too_long"),
        ({"attachments": [{"color": "reddish", "blocks": [section("x")]}]}, "invalid_blocks"),
        ({"attachments": [{}] * 101}, "too_many_attachments"),
        ({"blocks": "x"}, "invalid_arguments"),
    ],
)
def test_every_limit_is_watched(slack: FakeSlack, message: dict[str, Any], error: str) -> None:
    assert call(slack, "chat.postMessage", channel="ops", **message)["error"] == error


@pytest.mark.parametrize(
    "button",
    [
        {"type": "select"},
        {"type": "button", "text": {"type": "plain_text", "text": "x" * 76}},
        {"type": "button", "text": {"type": "plain_text", "text": "x"}, "url": "nope"},
        {"type": "button", "text": {"type": "plain_text", "text": "x"}, "url": "http://x/" + "x" * 3_000},
        {"type": "button", "text": {"type": "plain_text", "text": "x"}, "style": "green"},
    ],
)
def test_buttons_are_checked(slack: FakeSlack, button: dict[str, Any]) -> None:
    said = call(slack, "chat.postMessage", channel="ops", blocks=[{"type": "actions", "elements": [button]}])
    assert said["error"] == "invalid_blocks"
    assert "[json-pointer:/blocks/0/elements/0" in said["response_metadata"]["messages"][0]


def test_a_long_text_can_be_posted_but_not_be_an_edit(slack: FakeSlack) -> None:
    posted = call(slack, "chat.postMessage", channel="ops", text="x" * 4_001)
    edit = call(slack, "chat.update", channel=posted["channel"], ts=posted["ts"], text="x" * 4_001)
    assert (posted["ok"], edit["error"]) == (True, "msg_too_long")


def test_pace_is_one_message_a_second_and_channel(clock: FakeClock) -> None:
    with FakeSlack(clock, paced=True) as slack:
        url, login = slack.api_url + "chat.postMessage", {"Authorization": f"Bearer {TOKEN}"}
        assert call(slack, "chat.postMessage", channel="ops", text="x")["ok"]
        answer = post(url, {"channel": "ops", "text": "x"}, login)
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert call(slack, "chat.postMessage", channel="dev", text="x")["ok"]
        clock.advance(1)
        assert call(slack, "chat.postMessage", channel="ops", text="x")["ok"]


def test_forms_and_queries_are_read_as_well(slack: FakeSlack) -> None:
    request = urllib.request.Request(
        slack.api_url + "chat.postMessage?channel=ops",
        data=b"text=from+a+form",
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/x-www-form-urlencoded"},
    )
    urllib.request.urlopen(request).read()
    assert slack.messages("ops")[0].text == "from a form"


def test_failures_are_planned_by_method(slack: FakeSlack) -> None:
    slack.plan(Failure(error="fatal_error"), route="chat.update")
    posted = call(slack, "chat.postMessage", channel="ops", text="x")
    place = {"channel": posted["channel"], "ts": posted["ts"]}
    assert call(slack, "chat.update", **place, text="y")["error"] == "fatal_error"
    assert call(slack, "chat.update", **place, text="y")["ok"]


def test_each_message_is_told_as_it_comes() -> None:
    told: list[SlackMessage] = []
    with FakeSlack(on_message=told.append) as slack:
        posted = call(slack, "chat.postMessage", channel="ops", text="one")
        call(slack, "chat.update", channel=posted["channel"], ts=posted["ts"], text="two")
        assert slack.channel_name(posted["channel"]) == "ops"
    assert [(message.text, message.edits) for message in told] == [("one", 0), ("two", 1)]


def test_an_incoming_webhook_answers_plain_text(slack: FakeSlack) -> None:
    assert post(slack.webhook_url, {"text": "x"}).body == b"ok"
    assert post(slack.webhook_url, {}).body == b"no_text"
    assert post(slack.webhook_url + "x", {"text": "x"}).status == 404
    assert [message.text for message in slack.messages("webhook")] == ["x"]


def read(slack: FakeSlack, method: str, **arguments: str) -> dict[str, Any]:
    """A method that reads: it wants a form."""
    body = urllib.parse.urlencode(arguments).encode()
    asked = urllib.request.Request(slack.api_url + method, body, {"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(asked) as answer:
        said: dict[str, Any] = json.loads(answer.read())
    return said


def test_history_and_threads_are_read_by_a_form_with_the_channels_id(slack: FakeSlack) -> None:
    metadata = {"event_type": "e", "event_payload": {"n": 1}}
    root = call(slack, "chat.postMessage", channel="#ops", text="one", metadata=metadata)
    call(slack, "chat.postMessage", channel=root["channel"], text="two", thread_ts=root["ts"])
    call(slack, "chat.postMessage", channel=root["channel"], text="three")
    place = {"channel": root["channel"], "include_all_metadata": "1"}
    history = read(slack, "conversations.history", **place)["messages"]
    assert [message["text"] for message in history] == ["three", "one"]
    assert history[1]["metadata"] == metadata
    thread = read(slack, "conversations.replies", **place, ts=root["ts"])["messages"]
    assert [message["text"] for message in thread] == ["one", "two"]
    assert "metadata" not in read(slack, "conversations.history", channel=root["channel"])["messages"][1]
    assert read(slack, "conversations.history", **place, oldest=root["ts"])["messages"][-1]["text"] == "three"
    assert read(slack, "conversations.history", channel="#ops")["error"] == "channel_not_found"
    assert call(slack, "conversations.history", channel=root["channel"])["error"] == "channel_not_found"
    link = read(slack, "chat.getPermalink", channel=root["channel"], message_ts=root["ts"])["permalink"]
    assert link.endswith(f"/{root['channel']}/p{root['ts'].replace('.', '')}")


def test_without_its_scope_the_history_is_not_shown() -> None:
    with FakeSlack(scopes={"chat:write"}) as slack:
        said = read(slack, "conversations.history", channel="C1")
        assert (said["error"], said["needed"], said["provided"]) == ("missing_scope", "channels:history", "chat:write")


def test_a_workspace_without_charts_refuses_them() -> None:
    chart = {
        "type": "data_visualization",
        "title": "t",
        "chart": {
            "type": "line",
            "series": [{"name": "a", "data": [{"label": "1", "value": 1.0}]}],
            "axis_config": {"categories": ["1"]},
        },
    }
    for charts, error in ((True, None), (False, "invalid_blocks")):
        with FakeSlack(charts=charts) as slack:
            assert call(slack, "chat.postMessage", channel="ops", text="x", blocks=[chart]).get("error") == error
