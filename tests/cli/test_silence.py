"""`obskit silence`: in the store, and through the daemon that has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from obskit.model.alert_matchers import parse_matchers
from obskit.testing.http import Answer, FakeServer, Received
from obskit.web.alertmanager_json import read_silence
from tests.cli.conftest import Obskit, watch_once, write_config
from tests.cli.test_delivery import held

UNKNOWN = "4b5c6d7e-0000-4000-8000-000000000000"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store in which the alert Here fires."""
    route = {"receiver": "ops", "group_wait": "0s"}
    config = write_config(tmp_path, route=route, receivers=[{"name": "ops"}])
    watch_once(config)
    return config


def listed(obskit: Obskit, config: Path, *more: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(obskit("silence", "query", "-o", "json", "-c", config, *more).stdout)
    return found


def test_one_is_added_listed_changed_and_ended(obskit: Obskit, store: Path) -> None:
    added = obskit("silence", "add", "Here", 'team=~"a|b"', "-m", "deploy", "-a", "ann", "-d", "2h", "-c", store)
    assert added.exit_code == 0, added.stderr
    its_id = added.stdout.strip()
    (found,) = listed(obskit, store)
    assert (found["id"], found["createdBy"], found["comment"]) == (its_id, "ann", "deploy")
    assert [(each["name"], each["value"], each["isRegex"]) for each in found["matchers"]] == [
        ("alertname", "Here", False),
        ("team", "a|b", True),
    ]
    table = obskit("silence", "query", "-c", store).stdout.splitlines()
    assert table[0].split() == ["ID", "STATE", "ENDS", "MATCHERS", "BY", "COMMENT"]
    assert table[1].split()[:2] == [its_id, "active"]
    assert obskit("silence", "update", its_id, "-d", "4h", "-m", "more", "-c", store).stdout.strip() == its_id
    (longer,) = listed(obskit, store)
    assert longer["endsAt"] > found["endsAt"]
    assert longer["comment"] == "more"
    assert obskit("silence", "expire", its_id, "-c", store).exit_code == 0
    assert obskit("silence", "query", "-c", store).stdout == "no silence\n"
    assert obskit("silence", "query", "--expired", "-q", "-c", store).stdout == f"{its_id}\n"


@pytest.mark.parametrize(
    ("more", "count"),
    [
        ((), 2),
        (("a=b",), 1),
        (("a=~b",), 0),
        (("--created-by", "ann"), 1),
        (("--within", "90m"), 1),
        (("--within", "9h"), 2),
    ],
)
def test_they_are_filtered(obskit: Obskit, store: Path, more: tuple[str, ...], count: int) -> None:
    obskit("silence", "add", "a=b", "-m", "x", "-a", "ann", "-d", "1h", "-c", store)
    obskit("silence", "add", "c=d", "-m", "x", "-a", "bob", "-d", "2h", "-c", store)
    assert len(listed(obskit, store, *more)) == count


def test_times_are_given_as_times(obskit: Obskit, store: Path) -> None:
    obskit(
        *("silence", "add", "a=b", "-m", "x", "-c", store),
        *("--start", "2998-01-01T00:00:00+01:00", "--end", "2999-01-01 00:00:00"),
    )
    (found,) = listed(obskit, store)
    assert (found["startsAt"], found["endsAt"]) == ("2997-12-31T23:00:00.000Z", "2999-01-01T00:00:00.000Z")
    assert found["status"] == {"state": "pending"}
    obskit("silence", "update", found["id"], "--start", "2997-01-01T00:00Z", "-c", store)
    (earlier,) = listed(obskit, store)
    assert (earlier["id"], earlier["startsAt"]) == (found["id"], "2997-01-01T00:00:00.000Z")


def test_what_was_exported_is_imported(obskit: Obskit, store: Path, tmp_path: Path) -> None:
    obskit("silence", "add", "a=b", "-m", "x", "-c", store)
    exported = tmp_path / "exported.json"
    exported.write_text(json.dumps(listed(obskit, store)))
    (its_id,) = (each["id"] for each in listed(obskit, store))
    assert obskit("silence", "import", exported, "-c", store).stdout.strip() == its_id
    assert obskit("silence", "import", exported, "--force", "-c", store).stdout.strip() != its_id
    assert len(listed(obskit, store)) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope", "not JSON"),
        ("{}", "not a list of silences"),
        ("[{}]", "silence 1: comment in body is required"),
        ('[{"matchers": 1}]', "silence 1: parsing silence body"),
    ],
)
def test_a_file_that_holds_none_is_refused(
    obskit: Obskit, store: Path, tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "in.json"
    file.write_text(text)
    result = obskit("silence", "import", file, "-c", store)
    assert (result.exit_code, message in result.stderr) == (1, True), result.stderr


def test_a_preview_shows_which_alerts_would_be_quiet(obskit: Obskit, store: Path) -> None:
    shown = obskit("silence", "preview", 'severity=~"crit.*"', "-c", store).stdout.splitlines()
    assert shown[0].split() == ["ALERT", "FOR", "TOLD", "TO", "LABELS"]
    assert shown[1].split()[0] == "Here"
    assert shown[1].split()[2:] == ["ops", "severity=critical"]
    nothing = obskit("silence", "preview", "Nobody", "-c", store).stdout
    assert nothing == "no alert that fires now would be silenced\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("add", "a=b"), 2, "Missing option '--comment'"),
        (("add", "a=b", "c", "-m", "x"), 2, "bad matcher format: c"),
        (("add", "a=b", "-m", "x", "-d", "soon"), 2, "not a duration"),
        (("add", "a=b", "-m", "x", "-d", "0"), 1, "start time must be before end time"),
        (("add", "a=b", "-m", "x", "--end", "soon"), 2, "is not a time such as"),
        (("add", "a=b", "-m", "x", "--end", "2020-01-01T00:00:00Z"), 1, "start time must be before end time"),
        (("add", "a=~.*", "-m", "x"), 1, "at least one matcher must not match the empty string"),
        (("expire", UNKNOWN), 1, "silence not found"),
        (("update", UNKNOWN, "-d", "1h"), 1, "silence not found"),
    ],
)
def test_what_cannot_be_done_is_told(
    obskit: Obskit, store: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = obskit("silence", *arguments, "-c", store)
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr


def test_without_a_store_nothing_is_made(obskit: Obskit, tmp_path: Path) -> None:
    config = write_config(tmp_path)
    for words in (("add", "a=b", "-m", "x"), ("query",), ("preview", "a=b"), ("expire", UNKNOWN)):
        result = obskit("silence", *words, "-c", config)
        assert (result.exit_code, "no store in" in result.stderr) == (1, True)
    assert not (tmp_path / "data").exists()


class Daemon(FakeServer):
    """What the server of a daemon would answer that has one silence and asks for a token."""

    def answer(self, request: Received) -> Answer:
        if request.headers.get("authorization") != "Bearer horse":
            return Answer(401)
        if request.method == "POST":
            return Answer(200, b'{"silenceID":"new"}') if b'"good"' in request.body else Answer(400, b'"no"')
        return Answer({"/api/v2/silence/known": 200, "/api/v2/silence/odd": 500}.get(request.path, 404))


@pytest.mark.parametrize(
    ("token", "words", "code", "told"),
    [
        ("horse", ("add", "a=b", "-m", "good"), 0, "new\n"),
        ("horse", ("add", "a=b", "-m", "bad"), 1, "obskit: no\n"),
        ("horse", ("expire", "known"), 0, ""),
        ("horse", ("expire", "other"), 1, "obskit: other: silence not found\n"),
        ("horse", ("expire", "odd"), 1, "obskit: HTTP 500\n"),
        ("donkey", ("add", "a=b", "-m", "good"), 1, "refuses: HTTP 401\n"),
    ],
)
def test_a_daemon_that_has_the_store_is_asked(
    *, obskit: Obskit, tmp_path: Path, token: str, words: tuple[str, ...], code: int, told: str
) -> None:
    with Daemon() as daemon, held(tmp_path):
        listen = daemon.base_url.removeprefix("http://")
        result = obskit("silence", *words, "-c", write_config(tmp_path, web={"listen": listen, "token": token}))
    assert (result.exit_code, result.output.endswith(told)) == (code, True), result.output


def test_a_daemon_is_sent_what_its_api_reads(obskit: Obskit, tmp_path: Path) -> None:
    with Daemon() as daemon, held(tmp_path):
        listen = daemon.base_url.removeprefix("http://")
        config = write_config(tmp_path, web={"listen": listen, "token": "horse"})
        obskit("silence", "add", "a!~b", "-m", "good", "-a", "ann", "-c", config)
    (request,) = daemon.requests
    sent = read_silence(request.body)
    assert (sent.matchers, sent.created_by, sent.comment) == (parse_matchers("a!~b"), "ann", "good")
