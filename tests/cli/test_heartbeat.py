"""`obskit heartbeat wrap`, as a shell runs it: the command is what counts, pings come beside."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from obskit.cli.wrapping import KEPT, Pinger, Tail
from obskit.testing.healthchecks import FakeHealthchecks
from obskit.testing.http import Failure

OBSKIT = [sys.executable, "-c", "from obskit.cli import run; run()"]
UUID = "6f1c9c1e-32a5-4d3b-9a51-1f7d0ad6a1de"


@pytest.fixture
def service() -> Iterator[FakeHealthchecks]:
    with FakeHealthchecks() as fake:
        yield fake


def wrap(*words: str, stdin: bytes = b"", folder: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OBSKIT_")}
    command = [*OBSKIT, "heartbeat", "wrap", *words]
    return subprocess.run(command, input=stdin, capture_output=True, check=False, cwd=folder, env=environment)


def test_it_pings_before_and_after_with_the_exit_status_and_the_output(service: FakeHealthchecks) -> None:
    script = "echo out; echo err >&2; cat; exit 3"
    done = wrap("--url", service.ping_url, "--", "sh", "-c", script, stdin=b"in \xff\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\nin \xff\n", b"err\n")
    start, end = service.pings
    assert (start.word, end.word) == ("start", "3")
    assert sorted(end.body.splitlines()) == [b"err", b"in \xff", b"out"]
    assert start.run == end.run != ""


def test_options_of_the_command_are_the_commands(service: FakeHealthchecks) -> None:
    done = wrap("--url", service.ping_url, "echo", "--name", "-c", "x", "--help")
    assert done.stdout == b"--name -c x --help\n"
    assert [ping.word for ping in service.pings] == ["start", "0"]


def test_a_large_output_passes_unchanged_and_its_end_is_kept(service: FakeHealthchecks) -> None:
    script = "i=0; while [ $i -lt 20000 ]; do echo line-$i; i=$((i+1)); done"
    done = wrap("--url", service.ping_url, "--", "sh", "-c", script)
    assert done.stdout == "".join(f"line-{n}\n" for n in range(20_000)).encode()
    assert service.pings[-1].body == done.stdout[-KEPT:]


def test_a_command_that_is_not_there_fails_as_in_a_shell(service: FakeHealthchecks, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    assert wrap("--url", service.ping_url, "--", "/no/such/command").returncode == 127
    done = wrap("--url", service.ping_url, "--", str(tmp_path / "plain"))
    assert done.returncode == 126
    assert b"Permission denied" in done.stderr
    assert [ping.word for ping in service.pings] == ["start", "127", "start", "126"]


def test_a_dead_service_changes_nothing_but_a_line_on_standard_error() -> None:
    done = wrap("--url", "http://127.0.0.1:1/secret-uuid", "--", "sh", "-c", "echo out; exit 4")
    assert (done.returncode, done.stdout) == (4, b"out\n")
    assert b"obskit: heartbeat: " in done.stderr
    assert b"secret-uuid" not in done.stderr


def test_a_refusal_is_told_and_an_outage_tried_again(service: FakeHealthchecks) -> None:
    done = wrap("--url", f"{service.base_url}/{UUID}", "--", "true")
    assert done.stderr == b"obskit: heartbeat: answered HTTP 404\n" * 2
    service.plan(Failure(503), Failure(503), route=f"/{service.uuid}/0")
    done = wrap("--url", service.ping_url, "--", "true")
    assert done.stderr == b""
    assert service.pings[-1].word == "0"


def test_a_service_that_hangs_is_not_waited_for_longer_than_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obskit.cli.wrapping.PATIENCE_S", 0.05)
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hung = threading.Event()

        def address() -> str:
            hung.wait()
            return f"http://127.0.0.1:{silent.getsockname()[1]}"

        pinger = Pinger(address, said.append)
        pinger.start()
        pinger.end(0, b"")
        assert said == ["no answer within 0.05 s"]
    hung.set()
    pinger._thread.join()


# Not SIGINT: a shell's jobs in the background are born with it ignored, and so is what they start.
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signals_are_passed_on_and_the_command_decides(number: signal.Signals, service: FakeHealthchecks) -> None:
    script = f"trap 'echo got; exit 9' {number.name[3:]}; echo ready; while :; do sleep 0.05; done"
    command = [*OBSKIT, "heartbeat", "wrap", "--url", service.ping_url, "--", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.read() == b"got\n"
    assert process.returncode == 9
    assert service.pings[-1].word == "9"


def test_a_command_that_a_signal_ends_gives_128_and_its_number(service: FakeHealthchecks) -> None:
    assert wrap("--url", service.ping_url, "--", "sh", "-c", "kill -KILL $$").returncode == 137
    assert service.pings[-1].word == "137"


def test_by_name_it_pings_the_obskit_of_the_config(service: FakeHealthchecks, tmp_path: Path) -> None:
    port = service.base_url.rpartition(":")[2]
    checks = [{"name": "sync", "period": "1h", "uuid": UUID}]
    config = {
        "web": {"listen": f"127.0.0.1:{port}"},
        "collectors": [{"heartbeats": {"name": "eu", "checks": checks}}],
    }
    (tmp_path / "obskit.yaml").write_text(json.dumps(config))
    done = wrap("--name", "sync", "--", "echo", "done", folder=tmp_path)
    assert done.stdout == b"done\n"
    paths = [request.path.partition("?")[0] for request in service.requests]
    assert paths == [f"/ping/eu/{UUID}/start", f"/ping/eu/{UUID}/0"]


@pytest.mark.parametrize("given", [["--name", "other"], ["--name", "other", "-c", "/nowhere.yaml"]])
def test_a_name_that_leads_nowhere_does_not_cost_the_job(given: list[str], tmp_path: Path) -> None:
    done = wrap(*given, "--", "echo", "done", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"done\n")
    assert done.stderr.startswith(b"obskit: heartbeat: ")


def test_it_wants_one_way_to_ping() -> None:
    assert wrap("--", "true").returncode == 2
    assert wrap("--url", "http://x", "--name", "y", "--", "true").returncode == 2
    assert wrap("--url", "http://x").returncode == 2


def test_a_tail_keeps_the_end() -> None:
    tail = Tail(4)
    for chunk in (b"ab", b"cd", b"e"):
        tail.add(chunk)
    assert tail.bytes() == b"bcde"
