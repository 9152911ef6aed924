"""Mail over real SMTP sessions with a server of our own."""

from __future__ import annotations

import logging
import socket
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from obskit.model.actions import Outcome, OutcomeReason, OutcomeStatus
from obskit.testing.smtp import DROP, HANG, PASSWORD, SECRET, USER, FakeSmtp
from tests.notify.certificates import certificate, server_context
from tests.notify.deliveries import Conversation
from tests.notify.golden import check_golden
from tests.notify.notices import alert, notice
from tests.notify.stories import EVIL, FIRST, GROWN, LIFE, OVER
from tests.servers import free_port

__all__ = ["certificate"]
SENT, RETRY, PERMANENT = OutcomeStatus.SENT, OutcomeStatus.RETRY, OutcomeStatus.PERMANENT
LOGIN = {"auth_username": USER, "auth_password": PASSWORD}


def talk(server: FakeSmtp, **settings: Any) -> Conversation:
    written = {
        "to": "ann@example.com, Bob <bob@example.com>",
        "from": "obskit <alerts@example.com>",
        "smarthost": server.address,
        "require_tls": "false",
        **settings,
    }
    return Conversation("email_configs", written)


def attempt(server: FakeSmtp, **settings: Any) -> Outcome:
    (outcome,) = talk(server, **settings).tell(FIRST)
    return outcome


def test_an_incident_is_one_thread_under_one_subject() -> None:
    with FakeSmtp() as server:
        told = talk(server)
        for one in LIFE:
            assert {outcome.status for outcome in told.tell(one)} == {SENT}
        first, *later = [mail.message for mail in server.mails]
    assert first["Subject"] == "[FIRING critical] High5xx - app api · region fra · machine a"
    assert {mail["Subject"] for mail in later} == {f"Re: {first['Subject']}"}
    assert {mail["In-Reply-To"] for mail in later} == {first["Message-ID"]}
    assert {mail["References"] for mail in later} == {f"{first['References']} {first['Message-ID']}"}
    assert len({mail["Message-ID"] for mail in (first, *later)}) == 5
    assert (first["Importance"], later[-1]["Importance"]) == ("high", None)
    assert first["Auto-Submitted"] == "auto-generated"
    assert parsedate_to_datetime(first["Date"]).timestamp() == FIRST.decided_ms / 1000


def test_a_mail_says_the_same_in_text_and_in_html() -> None:
    with FakeSmtp() as server:
        talk(server).tell(FIRST)
        (mail,) = server.mails
    assert (mail.sender, mail.recipients) == ("alerts@example.com", ("ann@example.com", "bob@example.com"))
    assert mail.message.get_content_type() == "multipart/alternative"
    check_golden("email_firing", {"plain": mail.part("plain"), "html": mail.part("html")})


def test_the_end_is_told_in_its_first_words() -> None:
    with FakeSmtp() as server:
        told = talk(server)
        told.tell(FIRST)
        told.tell(OVER)
        last = server.mails[-1]
    assert last.part("plain").startswith("✅ RESOLVED: High5xx")
    assert "#1a7f37" in last.part("html")


def test_without_threads_each_mail_has_a_subject_of_its_own() -> None:
    with FakeSmtp() as server:
        told = talk(server, threading={"enabled": "false"})
        told.tell(FIRST)
        told.tell(OVER)
        first, last = [mail.message for mail in server.mails]
    assert last["Subject"] == "[RESOLVED] High5xx - app api · region fra"
    assert (last["References"], last["In-Reply-To"]) == (None, None)
    assert first["Message-ID"] != last["Message-ID"]


def test_headers_of_ones_own_are_sent() -> None:
    headers = {"Subject": "prod: ☠", "Reply-To": "team@example.com", "X-Team": "core"}
    with FakeSmtp() as server:
        talk(server, headers=headers).tell(FIRST)
        message = server.mails[0].message
    assert {name: message[name] for name in headers} == headers


def test_no_header_comes_out_of_a_text() -> None:
    one = notice(alert(summary="a\r\nBcc: eve@example.com\r\n\r\nhello"))
    headers = {"subject": "{{ .CommonAnnotations.summary }}\nX-Evil: 1", "X-Team": "{{ .CommonLabels.app }}"}
    with FakeSmtp() as server:
        (outcome,) = talk(server, headers=headers).tell(one)
        (mail,) = server.mails
    assert outcome.status is SENT
    assert (mail.message["Bcc"], mail.message["X-Evil"]) == (None, None)
    assert mail.message["Subject"] == "a Bcc: eve@example.com hello X-Evil: 1"
    assert mail.message["X-Team"] == "api"
    assert mail.recipients == ("ann@example.com", "bob@example.com")


@pytest.mark.parametrize("degraded", [False, True])
def test_whatever_is_said_arrives_and_is_text(degraded: bool) -> None:
    with FakeSmtp() as server:
        told = talk(server)
        (action,) = told.actions(EVIL)
        assert told.attempt(action, degraded=degraded).status is SENT
        (mail,) = server.mails
    assert "<script>" in mail.part("plain")
    assert "<script>" not in mail.part("html")
    assert max(map(len, mail.message.as_bytes().splitlines())) < 999
    assert bool(mail.part("html")) != degraded


@pytest.mark.parametrize("implicit", [False, True])
def test_the_session_is_encrypted_before_anything_is_said(implicit: bool, certificate: Path) -> None:
    with FakeSmtp(tls=server_context(certificate), implicit=implicit, mechanisms="PLAIN") as server:
        trust = {"tls_config": {"ca_file": str(certificate)}, "require_tls": "true"}
        outcome = attempt(server, **trust, **LOGIN, **({"force_implicit_tls": "true"} if implicit else {}))
        assert outcome.status is SENT
        assert server.mails[0].encrypted
        verbs = server.commands
    assert verbs == (["EHLO", "AUTH", "MAIL"] if implicit else ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL"]) + [
        "RCPT", "RCPT", "DATA", "QUIT",
    ]  # fmt: skip


@pytest.mark.parametrize("implicit", [False, True])
def test_a_server_that_nobody_vouches_for_gets_nothing(implicit: bool, certificate: Path) -> None:
    with FakeSmtp(tls=server_context(certificate), implicit=implicit, mechanisms="PLAIN") as server:
        outcome = attempt(server, require_tls="true", force_implicit_tls=str(implicit).lower(), **LOGIN)
        assert (outcome.status, outcome.reason) == (RETRY, OutcomeReason.NETWORK)
        assert not {"AUTH", "MAIL"} & set(server.commands)
        trusted = attempt(
            server,
            require_tls="true",
            force_implicit_tls=str(implicit).lower(),
            tls_config={"insecure_skip_verify": "true"},
            **LOGIN,
        )
    assert trusted.status is SENT


def test_a_server_without_tls_gets_nothing_unless_that_is_allowed() -> None:
    with FakeSmtp(mechanisms="PLAIN") as server:
        outcome = attempt(server, require_tls="true", **LOGIN)
        assert (outcome.status, outcome.reason) == (RETRY, OutcomeReason.CONFIG)
        assert "AUTH" not in server.commands


@pytest.mark.parametrize(
    ("mechanisms", "settings", "status", "reason"),
    [
        ("PLAIN LOGIN CRAM-MD5", {**LOGIN, "auth_secret": SECRET}, SENT, OutcomeReason.NONE),
        ("CRAM-MD5", {"auth_username": USER, "auth_secret": SECRET}, SENT, OutcomeReason.NONE),
        ("LOGIN PLAIN", LOGIN, SENT, OutcomeReason.NONE),
        ("LOGIN", LOGIN, SENT, OutcomeReason.NONE),
        ("PLAIN", {**LOGIN, "auth_password": "wrong-password"}, PERMANENT, OutcomeReason.CREDENTIAL),
        ("LOGIN", {**LOGIN, "auth_password": "wrong-password"}, PERMANENT, OutcomeReason.CREDENTIAL),
        ("CRAM-MD5", {"auth_username": USER, "auth_secret": "wrong-secret"}, PERMANENT, OutcomeReason.CREDENTIAL),
        ("PLAIN", {}, PERMANENT, OutcomeReason.CREDENTIAL),
        ("XOAUTH2", LOGIN, RETRY, OutcomeReason.CONFIG),
        ("", LOGIN, RETRY, OutcomeReason.CONFIG),
    ],
)
def test_it_logs_in_as_the_server_offers(
    mechanisms: str, settings: dict[str, Any], status: OutcomeStatus, reason: OutcomeReason
) -> None:
    with FakeSmtp(mechanisms=mechanisms) as server:
        outcome = attempt(server, **settings)
        assert (outcome.status, outcome.reason) == (status, reason)
        assert [mail.user for mail in server.mails] == ([USER] if status is SENT else [])


@pytest.mark.parametrize("verb", ["CONNECT", "MAIL", "RCPT", "DATA", "BODY"])
@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        (421, RETRY, OutcomeReason.SERVER),
        (450, RETRY, OutcomeReason.SERVER),
        (451, RETRY, OutcomeReason.SERVER),
        (452, RETRY, OutcomeReason.SERVER),
        (530, PERMANENT, OutcomeReason.CREDENTIAL),
        (550, PERMANENT, OutcomeReason.DESTINATION),
        (552, PERMANENT, OutcomeReason.PAYLOAD),
        (554, PERMANENT, OutcomeReason.PAYLOAD),
        (DROP, RETRY, OutcomeReason.NETWORK),
        (HANG, RETRY, OutcomeReason.TIMEOUT),
    ],
)
def test_every_reply_ends_in_an_outcome(
    verb: str, code: int, status: OutcomeStatus, reason: OutcomeReason, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeSmtp(mechanisms="PLAIN") as server, caplog.at_level(logging.DEBUG):
        server.plan(verb, code, code)
        # Short only where the time-out is to come: a busy machine takes longer than that for an honest answer.
        outcome = attempt(server, timeout="150ms" if code == HANG else "30s", **LOGIN)
    assert (outcome.status, outcome.reason) == (status, reason)
    assert outcome.degrade == (reason is OutcomeReason.PAYLOAD)
    assert server.mails == []
    assert PASSWORD not in repr(outcome) + caplog.text


def test_one_address_that_is_wrong_does_not_keep_the_others_from_their_mail(caplog: pytest.LogCaptureFixture) -> None:
    with FakeSmtp() as server:
        server.plan("RCPT", 550)
        assert attempt(server).status is SENT
        assert [mail.recipients for mail in server.mails] == [("bob@example.com",)]
    assert "recipient refused: address=ann@example.com code=550" in caplog.text


def test_nobody_gets_it_twice_because_another_is_refused_for_now() -> None:
    with FakeSmtp() as server:
        server.plan("RCPT", 250, 450)
        told = talk(server)
        (action,) = told.actions(FIRST)
        assert [told.attempt(action).status, told.attempt(action).status] == [RETRY, SENT]
        assert len(server.mails) == 1


def test_a_second_attempt_is_the_same_mail() -> None:
    with FakeSmtp() as server:
        told = talk(server)
        (action,) = told.actions(FIRST)
        told.attempt(action)
        told.handles.clear()
        told.attempt(action)
        one, other = [mail.message for mail in server.mails]
    assert one["Message-ID"] == other["Message-ID"]
    assert one.as_bytes() == other.as_bytes()


@pytest.mark.parametrize("smarthost", ["localhost:{port}", "no-such-host.invalid:25"])
def test_a_server_that_is_not_there_is_tried_again(smarthost: str) -> None:
    with FakeSmtp() as server:
        outcome = attempt(server, smarthost=smarthost.format(port=free_port()))
    assert (outcome.status, outcome.reason) == (RETRY, OutcomeReason.NETWORK)


def test_nothing_is_said_to_where_a_cloud_tells_a_machine_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obskit.notify.smtp.is_machine_metadata", lambda host: host == "127.0.0.1")
    with FakeSmtp() as server:
        outcome = attempt(server)
        assert (outcome.status, outcome.reason, server.commands) == (RETRY, OutcomeReason.CONFIG, [])
        assert attempt(server, allow_link_local="true").status is SENT


def test_a_server_that_speaks_something_else_is_survived() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, FakeSmtp() as server:
        outcome = attempt(server, smarthost=f"localhost:{other.getsockname()[1]}", timeout="150ms")
    assert (outcome.status, outcome.reason) == (RETRY, OutcomeReason.TIMEOUT)


@pytest.mark.parametrize(
    ("written", "implicit"),
    [
        ({"smarthost": "h:465"}, True),
        ({"smarthost": "h:587"}, False),
        ({"smarthost": "h:465", "force_implicit_tls": "false"}, False),
        ({"smarthost": "h:2465", "force_implicit_tls": "true"}, True),
    ],
)
def test_tls_from_the_start_is_known_by_the_port(written: dict[str, Any], implicit: bool) -> None:
    from obskit.notify.email import EmailSettings

    assert EmailSettings.model_validate({"to": "a@b", "from": "c@d", **written}).implicit_tls is implicit


def test_a_grown_group_answers_the_first_mail_after_a_restart_too() -> None:
    with FakeSmtp() as server:
        told = talk(server)
        told.tell(FIRST)
        restarted = talk(server)
        restarted.handles.update(told.handles)
        restarted.tell(GROWN)
        first, second = [mail.message for mail in server.mails]
    assert second["In-Reply-To"] == first["Message-ID"]


@pytest.mark.parametrize("threading", [{}, {"enabled": "false"}])
def test_two_states_are_never_taken_for_the_same_mail(threading: dict[str, str]) -> None:
    with FakeSmtp() as server:
        told = talk(server, threading=threading)
        for one in LIFE:
            told.tell(one)
            told.handles.clear()  # as if no answer had ever come
        mails = [mail.message for mail in server.mails]
    assert len({mail["Message-ID"] for mail in mails}) == len(LIFE)
    assert len({mail["References"] for mail in mails}) == 1
