"""Receivers behind the real outbox: what a person finds in Slack after the service had its bad hour."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from obskit.model.actions import Notice, NoticeReason
from obskit.notify import Integration, ReceiverSettings, build_integrations
from obskit.outbound import httpx
from obskit.outbox import RowState
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

            intervals = {one.id: one.min_interval_s for one in built.values() if one.min_interval_s}
            async with house(folder, clock, deliver, intervals=intervals) as home:
                await story(home, list(built.values()))
                assert home.outbox.rows(RowState.DEAD) == home.outbox.rows(RowState.WAITING) == []

    run(scenario(), clock)


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
