"""Secrets leave lines and metadata before they are stored; everything else stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.model.telemetry import REGISTRY
from obskit.store.interface import Batch, Touched
from obskit.store.log_blocks import joined_text
from obskit.store.metadata_table import MetadataTable
from obskit.store.redaction import Redaction
from obskit.store.settings import RedactionSettings
from obskit.testing.clock import run
from tests.store.shelf import Shelf

WEB = Labels({"app": "web"})
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
SLACK = "xox" + "b-123456789012-abcdefABCDEF"  # in two parts, so that nobody's scanner takes it for one
GITHUB = "gh" + "p_" + "a1B2" * 9


def redacted(*lines: str, **settings: object) -> list[str]:
    given = list(lines)
    return Redaction(RedactionSettings.model_validate(settings)).lines(given, joined_text(given))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"user":"a","password":"hunter2"}', '{"user":"a","password":"<redacted>"}'),
        ('{"password" : "with \\"quotes\\" in it", "b": 1}', '{"password" : "<redacted>", "b": 1}'),
        ('{"api_key":12345,"b":1}', '{"api_key":<redacted>,"b":1}'),
        ('msg="{\\"token\\":\\"abc\\",\\"b\\":1}"', 'msg="{\\"token\\":\\"<redacted>\\",\\"b\\":1}"'),
        ("level=info db_password=hunter2 user=a", "level=info db_password=<redacted> user=a"),
        ('secret="two words" user=a', 'secret="<redacted>" user=a'),
        ("GET /login?user=a&token=abc123&next=/ HTTP/2.0", "GET /login?user=a&token=<redacted>&next=/ HTTP/2.0"),
        ("Authorization: Basic YWxhZGRpbg== 200", "Authorization: <redacted> 200"),
        ("X-Api-Key: abc", "X-Api-Key: <redacted>"),
        ('"cookie":"a=b; c=d","x":1', '"cookie":"<redacted>","x":1'),
        ("Set-Cookie: sid=1; Path=/; Secure", "Set-Cookie: <redacted>"),
        (f"calling with Bearer {'x' * 20}.", "calling with <redacted:bearer>"),
        (f"got {JWT} back", "got <redacted:jwt> back"),
        ("key AKIAIOSFODNN7EXAMPLE used", "key <redacted:aws_key> used"),
        (f"{SLACK} {GITHUB}", "<redacted:slack_token> <redacted:github_token>"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nafter",
            "<redacted:private_key>\nafter",
        ),
        ("paid with 4111 1111 1111 1111, thanks", "paid with <redacted:card>, thanks"),
        ("5555555555554444", "<redacted:card>"),
    ],
)
def test_a_secret_is_taken_out(line: str, expected: str) -> None:
    assert redacted("before", line, "after") == ["before", expected, "after"]


@pytest.mark.parametrize(
    "line",
    [
        "order 4111111111111112 is no card: its check digit is wrong",
        "tokens=512 token_count=7 the token bucket is empty",
        '{"trace_id":"4111111111111111411111111111111f"}',
        "35116772-2993-4523-94d9-74bc00000000",
        '{"has_password":true,"token":null}',
        "someone@example.com",
        "passwords are long",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    lines = [line]
    assert Redaction(RedactionSettings()).lines(lines, joined_text(lines)) is lines


def test_settings_add_and_leave_out() -> None:
    line = "pin=1234 pwd=x ticket ABC-77 of someone@example.com 5555555555554444"
    changed = redacted(line, keys=["pin"], off=["pwd", "card"], patterns={"ticket": "ABC-[0-9]+"}, email=True)
    assert changed == ["pin=<redacted> pwd=x ticket <redacted:ticket> of <redacted:email> 5555555555554444"]
    assert redacted(line, enabled=False) == [line]
    with pytest.raises(ValidationError, match="RE2"):
        RedactionSettings(patterns={"bad": "(?=x)"})


def test_metadata_is_redacted_by_key_and_by_shape() -> None:
    plain = {"level": "info"}
    secret = {"http.request.header.authorization": "abc", "note": f"see {JWT}"}
    changed = Redaction(RedactionSettings()).metadata([plain, secret], MetadataTable.of([plain, secret]))
    assert changed == [
        plain,
        {"http.request.header.authorization": "<redacted>", "note": "see <redacted:jwt>"},
    ]


def test_secrets_reach_neither_disk_nor_rules(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            heard: list[Touched] = []
            shelf.store.subscribe(heard.append)
            before = REGISTRY.get_sample_value("obskit_store_redacted_total", {"what": "key"}) or 0
            await shelf.store.append(Batch(records=[Record(WEB, 5, "password=hunter2")]))
            (record,) = shelf.store.logs.select([], 0, 10)
            assert record.line == "password=<redacted>"
            assert list(heard[0].records) == [record]
            assert [text.data for text in heard[0].records.texts] == [b"password=<redacted>"]  # type: ignore[attr-defined]  # Records
            assert REGISTRY.get_sample_value("obskit_store_redacted_total", {"what": "key"}) == before + 1

    run(scenario())


@given(st.dictionaries(st.sampled_from(["a", "password", "token", "x"]), st.text(max_size=20), max_size=4))
def test_json_stays_json(fields: dict[str, str]) -> None:
    (line,) = redacted(json.dumps(fields))
    assert json.loads(line).keys() == fields.keys()


@given(st.lists(st.text(max_size=30), max_size=5))
def test_lines_without_secrets_are_the_same_objects(lines: list[str]) -> None:
    given_lines = [line.replace("=", "").replace(":", "") for line in lines]
    assert redacted(*given_lines) == given_lines
