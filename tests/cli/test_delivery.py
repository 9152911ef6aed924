"""What goes out: `obskit outbox` and `obskit test receiver`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from obskit.clock import SystemClock
from obskit.model.actions import Outcome, OutcomeReason
from obskit.outbox import Delivery, Limits, Outbox, RowState, put, read_rows
from obskit.store.database import Database
from obskit.testing.http import Answer, Failure, FakeServer, Received
from obskit.testing.pagerduty import ROUTING_KEY, FakePagerDuty
from obskit.testing.slack import TOKEN, FakeSlack
from obskit.testing.webhook import FakeWebhook
from tests.cli.conftest import Obskit, watch_once, write_config
from tests.outbox.fakes import action


def receiver(**kinds: dict[str, Any]) -> dict[str, Any]:
    """Sections with one receiver `ops`, told at once."""
    return {
        "route": {"receiver": "ops", "group_wait": "0s"},
        "receivers": [{"name": "ops", **{f"{kind}_configs": [data] for kind, data in kinds.items()}}],
    }


# Outbox


@pytest.fixture
def undelivered(tmp_path: Path) -> Path:
    """A store with message 1 given up and message 2 waiting."""
    config = write_config(tmp_path)

    async def fill() -> None:
        database = Database.open(tmp_path / "data")
        clock = SystemClock()
        await database.write(lambda tx: put(tx, action("one", to="ops/webhook[0]"), clock.now_ms() - 7_000))

        async def refuse(_: Delivery) -> Outcome:
            return Outcome.permanent(OutcomeReason.PAYLOAD, "msg_too_long")

        box = Outbox(database, clock, {"notify": refuse}, limits=Limits())
        serving = asyncio.create_task(box.run())
        await clock.sleep(0)  # it begins
        await box.drain(5)
        await serving
        await database.write(lambda tx: put(tx, action("two", to="ops/webhook[0]"), clock.now_ms()))
        await database.close()

    asyncio.run(fill())
    return config


def states(config: Path) -> dict[int, str]:
    database = Database.open_readonly(config.parent / "data")
    found = {row.id: row.state.value for state in RowState for row in read_rows(database, state)}
    asyncio.run(database.close())
    return found


def test_what_waits_and_what_was_given_up_are_listed(obskit: Obskit, undelivered: Path) -> None:
    waiting = obskit("outbox", "list", "-c", undelivered).stdout.splitlines()
    assert waiting[0].split() == ["ID", "AGE", "TO", "STEP", "TRIES", "LAST", "ERROR"]
    assert waiting[1].split() == ["2", waiting[1].split()[1], "ops/webhook[0]", "0"]
    dead = obskit("outbox", "list", "--state", "dead", "-c", undelivered).stdout.splitlines()
    assert dead[1].split("  ")[-1] == "payload: msg_too_long"
    assert obskit("outbox", "list", "--state", "sent", "-c", undelivered).stdout == "no message is sent\n"


def test_a_message_is_tried_again_or_dropped_without_a_daemon(obskit: Obskit, undelivered: Path) -> None:
    assert states(undelivered) == {1: "dead", 2: "waiting"}
    result = obskit("outbox", "retry", "1", "-c", undelivered)
    assert (result.exit_code, result.stdout) == (0, "message 1: is tried again\n")
    assert obskit("outbox", "drop", "2", "-c", undelivered).stdout == "message 2: dropped\n"
    assert states(undelivered) == {1: "waiting", 2: "dropped"}


@pytest.mark.parametrize("verb", ["retry", "drop"])
def test_what_is_not_there_cannot_be_changed(verb: str, obskit: Obskit, undelivered: Path) -> None:
    result = obskit("outbox", verb, "99", "-c", undelivered)
    assert result.exit_code == 1
    assert result.stderr.startswith("obskit: message 99 cannot be changed")
    assert obskit("outbox", verb, "ninety", "-c", undelivered).exit_code == 2


def test_no_store_is_made_to_change_a_message_in(obskit: Obskit, config: Path) -> None:
    result = obskit("outbox", "drop", "1", "-c", config)
    assert result.exit_code == 1
    assert "no store in" in result.stderr
    assert not (config.parent / "data").exists()


class Daemon(FakeServer):
    """Answers as the daemon's server would."""

    def __init__(self, status: int) -> None:
        self._status = status
        super().__init__()

    def answer(self, request: Received) -> Answer:
        return Answer(self._status)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The store, in the hands of another writer."""
    database = Database.open(folder / "data")
    try:
        yield
    finally:
        asyncio.run(database.close())


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (200, 0, "message 7: dropped"),
        (404, 1, "obskit: message 7 cannot be changed"),
        (401, 1, "obskit: what answers on"),
        (500, 1, "HTTP 500"),
    ],
)
def test_a_daemon_that_holds_the_store_is_asked(
    status: int, code: int, told: str, obskit: Obskit, tmp_path: Path
) -> None:
    with Daemon(status) as daemon, held(tmp_path):
        listen = daemon.base_url.removeprefix("http://")
        config = write_config(tmp_path, web={"listen": listen, "token": "horse"})
        result = obskit("outbox", "drop", "7", "-c", config)
    assert result.exit_code == code
    assert told in result.output
    (request,) = daemon.requests
    assert (request.method, request.path) == ("POST", "/-/outbox/7/drop")
    assert request.headers["authorization"] == "Bearer horse"


def test_a_daemon_that_does_not_answer_is_told(obskit: Obskit, tmp_path: Path) -> None:
    config = write_config(tmp_path, web={"listen": "127.0.0.1:1"})
    with held(tmp_path):
        result = obskit("outbox", "drop", "7", "-c", config)
    assert result.exit_code == 1
    assert result.stderr == "obskit: obskit watch holds the store but does not answer on 127.0.0.1:1: ConnectError\n"


# A test message


def test_a_test_reaches_every_destination_and_is_resolved(obskit: Obskit, tmp_path: Path) -> None:
    with FakeSlack() as slack, FakeWebhook() as hook, FakePagerDuty() as pager:
        sections = receiver(
            slack={"channel": "#ops", "app_token": TOKEN, "app_url": slack.api_url},
            webhook={"url": hook.url},
            pagerduty={"routing_key": ROUTING_KEY, "url": pager.url},
        )
        result = obskit("test", "receiver", "ops", "-c", write_config(tmp_path, **sections))
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "ok    ops/slack[0]: firing",
        "ok    ops/slack[0]: resolved",
        "ok    ops/pagerduty[0]: firing",
        "ok    ops/pagerduty[0]: resolved",
        "ok    ops/webhook[0]: firing",
        "ok    ops/webhook[0]: resolved",
    ]
    assert [body["status"] for body in hook.bodies] == ["firing", "resolved"]
    assert [incident.state for incident in pager.incidents] == ["resolved"]
    root = next(message for message in slack.messages() if message.thread_ts is None)
    assert root.edits == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("failure", "told"),
    [(Failure(status=403), "permanent"), (Failure(status=503), "server"), (Failure(drop=True), "network")],
    ids=["forbidden", "unavailable", "hung up"],
)
def test_a_destination_that_does_not_take_it_is_1_and_the_others_are_told_all_the_same(
    failure: Failure, told: str, obskit: Obskit, tmp_path: Path
) -> None:
    with FakeWebhook() as bad, FakeWebhook() as good:
        bad.break_down(failure)
        sections = receiver(webhook={"url": good.url})
        sections["receivers"][0]["webhook_configs"].insert(0, {"url": bad.url})
        result = obskit("test", "receiver", "ops", "-c", write_config(tmp_path, **sections))
    assert result.exit_code == 1
    assert result.stderr.startswith("WRONG ops/webhook[0]: firing: ")
    assert bad.url not in result.output
    assert [body["status"] for body in good.bodies] == ["firing", "resolved"]


def test_a_receiver_that_is_not_there_is_told_with_those_that_are(obskit: Obskit, tmp_path: Path) -> None:
    config = write_config(tmp_path, **receiver(webhook={"url": "http://127.0.0.1:1/"}))
    result = obskit("test", "receiver", "opps", "-c", config)
    assert result.exit_code == 1
    assert result.stderr == 'obskit: no receiver is called "opps" (did you mean "ops"?); receivers: ops\n'


def test_a_receiver_without_a_destination_is_told(obskit: Obskit, tmp_path: Path) -> None:
    result = obskit("test", "receiver", "ops", "-c", write_config(tmp_path, **receiver()))
    assert result.exit_code == 1
    assert result.stderr == 'obskit: the receiver "ops" has no destination: nobody would hear of anything sent to it\n'


def test_nothing_is_left_running(obskit: Obskit, config: Path) -> None:
    before = threading.active_count()
    obskit("test", "receiver", "console", "-c", config)
    watch_once(config)
    assert threading.active_count() <= before + 1
