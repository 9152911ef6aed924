from __future__ import annotations

from collections.abc import Iterator

import pytest

from obskit.model.actions import OutcomeReason, OutcomeStatus
from obskit.testing.discord import FakeDiscord
from obskit.testing.http import Failure
from tests.notify.deliveries import Conversation
from tests.notify.stories import AGAIN, CARED_FOR, EVIL, FIRST, GROWN, LIFE, NASTY, OVER, at


@pytest.fixture
def channel() -> Iterator[FakeDiscord]:
    with FakeDiscord() as server:
        yield server


def talk(channel: FakeDiscord, **settings: str) -> Conversation:
    return Conversation("discord_configs", {"webhook_url": channel.url, **settings})


def test_an_incident_is_one_message_that_ends_green_with_lines_where_an_edit_is_too_quiet(channel: FakeDiscord) -> None:
    told = talk(channel)
    for one in LIFE:
        assert {outcome.status for outcome in told.tell(one)} == {OutcomeStatus.SENT}
    root, *lines = channel.messages
    assert root.edits == 4
    assert root.embeds[0]["title"] == "✅ RESOLVED: High5xx"
    assert root.embeds[0]["color"] == 0x2ECC71
    assert [line.embeds[0]["description"].partition(":")[2] for line in lines] == [
        " +1 new: machine b",
        " Still firing after 5 min: 7.4 % of requests to api failed, limit 2 %",
        " Resolved after 6 min",
    ]
    assert [line.silent for line in lines] == [False, False, True]


def test_what_people_made_of_it_is_shown_in_the_message_itself(channel: FakeDiscord) -> None:
    told, seen = talk(channel), []
    for one in CARED_FOR:
        told.tell(one)
        seen.append(channel.messages[0].embeds[0]["title"].partition(":")[0])
    states = [
        "FIRING critical",
        "ACKED critical",
        "FIRING critical",
        "RESOLVED",
        "FLAPPING critical",
        "FIRING critical",
    ]
    assert [title.partition(" ")[2] for title in seen] == states
    assert [line.embeds[0]["description"].split(":")[1] for line in channel.messages[1:]] == [
        " Escalated to boss after 5 min",
        " Flapping is over, it fires steadily",
    ]


def test_nobody_is_mentioned_but_whom_the_settings_name(channel: FakeDiscord) -> None:
    told = talk(channel, content="<@&77> and <@88>")
    for one in (at(EVIL, 0), AGAIN, OVER):
        told.tell(one)
    assert [message.pinged for message in channel.messages] == [("&77", "88"), ("&77", "88"), ()]
    assert channel.messages[0].content == ""  # over: there is nobody to call any more


@pytest.mark.parametrize("degraded", [False, True])
def test_an_alert_that_shouts_wakes_nobody(degraded: bool, channel: FakeDiscord) -> None:
    told = talk(channel)
    (action,) = told.actions(EVIL)
    assert told.attempt(action, degraded=degraded).status is OutcomeStatus.SENT
    (message,) = channel.messages
    assert message.pinged == ()
    assert NASTY not in message.content + "".join(embed["description"] for embed in message.embeds)


def test_a_message_that_somebody_deleted_is_posted_anew(channel: FakeDiscord) -> None:
    told = talk(channel)
    told.tell(FIRST)
    channel.delete(channel.messages[0])
    root, _ = told.actions(GROWN)
    assert told.attempt(root).forget_handle
    assert told.attempt(root).status is OutcomeStatus.SENT
    assert len(channel.messages) == 1


def test_a_line_says_nothing_that_its_message_began_with(channel: FakeDiscord) -> None:
    told = talk(channel)
    told.tell(GROWN)
    assert len(channel.messages) == 1


def test_a_webhook_that_is_gone_is_no_matter_of_one_message(channel: FakeDiscord) -> None:
    channel.gone = True
    (outcome,) = talk(channel).tell(FIRST)
    assert (outcome.status, outcome.reason) == (OutcomeStatus.PERMANENT, OutcomeReason.DESTINATION)
    assert not outcome.forget_handle


def test_it_waits_as_long_as_the_body_asks(channel: FakeDiscord) -> None:
    channel.plan(Failure(429))
    (outcome,) = talk(channel).tell(FIRST)
    assert outcome.retry_after_s == 0.65


def test_a_thread_is_written_into(channel: FakeDiscord) -> None:
    told = Conversation("discord_configs", {"webhook_url": f"{channel.url}?thread_id=5"})
    told.tell(FIRST)
    told.tell(OVER)
    assert [request.path.partition("?")[2] for request in channel.requests] == [
        "thread_id=5&wait=true", "thread_id=5", "thread_id=5&wait=true",
    ]  # fmt: skip
