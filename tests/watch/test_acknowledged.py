"""There and back: an alert opens an incident at an on-call service, and who acknowledges it there is known here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from obskit.outbound import httpx
from obskit.store.acks import AckState, read_acks
from obskit.store.database import Database
from obskit.testing.clock import FakeClock, run
from obskit.testing.pagerduty import API_KEY, ROUTING_KEY, WEBHOOK_SECRET, FakePagerDuty, signed
from obskit.testing.pagerduty import webhook as told_by
from obskit.testing.slack import TOKEN, FakeSlack
from obskit.watch import Daemon
from tests.watch.house import configured, running, write

FOREVER = {
    "groups": [{"name": "g", "rules": [{"alert": "Here", "expr": "vector(1)", "labels": {"severity": "critical"}}]}]
}


def sections(server: FakePagerDuty, secret: str = WEBHOOK_SECRET) -> dict[str, Any]:
    settings = {"routing_key": ROUTING_KEY, "url": server.url, "webhook_secret": secret, "api_key": API_KEY}
    return {
        "web": {"listen": "127.0.0.1:0", "token": "horse"},
        "route": {"receiver": "ops", "group_wait": "0s", "group_interval": "1s"},
        "rule_files": ["forever.yaml"],
        "receivers": [{"name": "ops", "pagerduty_configs": [{**settings, "api_url": server.base_url}]}],
    }


async def hear(daemon: Daemon, body: bytes) -> int:
    async with httpx.AsyncClient() as http:
        url = f"http://{daemon.address}/hooks/pagerduty"
        return (await http.post(url, content=body, headers=signed(body, WEBHOOK_SECRET))).status_code


@pytest.fixture(autouse=True)
def _an_alert_that_never_ends(tmp_path: Path) -> None:
    (tmp_path / "forever.yaml").write_text(json.dumps(FOREVER))


def test_who_acknowledges_an_incident_is_noted_with_it(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock, server: FakePagerDuty) -> None:
        async with running(configured(tmp_path, **sections(server)), clock) as daemon:
            while not server.incidents:
                await clock.sleep(0.5)
            (incident,) = server.incidents
            assert await hear(daemon, told_by("incident.acknowledged", incident, with_key=False)) == 202
            database = Database.open_readonly(tmp_path / "data")
            ((found,),) = database.read("SELECT incident FROM alert_group")
            (row,) = read_acks(database, found)
            assert (row.state, row.by, row.where) == (AckState.ACKED, "Ann", "PagerDuty")
            await database.close()

    clock = FakeClock()
    with FakePagerDuty(clock) as server:
        run(scenario(clock, server), clock)


def test_who_acknowledges_an_incident_is_shown_in_the_channel(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock, server: FakePagerDuty, slack: FakeSlack) -> None:
        whole = sections(server)
        (receiver,) = whole["receivers"]
        channel = {"app_token": TOKEN, "channel": "#ops", "app_url": slack.api_url}
        whole["receivers"] = [receiver | {"slack_configs": [channel]}]
        async with running(configured(tmp_path, **whole), clock) as daemon:
            while not server.incidents or not slack.messages("ops"):
                await clock.sleep(0.5)
            assert await hear(daemon, told_by("incident.acknowledged", server.incidents[0])) == 202
            while "ACKED" not in slack.messages("ops")[0].text:
                await clock.sleep(0.5)
            (message,) = slack.messages("ops")
            assert "acked by Ann in PagerDuty" in str(message.blocks)

    clock = FakeClock()
    with FakePagerDuty(clock) as server, FakeSlack() as slack:
        run(scenario(clock, server, slack), clock)


def test_a_secret_that_is_mended_by_a_reload_loses_nothing(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock, server: FakePagerDuty) -> None:
        async with running(configured(tmp_path, **sections(server, "an-old-secret")), clock) as daemon:
            body = json.dumps({"event": {"event_type": "pagey.ping", "data": {}}}).encode()
            assert await hear(daemon, body) == 503
            write(tmp_path, **sections(server))
            assert await daemon.reload() == ""
            assert await hear(daemon, body) == 202

    clock = FakeClock()
    with FakePagerDuty(clock) as server:
        run(scenario(clock, server), clock)
