"""Unit tests of rules over native histograms: promtool's notation, what is recorded, and what alerts say."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from obskit.errors import ConfigError
from obskit.rules.unit_tests import run_test_file

RULES = """
groups:
- name: g
  rules:
  - record: app:sizes:sum
    expr: sum by (app) (sizes)
  - alert: Big
    expr: histogram_quantile(0.5, sizes) > 2
    annotations: {summary: 'half of all is over {{ $value }}'}
  - alert: Any
    expr: sizes{app="a"}
    annotations: {summary: 'it is {{ $value }}'}
"""
GIVEN = "{series: 'sizes{app=\"a\"}', values: '{{schema:0 count:4 sum:9 buckets:[0 1 3]}}+{{count:1 sum:3 offset:2 buckets:[1]}}x5'}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.yml").write_text(RULES)
    return tmp_path


def failures(folder: Path, test: str, given: str = GIVEN) -> list[str]:
    path = folder / "tests.yml"
    path.write_text(f"rule_files: [rules.yml]\ntests: [{{interval: 1m, input_series: [{given}], {test}}}]")
    return [failure for case in run_test_file(path).cases for failure in case.failures]


def test_what_is_recorded_is_a_histogram_again(folder: Path) -> None:
    sample = "{labels: 'app:sizes:sum{app=\"a\"}', histogram: '{{schema:0 count:6 sum:15 buckets:[0 1 5]}}'}"
    assert not failures(
        folder, f"promql_expr_test: [{{expr: 'app:sizes:sum', eval_time: 2m, exp_samples: [{sample}]}}]"
    )


def test_an_alert_tells_a_value_or_the_histogram_itself(folder: Path) -> None:
    big = "{exp_labels: {app: a}, exp_annotations: {summary: half of all is over 2.6390158215457884}}"
    assert not failures(folder, f"alert_rule_test: [{{eval_time: 2m, alertname: Big, exp_alerts: [{big}]}}]")
    whole = "{exp_labels: {app: a}, exp_annotations: {summary: 'it is {count:4, sum:9, (1,2]:1, (2,4]:3}'}}"
    assert not failures(folder, f"alert_rule_test: [{{eval_time: 0, alertname: Any, exp_alerts: [{whole}]}}]")


def test_a_difference_shows_both_histograms(folder: Path) -> None:
    expected = "{labels: 'sizes{app=\"a\"}', histogram: '{{schema:0 count:4 sum:9 buckets:[1 3]}}'}"
    (found,) = failures(folder, f"promql_expr_test: [{{expr: sizes, eval_time: 0, exp_samples: [{expected}]}}]")
    assert found == dedent("""\
        query sizes at 0s:
          - sizes{app="a"} {count:4, sum:9, (0.5,1]:1, (1,2]:3}
          + sizes{app="a"} {count:4, sum:9, (1,2]:1, (2,4]:3}""")


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("{series: m, values: '{{schema:9}}'}", "no such schema"),
        ("{series: m, values: '{{schema:0 custom_values:[1]}}'}", "no custom values"),
        ("{series: m, values: '{{size:0}}'}", "has no size"),
        ("{series: m, values: '{{schema 0}}'}", "not a field"),
        ("{series: m, values: '{{}}+{{}}'}", "how many histograms"),
        ("{series: m, values: '{{}}+{{schema:-53}}x2'}", "do not add up"),
        ("{series: m, values: '{{}}?'}", "not a histogram"),
    ],
)
def test_a_histogram_that_cannot_be_read_is_told(folder: Path, given: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        failures(folder, "promql_expr_test: []", given)


def test_lines_of_logs_are_counted_in_numbers(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no number of lines"):
        failures(folder, "input_logs: [{stream: {a: b}, values: '{{}}'}]")


def test_an_expected_histogram_must_be_one(folder: Path) -> None:
    with pytest.raises(ConfigError, match="must be a histogram"):
        failures(folder, "promql_expr_test: [{expr: sizes, exp_samples: [{labels: sizes, histogram: '3'}]}]")
