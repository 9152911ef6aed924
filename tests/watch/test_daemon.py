"""The daemon in this process: started, reloaded, stopped, looked at, and asked once."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

import pytest

from obskit.errors import ConfigError, ObskitError, StoreLocked
from obskit.model.telemetry import REGISTRY
from obskit.outbound import httpx
from obskit.store.database import Database
from obskit.testing.clock import FakeClock, run
from obskit.testing.webhook import FakeWebhook
from obskit.watch import Daemon, Options
from obskit.watch.parts import sources_of
from obskit.web.server import address_of, bind
from tests.watch.house import configured, running, say, webhook, write

RELOAD_OK = "obskit_config_last_reload_successful"


def open_files(folder: Path) -> list[str]:
    """What this process has open in the folder."""
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [link for link in links if link.startswith(str(folder))]


# From a signal to a message


def test_a_line_in_a_log_becomes_a_message_and_its_end_another(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock, hook: FakeWebhook) -> None:
        async with running(configured(tmp_path, **webhook(hook.url)), clock) as daemon:
            say(tmp_path, "all is well", "boom: no space left")
            await clock.sleep(5)
            assert [alert.labels["alertname"] for alert in daemon.overview().firing] == ["Errors"]
            await clock.sleep(25)
            assert daemon.overview().firing == ()

    with FakeWebhook() as hook:
        clock = FakeClock()
        run(scenario(clock, hook), clock)
    assert [body["status"] for body in hook.bodies] == ["firing", "resolved"]
    assert hook.bodies[0]["commonAnnotations"]["summary"] == "shop breaks"


def test_what_was_decided_before_a_stop_is_delivered_before_it_ends(tmp_path: Path) -> None:
    """The receiver hears it even when the stop comes right behind the decision."""

    async def scenario(clock: FakeClock, hook: FakeWebhook) -> None:
        async with running(configured(tmp_path, **webhook(hook.url)), clock) as daemon:
            say(tmp_path, "boom")
            while not daemon.overview().firing:
                await clock.sleep(0.05)
            await clock.sleep(0.05)

    with FakeWebhook() as hook:
        clock = FakeClock()
        run(scenario(clock, hook), clock)
    assert [body["status"] for body in hook.bodies] == ["firing"]


def test_after_a_stop_nothing_is_left_open(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        async with running(configured(tmp_path), clock):
            assert open_files(tmp_path / "data")
        assert open_files(tmp_path) == []
        await Database.open(tmp_path / "data").close()

    clock = FakeClock()
    run(scenario(clock), clock)


# Start


async def started_and_closed(daemon: Daemon) -> None:
    await daemon.start()
    await daemon.close()


def test_a_port_that_is_taken_leaves_nothing_open(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        config = configured(tmp_path)
        with bind("127.0.0.1", 0) as taken, pytest.raises(ConfigError, match="cannot listen"):
            await Daemon(config, clock, Options(listen=address_of(taken))).start()
        assert open_files(tmp_path) == []
        await started_and_closed(Daemon(config, clock))

    clock = FakeClock()
    run(scenario(clock), clock)


def test_a_store_that_another_process_writes_is_refused_in_words(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        config = configured(tmp_path)
        other = Database.open(config.store.path)
        with pytest.raises(StoreLocked, match="in use by another `obskit watch`"):
            await Daemon(config, clock).start()
        await other.close()
        await started_and_closed(Daemon(config, clock))
        assert open_files(tmp_path) == []

    clock = FakeClock()
    run(scenario(clock), clock)


def test_a_store_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    clock = FakeClock()
    with pytest.raises(ObskitError, match="cannot make the store's folder"):
        run(Daemon(configured(tmp_path), clock).start(), clock)


def test_a_daemon_that_was_never_run_can_be_closed(tmp_path: Path) -> None:
    clock = FakeClock()
    run(started_and_closed(Daemon(configured(tmp_path), clock)), clock)


def test_it_says_when_nothing_is_collected_and_nobody_is_called(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(clock: FakeClock) -> None:
        async with running(configured(tmp_path, collectors=[]), clock):
            pass

    clock = FakeClock()
    with caplog.at_level(logging.INFO, "obskit"):
        run(scenario(clock), clock)
    said = {(record.levelname, record.getMessage()) for record in caplog.records}
    assert (
        "WARNING",
        "nothing is collected but obskit's own metrics: the config has no collectors, no scrape_configs",
    ) in said
    assert ("INFO", "messages go to standard output alone: the config has no other receiver") in said


def test_it_says_neither_when_there_are_both(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(clock: FakeClock) -> None:
        async with running(configured(tmp_path, **webhook("http://127.0.0.1:1/")), clock):
            pass

    clock = FakeClock()
    with caplog.at_level(logging.INFO, "obskit"):
        run(scenario(clock), clock)
    assert "standard output" not in caplog.text
    assert "nothing is collected" not in caplog.text


def test_it_tells_which_of_its_owners_rules_are_blind(tmp_path: Path) -> None:
    text = (
        "groups: [{name: x, rules: [{alert: A, expr: obskit_build_inf > 5}, {alert: B, expr: obskit_build_info > 5}]}]"
    )
    (tmp_path / "own.yaml").write_text(text)

    async def scenario(clock: FakeClock) -> None:
        async with running(configured(tmp_path, rule_files=["own.yaml"], rule_packs=["host"]), clock) as daemon:
            await clock.sleep(200)
            assert daemon.overview().blind_rules == ()
            await clock.sleep(110)
            (blind,) = daemon.overview().blind_rules
            assert blind.source == "own.yaml:A"
            assert blind.reason == 'there is no metric "obskit_build_inf" (did you mean "obskit_build_info"?)'

    clock = FakeClock()
    run(scenario(clock), clock)


# The server


def test_it_is_ready_while_it_runs_and_not_before_or_after(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        daemon = Daemon(configured(tmp_path), clock)
        await daemon.start()
        assert daemon.health.waiting == {"starting"}
        stop = asyncio.Event()
        task = asyncio.create_task(daemon.run(stop))
        await clock.sleep(1)
        async with httpx.AsyncClient(base_url=f"http://{daemon.address}") as client:
            assert (await client.get("/readyz")).status_code == 200
            assert "targets   2 of 2 up" in (await client.get("/")).text
            assert 'obskit_collector_up{collector="file"' in (await client.get("/metrics")).text
        stop.set()
        assert await task
        await daemon.close()
        assert daemon.health.waiting == {"stopping"}

    clock = FakeClock()
    run(scenario(clock), clock)


def test_a_loop_that_ends_by_itself_ends_the_daemon(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(clock: FakeClock) -> bool:
        daemon = Daemon(configured(tmp_path), clock)
        await daemon.start()
        task = asyncio.create_task(daemon.run(asyncio.Event()))
        await clock.sleep(1)
        daemon._tasks["rules"].cancel()
        well = await task
        await daemon.close()
        return well

    clock = FakeClock()
    assert run(scenario(clock), clock) is False
    assert "a loop ended by itself: loop=rules" in caplog.text
    assert open_files(tmp_path) == []


def test_systemd_is_told_of_every_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "20000000")

        async def scenario(clock: FakeClock) -> None:
            async with running(configured(tmp_path), clock) as daemon:
                await clock.sleep(11)
                await daemon.reload()

        clock = FakeClock()
        run(scenario(clock), clock)
        said = [systemd.recv(1000).decode() for _ in range(5)]
    assert said[0] == "READY=1\nSTATUS=1 collectors, 1 rules"
    assert said[1] == "WATCHDOG=1"
    assert said[2].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert said[3:] == ["READY=1", "STOPPING=1"]


# Reload


def test_a_good_change_of_a_file_is_taken_up_by_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(clock: FakeClock, hook: FakeWebhook) -> None:
        async with running(configured(tmp_path), clock) as daemon:
            await clock.sleep(3)
            write(tmp_path, **webhook(hook.url), collectors=["host"])
            await clock.sleep(10)
            assert {target.collector for target in daemon.overview().targets} == {"host", "obskit"}
            assert [receiver.name for receiver in daemon.config.receivers] == ["ops"]

    with FakeWebhook() as hook, caplog.at_level(logging.INFO, "obskit"):
        clock = FakeClock()
        run(scenario(clock, hook), clock)
    assert caplog.text.count("config reloaded: collectors=1 rules=1") == 1
    assert REGISTRY.get_sample_value(RELOAD_OK) == 1


def test_a_bad_change_is_told_without_its_secrets_and_the_old_config_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(clock: FakeClock, hook: FakeWebhook) -> tuple[str, str]:
        async with running(configured(tmp_path, **webhook(hook.url)), clock) as daemon:
            write(tmp_path, **webhook("ftp://user:hunter2hunter2@example.com/"))
            answer = await daemon.reload()
            assert REGISTRY.get_sample_value(RELOAD_OK) == 0
            say(tmp_path, "boom")
            await clock.sleep(5)
            assert len(hook.bodies) == 1
            (tmp_path / "obskit.yaml").write_text("collectors: [")
            broken = await daemon.reload()
            write(tmp_path, **webhook(hook.url))
            assert await daemon.reload() == ""
            return answer, broken

    with FakeWebhook() as hook:
        clock = FakeClock()
        answer, broken = run(scenario(clock, hook), clock)
    assert "receivers[0].webhook_configs[0].url: must be a URL that begins with http:// or https://" in answer
    assert "yaml-syntax" in broken
    assert "hunter2" not in answer + caplog.text
    assert "config not taken, the old one goes on: problems=1" in caplog.text
    assert REGISTRY.get_sample_value(RELOAD_OK) == 1


def test_a_file_that_only_the_refused_config_named_is_watched_until_it_is_mended(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        async with running(configured(tmp_path), clock) as daemon:
            (tmp_path / "more.yaml").write_text("groups: [{name: x, rules: [{alert: A, expr: '1 +'}]}]")
            write(tmp_path, rule_files=["rules.yaml", "more.yaml"])
            await clock.sleep(10)
            assert daemon.config.rule_count == 1
            (tmp_path / "more.yaml").write_text("groups: [{name: x, rules: [{alert: A, expr: 'vector(1)'}]}]")
            await clock.sleep(10)
            assert daemon.config.rule_count == 2

    clock = FakeClock()
    run(scenario(clock), clock)


def test_a_reload_at_the_moment_of_a_stop_leaves_nothing_running(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> list[str]:
        daemon, stop = Daemon(configured(tmp_path), clock), asyncio.Event()
        await daemon.start()
        running = asyncio.create_task(daemon.run(stop))
        await clock.sleep(0.5)
        write(tmp_path, collectors=[{"file": {"paths": ["app.log"], "labels": {"app": "other"}}}])
        reloads = [asyncio.create_task(daemon.reload()) for _ in range(2)]
        await clock.sleep(0)
        stop.set()
        await running
        await daemon.close()
        await asyncio.gather(*reloads)
        return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("collector ")]

    clock = FakeClock()
    assert run(scenario(clock), clock) == []


def test_what_a_reload_cannot_change_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(clock: FakeClock) -> None:
        async with running(configured(tmp_path), clock) as daemon:
            write(
                tmp_path,
                web={"listen": "127.0.0.1:1"},
                **{"global": {"external_labels": {"site": "b"}, "query_timeout": "1m"}},
            )
            assert await daemon.reload() == ""

    clock = FakeClock()
    run(scenario(clock), clock)
    assert "this change needs a restart: section=web" in caplog.text
    assert "this change needs a restart: section=global key=external_labels" in caplog.text
    assert "this change needs a restart: section=global key=query_timeout" in caplog.text


# Once, and trying


def test_once_reads_decides_delivers_and_is_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def once(clock: FakeClock, url: str) -> bool:
        daemon = Daemon(configured(tmp_path, **webhook(url)), clock)
        await daemon.start()
        try:
            return await daemon.once()
        finally:
            await daemon.close()

    say(tmp_path, "boom")
    with FakeWebhook() as hook, caplog.at_level(logging.INFO, "obskit"):
        clock = FakeClock()
        assert run(once(clock, hook.url), clock)
        assert run(once(clock, hook.url), clock)
        assert [body["status"] for body in hook.bodies] == ["firing"]
        clock.advance(20)  # the line has left the rule's window, and is not read again
        assert run(once(clock, hook.url), clock)
    assert [body["status"] for body in hook.bodies] == ["firing", "resolved"]
    assert "once: collectors=2 failed=0 firing=1 undelivered=0" in caplog.text
    assert open_files(tmp_path) == []


def test_once_waits_for_a_receiver_that_answers_late_and_says_so_when_it_never_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def once(clock: FakeClock) -> bool:
        daemon = Daemon(configured(tmp_path, **webhook("http://127.0.0.1:1/")), clock)
        await daemon.start()
        began_s = clock.monotonic()
        try:
            return await daemon.once()
        finally:
            assert 30 <= clock.monotonic() - began_s < 60
            await daemon.close()

    say(tmp_path, "boom")
    clock = FakeClock()
    with caplog.at_level(logging.INFO, "obskit"):
        assert not run(once(clock), clock)
    assert "undelivered=1" in caplog.text


def test_once_says_when_a_collector_could_not_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def once(clock: FakeClock) -> bool:
        config = configured(tmp_path, collectors=[{"redis": {"url": "redis://127.0.0.1:1/0", "lists": ["jobs"]}}])
        daemon = Daemon(config, clock)
        await daemon.start()
        try:
            return await daemon.once()
        finally:
            await daemon.close()

    clock = FakeClock()
    with caplog.at_level(logging.INFO, "obskit"):
        assert not run(once(clock), clock)
    assert "once: collectors=2 failed=1 firing=0 undelivered=0" in caplog.text


def test_a_dry_run_prints_for_whom_and_leaves_no_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(clock: FakeClock, hook: FakeWebhook) -> None:
        config = configured(tmp_path, **webhook(hook.url))
        async with running(config, clock, Options(dry_run=True)):
            say(tmp_path, "boom")
            await clock.sleep(5)

    with FakeWebhook() as hook:
        clock = FakeClock()
        run(scenario(clock, hook), clock)
    assert hook.bodies == []
    assert capsys.readouterr().out.startswith("[ops/webhook[0]] FIRING critical: Errors")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("dry_run", [False, True])
def test_cold_storage_is_taken_by_a_daemon_and_left_alone_by_a_dry_run(tmp_path: Path, *, dry_run: bool) -> None:
    async def scenario(clock: FakeClock) -> None:
        (tmp_path / "cold").mkdir()
        store = {"path": str(tmp_path / "data"), "cold": {"folder": str(tmp_path / "cold")}}
        async with running(configured(tmp_path, store=store), clock, Options(dry_run=dry_run)):
            await clock.sleep(5)

    clock = FakeClock()
    run(scenario(clock), clock)
    assert (tmp_path / "cold" / "manifest.json").exists() != dry_run


# Parts


def test_our_own_metrics_are_always_collected_and_once_only(tmp_path: Path) -> None:
    assert [source.kind for source in sources_of(configured(tmp_path, collectors=["host"]))] == ["host", "obskit"]
    own = [{"obskit": {"every": "5s"}}]
    (source,) = sources_of(configured(tmp_path, collectors=own))
    assert (source.kind, source.settings.every) == ("obskit", 5000)
