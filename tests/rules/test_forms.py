"""Rules over lines and events in a few words: what they mean, and what is said when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from obskit.rules.active_hours import ActiveHours, DuringSettings
from obskit.rules.files import FORM_KEYS, RuleFile, load_rules
from obskit.rules.forms import FORMS
from obskit.rules.groups import AlertRule
from obskit.rules.unit_tests import run_test_file


def read(rule: str, type: str = "events") -> RuleFile:
    text = f"groups:\n- name: g\n  type: {type}\n  rules:\n  - alert: A\n    labels: {{severity: info}}\n    {rule}\n"
    return load_rules(text, "x.yaml")


def rule_of(rule: str, type: str = "events") -> AlertRule:
    file = read(rule, type)
    assert file.usable, file.problems
    (found,) = file.groups[0].rules
    assert isinstance(found, AlertRule)
    return found


LINES = "lines: '{app=\"api\"} | json'"


@pytest.mark.parametrize(
    ("form", "expr"),
    [
        (f"frequency: {{{LINES}, at_least: 3, within: 10m, by: [user]}}",
         'sum by (user) (count_over_time({app="api"} | json [10m])) >= 3'),
        (f"flatline: {{{LINES}, within: 1h}}", '(sum by () (count_over_time({app="api"} | json [1h])) or vector(0)) < 1'),
        ("change: {lines: '{app=\"api\"}', field: ip, by: [user], known_for: 1h}",
         ('count by (user) (sum by (user, ip) (count_over_time({app="api"} | ip!="" [5m]))'
         ' or topk by (user) (1, max_over_time({app="api"} | ip!=""'
         ' | label_format obskit_seen_at=`{{ __timestamp__ | unixEpochNanos }}` | unwrap obskit_seen_at [1h] offset 5m)'
         ' by (user, ip))) > 1 and count by (user) (sum by (user, ip) (count_over_time({app="api"} | ip!="" [5m])))')),
        (f"cardinality: {{{LINES}, field: user, more_than: 9}}",
         'count by () (sum by (user) (count_over_time({app="api"} | json | user!="" [5m]))) > 9'),
        (f"metric: {{{LINES}, field: took, value: p95, above: 2}}",
         'quantile_over_time(0.95, {app="api"} | json | unwrap took | __error__="" [5m]) by () > 2'),
        (f"whitelist: {{{LINES}, field: role, values: [a.b, c]}}",
         'sum by (role) (count_over_time({app="api"} | json | role!="" | role!~"a\\\\.b|c" [5m])) > 0'),
        ("absence: {event: order.created, within: 30m}",
         'absent_over_time({source="event"} | name="order.created" [30m])'),
        ("funnel: {first: task.started, then: task.completed, id: task_id, within: 10m}",
         ('sum by (task_id) (count_over_time({source="event"} | name="task.started" | task_id!="" [10m] offset 10m))'
         ' unless on (task_id) sum by (task_id)'
         ' (count_over_time({source="event"} | name="task.completed" | task_id!="" [20m]))')),
    ],
)  # fmt: skip
def test_a_form_stands_for_an_expression(form: str, expr: str) -> None:
    assert rule_of(form).expr == expr


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("frequency: {at_least: 3}", 'the key "lines" is missing'),
        (f"frequency: {{{LINES}, at_leest: 3}}", 'unknown key "at_leest" (did you mean "at_least"?)'),
        ("frequency: {lines: 'rate({a=\"b\"}[1m])'}", "without counting them"),
        ("frequency: {lines: '{a='}", "unexpected"),
        ("frequency: 3", "a mapping belongs here"),
        (f"cardinality: {{{LINES}, field: user}}", "one of `more_than` and `less_than` is needed"),
        (f"cardinality: {{{LINES}, field: 'a b', more_than: 1}}", "not a label name"),
        (f"absence: {{event: a, within: 1m}}\n    frequency: {{{LINES}}}", "not both"),
        ("absence: {event: a, within: 1m}\n    expr: '{a=\"b\"}'", "not both"),
        ("absence: {event: a, within: 1m}\n    during: {days: someday}", "not a day"),
        ("absence: {event: a, within: 1m}\n    during: {hours: 9-5}", "not hours"),
        ("absence: {event: a, within: 1m}\n    during: {zone: Mars/Base}", "not a time zone"),
        ("expr: '{a=\"b\"}'\n    notify: all", "`each` is all there is"),
    ],
)
def test_what_is_wrong_is_said(rule: str, said: str) -> None:
    file = read(rule)
    assert not file.usable
    assert any(said in problem.message for problem in file.problems), file.problems


def test_the_keys_of_rule_files_are_the_forms() -> None:
    assert set(FORM_KEYS) == set(FORMS)


def test_forms_are_for_rules_over_lines() -> None:
    file = read(f"frequency: {{{LINES}}}", type="prometheus")
    assert any(problem.id == "lines-only" for problem in file.problems)
    assert not read(f"frequency: {{{LINES}}}").portable


@pytest.mark.parametrize(
    ("at", "lasting_min", "covers"),
    [
        ("2026-11-20T10:00", 0, True),  # a Friday
        ("2026-11-20T08:59", 0, False),
        ("2026-11-20T09:10", 30, False),
        ("2026-11-20T09:30", 30, True),
        ("2026-11-20T17:00", 0, False),
        ("2026-11-21T10:00", 0, False),
    ],
)
def test_hours_hold_once_they_have_lasted(at: str, lasting_min: int, covers: bool) -> None:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    settings = DuringSettings(days="mon-fri", hours="09:00-17:00", zone="Europe/Berlin")
    hours = ActiveHours.of(settings, lasting_min * 60_000)
    t_ms = int(datetime.fromisoformat(at).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp() * 1000)
    assert hours.cover(t_ms) is covers


RULES = """\
groups:
- name: events
  type: events
  rules:
  - alert: NoOrders
    absence: {event: order.created, within: 10m}
  - alert: TaskStuck
    funnel: {first: task.started, then: task.completed, id: task_id, within: 5m}
  - alert: Spike
    spike: {lines: '{app="api"}', within: 2m, factor: 3, at_least: 5}
  - alert: NewCountry
    new_value: {lines: '{source="event"} | name="login"', field: country, known_for: 30m, within: 5m}
  - alert: FailRate
    percentage: {lines: '{app="api"}', matching: '|= "boom"', above: 20, within: 5m}
  - alert: Flat
    flatline: {lines: '{app=~".+"}', by: [app], within: 3m}
  - alert: Panic
    expr: '{app="api"} |= "panic"'
    window: 2m
  - alert: Refund
    expr: '{source="event"} | name="refund"'
    notify: each
    annotations: {summary: "refund of {{ $labels.amount }}"}
"""
TESTS = """\
rule_files: [rules.yaml]
tests:
- interval: 1m
  input_logs:
  - {stream: {source: event}, metadata: {name: order.created}, values: "1 1 1 0x30"}
  - {stream: {source: event}, metadata: {name: task.started, task_id: a}, values: "_ 1"}
  - {stream: {source: event}, metadata: {name: task.completed, task_id: a}, values: "_ _ _ 1"}
  - {stream: {source: event}, metadata: {name: task.started, task_id: b}, values: "_ 1"}
  - {stream: {source: event}, metadata: {name: login, country: de}, values: "1x20"}
  - {stream: {source: event}, metadata: {name: login, country: se}, values: "_x14 1"}
  - {stream: {source: event}, metadata: {name: refund, amount: "5"}, values: "_x9 1"}
  - {stream: {source: event}, metadata: {name: refund, amount: "7"}, values: "_x9 1"}
  - {stream: {app: api}, line: ok, values: "1x12 9 9 9 1x5"}
  - {stream: {app: api}, line: boom, values: "_x3 2 2 0x20"}
  - {stream: {app: api}, line: panic now, metadata: {trace_id: t1}, values: "_x5 1"}
  - {stream: {app: web}, line: ok, values: "1 1 0x30"}
  alert_rule_test:
  - {eval_time: 11m, alertname: NoOrders}
  - {eval_time: 12m, alertname: NoOrders, exp_alerts: [{exp_labels: {source: event}}]}
  - {eval_time: 5m, alertname: TaskStuck}
  - {eval_time: 6m, alertname: TaskStuck, exp_alerts: [{exp_labels: {task_id: b}}]}
  - {eval_time: 14m, alertname: Spike, exp_alerts: [{}]}
  - {eval_time: 20m, alertname: Spike}
  - {eval_time: 16m, alertname: NewCountry, exp_alerts: [{exp_labels: {country: se}}]}
  - {eval_time: 4m, alertname: FailRate, exp_alerts: [{}]}
  - {eval_time: 11m, alertname: FailRate}
  - {eval_time: 3m, alertname: Flat}
  - {eval_time: 5m, alertname: Flat, exp_alerts: [{exp_labels: {app: web}}]}
  - {eval_time: 6m, alertname: Panic, exp_alerts: [{exp_labels: {app: api}}]}
  - {eval_time: 7m, alertname: Panic}
"""


def test_forms_fire_as_they_say(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "tests.yaml").write_text(TESTS)
    report = run_test_file(tmp_path / "tests.yaml")
    assert report.passed, "\n".join(failure for case in report.cases for failure in case.failures)


CHANGES = """\
rule_files: [rules.yaml]
tests:
- interval: 1m
  input_logs:
  - {stream: {app: api}, metadata: {user: moved, ip: one}, values: "1 _ 1 _x20"}
  - {stream: {app: api}, metadata: {user: moved, ip: two}, values: "_ 1 _x18 1 _ 1 _x10"}
  - {stream: {app: api}, metadata: {user: came_back, ip: one}, values: "1 _x14 1 _ 1"}
  - {stream: {app: api}, metadata: {user: came_back, ip: two}, values: "_x16 1"}
  - {stream: {app: api}, metadata: {user: stayed, ip: one}, values: "1 _x8 1x10"}
  - {stream: {app: api}, metadata: {user: is_new, ip: one}, values: "_x20 1"}
  - {stream: {app: api}, metadata: {user: forgotten, ip: one}, values: "1"}
  - {stream: {app: api}, metadata: {user: forgotten, ip: two}, values: "_x100 1"}
  - {stream: {app: api}, metadata: {user: without}, values: "1x30"}
  alert_rule_test:
  - {eval_time: 0m, alertname: Moved}
  - {eval_time: 2m, alertname: Moved, exp_alerts: [{exp_labels: {user: moved}}]}
  - {eval_time: 12m, alertname: Moved}
  - {eval_time: 15m, alertname: Moved}
  - {eval_time: 18m, alertname: Moved, exp_alerts: [{exp_labels: {user: came_back}}]}
  - {eval_time: 20m, alertname: Moved, exp_alerts: [{exp_labels: {user: came_back}}, {exp_labels: {user: moved}}]}
  - {eval_time: 24m, alertname: Moved, exp_alerts: [{exp_labels: {user: moved}}]}
  - {eval_time: 27m, alertname: Moved}
  - {eval_time: 100m, alertname: Moved}
  - {eval_time: 2m, alertname: Any, exp_alerts: [{}]}
  - {eval_time: 12m, alertname: Any}
  - {eval_time: 16m, alertname: Any, exp_alerts: [{}]}
"""


def test_a_change_is_from_the_last_value_seen(tmp_path: Path) -> None:
    lines = "lines: '{app=\"api\"}'"
    rules = (
        f"{{alert: Moved, change: {{{lines}, field: ip, by: [user], within: 5m, known_for: 1h}}}},"
        f"{{alert: Any, change: {{{lines}, field: ip, known_for: 1h}}}}"
    )
    (tmp_path / "rules.yaml").write_text(f"groups:\n- {{name: g, type: events, rules: [{rules}]}}\n")
    (tmp_path / "tests.yaml").write_text(CHANGES)
    report = run_test_file(tmp_path / "tests.yaml")
    assert report.passed, "\n".join(failure for case in report.cases for failure in case.failures)
