"""Queries and lines that mean harm: they end, soon, with an answer or a refusal."""

from __future__ import annotations

import pytest

from obskit.errors import QueryError
from obskit.logql.engine import Engine
from obskit.logql.parser import parse
from obskit.model.labels import Labels
from obskit.testing.logs import MemoryLogs

S = 1_000_000_000
LONG = 1 << 18
STREAM = Labels({"app": "a"})
HOSTILE_LINES = {
    "many open objects": '{"a":' * (LONG // 5),
    "many closed objects": '{"a":' * (LONG // 10) + "1" + "}" * (LONG // 10),
    "many arrays": '{"a":' + "[" * (LONG // 2) + "]" * (LONG // 2) + "}",
    "escapes without an end": '{"a":{' + '"\\"' * (LONG // 3),
    "a string without an end": '{"a":"' + "\\\\x" * (LONG // 3),
    "many keys": "{" + ",".join(f'"k{at}":{at}' for at in range(20_000)) + "}",
    "quotes": '"' * LONG,
    "pairs": 'a="' * (LONG // 3),
    "spaces": " " * LONG,
    "NUL bytes": "\x00" * LONG,
    "half characters": "\ud800" * 1000 + "x",
    "addresses nearly": "1.2.3." * (LONG // 6),
    "colons": "f:" * (LONG // 2),
    "colours": "\x1b[" * (LONG // 2),
}
STAGES = [
    "| json", "| json | a>1", '| json x="a.b[0]", y="k5"', "| logfmt", "| logfmt --strict", '| logfmt x="a"', "| unpack", "| decolorize",
    '| regexp "(?P<x>(a|b)*c)"', '| pattern "<x>a<y>"', '|~ "(x+x+)+y"', '|~ "^(([a-z])+.)+[A-Z]([a-z])+$"', '|= ip("1.2.3.4")',
    '|= ip("::1")', '|> "<_>a<_>b<_>"', '| line_format "{{ __line__ | upper | b64enc }}"',
    '| label_format x=`{{ regexReplaceAll "a*" __line__ "bbbbbbbb" }}`',
]  # fmt: skip


@pytest.mark.parametrize("stages", STAGES)
@pytest.mark.parametrize("name", HOSTILE_LINES)
def test_a_long_line_is_answered(name: str, stages: str) -> None:
    logs = MemoryLogs()
    logs.add(STREAM, S, HOSTILE_LINES[name])
    logs.add(STREAM, 2 * S, '{"a":2}')
    lines = list(Engine(logs).lines(parse('{app="a"} ' + stages), 0, 9 * S, limit=10, newest_first=True))
    assert len(lines) <= 2


@pytest.mark.parametrize(
    "template",
    [
        '{{ range fromJson "[1,2,3]" }}' * 30 + "x" + "{{ end }}" * 30,
        "{{ repeat 1000000000 `x` }}",
        "{{ indent 1000000000 `x` }}",
        '{{ define "x" }}{{ template "x" . }}{{ end }}{{ template "x" . }}',
        "{{ range 100000000 }}{{ end }}",
        "{{ $x := `xxxxxxxxxx` }}{{ range 1000 }}{{ $x = print $x $x }}{{ end }}{{ $x }}",
        "{{ regexReplaceAll `(a*)*` `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab` `$1$1$1` }}",
        "{{ mul 9223372036854775807 9223372036854775807 }}",
        "{{ round 1e308 2000000000 }}",
        "{{ divf 1 1e-320 }}",
        "{{ alignLeft 2000000000 `x` }}",
        "{{ replace `` `yyyyyyyy` __line__ | replace `` `zzzzzzzzzzzzzzzz` | replace `` `zzzzzzzzzzzzzzzz` }}",
        "{{ printf `%1000000d` 1 }}",
        "{{ toDate `2006-01-02` `99999-99-99` }}{{ unixToTime `9999999999999999999` }}",
        '{{ fromJson "' + "[" * 60 + "]" * 60 + '" }}',
    ],
)
def test_a_template_that_means_harm_ends(template: str) -> None:
    logs = MemoryLogs()
    logs.add(STREAM, S, "line " * 1000)
    try:
        query = parse('{app="a"} | line_format `' + template.replace("`", "'") + "`")
    except QueryError:
        return
    assert len(list(Engine(logs).lines(query, 0, 9 * S, limit=10, newest_first=True))) == 1


@pytest.mark.parametrize(
    "pattern",
    [
        "(a{1000}){1000}",
        "((((a{0,100}){0,100}){0,100}){0,100})",
        "(?:a?){100}" + "a" * 100,
        "(x+x+)+y" * 20,
        ".*" * 100,
        "(" * 200,
    ],
)
def test_an_expression_that_means_harm_is_refused_or_quick(pattern: str) -> None:
    logs = MemoryLogs()
    logs.add(STREAM, S, "a" * 10_000)
    for filter_ in ("|~", "!~"):
        try:
            query = parse(f'{{app="a"}} {filter_} "{pattern}"')
        except QueryError:
            continue
        list(Engine(logs).lines(query, 0, 9 * S, limit=10, newest_first=True))
