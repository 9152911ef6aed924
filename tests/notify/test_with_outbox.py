"""Receivers behind the real outbox: what a person finds in Slack after the service had its bad hour."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from obskit.model.actions import Notice, NoticeReason
from obskit.notify import Integration, ReceiverSettings, build_integrations
from obskit.outbound import httpx
from obskit.outbox import Budget, Delivery, Paces, RowState
from obskit.testing.clock import FakeClock, run
from obskit.testing.http import Failure
from obskit.testing.pagerduty import ROUTING_KEY, FakePagerDuty
from obskit.testing.slack import TOKEN, FakeSlack
from obskit.testing.webhook import FakeWebhook
from tests.notify.notices import MINUTE_MS, START_MS, alert, notice, resolved
from tests.outbox.fakes import House, house

HOUR_S = 3_600


def later(one: Notice, minutes: int) -> Notice:
    return replace(one, decided_ms=START_MS + minutes * MINUTE_MS)


async def tell(home: House, integrations: list[Integration], one: Notice) -> None:
    """What dispatch does with a notice: put every action of every destination."""
    await home.put(*(action for integration in integrations for action in integration.actions(one)))


def play(
    folder: Path, clock: FakeClock, settings: dict[str, Any], story: Callable[..., Coroutine[Any, Any, None]]
) -> None:
    async def scenario() -> None:
        receiver = ReceiverSettings.model_validate({"name": "ops", **settings})
        async with httpx.AsyncClient(verify=False) as http:
            built = {one.id: one for one in build_integrations(receiver, http)}

            async def deliver(delivery: Any) -> Any:
                return await built[delivery.action.destination].deliver(delivery)

            def budget(delivery: Delivery) -> Budget | None:
                return built[delivery.action.destination].budget(delivery)

            paces = Paces({one.id: one.min_interval_s for one in built.values()}, budget)
            async with house(folder, clock, deliver, paces=paces) as home:
                await story(home, list(built.values()))
                assert home.outbox.rows(RowState.DEAD) == home.outbox.rows(RowState.WAITING) == []

    run(scenario(), clock)


@pytest.mark.parametrize(
    "failure",
    [
        Failure(status=200, body='{"ok":false,"error":"ratelimited"}'),
        Failure(status=200, body='{"ok":false,"error":"fatal_error"}'),
    ],
    ids=["ratelimited in a 200", "fatal_error in a 200"],
)
def test_after_an_hour_in_which_slack_takes_nothing_there_is_one_message_in_its_last_state(
    failure: Failure, tmp_path: Path
) -> None:
    clock = FakeClock()
    with FakeSlack(clock) as slack:
        slack.break_down(failure)

        async def story(home: House, integrations: list[Integration]) -> None:
            await tell(home, integrations, notice(after_ms=0))
            await clock.sleep(5)
            await tell(home, integrations, later(resolved(), 6))
            await clock.sleep(HOUR_S)
            assert slack.messages() == []
            slack.repair()
            await clock.sleep(2 * HOUR_S)

        settings = {"slack_configs": [{"app_token": TOKEN, "channel": "#ops", "app_url": slack.api_url}]}
        play(tmp_path, clock, settings, story)
        (root,) = [message for message in slack.messages() if message.thread_ts is None]
        assert "RESOLVED" in root.text


def test_the_429_experiment_loses_no_message(tmp_path: Path) -> None:
    """Where Alertmanager tells Slack nothing: one hour of 429, and the alert is over before it ends."""
    clock = FakeClock()
    with FakeSlack(clock) as slack, FakeWebhook(clock) as hook, FakePagerDuty(clock) as pagerduty:
        slack.break_down(Failure(error="ratelimited", retry_after=30))
        settings = {
            "slack_configs": [{"app_token": TOKEN, "channel": "#ops", "app_url": slack.api_url}],
            "webhook_configs": [{"url": hook.url}],
            "pagerduty_configs": [{"routing_key": ROUTING_KEY, "url": pagerduty.url}],
        }

        async def story(home: House, integrations: list[Integration]) -> None:
            await tell(home, integrations, notice(after_ms=0))
            await clock.sleep(5)
            await tell(home, integrations, later(resolved(), 6))
            await clock.sleep(HOUR_S)
            assert slack.messages() == []
            slack.repair()
            await clock.sleep(2 * HOUR_S)

        play(tmp_path, clock, settings, story)
        assert hook.states(notice().group_key) == ["firing", "resolved"]
        assert [incident.state for incident in pagerduty.incidents] == ["resolved"]
        (message,) = slack.messages("ops")
        assert message.text.startswith("RESOLVED")
        assert slack.replies(message) == []
        gaps = [later.t_ms - sooner.t_ms for sooner, later in zip(slack.requests, slack.requests[1:], strict=False)]
        assert min(gaps) >= 29_000  # Retry-After is whole seconds


def test_slack_is_down_in_the_middle_of_an_incident(tmp_path: Path) -> None:
    clock = FakeClock()
    with FakeSlack(clock, paced=True) as slack:
        settings = {"slack_configs": [{"app_token": TOKEN, "channel": "#ops", "app_url": slack.api_url}]}
        new = alert("b")
        grown = notice(alert(), new, reason=NoticeReason.NEW_ALERTS, changed=frozenset({new.fingerprint}))

        async def story(home: House, integrations: list[Integration]) -> None:
            await tell(home, integrations, notice(after_ms=0))
            await clock.sleep(60)
            slack.break_down(Failure(503))
            await tell(home, integrations, grown)
            await clock.sleep(600)
            await tell(home, integrations, later(resolved("a", "b"), 12))
            await clock.sleep(600)
            slack.repair()
            await clock.sleep(HOUR_S)

        play(tmp_path, clock, settings, story)
        (root,) = slack.messages("ops")
        assert root.text.startswith("RESOLVED")
        assert [reply.text for reply in slack.replies(root)] == ["Resolved after 6 min"]


def test_a_root_that_somebody_deleted_comes_back_with_the_next_change(tmp_path: Path) -> None:
    clock = FakeClock()
    with FakeSlack(clock) as slack:
        settings = {"slack_configs": [{"app_token": TOKEN, "channel": "#ops", "app_url": slack.api_url}]}

        async def story(home: House, integrations: list[Integration]) -> None:
            await tell(home, integrations, notice(after_ms=0))
            await clock.sleep(60)
            slack.delete(slack.messages("ops")[0])
            await tell(home, integrations, later(resolved(), 6))
            await clock.sleep(60)

        play(tmp_path, clock, settings, story)
        (root,) = slack.messages("ops")
        assert root.text.startswith("RESOLVED")
        assert slack.replies(root) == []


def test_a_workspace_that_refuses_our_blocks_gets_text(tmp_path: Path) -> None:
    clock = FakeClock()
    with FakeSlack(clock) as slack:
        settings = {"slack_configs": [{"api_url": slack.webhook_url}]}
        slack.plan(Failure(400, error="invalid_blocks"))

        async def story(home: House, integrations: list[Integration]) -> None:
            await tell(home, integrations, notice())
            await clock.sleep(60)

        play(tmp_path, clock, settings, story)
        (message,) = slack.messages()
        assert message.blocks == ()
        assert message.text.startswith("FIRING critical")


def slack_settings(slack: FakeSlack, channel: str = "#ops") -> dict[str, Any]:
    return {"slack_configs": [{"app_token": TOKEN, "channel": channel, "app_url": slack.api_url}]}


def group(number: int, *members: str, at_ms: int, reason: NoticeReason, severity: str = "warning") -> Notice:
    """The state of one of many groups."""
    alerts = tuple(replace(alert(name, severity=severity)) for name in members or ("a",))
    changed = frozenset({alerts[-1].fingerprint})
    return replace(
        notice(*alerts, reason=reason, changed=changed),
        group_key=f"{{}}:{{n={number}}}",
        incident=f"i{number}",
        decided_ms=at_ms,
    )


def test_a_thousand_changes_of_a_group_in_a_minute_are_one_edit(tmp_path: Path) -> None:
    clock = FakeClock()
    with FakeSlack(clock, paced=True) as slack:

        async def story(home: House, integrations: list[Integration]) -> None:
            await tell(home, integrations, group(1, at_ms=clock.now_ms(), reason=NoticeReason.FIRST))
            await clock.sleep(1)
            for number in range(1_000):
                members = ("a", "b") if number % 2 else ("a", "b", "c")
                reason = NoticeReason.NEW_ALERTS if number % 2 else NoticeReason.SOME_RESOLVED
                await tell(home, integrations, group(1, *members, at_ms=clock.now_ms(), reason=reason))
                await clock.sleep(0.058)
            (root,) = slack.messages("ops")
            assert root.edits == 0
            await clock.sleep(10)
            (root,) = slack.messages("ops")
            assert root.edits == 1
            assert root.text.endswith("api/fra, 2 machines")  # the newest state, not one of the others

        play(tmp_path, clock, slack_settings(slack), story)


def test_what_somebody_waits_for_is_not_held_back(tmp_path: Path) -> None:
    clock = FakeClock()
    with FakeSlack(clock, paced=True) as slack:

        async def story(home: House, integrations: list[Integration]) -> None:
            for seconds, one in (
                (2, group(1, at_ms=START_MS, reason=NoticeReason.FIRST)),
                (2, group(1, "a", "b", at_ms=START_MS + 2_000, reason=NoticeReason.NEW_ALERTS)),
                (2, group(1, "a", "b", at_ms=START_MS + 4_000, reason=NoticeReason.NEW_ALERTS, severity="critical")),
            ):
                await tell(home, integrations, one)
                await clock.sleep(seconds)
            (root,) = slack.messages("ops")
            assert root.text.startswith("FIRING critical")
            await tell(
                home,
                integrations,
                replace(resolved("a", "b"), group_key="{}:{n=1}", incident="i1", decided_ms=START_MS + 6_000),
            )
            await clock.sleep(3)
            (root,) = slack.messages("ops")
            assert root.text.startswith("RESOLVED")

        play(tmp_path, clock, slack_settings(slack), story)


def test_an_hour_of_refusals_of_many_groups_ends_in_order_with_the_last_state_of_each(tmp_path: Path) -> None:
    """Every way in which Slack can be down, an hour long; 20 groups fire, grow and resolve meanwhile."""
    clock = FakeClock()
    seen: list[tuple[str, str]] = []
    with FakeSlack(clock, on_message=lambda one: seen.append((one.ts, one.text.split()[0]))) as slack:

        async def story(home: House, integrations: list[Integration]) -> None:
            for number, failure in enumerate(OUTAGES * 4):
                slack.break_down(failure)
                at_ms = clock.now_ms()
                await tell(home, integrations, group(number, at_ms=at_ms, reason=NoticeReason.FIRST))
                await clock.sleep(90)
                if number % 2:
                    over = replace(resolved(), group_key=f"{{}}:{{n={number}}}", incident=f"i{number}")
                    await tell(home, integrations, replace(over, decided_ms=clock.now_ms()))
                await clock.sleep(90)
            slack.repair()
            await clock.sleep(HOUR_S)

        play(tmp_path, clock, slack_settings(slack), story)
        last = {one.metadata["event_payload"]["incident"]: one.text.split()[0] for one in slack.messages("ops")}
        assert last == {f"i{number}": "RESOLVED" if number % 2 else "FIRING" for number in range(20)}
        for ts in {ts for ts, _ in seen}:
            states = [state for at, state in seen if at == ts]
            assert states == sorted(states), "never back to firing"


OUTAGES = (
    Failure(error="ratelimited", retry_after=30),
    Failure(body='{"ok":false,"error":"ratelimited"}', status=200),
    Failure(500),
    Failure(drop=True),
    Failure(body="{", status=200),
)


@pytest.mark.parametrize(
    "lost",
    [
        Failure(drop=True, after=True),
        Failure(500, after=True),
        Failure(error="fatal_error", after=True),
        Failure(body="", status=200, after=True),
    ],
    ids=["no answer", "500", "fatal_error", "half an answer"],
)
def test_a_post_whose_answer_is_lost_is_one_visible_message(tmp_path: Path, lost: Failure) -> None:
    clock = FakeClock()
    with FakeSlack(clock, paced=True, channels={"ops": "C0123456789"}) as slack:

        async def story(home: House, integrations: list[Integration]) -> None:
            slack.plan(lost, lost, route="chat.postMessage")
            await tell(home, integrations, notice(after_ms=0))
            await clock.sleep(120)
            await tell(home, integrations, replace(later(resolved(), 6), decided_ms=clock.now_ms()))
            slack.plan(lost, lost, route="chat.postMessage")  # of the line in the thread
            await clock.sleep(120)

        play(tmp_path, clock, slack_settings(slack, "C0123456789"), story)
        (root,) = slack.messages("C0123456789")
        assert root.text.startswith("RESOLVED")
        assert len(slack.replies(root)) == 1


def test_two_receivers_of_one_channel_keep_its_pace_together(tmp_path: Path) -> None:
    clock = FakeClock()
    with FakeSlack(clock, paced=True) as slack:
        (entry,) = slack_settings(slack)["slack_configs"]

        async def story(home: House, integrations: list[Integration]) -> None:
            for number in range(5):
                await tell(home, integrations, group(number, at_ms=clock.now_ms(), reason=NoticeReason.FIRST))
            await clock.sleep(30)

        play(tmp_path, clock, {"slack_configs": [entry, {**entry, "channel": "ops"}]}, story)
        assert len(slack.messages("ops")) == 10
        assert len(slack.requests) == 10  # none of them was refused


def test_edits_keep_the_workspaces_budget(tmp_path: Path) -> None:
    clock = FakeClock()
    with FakeSlack(clock) as slack:
        settings = {
            "slack_configs": [
                {"app_token": TOKEN, "channel": f"#c{number}", "app_url": slack.api_url} for number in range(4)
            ]
        }

        async def story(home: House, integrations: list[Integration]) -> None:
            for number in range(30):
                await tell(home, integrations, group(number, at_ms=clock.now_ms(), reason=NoticeReason.FIRST))
            await clock.sleep(120)
            for number in range(30):
                over = replace(resolved(), group_key=f"{{}}:{{n={number}}}", incident=f"i{number}")
                await tell(home, integrations, replace(over, decided_ms=clock.now_ms()))
            await clock.sleep(HOUR_S)

        play(tmp_path, clock, settings, story)
        edits = [request.t_ms for request in slack.requests if request.path.endswith("chat.update")]
        assert len(edits) == 120
        assert max(sum(t <= other < t + 60_000 for other in edits) for t in edits) <= 50
