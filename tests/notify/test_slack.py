from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from obskit.model.actions import NoticeReason, OutcomeReason, OutcomeStatus
from obskit.model.context import Ack, Care, Silence
from obskit.model.digest import Digest
from obskit.notify import ReceiverSettings, build_integrations
from obskit.outbound import httpx
from obskit.outbox import Delivery
from obskit.testing.http import Failure
from obskit.testing.slack import TOKEN, FakeSlack
from tests.notify.deliveries import Conversation
from tests.notify.notices import KNOWN, MINUTE_MS, START_MS, alert, notice, resolved


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with FakeSlack() as server:
        yield server


@pytest.fixture
def ops(slack: FakeSlack) -> Conversation:
    return Conversation("slack_configs", {"app_token": TOKEN, "channel": "#ops", "app_url": slack.api_url})


def grown(reason: NoticeReason = NoticeReason.NEW_ALERTS, *, severity: str = "critical"):
    new = alert("b", severity=severity)
    return notice(
        alert("a", severity="warning" if severity == "critical" else severity),
        new,
        reason=reason,
        changed=frozenset({new.fingerprint}),
        after_ms=7 * MINUTE_MS,
    )


def other_group():
    return replace(notice(), group_key="{}:other", incident="0002-ffff")


def ended():
    return replace(resolved("a", "b"), decided_ms=START_MS + 8 * MINUTE_MS)


def test_one_root_is_posted_edited_and_answered_for_its_whole_life(slack: FakeSlack, ops: Conversation) -> None:
    for told in (notice(), grown(severity="warning"), ended()):
        assert {outcome.status for outcome in ops.tell(told)} == {OutcomeStatus.SENT}
    (root,) = slack.messages("ops")
    assert root.edits == 2
    assert root.text.startswith("RESOLVED")
    assert [reply.text for reply in slack.replies(root)] == ["+1 new: machine b", "Resolved after 6 min"]
    assert not any(reply.broadcast for reply in slack.replies(root))


def test_a_new_root_of_which_nothing_more_is_known_has_no_thread(slack: FakeSlack, ops: Conversation) -> None:
    _, needless = ops.tell(notice())
    assert not needless.called
    assert len(slack.requests) == 1


def test_a_changed_number_edits_the_root_without_a_line(ops: Conversation) -> None:
    assert [action.step for action in ops.actions(notice(reason=NoticeReason.CHANGED))] == ["root"]


def test_steps_share_the_groups_handle_and_replace_only_their_like(ops: Conversation) -> None:
    root, thread = ops.actions(grown())
    assert root.handle_key == thread.handle_key == notice().group_key
    assert root.coalesce != thread.coalesce
    assert root.lane == thread.lane


def test_what_gets_worse_is_also_sent_to_the_channel(slack: FakeSlack, ops: Conversation) -> None:
    ops.tell(notice(alert(severity="warning")))
    ops.tell(grown())
    (root,) = slack.messages("ops")
    assert [reply.broadcast for reply in slack.replies(root)] == [True]


def test_a_repeat_is_also_sent_to_the_channel(slack: FakeSlack, ops: Conversation) -> None:
    ops.tell(notice())
    ops.tell(notice(reason=NoticeReason.REPEAT, after_ms=240 * MINUTE_MS))
    (root,) = slack.messages("ops")
    (reply,) = slack.replies(root)
    assert reply.broadcast
    assert reply.text.startswith("Still firing after 4 h")


def test_a_root_that_was_late_is_not_followed_by_what_it_already_says(slack: FakeSlack, ops: Conversation) -> None:
    ops.tell(ended())  # the firing root was never sent: the newest state took its place
    (root,) = slack.messages("ops")
    assert root.text.startswith("RESOLVED")
    assert slack.replies(root) == []


def test_a_deleted_root_is_posted_anew(slack: FakeSlack, ops: Conversation) -> None:
    ops.tell(notice())
    slack.delete(slack.messages("ops")[0])
    root, thread = ops.actions(ended())
    lost = ops.attempt(root)
    assert (lost.reason, lost.forget_handle) == (OutcomeReason.HANDLE_LOST, True)
    assert ops.attempt(root).status is OutcomeStatus.SENT
    assert ops.attempt(thread).status is OutcomeStatus.SENT
    (fresh,) = slack.messages("ops")
    assert fresh.text.startswith("RESOLVED")
    assert slack.replies(fresh) == []


def test_a_root_past_its_edit_window_is_posted_anew(slack: FakeSlack, ops: Conversation) -> None:
    ops.tell(notice())
    slack.lock(slack.messages("ops")[0])
    (root, _) = ops.actions(ended())
    assert ops.attempt(root).forget_handle
    assert ops.attempt(root).status is OutcomeStatus.SENT
    assert len(slack.messages("ops")) == 2


def test_a_refused_form_is_sent_again_as_text(slack: FakeSlack, ops: Conversation) -> None:
    slack.plan(Failure(error="invalid_blocks"))
    root, _ = ops.actions(notice())
    assert ops.attempt(root).degrade
    assert ops.attempt(root, degraded=True).status is OutcomeStatus.SENT
    (message,) = slack.messages("ops")
    assert message.blocks == message.attachments == ()
    assert "Do first: Roll back" in message.text


def test_retry_after_reaches_the_outbox(slack: FakeSlack, ops: Conversation) -> None:
    slack.plan(Failure(error="ratelimited", retry_after=21))
    outcome, _ = ops.tell(notice())
    assert (outcome.status, outcome.reason) == (OutcomeStatus.RETRY, OutcomeReason.RATE_LIMITED)
    assert outcome.retry_after_s == 21


def test_a_post_whose_answer_was_lost_is_found_again(slack: FakeSlack, ops: Conversation) -> None:
    ops.tell(other_group())  # from which it knows the channel's id
    slack.plan(Failure(drop=True, after=True))
    root, _ = ops.actions(notice())
    assert ops.attempt(root).reason is OutcomeReason.NETWORK
    assert ops.attempt(root, doubtful=True).status is OutcomeStatus.SENT
    _, message = slack.messages("ops")
    assert message.edits == 1
    assert ops.handles[notice().group_key]["ts"] == message.ts


def test_a_thread_line_whose_answer_was_lost_is_not_said_twice(slack: FakeSlack, ops: Conversation) -> None:
    ops.tell(notice())
    root, thread = ops.actions(grown())
    ops.attempt(root)
    slack.plan(Failure(drop=True, after=True))
    assert ops.attempt(thread).reason is OutcomeReason.NETWORK
    assert ops.attempt(thread, doubtful=True).status is OutcomeStatus.SENT
    (message,) = slack.messages("ops")
    assert len(slack.replies(message)) == 1


def test_without_the_scope_a_lost_answer_may_be_seen_twice_but_is_never_lost() -> None:
    with FakeSlack(scopes={"chat:write"}) as slack:
        ops = Conversation("slack_configs", {"app_token": TOKEN, "channel": "#ops", "app_url": slack.api_url})
        ops.tell(other_group())
        slack.plan(Failure(drop=True, after=True))
        root, _ = ops.actions(notice())
        ops.attempt(root)
        assert ops.attempt(root, doubtful=True).status is OutcomeStatus.SENT
        _, first, second = slack.messages("ops")
        assert first.metadata == second.metadata
        asked = len(slack.requests)
        ops.attempt(ops.actions(replace(notice(), group_key="{}:third"))[0], doubtful=True)
        assert len(slack.requests) == asked + 1  # it does not ask again


def test_an_edit_sends_every_part(slack: FakeSlack, ops: Conversation) -> None:
    ops.tell(notice())
    (root, _) = ops.actions(ended())
    ops.attempt(root, degraded=True)
    (message,) = slack.messages("ops")
    assert message.blocks == message.attachments == ()


def test_an_incoming_webhook_posts_each_state(slack: FakeSlack) -> None:
    hook = Conversation("slack_configs", {"api_url": slack.webhook_url})
    for told in (notice(), ended()):
        assert [outcome.status for outcome in hook.tell(told)] == [OutcomeStatus.SENT]
    assert [message.text.split()[0] for message in slack.messages()] == ["FIRING", "RESOLVED"]
    assert {action.coalesce for told in (notice(), ended()) for action in hook.actions(told)} == {"0001-abcd:post"}


def test_without_send_resolved_the_end_is_not_told(slack: FakeSlack) -> None:
    quiet = Conversation(
        "slack_configs", {"app_token": TOKEN, "channel": "ops", "app_url": slack.api_url, "send_resolved": "false"}
    )
    assert quiet.actions(resolved()) == []
    action, _ = quiet.actions(notice(alert("a"), alert("b", ended=True)))
    assert '"ends_ms":null' in action.payload
    assert action.payload.count('"labels"') == 1


def test_the_sdk_is_silent_even_when_everything_is_logged(
    slack: FakeSlack, ops: Conversation, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(1):
        ops.tell(notice())
        slack.close()
        ops.tell(grown())
    assert not [record for record in caplog.records if "slack" in record.name]


def test_a_new_root_has_what_is_known_around_it_in_its_thread(slack: FakeSlack) -> None:
    ops = Conversation("slack_configs", {"app_token": TOKEN, "channel": "#ops", "app_url": slack.api_url}, known=KNOWN)
    ops.tell(notice(alert(log_lines="ERROR a\nERROR <b>")))
    (root,) = slack.messages("ops")
    assert "ERROR" not in str(root)
    (context,) = slack.replies(root)
    assert [block["type"] for block in context.blocks] == ["data_visualization", "section", "context"]
    assert "ERROR &lt;b&gt;" in str(context.blocks[1])
    chart = context.blocks[0]["chart"]
    assert [series["name"] for series in chart["series"]] == ["value", "limit > 2"]
    assert max(point["value"] for point in chart["series"][0]["data"]) == 9.1  # the peak is not thinned out
    assert not context.broadcast


def test_where_charts_are_not_drawn_a_sparkline_stands_in_and_the_next_one_does_not_try() -> None:
    with FakeSlack(charts=False) as slack:
        ops = Conversation(
            "slack_configs", {"app_token": TOKEN, "channel": "#ops", "app_url": slack.api_url}, known=KNOWN
        )
        root, thread = ops.actions(notice())
        ops.attempt(root)
        assert ops.attempt(thread).degrade
        assert ops.attempt(thread, degraded=True).status is OutcomeStatus.SENT
        (reply,) = slack.replies(slack.messages("ops")[0])
        assert "▁▁▁▁▂▂▄▅▆█ · 0.2 % → 7.4 % · limit &gt; 2 %" in reply.text
        assert {outcome.status for outcome in ops.tell(other_group())} == {OutcomeStatus.SENT}
        (second,) = slack.replies(slack.messages("ops")[1])
        assert [block["type"] for block in second.blocks] == ["section", "context"]


def test_what_people_made_of_a_group_comes_through_the_outbox(slack: FakeSlack, ops: Conversation) -> None:
    ops.tell(notice())
    care = Care(ack=Ack("ann", START_MS, "PagerDuty"), silence=Silence("bob", START_MS + MINUTE_MS, "known"), flaps=4)
    ops.tell(replace(notice(reason=NoticeReason.CHANGED), care=care))
    (root,) = slack.messages("ops")
    assert root.text.startswith("SILENCED critical")
    assert "acked by ann in PagerDuty" in str(root.attachments)
    assert slack.replies(root) == []


def test_it_tells_a_flood_in_one_message(slack: FakeSlack) -> None:
    receiver = ReceiverSettings.model_validate(
        {"name": "ops", "slack_configs": [{"app_token": TOKEN, "channel": "#ops", "app_url": slack.api_url}]}
    )
    (integration,) = build_integrations(receiver, httpx.AsyncClient(verify=False))
    assert integration.digests
    handle = None
    for firing in (3, 0):
        digest = Digest("d1", "ops", START_MS, START_MS + MINUTE_MS, total=3, firing=firing)
        (action,) = integration.digest(digest)
        outcome = asyncio.run(integration.deliver(Delivery(1, action, 1, handle)))
        assert outcome.status is OutcomeStatus.SENT
        handle = outcome.handle
    (message,) = slack.messages("ops")
    assert (message.text, message.edits) == ("RESOLVED flood: 3 alert groups within 1 min", 1)


def test_a_webhook_tells_no_floods(slack: FakeSlack) -> None:
    receiver = ReceiverSettings.model_validate({"name": "ops", "slack_configs": [{"api_url": slack.webhook_url}]})
    (integration,) = build_integrations(receiver, httpx.AsyncClient(verify=False))
    assert not integration.digests
    assert integration.digest(Digest("d1", "ops", START_MS, START_MS, total=1, firing=1)) == []
