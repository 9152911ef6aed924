"""`obskit test receiver`: a real message to a receiver, marked as a test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from obskit.cli.options import config_option, quiet_log, stop
from obskit.cli.tables import listed

if TYPE_CHECKING:
    from obskit.model.actions import Notice, Outcome
    from obskit.notify import Integration


@click.command("receiver")
@click.argument("name")
@config_option
def test_receiver(name: str, config_path: Path) -> None:
    """Send a test message to a receiver.

    A test alert and then its resolve, through every destination that the receiver NAME has.

    Exit codes: 0 all of them took it, 1 one did not, 2 wrong usage.

    \b
    Example:
      obskit test receiver team-chat
    """
    import asyncio

    from obskit.cli.watch import load
    from obskit.model.problems import did_you_mean

    quiet_log()
    config = load(config_path)
    names = [each.name for each in config.receivers]
    chosen = next((each for each in config.receivers if each.name == name), None)
    if chosen is None:
        stop(f'no receiver is called "{name}"{did_you_mean(name, names)}; receivers: {listed(names)}')
    if not any(chosen.configured()):
        stop(f'the receiver "{name}" has no destination: nobody would hear of anything sent to it')
    if not asyncio.run(_send(chosen)):
        raise SystemExit(1)


async def _send(receiver: object) -> bool:
    from obskit.clock import SystemClock
    from obskit.notify import ReceiverSettings, build_integrations
    from obskit.outbound import httpx, trust

    assert isinstance(receiver, ReceiverSettings)
    now_ms = SystemClock().now_ms()
    well = True
    async with httpx.AsyncClient(timeout=10, verify=trust()) as http:
        for integration in build_integrations(receiver, http):
            handles: dict[str, dict[str, str]] = {}
            for notice in (_notice(receiver.name, now_ms, firing=True), _notice(receiver.name, now_ms, firing=False)):
                well = await _deliver(integration, notice, handles) and well
    return well


async def _deliver(integration: Integration, notice: Notice, handles: dict[str, dict[str, str]]) -> bool:
    from obskit.outbox import Delivery

    for action in integration.actions(notice):
        handle = handles.get(action.handle_key or "")
        outcome = await integration.deliver(
            Delivery(id=0, action=action, attempt=1, handle=handle, renewed_ms=notice.decided_ms)
        )
        if outcome.handle is not None and action.handle_key:
            handles[action.handle_key] = dict(outcome.handle)
        _tell(integration, notice, outcome)
        if outcome.status != "sent":
            return False
    return True


def _tell(integration: Integration, notice: Notice, outcome: Outcome) -> None:
    if outcome.status == "sent":
        click.echo(f"ok    {integration.id}: {notice.status}")
    else:
        click.echo(f"WRONG {integration.id}: {notice.status}: {outcome.reason}: {outcome.detail}", err=True)


def _notice(receiver: str, now_ms: int, *, firing: bool) -> Notice:
    from obskit.model.actions import Notice, NoticeReason
    from obskit.model.alerts import Alert
    from obskit.model.labels import Labels

    alert = Alert(
        labels=Labels({"alertname": "ObskitTest", "severity": "info"}),
        annotations={
            "summary": "TEST: this is what an alert of obskit looks like",
            "action": "Nothing. Somebody ran obskit test receiver.",
        },
        starts_ms=now_ms - 60_000,
        ends_ms=None if firing else now_ms,
        value=1.0,
        source="obskit test receiver",
    )
    return Notice(
        receiver=receiver,
        group_key='{}:{alertname="ObskitTest"}',
        group_labels=Labels({"alertname": "ObskitTest"}),
        alerts=(alert,),
        reason=NoticeReason.TEST,
        incident=f"test-{now_ms}",
        decided_ms=now_ms,
        changed=frozenset({alert.fingerprint}),
    )
