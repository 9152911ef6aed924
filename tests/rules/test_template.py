"""Templates: what Prometheus prints (golden/templates.json was printed by promtool), clear errors, and limits."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.errors import QueryError, TemplateError
from obskit.model.labels import Labels
from obskit.model.results import Element
from obskit.rules.template import MAX_STEPS, TemplateData, compile_template
from obskit.rules.template_functions import FUNCTIONS, MAX_TEXT

GOLDEN: list[tuple[str, str | None]] = json.loads((Path(__file__).parent / "golden" / "templates.json").read_text())
SERIES = {
    'm{a="x",instance="web-1.fly.internal:8080",q="say \\"hi\\""}': 5.5,
    'n{i="b"}': 2,
    'n{i="a"}': 3,
}


def ask(expr: str) -> Sequence[Element]:
    n = [
        Element(Labels({"__name__": "n", "i": "b"}), 2.0, 0),
        Element(Labels({"__name__": "n", "i": "a"}), 3.0, 0),
    ]
    answers: dict[str, list[Element]] = {"n": n, "sort(n)": n, "nothing": []}
    answers |= {f"vector({number})": [Element(Labels(), float(number), 0)] for number in ("Inf", "-Inf", "NaN")}
    if expr not in answers:
        raise QueryError(f"cannot evaluate {expr}")
    return answers[expr]


DATA = TemplateData(
    labels=Labels({"__name__": "m", "a": "x", "instance": "web-1.fly.internal:8080", "q": 'say "hi"'}),
    value=5.5,
    external_labels=Labels({"region": "eu"}),
    external_url="http://obs.example/p",
    query=ask,
    now_ms=120_000,
)


def expand(text: str, data: TemplateData = DATA) -> str:
    return compile_template(text).expand(data)


@pytest.mark.parametrize(("text", "printed"), GOLDEN)
def test_it_prints_what_prometheus_prints(text: str, printed: str | None) -> None:
    if printed is None:
        with pytest.raises(TemplateError):
            expand(text)
    else:
        assert expand(text) == printed


@pytest.mark.server("promtool")
def test_the_golden_file_is_what_promtool_prints(tmp_path: Path) -> None:
    rules = [{"alert": f"A{at}", "expr": 'm{a="x"}', "annotations": {"t": text}} for at, (text, _) in enumerate(GOLDEN)]
    case = {
        "external_labels": {"region": "eu"},
        "external_url": "http://obs.example/p",
        "input_series": [{"series": series, "values": f"{value}x5"} for series, value in SERIES.items()],
        "alert_rule_test": [{"eval_time": "2m", "alertname": rule["alert"], "exp_alerts": []} for rule in rules],
    }
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": [case]}))
    run = subprocess.run(
        ["promtool", "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    found = re.findall(r'alertname="A(\d+)"[^\n]*\n\s*Annotations:\{t=("(?:[^"\\]|\\.)*")\}', run.stdout + run.stderr)
    printed = {int(at): yaml.safe_load(text) for at, text in found}
    assert printed.keys() == set(range(len(GOLDEN)))
    for at, (text, expected) in enumerate(GOLDEN):
        if expected is None:
            assert printed[at].startswith("<error expanding template"), text
        else:
            assert printed[at] == expected, text


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        # promtool has no external URL for its functions, and its Go is older than ranges over numbers.
        ("{{ externalURL }} {{ pathPrefix }} {{ .ExternalURL }} {{ $externalURL }}", " ".join(["http://obs.example/p", "/p", *["http://obs.example/p"] * 2])),
        ("{{ now }} {{ now | toTime }} {{ (now | toTime).Format `15:04` }}", "120 1970-01-01 00:02:00 +0000 UTC 00:02"),
        ("{{ ((now | toTime).Add (toDuration 61)).Second }}", "1"),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        ("{{ toDuration 95.5 }} {{ toDuration 3600 }} {{ toDuration 0.0015 }} {{ (toDuration 90).Minutes }}", "1m35.5s 1h0m0s 1.5ms 1.5"),
        ("{{ toDuration -3661.25 }} {{ toDuration 0 }} {{ humanizeDuration (toDuration 3661) }}", "-1h1m1.25s 0s 1h 1m 1s"),
        ('{{ define "t" }}[{{ . }}]{{ end }}{{ tmpl "t" 6 | len }}', "3"),
        ("{{ with $x := $labels.nope }}a{{ else with .Labels.a }}{{ . }}{{ end }}", "x"),
        ("{{ or $labels.a (query `boom`) }}{{ and $labels.nope (query `boom`) }}", "x"),
        ("{{ range (args nil).arg0 }}x{{ else }}nothing{{ end }}", "nothing"),
        ("{{ with query `n` | first }}{{ .Value }}{{ end }}{{ if toDuration 0 }}x{{ end }}{{ if first (query `n`) }}y{{ end }}", "2y"),
        ("{{ and true | or 0 }} {{ true | and 1 }} {{ 5 | or 0 }}", "true true 5"),
        ("{{ eq nil 1 nil }} {{ eq nil 1 }} {{ print now }} {{ print (now) }}", "true false 120 120"),
        ("{{ printf `%d %v` (first (query `n`)) (toDuration 1) }}", "&{map[%!d(string=__name__):%!d(string=n) %!d(string=i):%!d(string=b)] %!d(float64=2)} 1s"),
        ("{{ printf `%+f|%6.1f|%d` (index (args 1) `arg0`) 2.0 (toDuration 0.000001) }}", "%!f(int=+1)|   2.0|1000"),
        ("{{ (now | toTime).YearDay }} {{ (now | toTime).Weekday }} {{ (now | toTime).UnixMilli }}", "1 Thursday 120000"),
        ("plain text, no braces }}", "plain text, no braces }}"),
        ("", ""),
    ],
)  # fmt: skip
def test_it_prints_what_the_reference_says(text: str, printed: str) -> None:
    assert expand(text) == printed


@pytest.mark.parametrize(
    ("text", "message", "start"),
    [
        ("a {{ foo }}", "there is no function foo", 5),
        ("{{ humanise 1 }}", "there is no function humanise (did you mean humanize?)", 3),
        ("{{ $nope }}", "there is no variable $nope", 3),
        ("{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}", "there is no variable $x", 38),
        ("{{ $labels.a", "this {{ has no }}", 0),
        ("{{ /* a }}", "unexpected character '/' between braces", 3),
        ("{{/* a }}", "this comment has no end: */ is missing", 0),
        ("{{/* a */ 1 }}", "a comment must be alone in its braces: {{/* like this */}}", 0),
        ('{{ "a }}', "this string has no end", 3),
        ("{{ }}", "a value or a function is missing here", 3),
        ("{{ 1 | }}", "a value or a function is missing here", 7),
        ("{{ (1 }}", "unexpected '}}'", 6),
        ("{{ 1 ) }}", "unexpected ')'", 5),
        ("{{ ) }}", "unexpected ')'", 3),
        ("{{ print(1) }}", "a space is missing before '('", 8),
        ("{{ $value | 5 }}", "only a function can take the value before the |", 12),
        ("{{ 1.x }}", "not a number: 1.x", 3),
        ('{{ "a".b }}', '"a" has no members', 6),
        ("{{ if 1 }}", "this if has no {{ end }}", 3),
        ("{{ range .Labels }}{{ else }}", "this range has no {{ end }}", 3),
        ("{{ if 1 }}{{ else }}{{ else }}{{ end }}", "a second else in one if", 23),
        ("{{ end }}", "{{ end }} without an if, range, with, block or define before it", 3),
        ("{{ break }}", "break outside of a range", 3),
        ("{{ $a, $b := 1 }}", "only range can set two variables", 3),
        ("{{ define 1 }}{{ end }}", 'define wants a name in quotes: {{ define "name" }}', 10),
        ('{{ if 1 }}{{ define "t" }}{{ end }}{{ end }}', "define inside of another block", 13),
        ('{{ define "t" }}a{{ end }}{{ define "t" }}b{{ end }}', "a second definition of the template 't'", 29),
        ('{{ define "t" }}{{ $labels }}{{ end }}', "there is no variable $labels", 19),
        (r'{{ "\400" }}', r"\400 is more than a byte", 3),
        (r'{{ "\ud800" }}', r"\ud800 is not a character", 3),
        ('{{ define "t" }}', "this define has no {{ end }}", 3),
        ("{{ end 1 }}", "{{ end }} without an if, range, with, block or define before it", 3),
        ("{{ if 1 }}{{ end 1 }}", "unexpected '1' after end: }} expected", 17),
        ("{{ , }}", "unexpected ','", 3),
        (r'{{ "\q" }}', r"there is no escape \q (write \\ for a backslash)", 3),
        ("{{ 'ab' }}", "more than one character in single quotes (strings take double quotes)", 3),
        ("{{ 99999999999999999999 }}", "the number 99999999999999999999 does not fit in 64 bits", 3),
        ("{{ # }}", "unexpected character '#' between braces", 3),
        ("{{ if 1 end }}", "end wants braces of its own: {{ end }}", 8),
        ("{{ " + "(" * 200 + "}}", "nested more than 100 deep", 103),
        ("{{ if 1 }}" * 200, "nested more than 100 deep", 1003),
        ("x" * (MAX_TEXT + 1), f"the template is longer than {MAX_TEXT} characters", MAX_TEXT),
    ],
)
def test_a_wrong_template_is_refused_with_its_place(text: str, message: str, start: int) -> None:
    with pytest.raises(TemplateError) as caught:
        compile_template(text)
    assert (caught.value.message, caught.value.start) == (message, start)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ $labels.a | humanize }}", "humanize: 'x' is not a number, in {{ $labels.a | humanize }}"),
        ("{{ humanize true }}", "humanize: cannot make a number of a bool, in {{ humanize true }}"),
        ("{{ gt $value 5 }}", "gt: a float64 cannot be compared with a int (write the whole number with a point: 100.0), in {{ gt $value 5 }}"),
        ("{{ query `nothing` | first }}", "first: the query's result is empty, in {{ query `nothing` | first }}"),
        ("{{ query `boom` }}", "query: cannot evaluate boom, in {{ query `boom` }}"),
        ("{{ match `(` `a` }}", "match: not an RE2 pattern: missing ): (, in {{ match `(` `a` }}"),
        ("{{ toUpper 3 }}", "toUpper: a string is wanted here, not a int, in {{ toUpper 3 }}"),
        ("{{ toUpper }}", "toUpper wants 1 argument, not 0, in {{ toUpper }}"),
        ("{{ eq }}", "eq wants at least 1 argument, not 0, in {{ eq }}"),
        ("{{ $labels.a.b }}", "there is no b in a string, in {{ $labels.a.b }}"),
        ("{{ .Nope }}", "there is no .Nope (there are .Labels, .ExternalLabels, .ExternalURL, .Value), in {{ .Nope }}"),
        ("{{ (args 1).arg9.x }}", "there is no x in nothing (nil), in {{ (args 1).arg9.x }}"),
        ("{{ $labels.a 1 }}", "a is not a method but has arguments, in {{ $labels.a 1 }}"),
        ("{{ 1 | $value }}", "only a function can take arguments, in {{ 1 | $value }}"),
        ("{{ (now | toTime).Format }}", "Format wants 1 argument, not 0, in {{ (now | toTime).Format }}"),
        ("{{ (now | toTime).Format 1 }}", "Format wants a string, not int, in {{ (now | toTime).Format 1 }}"),
        ("{{ (now | toTime).Add 1 }}", "Add wants a duration, not int, in {{ (now | toTime).Add 1 }}"),
        ("{{ humanize `٣` }}", "humanize: '٣' is not a number, in {{ humanize `٣` }}"),
        ("{{ tmpl `x` }}", "tmpl wants the name of a defined template and its dot, in {{ tmpl `x` }}"),
        ("{{ parseDuration `999999999y` }}", "parseDuration: the duration is out of range, in {{ parseDuration `999999999y` }}"),
        ("{{ nil }}", "nil alone is not a value to print, in {{ nil }}"),
        ("{{ if false }}{{ template `t` }}{{ end }}{{ template `t` . }}", "there is no template 't', in {{ template `t` . }}"),
        ('{{ define "t" }}{{ 1 2 }}{{ end }}{{ template "t" }}', "1 is not a function, but has arguments, in {{ 1 2 }}"),
        ("{{ if true }}{{ $x := 1 }}{{ end }}{{ $x = 2 }}", "there is no variable $x yet: := declares one, in {{ $x = 2 }}"),
        ("{{ range $i, $v = $labels }}{{ end }}", "there is no variable $i yet: := declares one, in {{ range $i, $v = $labels }}"),
        ("{{ toTime 1e300 }}", "toTime: 1e+300 seconds are beyond what nanoseconds in 64 bits can say, in {{ toTime 1e300 }}"),
    ],
)  # fmt: skip
def test_what_fails_while_expanding_is_told_with_its_action(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        expand(text)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ range 20000 }}{{ end }}", f"the template takes more than {MAX_STEPS} steps"),
        ("{{ range 200 }}{{ $x := query `n` }}{{ end }}", f"the template takes more than {MAX_STEPS} steps"),
        (
            "{{ $x := printf `%4000s` `` }}{{ range 4000 }}{{ $y := match `(a|b)*c` $x }}{{ end }}",
            f"the template takes more than {MAX_STEPS} steps",
        ),
        ("{{ range 5000 }}{{ range 5000 }}{{ end }}{{ end }}", f"the template takes more than {MAX_STEPS} steps"),
        ("{{ range 2000 }}" + "x" * 100 + "{{ end }}", f"the text becomes longer than {MAX_TEXT} characters"),
        ("{{ $x := `xxxx` }}{{ range 30 }}{{ $x = print $x $x }}{{ end }}", "print: the text becomes too long"),
        ("{{ $x := printf `%4000s` `` }}{{ reReplaceAll ` ` $x $x }}", "reReplaceAll: the text is longer than"),
        ("{{ $x := printf `%4000s` `` }}{{ print" + " $x" * 20 + " }}", "print: the text becomes too long"),
        ("{{ $x := args 1 }}{{ range 100 }}{{ $x = args $x $x $x $x }}{{ end }}{{ $x }}", "the text becomes too long"),
        ("{{ $x := args 1 }}{{ range 2000 }}{{ $x = args $x }}{{ end }}{{ $x }}", "the text becomes too long"),
        (
            "{{ $x := args 1 }}{{ range 2000 }}{{ $x = args $x }}{{ end }}{{ printf `%v` $x }}",
            "printf: the text becomes",
        ),
        ('{{ define "t" }}{{ template "t" . }}{{ end }}{{ template "t" 1 }}', "templates nest more than 100 deep"),
        ('{{ define "t" }}{{ tmpl "t" . }}{{ end }}{{ tmpl "t" 1 }}', "templates nest more than 100 deep"),
    ],
)
def test_an_expansion_ends(text: str, message: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(message)):
        expand(text)


@pytest.mark.parametrize(
    ("text", "uses"),
    [
        ("{{ $value }}", True),
        ("{{ .Value | humanize }}", True),
        ("{{ with $labels.a }}{{ $.Value }}{{ end }}", True),
        ("{{ if gt .Value 1.0 }}x{{ end }}", True),
        ("{{ range query `n` }}{{ .Value }}{{ end }}", False),
        ("{{ $labels.value }} $value", False),
    ],
)
def test_it_knows_whether_the_text_depends_on_the_value(text: str, uses: bool) -> None:
    assert compile_template(text).uses_value is uses


def test_labels_may_be_any_mapping_and_a_missing_one_is_empty() -> None:
    data = TemplateData(labels={"job": "api"}, value=1.0)
    assert expand("{{ $labels.job }}|{{ $labels.nope }}|{{ .ExternalLabels.x }}", data) == "api||"


def test_without_an_engine_a_query_is_an_error_and_an_empty_template_is_empty() -> None:
    assert compile_template("{{/* nothing */}}").expand(TemplateData()) == ""
    with pytest.raises(TemplateError, match="query: query cannot be answered here: up"):
        compile_template("{{ query `up` }}").expand(TemplateData())


def test_expanding_twice_gives_the_same_text() -> None:
    template = compile_template("{{ $x := 1 }}{{ range query `n` }}{{ $x = .Value }}{{ end }}{{ $x }}")
    assert template.expand(DATA) == template.expand(DATA) == "3"


PIECES = st.sampled_from(
    [
        "{{", "}}", "{{- ", " -}}", "{{ end }}", "{{ else }}", "{{ if ", "{{ range ", "{{ with ", "|", "(", ")", " ",
        "$x", ":=", "=", ",", ".", ".Labels", "$labels", "$value", "$labels.a", "query `n`", "first", "args", "1", "-3",
        "2.5", "1e5", "true", "nil", '"a"', "`%d %s %q %5.1f`", "'x'", "define `t`", "template `t`", "block `t`", "break",
        "/*", "*/", "text", "é", "\n", *FUNCTIONS,
    ]
)  # fmt: skip


def outcome(text: str) -> str | TemplateError:
    try:
        return expand(text)
    except TemplateError as error:
        return error


@given(st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=40).map(lambda text: "{{ " + text + " }}"))
@settings(max_examples=200, deadline=None)
def test_whatever_is_written_either_expands_or_is_a_template_error(text: str) -> None:
    result = outcome(text)
    assert len(result) <= MAX_TEXT if isinstance(result, str) else 0 <= result.start <= len(text)


VALUES = st.sampled_from(
    ["$labels", "$value", "$labels.a", "1", "-7", "2.5", "1e300", "true", "nil", '"a b"', "`(x*`", "`%*d %.9999f %v`",
     "(query `n`)", "(first (query `n`))", "(toTime 1e9)", "(toDuration 5)", "(args 1 nil)", "."]
)  # fmt: skip


@given(st.sampled_from(sorted(FUNCTIONS)), st.lists(VALUES, max_size=4))
@settings(max_examples=200, deadline=None)
def test_any_function_with_any_arguments_gives_text_or_a_template_error(name: str, arguments: list[str]) -> None:
    assert outcome("{{ " + " ".join([name, *arguments]) + " }}") is not None
