"""The rules of the engine's benchmark: texts of rule files and of unit tests. None of them fires."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.fleet import app_name

SELECTIVE: Final = "1,000 selective rules"
AGGREGATES: Final = {
    "sum by (app) (rate)": "sum by (app) (rate(http_requests_total[5m])) > 1e9",
    "error ratio by app": 'sum by (app) (rate(http_requests_total{code=~"5.."}[5m]))'
    " / sum by (app) (rate(http_requests_total[5m])) > 2",
    "p99 by app": "histogram_quantile(0.99, sum by (app, le) (rate(http_request_duration_seconds_bucket[5m]))) > 100",
    "gauge > t": "queue_length > 1e9",
}


def selective(count: int, apps: int) -> list[str]:
    """Expressions about one app each, a third of them about rates, error ratios and latencies."""
    return [_KINDS[number % 3](app_name(number % apps), number) for number in range(count)]


def _busy(app: str, number: int) -> str:
    return f'sum(rate(http_requests_total{{app="{app}"}}[5m])) > {1e9 + number}'


def _failing(app: str, number: int) -> str:
    failed = f'sum(rate(http_requests_total{{app="{app}", code=~"5.."}}[5m]))'
    return f'{failed} / sum(rate(http_requests_total{{app="{app}"}}[5m])) > {2 + number}'


def _slow(app: str, number: int) -> str:
    buckets = f'sum by (le) (rate(http_request_duration_seconds_bucket{{app="{app}"}}[5m]))'
    return f"histogram_quantile(0.99, {buckets}) > {100 + number}"


_KINDS: Final = (_busy, _failing, _slow)


def group(name: str, interval_s: int, exprs: Sequence[str]) -> str:
    """A group of alerting rules, as text."""
    rules = "".join(
        f"  - alert: Rule{number}\n    expr: '{expr}'\n    for: 1m\n    labels: {{severity: page}}\n"
        f"    annotations: {{summary: 'it is {{{{ printf `%.3f` $value }}}}'}}\n"
        for number, expr in enumerate(exprs)
    )
    return f'- name: "{name}"\n  interval: {interval_s}s\n  rules:\n{rules}'


LIMIT: Final = 7.9
"""Requests per second: of 50 rules the last two fire."""


def unit_tests(*, groups: int, rules: int) -> tuple[str, str]:
    """A rule file, and a test file in promtool's format: 20 minutes of all groups at once, two alerts of each."""
    rule_file, series, tests = ["groups:\n"], [], []
    for number in range(groups):
        rate = f'rate(requests_total{{{{app="{number}", shard="{{shard}}"}}}}[5m])'
        exprs = [f"sum by (app) ({rate.format(shard=shard)}) > {LIMIT}" for shard in range(rules)]
        rule_file.append(group(f"g{number}", 60, exprs))
        series += [
            f"    - series: 'requests_total{{app=\"{number}\", shard=\"{shard}\"}}'\n      values: '0+{shard * 10}x30'\n"
            for shard in range(rules)
        ]
    tests = [_alert_test(groups, rule) for rule in (0, rules - 1)]
    case = f"- interval: 1m\n  input_series:\n{''.join(series)}  alert_rule_test:\n{''.join(tests)}"
    return "".join(rule_file), f"rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n{case}"


def _alert_test(apps: int, rule: int) -> str:
    rate = rule * 10 / 60
    expected = "".join(
        f"      - exp_labels: {{app: '{app}', severity: page}}\n"
        f"        exp_annotations: {{summary: it is {rate:.3f}}}\n"
        for app in range(apps)
        if rate > LIMIT
    )
    return f"    - eval_time: 20m\n      alertname: Rule{rule}\n      exp_alerts:{_after_key(expected)}"


def _after_key(items: str) -> str:
    return f"\n{items}" if items else " []\n"
