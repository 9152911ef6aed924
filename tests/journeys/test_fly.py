"""Fly.io, as a person meets it: what is written there is found here, once, whatever becomes of the daemon meanwhile."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from obskit.clock import SystemClock
from obskit.outbound import httpx
from obskit.testing.fly import FakeFly, shipped
from tests.journeys.daemon import Watch, eventually, obskit
from tests.journeys.fly_kills import LOGS_ALONE, everything_once, kill_while_it_reads, settings, stored
from tests.journeys.receivers import Receivers


@pytest.fixture
def fly() -> Iterator[FakeFly]:
    with FakeFly(SystemClock()) as server:
        server.app("shop")
        yield server


def test_lines_that_are_late_doubled_or_of_equal_times_come_once_over_kill_9(watch: Watch, fly: FakeFly) -> None:
    texts = kill_while_it_reads(watch, fly, lines=3_000, kills=3, dice=random.Random(5))
    assert everything_once(watch, texts), watch.log()


def test_a_line_an_exit_and_a_deploy_are_found_and_a_machine_that_is_down_is_told(
    watch: Watch, fly: FakeFly, receivers: Receivers
) -> None:
    watch.write(
        {
            "collectors": [settings(fly, machines_every="300ms", slow_every="300ms")],
            "rule_packs": ["fly", "fly-logs"],
            **receivers.config(),
        }
    )
    fly.machine("shop", "m1")
    watch.start()
    fly.write("shop", "[PR03] could not find a good candidate within 90 attempts", provider="proxy", level="error")
    fly.exit("m1", exit_code=1, restarting=True, restart_count=4)
    fly.release("shop", 42)
    assert eventually(lambda: receivers.states("FlyMachineCrashLoop")["webhook"] == "firing", 90), watch.log()
    assert eventually(lambda: receivers.states("FlyNoMachineForRequests")["webhook"] == "firing", 90), watch.log()
    assert [line for line in stored(watch) if "PR03" in line]
    watch.stop()
    assert watch.messages("error") == []


def push_to(watch: Watch, payloads: list[Any] | None, secret: str = "shipper-secret") -> httpx.Response:
    """As Vector does: a batch, or (None) its health check."""
    url, headers = f"http://127.0.0.1:{watch.port}/in/fly", {"Authorization": f"Bearer {secret}"}
    method = "HEAD" if payloads is None else "POST"
    return httpx.request(method, url, json=payloads, headers=headers, timeout=10, trust_env=False)


def test_what_the_shipper_pushes_is_stored_when_it_is_acknowledged(watch: Watch, fly: FakeFly) -> None:
    push = {"logs": "push", "secret": "shipper-secret", "token": None, **LOGS_ALONE}
    watch.write({"collectors": [settings(fly, **push)], "rule_packs": []})
    watch.start()
    assert push_to(watch, None).status_code == 200
    assert push_to(watch, [], "wrong").status_code == 401
    lines = [shipped("shop", f"line {number}", SystemClock().now_ns() + number) for number in range(50)]
    assert push_to(watch, lines).status_code == 200
    watch.kill()
    assert stored(watch) == {f"line {number}": 1 for number in range(50)}
    watch.start()
    assert push_to(watch, lines[10:]).status_code == 200
    assert stored(watch) == {f"line {number}": 1 for number in range(50)}


def test_one_read_shows_what_is_there_and_the_doctor_what_is_missing(tmp_path: Path, fly: FakeFly) -> None:
    fly.machine("shop", "m1")
    fly.write("shop", "hello from Fly")
    config = tmp_path / "obskit.yaml"
    config.write_text(json.dumps({"collectors": [settings(fly)]}))
    shown = obskit("collectors", "run", "fly", folder=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "hello from Fly" in shown.stdout
    assert "fly_machine_state" in shown.stdout
    config.write_text(json.dumps({"collectors": [settings(fly, token="fm2_wrong")]}))
    doctor = obskit("collectors", "run", "fly", "--doctor", folder=tmp_path)
    assert doctor.returncode == 1
    assert "fly tokens create readonly acme" in doctor.stdout
    assert "fm2_wrong" not in doctor.stdout + doctor.stderr
