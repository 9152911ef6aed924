"""Which records are errors, and what is read of them."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.grouping.entries import may_be_errors, read_entry
from obskit.grouping.words import QUESTION
from obskit.model.labels import Labels
from obskit.model.records import NO_METADATA, Record
from obskit.store.log_interface import Records
from obskit.store.text_search import Question
from tests.grouping import traces
from tests.store.shelf import told_of

STREAM = Labels({"app": "shop", "source": "fly"})
APPS = ("app", "job")


def entry(line: str, metadata: dict[str, str] | None = None, *, wanted: bool = False) -> Any:
    record = Record(STREAM, 1, line, metadata or {})
    found = read_entry(record, APPS, wanted=wanted)
    # in a block of others: what is an error is never passed over
    quiet = [Record(STREAM, 1, "all is well") for _ in range(20)]
    assert found is None or wanted or list(may_be_errors(Records.of([*quiet, record, *quiet]))) == [record]
    return found


ERRORS = [
    ("2026-11-20 10:00:00,123 ERROR shop.pay cannot pay", "error", "shop.pay cannot pay"),
    ("ERROR: relation \"orders\" does not exist", "error", 'relation "orders" does not exist'),
    ("[error] 31#31: *7 connect() failed", "error", "[error] 31#31: *7 connect() failed"),
    ("[CRITICAL] WORKER TIMEOUT (pid:12)", "critical", "WORKER TIMEOUT (pid:12)"),
    ('level=error ts=1 msg="cannot dial" host=a', "error", "cannot dial"),
    ("time=1 level=FATAL msg=gone", "fatal", "gone"),
    ('{"level":"error","msg":"cannot dial"}', "error", "cannot dial"),
    ('{"level":50,"time":1,"msg":"cannot dial"}', "error", "cannot dial"),
    ('{"severity":"CRITICAL","message":"gone"}', "critical", "gone"),
    ('{"log":{"level":"error"},"message":"gone"}', "error", "gone"),
    ("E1120 10:00:00.123456 1 server.go:12] cannot bind", "error", "E1120 10:00:00.123456 1 server.go:12] cannot bind"),
    ("panic: assignment to entry in nil map", "error", "panic: assignment to entry in nil map"),
    ("ValueError: no such order", "error", "ValueError: no such order"),
    ("java.sql.SQLException: closed", "error", "java.sql.SQLException: closed"),
    ("Error: cannot find module 'x'", "error", "Error: cannot find module 'x'"),
    ("fatal: not a git repository", "error", "fatal: not a git repository"),
    ("Unhandled promise rejection", "error", "Unhandled promise rejection"),
]  # fmt: skip

OTHERS = [
    "GET /errors 200",
    "0 errors, 12 warnings",
    "INFO no error found, ERROR count is 0",
    "2026-11-20 10:00:00 INFO last ERROR was a while ago",
    'level=info msg="recovered from error"',
    '{"level":"info","msg":"an error was handled"}',
    '{"level":30,"err":null,"msg":"ok"}',
    '{"msg":"error budget is fine"}',
    "[info] errors.html loaded",
    "WARN retry after Error: timeout",
    "saved /var/log/error.log",
    "error=null status=200",
    "",
    "{",
    '{"level":',
    "[" * 5_000,
    "\ud800 nothing",
    '{"level":"info","msg":"x","fingerprint":["a"]}',
]


@pytest.mark.parametrize(("line", "level", "text"), ERRORS)
def test_lines_that_say_error_are_errors(line: str, level: str, text: str) -> None:
    found = entry(line)
    assert found is not None
    assert (found.level, found.text, found.app) == (level, text, "shop")


@pytest.mark.parametrize("line", OTHERS)
def test_lines_that_speak_of_errors_are_none(line: str) -> None:
    assert entry(line) is None


@pytest.mark.parametrize("name", ["level", "severity_text", "detected_level", "severity"])
def test_the_level_of_the_metadata_wins(name: str) -> None:
    assert entry("all is well", {name: "ERROR"}).level == "error"
    assert entry("ERROR all is lost", {name: "info"}) is None


@pytest.mark.parametrize("name", [name for name in dir(traces) if name.isupper()])
def test_a_stack_trace_is_an_error_without_a_level(name: str) -> None:
    found = entry(getattr(traces, name))
    assert found is not None
    assert found.fingerprint.id.startswith("e1-")


def test_a_trace_at_info_is_no_error() -> None:
    assert entry(traces.NODE, {"level": "info"}) is None


WITH_STACK = [
    ("otel", {"exception.type": "PaymentFailed", "exception.stacktrace": traces.PYTHON}, "nothing special"),
    ("otel as loki has it", {"exception_type": "PaymentFailed", "exception_stacktrace": traces.PYTHON}, "x"),
    ("pino", {}, json.dumps({"level": 50, "msg": "x", "err": {"type": "TypeError", "stack": traces.NODE}})),
    ("structlog", {}, json.dumps({"level": "error", "event": "x", "exception": traces.PYTHON})),
    ("python-json-logger", {}, json.dumps({"levelname": "ERROR", "message": "x", "exc_info": traces.PYTHON})),
    ("logback", {}, json.dumps({"level": "ERROR", "message": "x", "stack_trace": traces.JAVA})),
    ("ecs", {}, json.dumps({"log.level": "error", "message": "x", "error": {"type": "TypeError", "stack_trace": traces.NODE}})),
]  # fmt: skip


@pytest.mark.parametrize(("metadata", "line"), [row[1:] for row in WITH_STACK], ids=[row[0] for row in WITH_STACK])
def test_stacks_in_fields_are_found(metadata: dict[str, str], line: str) -> None:
    found = entry(line, metadata)
    assert found is not None
    assert found.fingerprint.culprit in {"shop/views:checkout", "src/shop:checkout", "com.acme.shop.Cart:add"}


def test_a_type_without_a_stack_is_a_group_by_its_masked_message() -> None:
    def of(order: int) -> Any:
        return entry("x", {"exception.type": "KeyError", "exception.message": f"order {order} is unknown"})

    assert of(1).fingerprint.id == of(2).fingerprint.id
    assert of(1).fingerprint.title == "KeyError: order 1 is unknown"


def test_an_explicit_fingerprint_is_honoured() -> None:
    one = entry("ERROR cannot pay alice", {"fingerprint": '["pay", "eu"]'})
    two = entry("ERROR could not pay bob", {"fingerprint": '["pay", "eu"]'})
    three = entry('{"level":"error","msg":"x","fingerprint":["pay","us"]}')
    assert one.fingerprint.id == two.fingerprint.id != three.fingerprint.id
    assert one.fingerprint.title == "cannot pay alice"


def test_streams_that_are_wanted_are_read_whatever_they_say() -> None:
    assert entry("disk is fine", wanted=True).text == "disk is fine"


def test_the_release_is_where_otel_or_a_logger_puts_it() -> None:
    assert entry("ERROR x", {"service.version": "1.2.3"}).release == "1.2.3"
    assert entry('{"level":"error","msg":"x","release":"abc"}').release == "abc"


some = st.sampled_from(
    ["", "all is well", "ERROR x", "level=error y", "a\0b", "\0", "E1120 10:00 z", "é ERROR", "panic: x\ny", "\ud800"]
)


@given(
    st.lists(some, max_size=200),
    st.lists(st.integers(0, 199), max_size=5),
    st.sampled_from([None, QUESTION, Question([])]),
)
@settings(max_examples=100)
def test_no_error_is_passed_over_among_others(lines: list[str], levels: list[int], asked: Question | None) -> None:
    records = Records()
    for number, line in enumerate(lines):
        records.add(STREAM, number, line, {"level": "error"} if number in levels else NO_METADATA)
    if asked is not None and lines:
        records = told_of(records, asked)
    found = [record.t_ns for record in may_be_errors(records)]
    assert found == sorted(set(found))
    assert {record.t_ns for record in records if read_entry(record, APPS) is not None} <= set(found)
    if asked is None and not any("\ud800" in line for line in lines):
        assert not {number for number in found if lines[number] in {"", "all is well"}} - set(levels)


names = st.sampled_from(
    ["level", "msg", "err", "error", "stack", "exception.type", "fingerprint", "log", "severity", "release"]
)
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=9),
        st.sampled_from(["error", traces.NODE]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(names, values, max_size=6), st.dictionaries(names, st.text(max_size=9), max_size=3))
@settings(max_examples=200)
def test_any_json_and_any_metadata_is_read(fields: dict[str, Any], metadata: dict[str, str]) -> None:
    entry(json.dumps(fields), metadata, wanted=True)
    entry(json.dumps(fields), metadata)
