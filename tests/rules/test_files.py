"""Rule files: Prometheus' format as it stands, and every mistake at its place."""

from __future__ import annotations

from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.model.problems import Severity
from obskit.rules.files import RuleFile, load_rules
from obskit.rules.groups import AlertRule, GroupType, OnMissing, RecordingRule, group_of_rule, source_of_rule
from obskit.rules.template import TemplateData

GOOD = """\
groups:
- name: queues
  interval: 15s
  query_offset: 5s
  limit: 10
  labels: {team: ops, tier: gold}
  rules:
  - record: queue:depth:sum
    expr: sum by (queue) (queue_depth)
    labels: {tier: silver}
  - alert: Backlog
    expr: |
      queue:depth:sum
        > 50
    for: 1h30m
    keep_firing_for: 5m
    labels: {severity: page}
    annotations:
      summary: '{{ $labels.queue }} has {{ $value }} jobs'
"""


def load(text: str) -> RuleFile:
    return load_rules(dedent(text), "rules/queues.yaml", default_interval_ms=60_000)


def in_rule(*lines: str, type: str = "prometheus") -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return f"groups:\n- name: g\n  type: {type}\n  rules:\n  -{body[3:]}\n"


def in_alert(*lines: str) -> str:
    return in_rule("alert: A", "expr: up", "labels: {severity: x}", *lines)


def test_a_file_of_prometheus_is_read_as_it_stands() -> None:
    read = load(GOOD)
    assert read.problems == ()
    assert read.usable
    assert read.portable
    (group,) = read.groups
    assert (group.name, group.interval_ms, group.query_offset_ms, group.limit) == ("queues", 15_000, 5_000, 10)
    recording, alert = group.rules
    assert isinstance(recording, RecordingRule)
    assert (recording.name, recording.labels) == ("queue:depth:sum", {"team": "ops", "tier": "silver"})
    assert isinstance(alert, AlertRule)
    assert (alert.for_ms, alert.keep_firing_for_ms) == (5_400_000, 300_000)
    assert alert.labels == {"team": "ops", "tier": "gold", "severity": "page"}
    assert alert.expr == "queue:depth:sum\n  > 50"
    assert alert.source == "queues.yaml:Backlog"
    template = alert.templates[alert.annotations["summary"]]
    assert template.expand(TemplateData(labels={"queue": "mail"}, value=51)) == "mail has 51 jobs"


@pytest.mark.parametrize("text", ["", "groups:\n", "groups: []\n", "groups:\n- name: empty\n"])
def test_a_file_without_rules_is_no_mistake(text: str) -> None:
    assert load(text).problems == ()


def test_a_group_without_interval_takes_the_default() -> None:
    assert load("groups: [{name: g}]").groups[0].interval_ms == 60_000


def test_yaml_numbers_and_words_are_texts() -> None:
    rule = load(in_rule("alert: A", "expr: 1", "labels: {severity: 1, on: yes, at: 22:30, empty: }")).groups[0].rules[0]
    assert rule.labels == {"severity": "1", "on": "yes", "at": "22:30", "empty": ""}


@pytest.mark.parametrize(("type", "kind"), [("loki", GroupType.LOKI), ("events", GroupType.EVENTS)])
def test_a_group_may_ask_for_logs_and_events(type: str, kind: GroupType) -> None:
    expr = "expr: 'sum by (app) (count_over_time({source=\"event\"} [5m])) > 3'"
    read = load(in_rule("alert: A", expr, "labels: {severity: page}", type=type))
    assert read.problems == ()
    assert read.groups[0].type is kind
    assert kind.reads_logs
    assert not read.portable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("groups: 5", "1:9 wrong-type"),
        ("- name: g", "1:1 wrong-type"),
        ("group: []", "1:1 unknown-key"),
        ("groups: [{name: g, intervall: 5m}]", "1:20 unknown-key"),
        ("groups: [{rules: []}]", "1:10 missing-key"),
        ("groups: [5]", "1:10 wrong-type"),
        ("groups:\n-\n", "2:2 wrong-type"),
        ("groups: [{name: g, rules: {}}]", "1:27 wrong-type"),
        ("groups: [{name: g}, {name: g}]", "1:28 duplicate-group"),
        ("groups: [{name: g, name: h}]", "1:20 duplicate-key"),
        ("groups: [{name: g, interval: 5 minutes}]", "1:30 bad-duration"),
        ("groups: [{name: g, limit: -1}]", "1:27 bad-number"),
        ("groups: [{name: g, type: lokii}]", "1:26 unknown-type"),
        ("groups: [{name: g, labels: {__name__: x}}]", "1:29 bad-name"),
        ("groups: [{name: [g]}]", "1:17 wrong-type"),
        ("groups: [{name: g", "1:17 yaml-syntax"),
        (in_rule("alert: A", "record: b", "expr: up"), "5:5 alert-or-record"),
        (in_rule("expr: up"), "5:5 alert-or-record"),
        (in_rule("record: a"), "5:5 missing-key"),
        (in_rule("record: a", "expr: ''"), "6:11 missing-key"),
        (in_rule("record: a{b}", "expr: up"), "5:13 bad-name"),
        (in_rule("record: a", "expr: up", "for: 5m"), "7:5 alert-only"),
        (in_rule("record: a", "expr: up", "annotations: {a: b}"), "7:5 alert-only"),
        (in_rule("record: a", "expr: up", "labels: [a]"), "7:13 wrong-type"),
        (in_rule("record: a", "expr: up", "labels: {a: [b]}"), "7:17 wrong-type"),
        (in_rule("record: a", "expr: up >> 5"), "6:15 promql-syntax"),
        (in_rule("record: a", "expr: |", "  sum(", "    up", "  ) by by"), "9:12 promql-syntax"),
        (in_rule("record: a", "expr: \"up{a=~'('}\""), "6:18 bad-regex"),
        (in_rule("record: a", "expr: up[5m]"), "6:11 wrong-result"),
        (in_rule("record: a", "expr: '{app=\"x\"}'", type="loki"), "6:11 wrong-result"),
        (in_rule("record: a", "expr: 'rate({app=\"x\"} [5m] > 3'", type="loki"), "6:32 logql-syntax"),
        (in_alert("resolve_expr: up >> 5"), "8:23 promql-syntax"),
        (in_alert("resolve_expr: up[5m]"), "8:19 wrong-result"),
        (in_alert("resolve_expr: ''"), "8:19 missing-key"),
        (in_alert("on_missing: ignore"), "8:17 unknown-on-missing"),
        (in_rule("record: a", "expr: up", "on_missing: keep"), "7:5 alert-only"),
        (in_rule("record: a", "expr: up", "resolve_expr: up"), "7:5 alert-only"),
    ],
)
def test_a_mistake_is_named_at_its_place(text: str, expected: str) -> None:
    read = load(text)
    found = [f"{problem.place.line}:{problem.place.column} {problem.id}" for problem in read.problems]
    assert found == [expected]
    assert not read.usable


@pytest.mark.parametrize("text", ["keep", "alert"])
def test_in_logs_nothing_is_missing(text: str) -> None:
    expr = "expr: 'sum(count_over_time({source=\"event\"} [5m])) > 3'"
    read = load(in_rule("alert: A", expr, "labels: {severity: x}", f"on_missing: {text}", type="loki"))
    assert [problem.id for problem in read.problems] == ["metrics-only"]


def test_keys_of_our_own_are_read_and_make_the_file_ours() -> None:
    read = load(
        in_rule("alert: A", "expr: up > 5", "resolve_expr: up < 3", "on_missing: keep").replace(
            "  type: prometheus\n", ""
        )
    )
    rule = read.groups[0].rules[0]
    assert isinstance(rule, AlertRule)
    assert (str(rule.resolve_query), rule.on_missing) == ("up < 3", OnMissing.KEEP)
    assert (read.portable, read.own_keys) == (False, ("resolve_expr", "on_missing"))


def test_a_prometheus_refuses_the_key_type_whatever_it_says() -> None:
    assert load(in_rule("record: a", "expr: up")).own_keys == ("type",)


def test_a_template_error_is_shown_at_its_character() -> None:
    text = in_rule("alert: A", "expr: up", "labels: {severity: x}", "annotations:", "  summary: 'a {{ $valeu }}'")
    (problem,) = load(text).problems
    assert (problem.id, problem.place.line, problem.place.column) == ("template-syntax", 9, 22)
    assert "^" in problem.frame()


def test_an_unknown_key_comes_with_the_nearest_one() -> None:
    (problem,) = load(in_rule("record: a", "expr: up", "lables: {}")).problems
    assert problem.message == 'unknown key "lables" (did you mean "labels"?)'


def test_all_mistakes_are_told_at_once_in_order() -> None:
    text = in_rule("alert: A", "expr: up >", "for: 5x", "labels: {severity: '{{ if }}'}", "lables: {}")
    ids = [problem.id for problem in load(text).problems]
    assert ids == ["promql-syntax", "bad-duration", "template-syntax", "unknown-key"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["labels: {severity: '{{ if gt $value 5.0 }}page{{ end }}'}"], "7:34 labels-volatile"),
        (["labels: {severity: x, amount: '{{ .Value }}'}"], "7:39 labels-volatile"),
        (["labels: {severity: x, amount: 'not a $value'}"], None),
        (["labels: {severity: ''}"], "5:12 missing-severity"),
        (["labels: {severity: '{{ template \"x\" }}'}"], "7:28 template-fails"),
        (["labels: {severity: x}", "annotations: {summary: 'a {{ nil }}'}"], "8:34 template-fails"),
        ([], "5:12 missing-severity"),
    ],
)
def test_what_is_unwise_is_a_warning(lines: list[str], expected: str | None) -> None:
    read = load(in_rule("alert: A", "expr: up", *lines))
    assert [f"{p.place.line}:{p.place.column} {p.id}" for p in read.problems] == ([expected] if expected else [])
    assert all(problem.severity is Severity.WARNING for problem in read.problems)
    assert read.usable


def test_a_rule_that_is_there_twice_is_a_warning_and_both_have_keys_of_their_own() -> None:
    read = load("groups: [{name: g, rules: [{record: a, expr: up}, {record: a, expr: down}]}]")
    assert [problem.id for problem in read.problems] == ["duplicate-rule"]
    first, second = read.groups[0].rules
    assert first.key != second.key


def test_the_key_outlives_a_change_of_expression_and_order() -> None:
    before = load(GOOD).groups[0].rules[1]
    rules = "[{alert: Backlog, expr: up, labels: {team: ops, severity: page, tier: gold}}]"
    after = load(f"groups: [{{name: queues, rules: {rules}}}]").groups[0].rules[0]
    assert before.key == after.key
    assert source_of_rule(after.key) == "queues.yaml:Backlog"
    assert group_of_rule(after.key) == load(GOOD).groups[0].key == "rules/queues.yaml;queues"


@pytest.mark.parametrize("now_ms", [0, 1, 14_999, 15_000, 1_700_000_000_123])
def test_slots_are_an_interval_apart_at_the_groups_own_offset(now_ms: int) -> None:
    group = load(GOOD).groups[0]
    slot = group.slot_at(now_ms)
    assert slot % 15_000 == group.offset_ms
    assert slot <= now_ms < slot + 15_000


@given(st.text(alphabet="groups: -[]{}\n namerulxpt'\"|>&*#5m", max_size=80))
def test_any_text_gives_problems_and_never_a_crash(text: str) -> None:
    load_rules(text, "x.yaml")
    load_rules(f"groups:\n- name: g\n  rules:\n  - {text}", "x.yaml")


def test_a_group_without_a_query_offset_takes_the_default() -> None:
    text = "groups:\n- {name: a}\n- {name: b, query_offset: 0s}\n- {name: c, query_offset: 5s}\n"
    offsets = [group.query_offset_ms for group in load_rules(text, "x.yaml", default_query_offset_ms=60_000).groups]
    assert offsets == [60_000, 0, 5_000]


def many_rules(count: int, *, last: str = "x > 1") -> str:
    rules = [
        f"  - {{alert: A{n}, expr: '{'x > 1' if n < count - 1 else last}', labels: {{severity: page}}}}\n"
        for n in range(count)
    ]
    return f"groups:\n- name: g\n  rules:\n{''.join(rules)}"


def test_what_rules_have_in_common_is_there_once() -> None:
    text = many_rules(3).replace("page}", "page}, annotations: {summary: 'now {{ $value }}'}")
    first, *others = [rule for rule in load_rules(text, "x.yaml").groups[0].rules if isinstance(rule, AlertRule)]
    for rule in others:
        assert rule.labels is first.labels
        assert rule.annotations is first.annotations
        assert rule.templates is first.templates


def test_a_mistake_far_down_a_large_file_has_its_place() -> None:
    read = load_rules(many_rules(1_000, last="sum(") + "- name: g\n  rules: []\n", "x.yaml")
    assert [(problem.place.line, problem.id) for problem in read.problems] == [
        (1_003, "promql-syntax"),
        (1_004, "duplicate-group"),
    ]
    assert [rule.place.line for rule in read.groups[0].rules] == list(range(4, 1_003))


def test_rules_that_two_groups_share_by_an_anchor_are_read_twice() -> None:
    text = many_rules(600).replace("rules:\n", "rules: &all\n") + "- name: other\n  rules: *all\n"
    read = load_rules(text, "x.yaml")
    assert read.usable
    one, other = ([(rule.name, rule.place) for rule in group.rules] for group in read.groups)
    assert one == other


def test_a_recording_rule_may_say_that_it_waits_for_nothing() -> None:
    read = load(in_rule("record: a", "expr: up", "for: 0s", "keep_firing_for: 0m", "annotations: {}"))
    assert (read.usable, read.problems) == (True, ())
