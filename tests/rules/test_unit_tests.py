"""Unit tests of rules: promtool's verdicts, differences a person can read, and mistakes with their place."""

from __future__ import annotations

import subprocess
from pathlib import Path
from textwrap import dedent

import pytest

from obskit.errors import ConfigError, PatternError
from obskit.rules import unit_tests
from obskit.rules.unit_tests import run_test_file

RULES = """
groups:
- name: first
  interval: 5m
  rules:
  - record: job:m:sum
    expr: sum by (job) (m)
  - alert: High
    expr: m > 5
    for: 2m
    labels: {severity: warning, region: '{{ $externalLabels.region }}'}
    annotations: {summary: '{{ $labels.job }} is {{ $value }}', link: '{{ $externalURL }}'}
  - alert: Kept
    expr: m > 5
    keep_firing_for: 3m
- name: second
  rules:
  - alert: Seen
    expr: ALERTS{alertname="High", alertstate="firing"} == 1
    labels: {alertname2: x}
  - alert: Broken
    expr: m * on (nothing) group_left m{job="both"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.yml").write_text(RULES)
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "tests.yml"
    path.write_text("rule_files: ['*ules.yml']\n" + dedent(text))
    return path


def failures(path: Path) -> list[str]:
    return [failure for case in run_test_file(path).cases for failure in case.failures]


HIGH = "{exp_labels: {job: a, severity: warning}, exp_annotations: {summary: a is 6, link: ''}}"
SERIES = "input_series: [{series: 'm{job=\"a\"}', values: '1 6x5 1x5'}]"

VERDICTS = {
    "fires after its for": (True, f"{SERIES}, alert_rule_test: [{{eval_time: 3m, alertname: High, exp_alerts: [{HIGH}]}}]"),
    "is pending before": (True, f"{SERIES}, alert_rule_test: [{{eval_time: 2m, alertname: High}}]"),
    "a time between two evaluations is the one before": (True, f"{SERIES}, alert_rule_test: [{{eval_time: 3m59s, alertname: High, exp_alerts: [{HIGH}]}}]"),
    "a missing alert": (False, f"{SERIES}, alert_rule_test: [{{eval_time: 2m, alertname: High, exp_alerts: [{HIGH}]}}]"),
    "an unexpected alert": (False, f"{SERIES}, alert_rule_test: [{{eval_time: 3m, alertname: High, exp_alerts: []}}]"),
    "other annotations": (False, f"{SERIES}, alert_rule_test: [{{eval_time: 3m, alertname: High, exp_alerts: [{{exp_labels: {{job: a, severity: warning}}}}]}}]"),
    "keeps firing": (True, f"{SERIES}, alert_rule_test: [{{eval_time: 8m, alertname: Kept, exp_alerts: [{{exp_labels: {{job: a}}}}]}}, {{eval_time: 11m, alertname: Kept}}]"),
    "a later rule sees ALERTS": (True, f"external_labels: {{region: eu}}, {SERIES}, alert_rule_test: [{{eval_time: 3m, alertname: Seen, exp_alerts: [{{exp_labels: {{job: a, severity: warning, region: eu, alertname2: x, alertstate: firing}}}}]}}]"),
    "external labels and URL": (True, f"external_labels: {{region: eu}}, external_url: 'http://x', {SERIES}, alert_rule_test: [{{eval_time: 3m, alertname: High, exp_alerts: [{{exp_labels: {{job: a, severity: warning, region: eu}}, exp_annotations: {{summary: a is 6, link: 'http://x'}}}}]}}]"),
    "recorded series": (True, f"{SERIES}, promql_expr_test: [{{expr: 'job:m:sum', eval_time: 3m, exp_samples: [{{labels: 'job:m:sum{{job=\"a\"}}', value: 6}}]}}]"),
    "another value": (False, f"{SERIES}, promql_expr_test: [{{expr: m, eval_time: 3m, exp_samples: [{{labels: 'm{{job=\"a\"}}', value: 7}}]}}]"),
    "one sample too many": (False, f"{SERIES}, promql_expr_test: [{{expr: m, eval_time: 3m}}]"),
    "a series both given and recorded": (True, "interval: 30s, input_series: [{series: m, values: 1x10}, {series: 'job:m:sum', values: '_ 7 _ 9'}], promql_expr_test: [{expr: 'job:m:sum', eval_time: 1m, exp_samples: [{labels: 'job:m:sum', value: 1}]}, {expr: 'sum_over_time(job:m:sum[6m])', eval_time: 4m, exp_samples: [{value: 21}]}]"),
    "a scalar": (True, "promql_expr_test: [{expr: 1 + 1, eval_time: 1m, exp_samples: [{value: 2}]}]"),
    "NaN equals nothing": (False, "promql_expr_test: [{expr: NaN, eval_time: 1m, exp_samples: [{value: .nan}]}]"),
    "an infinite value": (True, "promql_expr_test: [{expr: -1 / 0, eval_time: 1m, exp_samples: [{value: -.inf}]}]"),
    "the neighbouring float is another": (False, "promql_expr_test: [{expr: 0.1 + 0.2, eval_time: 1m, exp_samples: [{value: 0.3}]}]"),
    "gaps and stale markers": (True, "input_series: [{series: m, values: '1 _x7 2 stale 3'}], promql_expr_test: [{expr: m, eval_time: 4m, exp_samples: [{labels: m, value: 1}]}, {expr: m, eval_time: 7m}, {expr: m, eval_time: 8m, exp_samples: [{labels: m, value: 2}]}, {expr: m, eval_time: 9m}, {expr: m, eval_time: 10m, exp_samples: [{labels: m, value: 3}]}]"),
    "steps up and down": (True, "interval: 30s, input_series: [{series: m, values: '0x1 1+2x2 -1-1x1 0x2'}], promql_expr_test: [{expr: 'sum_over_time(m[10m])', eval_time: 5m, exp_samples: [{value: 6}]}]"),
    "a rule that fails": (False, "input_series: [{series: 'm{job=\"both\"}', values: '1x5'}, {series: 'm{job=\"both\", b=\"c\"}', values: '1x5'}], alert_rule_test: [{eval_time: 3m, alertname: High}]"),
    "an alert that no rule has": (True, "alert_rule_test: [{eval_time: 3m, alertname: Nope}]"),
}  # fmt: skip


def as_test(case: str) -> str:
    """A file with one test. promtool evaluates groups in any order, unless told."""
    case = case if "interval:" in case else f"interval: 1m, {case}"
    return f"group_eval_order: [first, second]\ntests: [{{{case}}}]"


@pytest.mark.parametrize("name", VERDICTS)
def test_the_verdict(name: str, folder: Path) -> None:
    passes, case = VERDICTS[name]
    report = run_test_file(write(folder, as_test(case)))
    assert report.passed is passes, report


@pytest.mark.server("promtool")
def test_promtool_has_the_same_verdicts(folder: Path) -> None:
    for name, (passes, case) in VERDICTS.items():
        path = write(folder, as_test(case))
        run = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False)
        assert (run.returncode == 0) is passes, f"{name}: {run.stdout}{run.stderr}"


def test_the_difference_of_two_alerts_shows_only_what_differs(folder: Path) -> None:
    path = write(
        folder,
        """
        tests:
        - interval: 1m
          input_series:
          - {series: 'm{job="a"}', values: 6x5}
          - {series: 'm{job="b"}', values: 7x5}
          alert_rule_test:
          - eval_time: 3m
            alertname: High
            exp_alerts:
            - exp_labels: {job: a, severity: warning}
              exp_annotations: {summary: a is 5, link: '', more: text}
            - exp_labels: {job: c, severity: warning}
        """,
    )
    assert failures(path) == [
        dedent("""\
            alert High at 3m:
                {alertname="High", job="a", severity="warning"}
              -   summary: a is 5
              +   summary: a is 6
              -   more: text
              - {alertname="High", job="c", severity="warning"}
              + {alertname="High", job="b", severity="warning"}
              +   link: 
              +   summary: b is 7""")  # noqa: W291 - an empty text is shown as such
    ]


def test_the_difference_of_two_results_shows_only_what_differs(folder: Path) -> None:
    path = write(
        folder,
        """
        tests:
        - input_series: [{series: 'm{job="a"}', values: 6x5}, {series: 'm{job="b"}', values: 7x5}]
          promql_expr_test:
          - expr: m
            eval_time: 1m
            exp_samples: [{labels: 'm{job="a"}', value: 6}, {labels: 'm{job="b"}', value: 1e7}]
          - {expr: 'm * on (x) m', eval_time: 1m}
          - {expr: 'm[5m]', eval_time: 1m}
        """,
    )
    first, second, third = failures(path)
    assert first == 'query m at 1m:\n  - m{job="b"} 1e+07\n  + m{job="b"} 7'
    assert second.startswith("query m * on (x) m at 1m:\n  found duplicate series")
    assert third == "query m[5m] at 1m:\n  only numbers and instant vectors can be tested"


def test_a_rule_that_fails_is_named_with_its_place(folder: Path) -> None:
    path = write(folder, f"tests: [{{interval: 1m, {VERDICTS['a rule that fails'][1]}}}]")
    (failure,) = failures(path)
    assert failure.startswith(f"rule Broken ({folder}/rules.yml:21:12) failed at 0s: found duplicate series")


def test_an_evaluation_interval_of_zero_is_a_minute(folder: Path) -> None:
    """As in promtool: a test of it passes there too."""
    alert = f"alert_rule_test: [{{eval_time: 3m, alertname: High, exp_alerts: [{HIGH}]}}]"
    path = write(folder, f"evaluation_interval: 0s\ntests: [{{interval: 1m, {SERIES}, {alert}}}]")
    assert run_test_file(path).passed


@pytest.mark.parametrize(
    ("text", "place", "id", "message"),
    [
        ("tests: [~]", "2:9", "wrong-type", "a mapping (key: value) belongs here"),
        ("tests: {}", "2:8", "wrong-type", "a list belongs here"),
        ("tests: [{input_logs: [{line: x}]}]", "2:23", "missing-key", 'the key "stream" is missing'),
        ("fuzzy_compare: perhaps", "2:16", "bad-value", "must be true or false, not 'perhaps'"),
        ("tests: [{alert_rule_test: [{alertname: [x]}]}]", "2:40", "wrong-type", "text belongs here"),
    ],
)
def test_a_value_of_another_kind_is_told_with_its_place(
    text: str, place: str, id: str, message: str, folder: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        run_test_file(write(folder, text))
    problem = caught.value.problems[0]
    assert (f"{problem.place.line}:{problem.place.column}", problem.id, problem.message) == (place, id, message)


def test_fuzzy_compare_takes_the_neighbouring_float(folder: Path) -> None:
    query = "{expr: 0.1 + 0.2, eval_time: 1m, exp_samples: [{value: 0.3}]}"
    assert run_test_file(write(folder, f"fuzzy_compare: true\ntests: [{{promql_expr_test: [{query}]}}]")).passed


def test_a_start_may_lie_before_1970(folder: Path) -> None:
    alert = f"alert_rule_test: [{{eval_time: 3m, alertname: High, exp_alerts: [{HIGH}]}}]"
    assert run_test_file(write(folder, f"tests: [{{start_timestamp: -86400, interval: 1m, {SERIES}, {alert}}}]")).passed


@pytest.mark.parametrize("start", ["1700000000", "2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00"])
def test_times_count_from_the_start(start: str, folder: Path) -> None:
    query = "{expr: time(), eval_time: 1m, exp_samples: [{value: 1700000060}]}"
    assert run_test_file(write(folder, f"tests: [{{start_timestamp: '{start}', promql_expr_test: [{query}]}}]")).passed


def test_named_groups_are_evaluated_last_and_in_the_given_order(folder: Path) -> None:
    seen = "{exp_labels: {job: a, severity: warning, alertname2: x, alertstate: firing}}"
    case = f"tests: [{{interval: 1m, {SERIES}, alert_rule_test: [{{eval_time: 3m, alertname: Seen, exp_alerts: [{seen}]}}]}}]"
    assert run_test_file(write(folder, "group_eval_order: [first, second]\n" + case)).passed
    assert not run_test_file(write(folder, "group_eval_order: [second, first]\n" + case)).passed


def test_only_tests_whose_name_matches_are_run(folder: Path) -> None:
    path = write(folder, "tests: [{name: one}, {name: two}, {promql_expr_test: [{expr: '1'}]}]")
    assert [case.name for case in run_test_file(path, run="^t").cases] == ["two"]
    assert [(case.name, case.passed) for case in run_test_file(path).cases] == [
        ("one", True), ("two", True), ("test 3", False)
    ]  # fmt: skip
    with pytest.raises(PatternError):
        run_test_file(path, run="(")


def test_rules_over_logs_see_the_given_lines(folder: Path) -> None:
    (folder / "log-rules.yml").write_text(
        dedent("""
        groups:
        - name: logs
          type: loki
          rules:
          - alert: Errors
            expr: sum by (app) (count_over_time({app=~".+"} |= "error" | level="bad" [5m])) > 2
            annotations: {summary: '{{ $labels.app }}: {{ $value }} errors'}
        """)
    )
    (folder / "log-tests.yml").write_text(
        dedent("""
        rule_files: [log-rules.yml]
        tests:
        - interval: 1m
          input_logs:
          - {stream: {app: api}, line: an error, metadata: {level: bad}, values: '0 3 _x10'}
          - {stream: {app: web}, line: an error, metadata: {level: good}, values: '9x10'}
          - {stream: {app: job}, line: fine, metadata: {level: bad}, values: '9x10'}
          alert_rule_test:
          - {eval_time: 0m, alertname: Errors}
          - {eval_time: 2m, alertname: Errors, exp_alerts: [{exp_labels: {app: api}, exp_annotations: {summary: 'api: 3 errors'}}]}
          - {eval_time: 7m, alertname: Errors}
        """)
    )
    assert failures(folder / "log-tests.yml") == []


def test_an_alert_that_no_rule_has_is_a_warning_with_the_nearest_name(folder: Path) -> None:
    report = run_test_file(write(folder, "tests: [{alert_rule_test: [{alertname: Hihg}]}]"))
    (warning,) = report.warnings
    assert str(warning).endswith('tests.yml:2:40  warn  unknown-alert  no rule is called "Hihg" (did you mean "High"?)')


@pytest.mark.parametrize(
    ("text", "place", "id", "message"),
    [
        ("tests: [{nam: x}]", "2:10", "unknown-key", 'unknown key "nam" (did you mean "name"?)'),
        ("test: []", "2:1", "unknown-key", 'unknown key "test" (did you mean "tests"?)'),
        ("tests: [{alert_rule_test: [{eval_tim: 1m, alertname: x}]}]", "2:29", "unknown-key", 'unknown key "eval_tim" (did you mean "eval_time"?)'),
        ("tests: [{alert_rule_test: [{eval_time: 1m}]}]", "2:28", "missing-key", 'the key "alertname" is missing'),
        ("evaluation_interval: 1 minute", "2:22", "bad-value", "not a duration: '1 minute' (like 30s, 5m or 1h30m)"),
        ("tests: [{input_series: [{series: '{}', values: '1'}]}]", "2:34", "bad-value", 'must be one series, like up{job="api"}'),
        ("tests: [{input_series: [{series: m, values: '1x2000000'}]}]", "2:45", "bad-value", "more than 1,000,000 values"),
        ("tests: [{input_series: [{series: m}, {series: m}]}]", "2:47", "bad-value", "the series m is given twice"),
        ("tests: [{input_series: [{series: 'm{', values: '1'}]}]", "2:34", "bad-value", ""),
        ("tests: [{input_series: [{series: 'm{a=~\"b\"}', values: '1'}]}]", "2:34", "bad-value", 'a series is described with = only: m{a=~"b"}'),
        ("tests: [{input_series: [{series: 'm 1', values: '1'}]}]", "2:34", "bad-value", "unexpected text after the labels: 1"),
        ("tests: [{input_series: [{series: m, values: '1 two'}]}]", "2:45", "bad-value", "not a value of a series: 'two'"),
        ("tests: [{input_series: [{series: m, values: '{{size:1}}'}]}]", "2:45", "bad-value", "a histogram has no size"),
        ("tests: [{promql_expr_test: [{expr: 'sum('}]}]", "2:36", "bad-value", ""),
        ("tests: [{promql_expr_test: [{expr: m, exp_samples: [{value: x}]}]}]", "2:61", "bad-value", ""),
        ("tests: [{start_timestamp: inf}]", "2:27", "bad-value", "must be Unix seconds or a time like 2026-11-20T14:00:00Z"),
        ("tests: [{promql_expr_test: [{expr: 'm{a=~\"(\"}'}]}]", "2:36", "bad-value", ""),
        ("tests: [{start_timestamp: yesterday}]", "2:27", "bad-value", "must be Unix seconds or a time like 2026-11-20T14:00:00Z"),
        ("tests: [{start_timestamp: 2026-11-20T14:00:00}]", "2:27", "bad-value", "must name its time zone, like 2026-11-20T14:00:00Z"),
        ("evaluation_interval: 1ms\ntests: [{promql_expr_test: [{expr: m, eval_time: 1d}]}]", "3:9", "bad-value", "more than 1,000,000 evaluations until the last eval_time"),
        ("tests: [", "2:8", "yaml-syntax", ""),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(text: str, place: str, id: str, message: str, folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        run_test_file(write(folder, text))
    problem = caught.value.problems[0]
    assert (f"{problem.place.line}:{problem.place.column}", problem.id) == (place, id)
    assert problem.message.startswith(message)


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    (folder / "rules.yml").write_text("groups: [{name: x, rules: [{alert: A, expr: 'sum('}]}]")
    (folder / "tests.yml").write_text("rule_files: [rules.yml, no.yml]\ntests: []\n")
    with pytest.raises(ConfigError) as caught:
        run_test_file(folder / "tests.yml")
    assert [problem.id for problem in caught.value.problems] == ["missing-file", "promql-syntax"]


def test_a_file_that_is_not_there_is_a_problem_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yml:1:1  error  missing-file  cannot read the file: No such file"):
        run_test_file(tmp_path / "no.yml")


def test_the_report_is_not_taken_for_a_test() -> None:
    assert unit_tests.TestReport.__test__ is False
