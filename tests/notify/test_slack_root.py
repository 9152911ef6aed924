from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from obskit.model.actions import Notice, NoticeReason
from obskit.model.context import Care, Escalated
from obskit.notify.slack_root import Root, Way, told, way
from obskit.testing.slack import TOKEN, FakeSlack, SlackMessage
from tests.notify.deliveries import Conversation
from tests.notify.notices import MINUTE_MS, START_MS, alert, notice

HOUR = 60
DAY = 24 * HOUR


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with FakeSlack() as server:
        yield server


@pytest.fixture
def ops(slack: FakeSlack) -> Conversation:
    return Conversation("slack_configs", {"app_token": TOKEN, "channel": "#ops", "app_url": slack.api_url})


def fires(incident: str, minute: float, *, severity: str = "warning") -> Notice:
    """The group begins to fire at `minute`, and is told at once."""
    at_ms = START_MS + round(minute * MINUTE_MS)
    one = replace(alert(severity=severity), starts_ms=at_ms)
    return replace(notice(one), incident=incident, decided_ms=at_ms, changed=frozenset({one.fingerprint}))


def ends(incident: str, since: float, minute: float, *, severity: str = "warning") -> Notice:
    """What began at `since` is over at `minute`."""
    at_ms = START_MS + round(minute * MINUTE_MS)
    one = replace(alert(severity=severity, ended=True), starts_ms=START_MS + round(since * MINUTE_MS), ends_ms=at_ms)
    return replace(
        notice(one, reason=NoticeReason.ALL_RESOLVED),
        incident=incident,
        decided_ms=at_ms,
        changed=frozenset({one.fingerprint}),
    )


def root(**known: object) -> Root:
    return replace(Root("C1", "1.0", "i1", START_MS, START_MS), **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("last", "one", "expected"),
    [
        (None, fires("i1", 0), Way.POST),
        (root(), fires("i1", 0), Way.EDIT),
        (root(), ends("i1", 0, 600), Way.EDIT),
        (root(), fires("i2", 15), Way.REOPEN),
        (root(), fires("i2", 15.1), Way.REOPEN),
        (root(firing=False), fires("i2", 15), Way.REOPEN),
        (root(firing=False), fires("i2", 15.1), Way.POST),
        (root(firing=False, seen_ms=START_MS + 30 * MINUTE_MS), fires("i2", 40), Way.REOPEN),
        (root(firing=False), ends("i2", 16, 20), Way.POST),
    ],
)
def test_which_message_a_notice_belongs_to(last: Root | None, one: Notice, expected: Way) -> None:
    assert way(last, one) is expected


def test_a_handle_says_all_that_a_root_knows() -> None:
    one = root(reopened=2, episodes=(1, 2), turns=(3,), firing=False)
    assert Root.from_handle({**one.to_handle(), "channel": "C1", "ts": "1.0"}) == one
    assert Root.from_handle({}) is None


def test_the_message_of_the_version_before_is_still_ours() -> None:
    old = Root.from_handle({"channel": "C1", "ts": "1.0", "told_ms": "5"})
    assert old is not None
    assert way(old, fires("i1", 0)) is Way.REOPEN


def test_a_week_and_an_hour_are_forgotten() -> None:
    one: Root | None = None
    for day in range(10):
        one = told(one, fires(f"i{day}", day * DAY))
    assert one is not None
    assert len(one.episodes) == 7
    assert len(one.turns) == 1


def test_what_fires_again_within_a_quarter_of_an_hour_opens_its_root_again(slack: FakeSlack, ops: Conversation) -> None:
    for one in (fires("i1", 0), ends("i1", 0, 5), fires("i2", 12), ends("i2", 12, 15), fires("i3", 20)):
        ops.tell(one)
    (message,) = slack.messages("ops")
    assert message.text.startswith("FIRING warning")
    assert "opened again 2 times" in footer(message)
    said = [(reply.text, reply.broadcast) for reply in slack.replies(message)]
    assert [text.partition(":")[0] for text, _ in said] == [
        "Resolved after 5 min",
        "Fires again",
        "Resolved after 3 min",
        "Fires again",
    ]
    assert [loud for _, loud in said] == [False, True, False, False]  # it notifies people once


def test_what_flaps_goes_on_in_the_message_in_which_it_began_to(slack: FakeSlack, ops: Conversation) -> None:
    flapping = Care(flaps=5, home="i1")
    ops.tell(fires("i1", 0))
    ops.tell(replace(ends("i1", 0, 5), care=flapping))
    ops.tell(replace(fires("i2", 50), care=flapping))
    (message,) = slack.messages("ops")
    assert message.text.startswith("FLAPPING warning")
    assert message.attachments[0]["color"] == "#bc4c00"
    assert not any(reply.broadcast for reply in slack.replies(message))
    ops.tell(replace(fires("i2", 110), reason=NoticeReason.CALM, care=Care(home="i1")))
    (message,) = slack.messages("ops")
    assert message.text.startswith("FIRING warning")
    last = slack.replies(message)[-1]
    assert (last.text.partition(":")[0], last.broadcast) == ("Flapping is over, it fires steadily", True)


def test_an_escalation_is_told_to_the_channel_too(slack: FakeSlack, ops: Conversation) -> None:
    ops.tell(fires("i1", 0))
    ops.tell(replace(fires("i1", 5), reason=NoticeReason.ESCALATED, care=Care(escalated=(Escalated("pd", 300_000),))))
    (message,) = slack.messages("ops")
    assert "escalated to pd after 5 min" in str(message.attachments)
    last = slack.replies(message)[-1]
    assert (last.text.partition(":")[0], last.broadcast) == ("Escalated to pd after 5 min", True)


def test_what_fires_again_later_gets_a_new_root_that_links_to_the_last(slack: FakeSlack, ops: Conversation) -> None:
    for day in range(3):
        ops.tell(fires(f"i{day}", day * DAY))
        ops.tell(ends(f"i{day}", day * DAY, day * DAY + 5))
    first, second, third = slack.messages("ops")
    assert footer(first) == ""
    assert "2nd time this week · <https://fake.slack.com/archives/" in footer(second)
    assert footer(third).startswith("3rd time this week · ")
    assert third.ts not in footer(third).replace(".", "")
    assert second.ts.replace(".", "") in footer(third)


def test_a_root_is_new_when_the_last_one_cannot_be_linked(slack: FakeSlack, ops: Conversation) -> None:
    ops.tell(fires("i1", 0))
    ops.tell(ends("i1", 0, 5))
    slack.delete(slack.messages("ops")[0])
    ops.tell(fires("i2", DAY))
    (message,) = slack.messages("ops")
    assert footer(message) == "2nd time this week"


def footer(message: SlackMessage) -> str:
    """The footnote of a message; empty without one."""
    (context,) = [block for block in message.attachments[0]["blocks"] if block["type"] == "context"]
    return context["elements"][1]["text"] if len(context["elements"]) > 1 else ""
