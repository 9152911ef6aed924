"""What a line of Fly.io's says of itself: levels, codes of the proxy, times, and whatever is missing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.testing.fly import shipped
from obskit_collectors.fly_lines import CUT_MARK, Line, LineMaker, decoded, time_ns

S = 1_000_000_000


def line(message: Any, level: str = "info", provider: str = "app", max_bytes: int = 1000, **more: Any) -> Line | None:
    meta = {"event": {"provider": provider}, **more}
    attributes = {"timestamp": "2026-10-02T08:15:04.118Z", "message": message, "level": level, "meta": meta}
    return LineMaker(max_bytes).of_api("shop", {"id": "1", "attributes": attributes})


def metadata(*args: Any, **more: Any) -> dict[str, str]:
    found = line(*args, **more)
    assert found is not None
    return dict(found.record.metadata)


@pytest.mark.parametrize(
    ("message", "platform", "provider", "level"),
    [
        ('{"level":"WARNING","msg":"x"}', "info", "app", "warn"),
        ('{"severity":"ERROR"}', "info", "app", "error"),
        ('{"level":50,"msg":"pino"}', "info", "app", "error"),
        ('{"level":30}', "info", "app", "info"),
        ('{"level":-1}', "info", "app", ""),
        ('{"level":true,"lvl":"debug"}', "info", "app", "debug"),
        ('{"level":"odd"}', "info", "app", "odd"),
        ('{"level":{"a":1}}', "error", "app", "error"),
        ('{"broken', "info", "app", ""),
        ("{" * 5000, "info", "app", ""),
        ("ERROR:    Exception in ASGI application", "info", "app", "error"),
        ("2026-10-02 08:15:04 WARNING worker: slow", "info", "app", "warn"),
        ("time=x level=fatal msg=y", "info", "app", "fatal"),
        ("2026/10/02 08:15:04 [crit] 12#0: no space", "info", "app", "critical"),
        ("nothing is said here", "info", "app", ""),
        ("no ERRORS at all", "info", "app", ""),
        ("x" * 100 + " ERROR", "info", "app", ""),
        ("nothing is said here", "error", "app", "error"),
        ("Machine started in 1.2s", "info", "runner", "info"),
        ("[PC01] instance refused connection", "error", "proxy", "error"),
        ("level=quux", "info", "app", ""),
    ],
)
def test_the_line_knows_its_level_better_than_the_platform(
    message: str, platform: str, provider: str, level: str
) -> None:
    assert metadata(message, platform, provider).get("level", "") == level


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("[PC01] instance refused connection", "PC01"),
        ("[PR03] could not find a good candidate within 90 attempts at load balancing", "PR03"),
        ("[XX01] x", ""),
        ("see [PC01]", ""),
    ],
)
def test_a_code_of_the_proxy_is_metadata(message: str, code: str) -> None:
    assert metadata(message, "error", "proxy").get("error_code", "") == code


def test_what_the_platform_knows_of_a_request_is_metadata() -> None:
    http = {"request": {"id": "01JX-fra", "method": "POST"}, "response": {"status_code": 502}}
    found = metadata("x", http=http, url={"full": "https://shop.example/pay"}, error={"message": "refused", "code": 2})
    assert found == {
        "provider": "app",
        "request_id": "01JX-fra",
        "method": "POST",
        "status": "502",
        "url": "https://shop.example/pay",
        "error": "refused",
    }


def test_json_lines_stay_as_they_are_and_give_their_trace() -> None:
    text = '{"trace_id":"abc", "span_id":7,  "msg":"\\ud800"}'
    found = line(text)
    assert found is not None
    assert found.record.line == text
    assert found.record.metadata["trace_id"] == "abc"
    assert "span_id" not in found.record.metadata


def test_the_message_of_the_proxy_stands_in_for_an_empty_one() -> None:
    found = line("", error={"message": "instance refused connection"})
    assert found is not None
    assert found.record.line == "instance refused connection"


def test_a_line_that_is_too_long_is_cut_between_characters() -> None:
    found = line("é" * 600, max_bytes=1001)
    assert found is not None
    assert found.record.line == "é" * 500 + CUT_MARK


@pytest.mark.parametrize(
    "entry",
    [
        None,
        [],
        "x",
        {},
        {"attributes": []},
        {"attributes": {"timestamp": "2026-10-02T08:15:04Z"}},
        {"attributes": {"message": "x", "timestamp": "yesterday"}},
        {"attributes": {"message": {"a": 1}, "timestamp": "2026-10-02T08:15:04Z"}},
    ],
)
def test_what_has_no_time_or_no_text_is_no_line(entry: Any) -> None:
    assert LineMaker(100).of_api("shop", entry) is None
    assert LineMaker(100).of_shipper(entry) is None


def test_without_an_id_a_line_is_known_by_its_machine_and_its_text() -> None:
    entry = {"attributes": {"timestamp": "2026-10-02T08:15:04Z", "message": "x", "meta": {"instance": "m1"}}}
    found = LineMaker(100).of_api("shop", entry)
    assert found is not None
    assert found.id == "m1 x"


def test_a_shipped_line_has_its_app_region_machine_and_host() -> None:
    found = LineMaker(100).of_shipper(shipped("shop", "hello", 1_700_000_000 * S + 118_402_311))
    assert found is not None
    assert str(found.record.stream) == '{app="shop", region="fra", source="fly"}'
    assert found.record.t_ns == 1_700_000_000 * S + 118_402_311
    assert found.record.metadata == {"instance": "3287e1ddb41d85", "provider": "app", "host": "9a1c"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-11-14T22:13:20Z", 1_700_000_000 * S),
        ("2023-11-14T22:13:20.118Z", 1_700_000_000 * S + 118_000_000),
        ("2023-11-14T22:13:20.118402311Z", 1_700_000_000 * S + 118_402_311),
        ("2023-11-14T22:13:20.1184023119999Z", 1_700_000_000 * S + 118_402_311),
        ("2023-11-15T00:13:20+02:00", 1_700_000_000 * S),
        ("2023-11-14 22:13:20", 1_700_000_000 * S),
        ("1700000000118", 1_700_000_000 * S + 118_000_000),
        ("17", None),
        ("2023-13-14T22:13:20Z", None),
        ("", None),
    ],
)
def test_times_keep_their_nanoseconds(text: str, expected: int | None) -> None:
    assert time_ns(text) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'[{"a":1},2]', ([{"a": 1}, 2], 0)),
        (b'{"a":1}', ([{"a": 1}], 0)),
        (b'{"a":1}\n{"b":2}\n\n', ([{"a": 1}, {"b": 2}], 0)),
        (b'{"a":1}\nnonsense\n', ([{"a": 1}], 1)),
        (b"", ([], 0)),
        (b"[]", ([], 0)),
    ],
)
def test_a_body_is_an_array_or_lines(body: bytes, expected: tuple[list[Any], int]) -> None:
    assert decoded(body) == expected


@pytest.mark.parametrize("body", [b"nonsense", b"[{", b"[" * 100_000, b"\xff\xfe"])
def test_a_body_without_any_json_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="neither"):
        decoded(body)


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.booleans(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["attributes", "message", "timestamp", "meta", "fly", "app", "name", "level", "x"]),
                inner,
            )
        ),
    )
)
def test_no_entry_makes_it_fail(entry: Any) -> None:
    for found in (LineMaker(100).of_api("shop", entry), LineMaker(100).of_shipper(entry)):
        assert found is None or found.record.line
