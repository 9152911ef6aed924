"""`obskit ack` and `obskit unack`: in the store, and through the daemon that has it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from obskit.store.acks import AckState, read_acks
from obskit.store.database import Database
from obskit.testing.http import Answer, FakeServer, Received
from tests.cli.conftest import Obskit, watch_once, write_config
from tests.cli.test_delivery import held


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store in which the alert Here fires, and a receiver was told so."""
    config = write_config(
        tmp_path,
        route={"receiver": "ops", "group_wait": "0s", "group_by": ["alertname"]},
        receivers=[{"name": "ops", "console_configs": [{}]}],
    )
    watch_once(config)
    return config


def acks(folder: Path) -> list[tuple[AckState, str, str]]:
    database = Database.open_readonly(folder / "data")
    ((incident,),) = database.read("SELECT incident FROM alert_group")
    return [(row.state, row.by, row.note) for row in read_acks(database, incident)]


@pytest.mark.parametrize("words", [("Here",), ("severity=critical",), ('{}:{alertname="Here"}',)])
def test_a_group_is_acked_and_let_go(obskit: Obskit, store: Path, words: tuple[str, ...]) -> None:
    result = obskit("ack", *words, "--by", "ann", "-m", "on it", "-c", store)
    assert (result.exit_code, result.stdout) == (0, '1 group acked by ann: {}:{alertname="Here"}\n'), result.output
    assert acks(store.parent) == [(AckState.ACKED, "ann", "on it")]
    assert obskit("unack", *words, "--by", "bob", "-c", store).exit_code == 0
    assert acks(store.parent) == [(AckState.OPEN, "bob", "")]


@pytest.mark.parametrize("words", [("Nobody",), ("severity=info",), ("{}:{}",)])
def test_what_is_not_there_is_not_acked(obskit: Obskit, store: Path, words: tuple[str, ...]) -> None:
    result = obskit("ack", *words, "-c", store)
    assert (result.exit_code, "no open group is meant" in result.stderr) == (1, True)


def test_without_a_store_there_is_nothing_to_ack(obskit: Obskit, tmp_path: Path) -> None:
    result = obskit("ack", "Here", "-c", write_config(tmp_path))
    assert result.exit_code == 1
    assert not (tmp_path / "data").exists()


class Daemon(FakeServer):
    """What the server of a daemon would answer in which one group is open."""

    def answer(self, request: Received) -> Answer:
        if request.path == "/-/unack":
            return Answer(400, b"cannot be read: no\n")
        return Answer(200, b'{"groups": ["{}:{}"]}' if b"good" in request.body else b'{"groups": []}')


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("ack", "good=b", "-m", "x"), 0, "1 group acked by ann: {}:{}\n"),
        (("ack", "bad=b"), 1, "cannot be acked\n"),
        (("unack", "a=b"), 1, "refuses: cannot be read: no\n"),
    ],
)
def test_a_daemon_that_has_the_store_is_asked(
    *, obskit: Obskit, tmp_path: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    with Daemon() as daemon, held(tmp_path):
        listen = daemon.base_url.removeprefix("http://")
        config = write_config(tmp_path, web={"listen": listen, "token": "horse"})
        result = obskit(*words, "--by", "ann", "-c", config)
    assert (result.exit_code, result.output.endswith(told)) == (code, True), result.output
    (request,) = daemon.requests
    said = json.loads(request.body)
    assert (said["group"], said["matchers"], said["by"]) == ("", [words[1].replace("=b", '="b"')], "ann")
