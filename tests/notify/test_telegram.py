from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from obskit.model.actions import OutcomeReason, OutcomeStatus
from obskit.testing.http import Failure
from obskit.testing.telegram import CHAT, TOKEN, FakeTelegram
from tests.notify.deliveries import Conversation
from tests.notify.stories import CARED_FOR, EVIL, FIRST, GROWN, LIFE

SENT, RETRY, PERMANENT = OutcomeStatus.SENT, OutcomeStatus.RETRY, OutcomeStatus.PERMANENT


@pytest.fixture
def chat() -> Iterator[FakeTelegram]:
    with FakeTelegram() as server:
        yield server


def talk(chat: FakeTelegram, **settings: Any) -> Conversation:
    return Conversation("telegram_configs", {"bot_token": TOKEN, "chat_id": CHAT, "api_url": chat.base_url, **settings})


def test_an_incident_is_one_message_with_replies_where_an_edit_is_too_quiet(chat: FakeTelegram) -> None:
    told = talk(chat)
    for one in LIFE:
        assert {outcome.status for outcome in told.tell(one)} == {SENT}
    root, *replies = chat.messages
    assert root.edits == 4
    assert root.text.startswith("✅ RESOLVED: High5xx\nwas: 7.4 %")
    assert [reply.text.partition(": ")[2] for reply in replies] == [
        "+1 new: machine b",
        "Still firing after 5 min: 7.4 % of requests to api failed, limit 2 %",
        "Resolved after 6 min",
    ]
    assert {reply.reply_to for reply in replies} == {root.id}
    assert [message.silent for message in chat.messages] == [False, False, False, True]


def test_what_people_made_of_it_is_shown_in_the_message_itself(chat: FakeTelegram) -> None:
    told = talk(chat)
    for one in CARED_FOR[:2]:
        told.tell(one)
    assert chat.messages[0].text.startswith("🟣 ACKED critical: High5xx")
    assert "acked by ann 22:13 UTC (on it)" in chat.messages[0].text
    for one in CARED_FOR[2:]:
        told.tell(one)
    _, *replies = chat.messages
    assert [(reply.text.partition(": ")[2].partition(":")[0], reply.silent) for reply in replies] == [
        ("Escalated to boss after 5 min", False),
        ("Flapping is over, it fires steadily", False),
    ]


@pytest.mark.parametrize("settings", [{}, {"parse_mode": ""}])
def test_whatever_an_alert_says_is_read_as_text(settings: dict[str, Any], chat: FakeTelegram) -> None:
    told = talk(chat, **settings)
    (action,) = told.actions(EVIL)
    assert [told.attempt(action).status, told.attempt(action, degraded=True).status] == [SENT, SENT]
    assert "<script>" in chat.messages[0].text


def test_the_same_words_again_are_as_good_as_said(chat: FakeTelegram) -> None:
    told = talk(chat)
    told.tell(FIRST)
    assert [outcome.status for outcome in told.tell(FIRST)] == [SENT]


def test_a_message_that_is_gone_is_sent_anew(chat: FakeTelegram) -> None:
    told = talk(chat)
    told.tell(FIRST)
    chat.messages.clear()
    root, _ = told.actions(GROWN)
    assert told.attempt(root).forget_handle
    assert told.attempt(root).status is SENT


def test_a_topic_is_written_into_and_may_be_silent(chat: FakeTelegram) -> None:
    talk(chat, message_thread_id=9, disable_notifications="true").tell(FIRST)
    assert (chat.messages[0].thread_id, chat.messages[0].silent) == (9, True)


def test_it_waits_as_long_as_the_body_asks(chat: FakeTelegram) -> None:
    chat.plan(Failure(429, retry_after=17))
    (outcome,) = talk(chat).tell(FIRST)
    assert (outcome.status, outcome.retry_after_s) == (RETRY, 17)


@pytest.mark.parametrize(
    ("status", "words", "reason"),
    [
        (400, "Bad Request: chat not found", OutcomeReason.DESTINATION),
        (400, "Bad Request: message thread not found", OutcomeReason.DESTINATION),
        (400, "Bad Request: can't parse entities: Unsupported start tag", OutcomeReason.PAYLOAD),
        (401, "Unauthorized", OutcomeReason.CREDENTIAL),
        (403, "Forbidden: bot was kicked from the group chat", OutcomeReason.DESTINATION),
        (404, "Not Found", OutcomeReason.CREDENTIAL),
    ],
)
def test_a_refusal_is_read_by_its_words(status: int, words: str, reason: OutcomeReason, chat: FakeTelegram) -> None:
    chat.plan(Failure(status, error=words))
    (outcome,) = talk(chat).tell(FIRST)
    assert (outcome.status, outcome.reason, outcome.degrade) == (PERMANENT, reason, reason is OutcomeReason.PAYLOAD)


def test_a_group_with_another_number_is_told_to_whom_it_may_concern() -> None:
    with FakeTelegram(moved_to=-100_999) as chat:
        (outcome,) = talk(chat).tell(FIRST)
    assert (outcome.reason, outcome.detail) == (
        OutcomeReason.DESTINATION,
        "the group has another number now: chat_id: -100999",
    )
