from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.logql.addresses import parse_range
from obskit.logql.captures import capturing_pattern, filtering_pattern
from obskit.logql.engine import Engine
from obskit.logql.json_fields import BadJson, flattened
from obskit.logql.json_paths import parse_path, value_at
from obskit.logql.logfmt import BadLogfmt, pairs, strict_pairs
from obskit.logql.parser import parse
from obskit.logql.units import byte_size, go_duration_ns, literal_duration_ns
from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.testing.logs import MemoryLogs


@pytest.mark.parametrize(
    ("text", "ns"),
    [("1.5h", 5_400_000_000_000), ("100us", 100_000), ("100\N{MICRO SIGN}s", 100_000), ("-2m3s", -123_000_000_000),
     ("0", 0), (".5s", 500_000_000), ("7ns", 7), ("1m0.5s", 60_500_000_000)],
)  # fmt: skip
def test_go_durations_are_read(text: str, ns: int) -> None:
    assert go_duration_ns(text) == ns


@pytest.mark.parametrize("text", ["1d", "", "5", "s", "1 s", "1.5.2s", "soon", "9" * 400 + "h", "9999999h"])
def test_what_go_does_not_read_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="time: "):
        go_duration_ns(text)


def test_a_duration_in_a_query_may_have_days() -> None:
    assert literal_duration_ns("1d") == 86_400 * 10**9


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", 512), ("1.5 KB", 1500), ("2kib", 2048), ("3MB", 3e6), ("1,024B", 1024), ("1G", 1e9), ("1Ti", 1024**4)],
)
def test_sizes_are_read_in_any_case(text: str, size: float) -> None:
    assert byte_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1B", "1XB", "1.2.3B", "1 M B", "1iB", "9" * 400])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        byte_size(text)


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ('{"a":1,"b', [("a", "1")]),
        ('{"a":{"b":"c","d":{"e":true,"f":bad}},"g":1}', [("a_b", "c"), ("a_d_e", "true")]),
        ('{"a":1 "b":2}', [("a", "1")]),
        ('{"a" 1}', []),
        ("nonsense", []),
        ("", []),
        ("[1,2]", []),
        ('"text"', []),
        ('{"a":NaN}', []),
    ],
)
def test_what_stands_before_the_error_is_kept(line: str, fields: list[tuple[str, str]]) -> None:
    with pytest.raises(BadJson) as caught:
        flattened(line)
    assert caught.value.fields == fields


def test_what_follows_the_object_is_not_looked_at() -> None:
    assert flattened('{"a":"b"} trailing') == [("a", "b")]


@pytest.mark.parametrize(
    ("line", "details"),
    [
        ("{", "Malformed JSON error"),
        ("words", "Value looks like object, but can't find closing '}' symbol"),
        ('{"a":"b', "Value is string, but can't find closing '\"' symbol"),
        ('{"a":[1', "Value is array, but can't find closing ']' symbol"),
        ('{"a":oops}', "Unknown value type"),
    ],
)
def test_an_error_is_told_as_loki_tells_it(line: str, details: str) -> None:
    with pytest.raises(BadJson) as caught:
        flattened(line)
    assert str(caught.value) == details


def test_very_deep_json_is_an_error_and_no_crash() -> None:
    with pytest.raises(BadJson):
        flattened('{"a":' * 100_000)


@pytest.mark.parametrize(
    ("path", "value"),
    [("a", '{"b": [1, {"c d": "e"}]}'), ("a.b[0]", "1"), ('a["b"][1]["c d"]', "e"), ("a.b[7]", None), ("a.b.c", None),
     ("nope", None), ("t", "true"), ("n", ""), ("f", "1.50"), ("[0]", None)],
)  # fmt: skip
def test_a_path_finds_its_value(path: str, value: str | None) -> None:
    line = ' {"a": {"b": [1, {"c d": "e"}]}, "t": true, "n": null, "f": 1.50}'
    assert value_at(line, parse_path(path)) == value


@pytest.mark.parametrize("path", ["", ".a", "a.", "a..b", "a[", "a[x]", "a b", "[1]x"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="cannot parse expression"):
        parse_path(path)


@pytest.mark.parametrize("line", ['{"a":oops}', '{"b":oops,"a":1}', '{"a":"b', '{"a":[1,2'])
def test_a_path_into_broken_json_is_an_error(line: str) -> None:
    with pytest.raises(BadJson):
        value_at(line, parse_path("a"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab \u00fc9", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100)
@given(st.dictionaries(st.text("ab \u00fc9", max_size=3), JSON, max_size=4))
def test_any_object_is_flattened_to_plain_names(value: object) -> None:
    for name, text in flattened(json.dumps(value)):
        assert isinstance(text, str)
        assert name.isascii()
        assert not name[:1].isdigit()


@settings(max_examples=100)
@given(st.text(max_size=60) | st.text('{}[]":,\\ae1 ', max_size=40))
def test_no_line_breaks_a_parser(line: str) -> None:
    logs = MemoryLogs([Record(Labels({"app": "a"}), 1, line)])
    for stage in (
        "json",
        "logfmt",
        "logfmt --strict --keep-empty",
        'json x="a.b[0]"',
        "unpack",
        'pattern "<a> <b>"',
        "decolorize",
    ):
        expr = parse('{app="a"} | ' + stage)
        assert len(list(Engine(logs).lines(expr, 0, 2, limit=5, newest_first=False))) == 1


def test_logfmt_pairs_are_read() -> None:
    line = ' a=1 b="x \\"y\\" \\u00fc\\n" c= d "e"=2 =3 f=g"h i=j=k l\tm=\u00fc n="open o=p'
    assert list(pairs(line)) == [
        ("a", "1"), ("b", 'x "y" \u00fc\n'), ("c", ""), ("d", ""), ("l", ""), ("m", "\u00fc"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('a="b"c=d', [("a", "b"), ("c", "d")]),
        ("a==b c=d", [("c", "d")]),
        ('a="b\\qc" d=e', [("d", "e")]),
        ('a="b\\tc\\\\" d=e', [("a", "b\tc\\"), ("d", "e")]),
        ('a=1 b="open c=2', [("a", "1")]),
        ("=x y=z", [("y", "z")]),
        ("a=\x01 b=\u00fc", [("a", ""), ("b", "\u00fc")]),
        ('a="x\ny" b', [("a", "x\ny"), ("b", "")]),
    ],
)
def test_logfmt_goes_on_behind_what_is_no_pair(line: str, found: list[tuple[str, str]]) -> None:
    assert list(pairs(line)) == found


@pytest.mark.parametrize(
    ("line", "details"),
    [
        ("key==value", "logfmt syntax error at pos 5 : unexpected '='"),
        ('lvl="open', "logfmt syntax error at pos 10 : unterminated quoted value"),
        ('{"a":1}', "logfmt syntax error at pos 2 : unexpected '\"'"),
        ('a="\\q"', "logfmt syntax error at pos 7 : invalid quoted value"),
    ],
)
def test_strict_logfmt_tells_where_it_stopped(line: str, details: str) -> None:
    with pytest.raises(BadLogfmt) as caught:
        list(strict_pairs(line))
    assert str(caught.value) == details


def test_strict_logfmt_stops_at_the_first_bad_word() -> None:
    read = strict_pairs("a=1 b=c=d e=2")
    assert next(read) == ("a", "1")
    with pytest.raises(BadLogfmt, match="at pos 8 : unexpected '='"):
        next(read)


@pytest.mark.parametrize(
    ("pattern", "line", "captures"),
    [
        ("<a> <b>", "one two three", [("a", "one"), ("b", "two three")]),
        ("x<a>", "yes", []),
        ("<a>?<_>", "/path", [("a", "/path")]),
        ("<_> <a> <_>", "1 2 3", [("a", "2")]),
        ("<a>!", "hey! you", [("a", "hey")]),
        ("<a> b", "", []),
    ],
)
def test_a_pattern_captures(pattern: str, line: str, captures: list[tuple[str, str]]) -> None:
    assert capturing_pattern(pattern).captures(line) == captures


@pytest.mark.parametrize(
    ("pattern", "line", "fits"),
    [("<_>", "x", True), ("<_>", "", False), ("a<_>c", "abc", True), ("a<_>c", "ac", False), ("a<_>c", "abcd", False),
     ("abc", "abc", True), ("abc", "abcd", False), ("<_>b<_>", "abc", True), ("<_>b<_>", "ab", False), ("", "", True)],
)  # fmt: skip
def test_a_pattern_filter_looks_at_the_whole_line(pattern: str, line: str, fits: bool) -> None:
    assert filtering_pattern(pattern).matches(line) is fits


@pytest.mark.parametrize("pattern", ["<a><b>", "<a> <a>", "no capture", "<_>"])
def test_a_pattern_that_cannot_work_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError):
        capturing_pattern(pattern)


@pytest.mark.parametrize(
    ("source", "line", "found"),
    [("10.0.0.0/8", "from 10.1.2.3:80", True), ("10.0.0.0/8", "11.0.0.1 300.1.1.1", False), ("::1", "[::1]:80", True),
     ("fe80::1-fe80::9", "at fe80::5 now", True), ("10.0.0.1-10.0.0.3", "10.0.0.4", False), ("::/0", "peer:fe80::1: gone", True),
     ("::/0", "12:30:45 deadbeef", False), ("::/0", "a" * 1_000_000, False), ("0.0.0.0/0", "12345." * 100_000, False), ("::1", "127.0.0.1", False)],
)  # fmt: skip
def test_addresses_are_found_in_lines(source: str, line: str, found: bool) -> None:
    assert parse_range(source).occurs_in(line) is found


@pytest.mark.parametrize("source", ["", "10.0.0", "10.0.0.9-10.0.0.1", "::1-10.0.0.1", "10.0.0.0/99"])
def test_what_is_no_address_range_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="ip: invalid pattern"):
        parse_range(source)


@pytest.mark.parametrize("stage", ["json", 'json user="user"', "unpack"])
def test_half_a_surrogate_pair_spoils_its_value_alone(stage: str) -> None:
    line = r'{"user":"a\ud800","_entry":"b\udfff"}'
    logs = MemoryLogs([Record(Labels({"app": "api"}), 1_000_000, line)])
    (read,) = Engine(logs).lines(parse('{app="api"} | ' + stage), 0, 2_000_000, limit=1, newest_first=False)
    assert read.labels.get("user") == ""
    assert read.labels.fingerprint()
    assert read.line == ("" if stage == "unpack" else line)
