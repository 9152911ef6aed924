"""Apprise, by a stand-in of its package: what it is asked, and what its verdict means."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from obskit.model.actions import OutcomeReason, OutcomeStatus
from tests.notify.deliveries import Conversation
from tests.notify.stories import FIRST, OVER

URL = "json://user:secret-password@example.com/path"
STAND_IN = """
import json, pathlib, time

class Apprise:
    def add(self, url):
        self.url = url
        return not url.startswith("unknown:")

    def notify(self, **said):
        print("to", self.url)
        with pathlib.Path(__file__).with_name("said").open("a") as file:
            file.write(json.dumps(said) + "\\n")
        if "hang" in self.url:
            time.sleep(60)
        return "down" not in self.url
"""


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-in notes what it is asked."""
    (tmp_path / "apprise").mkdir()
    (tmp_path / "apprise" / "__init__.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "apprise" / "said"


def talk(url: str = URL, **settings: Any) -> Conversation:
    return Conversation("apprise_configs", {"url": url, **settings})


def test_it_is_told_title_text_and_type(said: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told = talk()
    assert [told.tell(one)[0].status for one in (FIRST, OVER)] == [OutcomeStatus.SENT] * 2
    first, last = map(json.loads, said.read_text().splitlines())
    assert (first["title"], first["notify_type"]) == ("🔴 FIRING critical: High5xx", "failure")
    assert first["body"].startswith("7.4 % of requests")
    assert (last["title"], last["notify_type"]) == ("✅ RESOLVED: High5xx", "success")
    assert capfd.readouterr() == ("", "")  # what Apprise prints may hold URLs


@pytest.mark.parametrize(
    ("url", "status", "reason"),
    [
        ("json://down:secret-password@x", OutcomeStatus.RETRY, OutcomeReason.SERVER),
        ("unknown://secret-password", OutcomeStatus.PERMANENT, OutcomeReason.CONFIG),
        ("json://hang:secret-password@x", OutcomeStatus.RETRY, OutcomeReason.TIMEOUT),
    ],
)
def test_its_verdict_is_an_outcome(
    url: str, status: OutcomeStatus, reason: OutcomeReason, said: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        (outcome,) = talk(url, timeout="1s").tell(FIRST)
    assert (outcome.status, outcome.reason) == (status, reason)
    assert "secret-password" not in repr(outcome) + caplog.text


def test_the_daemon_never_loads_it(said: Path) -> None:
    talk().tell(FIRST)
    assert "apprise" not in sys.modules


def test_without_the_package_it_is_told_at_once_and_messages_wait_for_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("obskit.notify.apprise.find_spec", lambda _: None)
    monkeypatch.setattr("obskit.notify.apprise._PROGRAM", "raise SystemExit(3)")
    (outcome,) = talk().tell(FIRST)
    assert (outcome.status, outcome.reason) == (OutcomeStatus.RETRY, OutcomeReason.CONFIG)
    assert outcome.detail in caplog.text
    assert outcome.detail.endswith("add the extra obskit-toolkit[apprise]")
