from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from obskit.model.actions import NoticeReason, OutcomeReason, OutcomeStatus
from obskit.testing.http import Failure
from obskit.testing.slack import TOKEN, FakeSlack
from tests.notify.deliveries import Conversation
from tests.notify.notices import MINUTE_MS, START_MS, alert, notice, resolved


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


def test_the_first_notice_has_no_thread(ops: Conversation) -> None:
    assert [action.step for action in ops.actions(notice())] == ["root"]


def test_a_changed_number_edits_the_root_without_a_line(ops: Conversation) -> None:
    assert [action.step for action in ops.actions(notice(reason=NoticeReason.CHANGED))] == ["root"]


def test_steps_share_the_incidents_handle_and_replace_only_their_like(ops: Conversation) -> None:
    root, thread = ops.actions(grown())
    assert root.handle_key == thread.handle_key == "0001-abcd"
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
    (root,) = ops.actions(notice())
    assert ops.attempt(root).degrade
    assert ops.attempt(root, degraded=True).status is OutcomeStatus.SENT
    (message,) = slack.messages("ops")
    assert message.blocks == message.attachments == ()
    assert "Do first: Roll back" in message.text


def test_retry_after_reaches_the_outbox(slack: FakeSlack, ops: Conversation) -> None:
    slack.plan(Failure(error="ratelimited", retry_after=21))
    (outcome,) = ops.tell(notice())
    assert (outcome.status, outcome.reason) == (OutcomeStatus.RETRY, OutcomeReason.RATE_LIMITED)
    assert outcome.retry_after_s == 21


def test_a_lost_answer_is_tried_again_and_can_be_recognised(slack: FakeSlack, ops: Conversation) -> None:
    slack.plan(Failure(drop=True, after=True))
    (root,) = ops.actions(notice())
    assert ops.attempt(root).reason is OutcomeReason.NETWORK
    assert ops.attempt(root).status is OutcomeStatus.SENT
    first, second = slack.messages("ops")
    assert first.metadata == second.metadata
    assert first.metadata["event_payload"]["incident"] == "0001-abcd"


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
    (action,) = quiet.actions(notice(alert("a"), alert("b", ended=True)))
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
