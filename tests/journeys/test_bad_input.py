"""Bad input, each with a clear word and no loss: a config that is wrong, pages that are garbage, receivers that fail."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

from obskit.testing.http import Failure
from tests.journeys.daemon import Watch, eventually, obskit
from tests.journeys.receivers import GaugePage, Receivers
from tests.journeys.setting import one_page, rule, write_rules
from tests.servers import RedisServer

GOOD: Final = "rule_files: [rules.yaml]\nreceivers:\n  - name: me\n    console_configs: [{}]\n"
RULES: Final = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: EXPR\n    labels: {severity: page}\n"
WRONG_PASSWORD: Final = "hunter2-is-not-the-one"


@pytest.mark.parametrize(
    ("config", "rules", "told", "frame"),
    [
        (GOOD + "route: [\n", "up == 0", "obskit.yaml:5:8  error  yaml-syntax", "route: ["),
        (GOOD.replace("rule_files", "rule_fils"), "up == 0", 'obskit.yaml:1:1  error  unknown-key', "rule_fils: [rules.yaml]"),
        (GOOD.replace("rules.yaml", "rule.yaml"), "up == 0", "obskit.yaml:1:14  error  file-missing", "rule_files: [rule.yaml]"),
        (GOOD + "route:\n  receiver: me\n  routes:\n    - matchers: ['a=~\"(\"']\n", "up == 0", "obskit.yaml:8:", "matchers: ['a=~\"(\"']"),
        (GOOD, "sum(rate(x[5m])", "rules.yaml:5:", "expr: sum(rate(x[5m])"),
        (GOOD, 'up{job=~"("} == 0', "rules.yaml:5:", 'expr: up{job=~"("} == 0'),
    ],
    ids=["broken YAML", "unknown key", "rule file missing", "bad regex of a route", "bad PromQL", "bad regex of a rule"],
)  # fmt: skip
def test_a_config_that_is_wrong_is_shown_with_its_place(
    tmp_path: Path, config: str, rules: str, told: str, frame: str
) -> None:
    (tmp_path / "obskit.yaml").write_text(config)
    (tmp_path / "rules.yaml").write_text(RULES.replace("EXPR", rules))
    check = obskit("check", "obskit.yaml", folder=tmp_path)
    watch = obskit("watch", "--listen", "127.0.0.1:0", folder=tmp_path)
    assert (check.returncode, watch.returncode) == (1, 1), check.stdout + watch.stderr
    for output in (check.stdout, watch.stderr):
        assert told in output
        assert frame in output
        assert "^" in output
        assert "Traceback" not in output
    assert not (tmp_path / "obskit-data").exists()


@pytest.fixture
def down(watch: Watch, page: GaugePage, receivers: Receivers) -> Watch:
    """Configured with `Down` (the page cannot be read) and `A` (a > 0), and with nothing wrong yet."""
    page.values["a"] = 0
    write_rules(watch.folder, rule("A", "a > 0"), rule("Down", "up == 0"))
    watch.write(one_page(page, receivers))
    return watch


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        ("a 1\nb{ 2\n", "line 2"),
        ('a{x="\x00\xff"} one\n', "line 1"),
        ("<html><body>502 Bad Gateway</body></html>", "line 1"),
    ],
)
def test_a_page_of_garbage_is_a_target_that_is_down(
    down: Watch, page: GaugePage, receivers: Receivers, garbage: str, reason: str
) -> None:
    down.start()
    assert eventually(lambda: down.metric("obskit_store_samples_total"))
    page.break_down(Failure(200, body=garbage))
    assert eventually(lambda: receivers.states("Down")["webhook"] == "firing")
    assert any("reason=bad_data" in message and reason in message for message in down.messages("warning")), down.log()

    page.repair()
    page.values["a"] = 1
    assert eventually(lambda: receivers.states("Down")["webhook"] == "resolved")
    assert eventually(lambda: receivers.all_say("A", "firing"))
    down.stop()


class HugePage(BaseHTTPRequestHandler):
    """A page of a hundred megabytes, which does not say so beforehand."""

    scrapes = 0
    piece = b"".join(b'm{n="%08d"} 1\n' % number for number in range(60_000))

    def do_GET(self) -> None:
        HugePage.scrapes += 1
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        with suppress(OSError):
            for _ in range(100_000_000 // len(self.piece) + 1):
                self.wfile.write(self.piece)

    def log_message(self, *_: object) -> None:
        """The test counts."""


@pytest.fixture
def huge() -> Iterator[str]:
    """The target of HugePage."""
    with ThreadingHTTPServer(("127.0.0.1", 0), HugePage) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_page_of_a_hundred_megabytes_is_refused_in_bounded_memory(
    down: Watch, page: GaugePage, receivers: Receivers, huge: str
) -> None:
    config = one_page(page, receivers)
    config["scrape_configs"].append(
        {"job_name": "huge", "scrape_interval": "2s", "static_configs": [{"targets": [huge]}]}
    )
    down.write(config)
    down.start()
    assert eventually(lambda: receivers.states("Down")["webhook"] == "firing", 30)
    assert any("body_size_limit" in message for message in down.messages("warning")), down.log()
    page.values["a"] = 1
    assert eventually(lambda: receivers.states("A")["webhook"] == "firing")
    assert eventually(lambda: HugePage.scrapes >= 4)
    assert down.rss_mb("VmHWM") < 150
    down.stop()


@pytest.mark.server("redis-server")
def test_a_wrong_password_of_redis_is_told_and_never_shown(
    watch: Watch, page: GaugePage, receivers: Receivers, tmp_path: Path
) -> None:
    redis = RedisServer(tmp_path, password="right-one-0123456789")
    try:
        url = f"redis://:{WRONG_PASSWORD}@127.0.0.1:{redis.port}/0"
        write_rules(watch.folder, rule("RedisDown", "redis_up == 0"))
        own = {"obskit": {"every": "200ms"}}
        watch.write(
            one_page(page, receivers, collectors=[own, {"redis": {"url": url, "lists": ["jobs"], "every": "1s"}}])
        )
        watch.start()
        assert eventually(lambda: receivers.all_say("RedisDown", "firing")), receivers.states("RedisDown")
        assert any("reason=auth" in message for message in watch.messages("warning")), watch.log()
        seen = watch.get("/metrics").text + watch.get("/").text
        for command in (["status"], ["collectors", "run", "redis"], ["check"], ["alerts"], ["outbox", "list"]):
            run = obskit(*command, folder=watch.folder)
            seen += run.stdout + run.stderr
        watch.stop()
    finally:
        redis.stop()
    told = b"".join(request.body for server in receivers.servers for request in server.requests).decode()
    stored = b"".join(file.read_bytes() for file in (watch.folder / "data").iterdir()).decode("latin-1")
    assert WRONG_PASSWORD not in seen + told + stored + watch.log()


@pytest.mark.server("redis-server")
def test_a_redis_that_goes_away_and_comes_back(
    watch: Watch, page: GaugePage, receivers: Receivers, redis_server: RedisServer
) -> None:
    write_rules(watch.folder, rule("RedisDown", "redis_up == 0"))
    own = {"obskit": {"every": "200ms"}}
    redis = {"redis": {"url": redis_server.url, "lists": ["jobs"], "every": "500ms"}}
    watch.write(one_page(page, receivers, collectors=[own, redis]))
    watch.start()
    redis_server.stop()
    assert eventually(lambda: receivers.states("RedisDown")["webhook"] == "firing")
    assert any("reason=network" in message for message in watch.messages("warning")), watch.log()
    redis_server.start()
    assert eventually(lambda: receivers.states("RedisDown")["webhook"] == "resolved")
    watch.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 megabytes, for the store."""
    folder = tmp_path / "data"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> None:
    """Leave no byte free."""
    with (folder / "ballast").open("ab", buffering=0) as ballast, suppress(OSError):
        while ballast.write(b"x" * 65_536):
            pass


def test_a_full_disk_does_not_stop_alerting_and_passes_without_a_restart(
    small_disk: Path, down: Watch, page: GaugePage, receivers: Receivers
) -> None:
    down.start()
    assert eventually(lambda: down.metric("obskit_store_samples_total"))
    fill(small_disk)
    assert eventually(lambda: down.metric("obskit_store_disk_full") == 1)
    page.values["a"] = 1
    assert eventually(lambda: receivers.all_say("A", "firing")), receivers.states("A")
    assert eventually(lambda: receivers.states("StoreDiskFull")["webhook"] == "firing")
    assert sum("no space left: samples are kept" in message for message in down.messages("warning")) == 1

    (small_disk / "ballast").unlink()
    page.values["a"] = 0
    assert eventually(lambda: down.metric("obskit_store_disk_full") == 0)
    assert eventually(lambda: receivers.all_say("A", "resolved")), receivers.states("A")
    assert eventually(lambda: receivers.states("StoreDiskFull")["webhook"] == "resolved")
    down.stop()


def test_what_a_disk_without_any_room_held_back_is_decided_once_there_is_room(
    small_disk: Path, down: Watch, page: GaugePage, receivers: Receivers
) -> None:
    down.start()
    assert eventually(lambda: down.metric("obskit_store_samples_total"))
    fill(small_disk)
    assert eventually(lambda: not (small_disk / "reserve").exists())
    fill(small_disk)  # what was held back for alerting is gone too
    page.values["a"] = 1
    assert eventually(lambda: any("cannot be saved" in message for message in down.messages("error"))), down.log()
    assert receivers.posted("A") == []
    (small_disk / "ballast").unlink()
    assert eventually(lambda: receivers.all_say("A", "firing")), receivers.states("A")
    down.stop()
    with down.store() as store:
        assert store.read("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize(
    "failure",
    [
        Failure(429, "ratelimited", retry_after=2),
        Failure(500, body="oops"),
        Failure(200, "internal_error"),
        Failure(hang_s=5, drop=True),
    ],
    ids=["429", "500", "internal_error", "time-out"],
)
def test_a_slack_that_fails_gets_its_message_when_it_is_back(
    down: Watch, page: GaugePage, receivers: Receivers, failure: Failure
) -> None:
    receivers.slack.break_down(failure)
    page.values["a"] = 1
    down.start()
    assert eventually(lambda: receivers.states("A")["webhook"] == "firing")
    assert eventually(lambda: len(receivers.slack.requests) >= 2)
    assert receivers.roots("A") == []
    receivers.slack.repair()
    assert eventually(lambda: receivers.all_say("A", "firing"), 25), receivers.states("A")
    assert len(receivers.roots("A")) == 1
    assert sum("destination fails" in message for message in down.messages("warning")) == 1
    down.stop()


def test_a_channel_that_is_not_there_is_told_elsewhere_and_its_message_waits_until_somebody_mends_it(
    down: Watch, page: GaugePage, receivers: Receivers
) -> None:
    write_rules(down.folder, rule("A", "a > 0"), rule("Stuck", "obskit_outbox_oldest_age_seconds > 2"))
    receivers.slack.break_down(Failure(200, "channel_not_found"))
    page.values["a"] = 1
    down.start()
    assert eventually(lambda: receivers.states("Stuck")["webhook"] == "firing", 30)
    assert any("channel_not_found" in message for message in down.messages("warning")), down.log()
    assert "channel_not_found" in obskit("outbox", "list", folder=down.folder).stdout

    receivers.slack.repair()
    assert obskit("outbox", "retry", "1", folder=down.folder).returncode == 0
    assert eventually(lambda: receivers.all_say("A", "firing")), receivers.states("A")
    down.stop()


def test_a_message_that_slack_will_never_take_is_given_up_and_told_elsewhere(
    down: Watch, page: GaugePage, receivers: Receivers
) -> None:
    receivers.slack.break_down(Failure(200, "invalid_blocks"))
    page.values["a"] = 1
    down.start()
    assert eventually(lambda: receivers.states("NotificationsUndelivered")["webhook"] == "firing", 30)
    assert len(receivers.slack.requests) >= 2  # once more in plain text
    assert "invalid_blocks" in obskit("outbox", "list", "--state", "dead", folder=down.folder).stdout
    down.stop()
