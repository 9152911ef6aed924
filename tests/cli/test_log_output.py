from __future__ import annotations

import json

import pytest

from obskit.cli.log_output import Columns, as_json, form_of, level_of, name_of, one_line, safe
from obskit.logql.engine import LogLine
from obskit.model.labels import EMPTY, Labels

API = Labels({"app": "api", "source": "fly"})
NOON_NS = 1_700_049_600_123_456_789


def a_line(text: str, stream: Labels = API, **metadata: str) -> LogLine:
    return LogLine(NOON_NS, text, stream, Labels(metadata), EMPTY)


HOSTILE = "a\x1b]0;title\x07\x1b[2J\rb\x9b31mc\u202ed\x00\x7f"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\twords ü 漢", "plain\twords ü 漢"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("two\nlines", "two\\nlines"),
        (HOSTILE, "a\\x1b]0;title\\x07\\x1b[2J\\rb\\x9b31mc\\u202ed\\x00\\x7f"),
        ("half \ud83d", "half \\ud83d"),
    ],
)
def test_nothing_in_a_line_commands_the_terminal(text: str, shown: str) -> None:
    assert safe(text) == shown


@pytest.mark.parametrize("output", ["table", "json", "raw"])
def test_no_form_lets_control_characters_through_to_a_terminal(output: str) -> None:
    shown = form_of(output, terminal=True)(a_line(HOSTILE, Labels({"app": HOSTILE})))
    colours = shown.replace("\x1b[0m", "").replace("\x1b[2m", "").replace("\x1b[38;5;", "")
    assert not {"\x1b", "\x07", "\r", "\x9b", "\u202e", "\x00", "\x7f"} & set(colours)


def test_json_reads_back_as_it_was() -> None:
    read = json.loads(as_json(a_line(HOSTILE, level="error")))
    assert read == {
        "time": "2023-11-15T12:00:00.123456789Z",
        "time_ns": NOON_NS,
        "labels": {"app": "api", "source": "fly", "level": "error"},
        "line": HOSTILE,
    }


def test_in_a_pipe_a_record_is_one_line_with_all_its_labels() -> None:
    assert one_line(a_line("first\n  second", level="info")) == (
        '2023-11-15T12:00:00.123Z  {app="api", level="info", source="fly"}  first\\n  second'
    )


def test_raw_into_a_pipe_is_the_line_as_it_came() -> None:
    assert form_of("raw", terminal=False)(a_line(HOSTILE)) == HOSTILE


def test_on_a_terminal_lines_stand_in_columns_below_their_day() -> None:
    columns = Columns(colours=False)
    worker = Labels({"app": "worker", "source": "cloudflare"})
    shown = [columns(a_line("WARN slow", worker)), columns(a_line("boom\r\nat x\n\nat y", API, level="error"))]
    assert shown == [
        "2023-11-15 UTC\n12:00:00.123 cloudflare/worker warn  WARN slow",
        "12:00:00.123 fly/api           error boom\n    at x\n    \n    at y",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"at":"x","level":"error","message":"no stock","path":"/","n":5}', "no stock  path=/ n=5"),
        (
            '{"msg":"two words","user":"Ada L","tags":["a",1],"empty":""}',
            'two words  user="Ada L" tags=["a", 1] empty=""',
        ),
        ('{"msg":"boom","stack":"at x\\nat y"}', "boom\n    stack:\n    at x\n    at y"),
        ('{"msg":"\\u001b[2J","k":"\\u0007"}', "\\x1b[2J  k=\\x07"),
        ('{"status":500}', '{"status":500}'),
        ('{"msg":7}', '{"msg":7}'),
        ("{broken", "{broken"),
        ("{" * 5000, "{" * 5000),
    ],
)
def test_a_json_line_is_shown_by_its_message(text: str, shown: str) -> None:
    columns = Columns(colours=False)
    columns(a_line("the day's heading"))
    assert columns(a_line(text)).partition("fly/api ")[2][6:] == shown


def test_a_stream_has_its_colour_and_an_error_too() -> None:
    columns = Columns(colours=True)
    first, second = columns(a_line("x", level="error")), columns(a_line("y"))
    name = first.partition("fly/api")[0].rpartition("\x1b[")[2]
    assert name.startswith("38;5;")
    assert f"\x1b[{name}fly/api" in second
    assert "38;5;160m" in first
    assert "38;5;160m" not in second


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in form_of("table", terminal=True)(a_line("x", level="error"))


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ({"app": "api", "source": "fly"}, "fly/api"),
        ({"app": "api"}, "api"),
        ({"source": "event", "name": "order.created"}, "event/order.created"),
        ({"source": "event"}, "event"),
        ({"source": "file", "filename": "/var/log/shop.log"}, "file/shop.log"),
        ({"service_name": "checkout", "source": "otlp"}, "otlp/checkout"),
        ({"source": "cloudflare", "app": "investStrategyService"}, "investStrategyService"),
        ({"zone": "a"}, '{zone="a"}'),
    ],
)
def test_a_name_says_where_a_line_comes_from(labels: dict[str, str], name: str) -> None:
    assert name_of(Labels(labels)) == name


@pytest.mark.parametrize(
    ("text", "metadata", "level"),
    [
        ("words", {"level": "Error"}, "error"),
        ("words", {"severity_text": "WARN"}, "warn"),
        ('{"level":"info","msg":"no ERROR"}', {}, "info"),
        ("ts=1 level=debug msg=x", {}, "debug"),
        ("2024-01-01 ERROR x", {}, "error"),
        ("panic: runtime error", {}, "panic"),
        ("GET /error 200", {}, ""),
        ("words", {}, ""),
    ],
)
def test_the_level_is_what_the_line_says_of_itself(text: str, metadata: dict[str, str], level: str) -> None:
    assert level_of(a_line(text, **metadata)) == level
