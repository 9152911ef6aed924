"""How `obskit watch` starts, takes changes and ends: by signals, by files, by its flags, and beside another one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Final

import pytest

from obskit.testing.http import Failure
from tests.journeys.daemon import ENVIRONMENT, Watch, eventually, obskit, pause, replace
from tests.journeys.receivers import GaugePage, Receivers
from tests.journeys.setting import one_page, rule, write_rules
from tests.servers import free_port

TOKEN: Final = "a-token-of-ours-0123"


@pytest.fixture
def ready(watch: Watch, page: GaugePage, receivers: Receivers) -> Watch:
    """Configured with one rule, `a > 0`, and with nothing wrong yet."""
    page.values.update(a=0, b=1)
    write_rules(watch.folder, rule("A", "a > 0"))
    watch.write(one_page(page, receivers))
    return watch


def statuses(receivers: Receivers, alertname: str) -> list[str]:
    return [body["status"] for body in receivers.posted(alertname)]


def test_once_reads_evaluates_delivers_and_ends(ready: Watch, page: GaugePage, receivers: Receivers) -> None:
    page.values["a"] = 1
    run = obskit("watch", "--once", folder=ready.folder)
    assert run.returncode == 0, run.stderr
    assert receivers.all_say("A", "firing"), receivers.states("A")


def test_once_fails_when_a_source_cannot_be_read(ready: Watch, page: GaugePage, receivers: Receivers) -> None:
    page.break_down(Failure(500))
    run = obskit("watch", "--once", folder=ready.folder)
    assert run.returncode == 1
    assert "500" in run.stderr


def test_dry_run_prints_and_sends_and_keeps_nothing(ready: Watch, page: GaugePage, receivers: Receivers) -> None:
    page.values["a"] = 1
    ready.start("--dry-run", "--listen", f"127.0.0.1:{ready.port}")
    assert eventually(lambda: ready.stdout.read_text().count("FIRING") >= 3), ready.log()
    ready.stop()
    assert [server.requests for server in receivers.servers] == [[], [], []]
    assert not (ready.folder / "data").exists()


def test_sighup_takes_new_rules_and_keeps_what_fires(ready: Watch, page: GaugePage, receivers: Receivers) -> None:
    page.values["a"] = 1
    ready.start()
    assert eventually(lambda: receivers.all_say("A", "firing"))

    write_rules(ready.folder, rule("A", "a > 0"), rule("B", "b > 0"))
    ready.signal(signal.SIGHUP)
    assert eventually(lambda: receivers.all_say("B", "firing"))
    assert statuses(receivers, "A") == ["firing"]
    page.values["a"] = 0
    assert eventually(lambda: receivers.all_say("A", "resolved"))
    assert statuses(receivers, "A") == ["firing", "resolved"]
    ready.stop()


def test_a_terminal_that_is_closed_ends_it(ready: Watch) -> None:
    shell, terminal = os.openpty()
    program = (sys.executable, "-c", "from obskit.cli import run; run()")
    process = subprocess.Popen(
        ["setsid", "--ctty", *program, "watch", "--config", str(ready.config)],
        env=ENVIRONMENT,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    try:
        assert eventually(ready.ready)
        os.close(shell)
        assert eventually(lambda: process.poll() is not None)
    finally:
        process.kill()
        process.wait()


def test_a_config_that_is_wrong_is_refused_and_told_and_the_old_one_goes_on(
    ready: Watch, page: GaugePage, receivers: Receivers
) -> None:
    good = ready.config.read_text()
    ready.start()
    replace(ready.config, good.replace('"rule_files"', '"rule_fils"'))
    ready.signal(signal.SIGHUP)
    assert eventually(lambda: receivers.states("ConfigReloadFailed")["webhook"] == "firing", 25)
    assert any('did you mean "rule_files"' in message for message in ready.messages("error")), ready.log()

    page.values["a"] = 1
    assert eventually(lambda: receivers.all_say("A", "firing"))
    replace(ready.config, good)
    ready.signal(signal.SIGHUP)
    assert eventually(lambda: receivers.states("ConfigReloadFailed")["webhook"] == "resolved", 25)
    assert statuses(receivers, "A") == ["firing"]
    ready.stop()


def test_a_changed_rule_file_is_taken_without_being_told(ready: Watch, receivers: Receivers) -> None:
    ready.start()
    pause(0.5)
    write_rules(ready.folder, rule("B", "b > 0"))
    assert eventually(lambda: receivers.all_say("B", "firing"))
    ready.stop()


def test_sigterm_ends_within_ten_seconds_of_a_hanging_receiver_and_the_message_goes_out_after_the_next_start(
    ready: Watch, page: GaugePage, receivers: Receivers
) -> None:
    ready.write(one_page(page, receivers) | receivers.config("30s"))
    receivers.break_down(Failure(drop=True, hang_s=30))
    page.values["a"] = 1
    ready.start()
    assert eventually(lambda: all(server.requests for server in receivers.servers))
    assert ready.stop() < 10
    assert receivers.hook.bodies == []

    receivers.repair()
    ready.start()
    assert eventually(lambda: receivers.all_say("A", "firing"))
    assert statuses(receivers, "A") == ["firing"]
    ready.stop()


def test_a_second_daemon_on_the_same_store_is_refused(ready: Watch) -> None:
    ready.start()
    run = obskit("watch", "--listen", "127.0.0.1:0", folder=ready.folder)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].endswith("data is in use by another `obskit watch`")
    assert ready.ready()
    ready.stop()


def test_a_port_that_is_taken_is_named(ready: Watch, page: GaugePage) -> None:
    taken = page.target.rpartition(":")[2]
    run = obskit("watch", "--listen", f"127.0.0.1:{taken}", folder=ready.folder)
    assert run.returncode == 1
    assert f"cannot listen on 127.0.0.1:{taken}: Address already in use" in run.stderr
    assert "Traceback" not in run.stderr


def test_it_tells_how_it_is_over_http(ready: Watch) -> None:
    ready.start()
    assert ready.get("/healthz").text == "ok\n"
    assert ready.get("/readyz").text == "ready\n"
    assert eventually(lambda: ready.metric("obskit_store_samples_total"))
    assert ready.metric("obskit_config_last_reload_successful") == 1
    assert "rules" in ready.get("/").text
    ready.stop()


@pytest.mark.parametrize("flags", [(), ("--listen", "0.0.0.0:0")])
def test_listening_outside_needs_a_token(
    ready: Watch, page: GaugePage, receivers: Receivers, flags: tuple[str, ...]
) -> None:
    if not flags:
        ready.write(one_page(page, receivers, web={"listen": f"0.0.0.0:{free_port()}"}))
    run = obskit("watch", *flags, folder=ready.folder)
    assert run.returncode in (1, 2)
    assert "can be reached from outside: give a token, or listen on 127.0.0.1" in run.stderr


def test_with_a_token_only_health_is_told_without_it(ready: Watch, page: GaugePage, receivers: Receivers) -> None:
    ready.write(one_page(page, receivers, web={"listen": f"0.0.0.0:{ready.port}", "token": TOKEN}))
    ready.start()
    answers = {path: ready.get(path).status_code for path in ("/healthz", "/readyz", "/metrics", "/", "/-/reload")}
    assert answers == {"/healthz": 200, "/readyz": 200, "/metrics": 401, "/": 401, "/-/reload": 401}
    assert ready.get("/metrics", Authorization=f"Bearer {TOKEN}").status_code == 200
    ready.stop()
    assert TOKEN not in ready.log()
