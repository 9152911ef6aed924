from __future__ import annotations

import json
from pathlib import Path

import pytest

from obskit.clock import SystemClock
from tests.cli.conftest import Obskit


def test_a_vector_is_a_line_per_series_with_the_values_below_each_other(obskit: Obskit, watched: Path) -> None:
    lines = obskit("query", "promql", "ALERTS", "-c", watched).stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        'ALERTS{alertname="Here", alertstate="firing", severity="critical"}',
        'ALERTS{alertname="Soon", alertstate="pending", severity="info", team="web"}',
    ]
    assert [line[-3:] for line in lines] == ["  1", "  1"]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("1 + 1", "2"),
        ("0.1 + 0.2", "0.30000000000000004"),
        ("1 / 0", "+Inf"),
        ("0 - 1 / 0", "-Inf"),
        ("0 / 0", "NaN"),
        ("1e300", "1e+300"),
        ('"words"', "words"),
        ("vector(7)", "{}  7"),
    ],
)
def test_a_value_is_shown_so_that_it_reads_back_as_itself(
    expression: str, shown: str, obskit: Obskit, watched: Path
) -> None:
    assert obskit("query", "promql", expression, "-c", watched).stdout == f"{shown}\n"


def test_a_range_is_the_points_of_each_series(obskit: Obskit, watched: Path) -> None:
    arguments = ("query", "promql", "vector(1)", "-c", watched, "--since", "1000", "--until", "1120", "--step", "1m")
    assert obskit(*arguments).stdout.splitlines() == [
        "{}",
        "  1970-01-01T00:16:40.000Z  1",
        "  1970-01-01T00:17:40.000Z  1",
        "  1970-01-01T00:18:40.000Z  1",
    ]


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        (["1.5"], {"resultType": "scalar", "result": [1000, "1.5"]}),
        (['"a"'], {"resultType": "string", "result": [1000, "a"]}),
        (["vector(1)"], {"resultType": "vector", "result": [{"metric": {}, "value": [1000, "1"]}]}),
        (["up == 7"], {"resultType": "vector", "result": []}),
        (
            ["vector(1)", "--since", "1000", "--until", "1001"],
            {"resultType": "matrix", "result": [{"metric": {}, "values": [[1000, "1"]]}]},
        ),
    ],
)
def test_json_has_the_shape_of_prometheus_api(
    arguments: list[str], result: object, obskit: Obskit, watched: Path
) -> None:
    shown = obskit("query", "promql", *arguments, "-c", watched, "--at", "1000", "-o", "json").stdout
    assert json.loads(shown) == result


@pytest.mark.parametrize("extra", [[], ["--since", "5m"]])
def test_no_data_is_said_beside_the_output_not_in_it(extra: list[str], obskit: Obskit, watched: Path) -> None:
    result = obskit("query", "promql", "no_such_metric", *extra, "-c", watched)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no data\n")


@pytest.mark.parametrize(
    ("language", "expression", "frame"),
    [
        ("promql", "sum(up", ["    1 | sum(up", "      |       ^"]),
        ("promql", "up +\n  and", ["    2 |   and", "      |   ^^^"]),
        ("logql", "{app=}", ["    1 | {app=}", "      |      ^"]),
        ("promql", "", None),
        ("logql", "", None),
    ],
)
def test_a_syntax_error_has_a_caret_under_it(
    language: str, expression: str, frame: list[str] | None, *, obskit: Obskit, watched: Path
) -> None:
    result = obskit("query", language, expression, "-c", watched)
    assert result.exit_code == 1
    assert result.stderr.startswith("obskit: ")
    assert "parse error" in result.stderr
    if frame:
        assert result.stderr.splitlines()[1:] == frame


def test_an_expression_that_cannot_be_evaluated_is_told_with_the_reason(obskit: Obskit, watched: Path) -> None:
    result = obskit("query", "promql", "ALERTS * on () ALERTS", "-c", watched)
    assert result.exit_code == 1
    assert result.stderr.startswith("obskit: ALERTS * on () ALERTS: ")


@pytest.mark.parametrize(
    ("limit", "told"),
    [({"query_max_samples": 1}, "too many samples"), ({"query_timeout": "1ms"}, "timed out after 0.001 s")],
)
def test_a_query_is_held_to_the_limits_of_the_config(
    limit: dict[str, object], told: str, *, obskit: Obskit, watched: Path
) -> None:
    config = json.loads(watched.read_text())
    config["global"] = {**config.get("global", {}), **limit}
    limited = watched.with_name("limited.yaml")
    limited.write_text(json.dumps(config))
    result = obskit("query", "promql", "sum by (job) (sum_over_time({__name__=~'.+'}[1h]))", "-c", limited)
    assert result.exit_code == 1
    assert told in result.stderr


def test_a_note_goes_beside_the_output(obskit: Obskit, watched: Path) -> None:
    result = obskit("query", "promql", "rate(ALERTS[5m])", "-c", watched)
    assert result.exit_code == 0
    assert "note: " in result.stderr
    assert "note: " not in result.stdout


@pytest.mark.parametrize(
    "moment",
    ["now", "0", "1700000000", "1700000000.5", "5m", "2024-01-01T00:00:00Z", "2024-01-01T00:00:00+02:00", "2024-01-01"],
)
def test_a_time_may_be_written_as_people_and_machines_do(moment: str, obskit: Obskit, watched: Path) -> None:
    assert obskit("query", "promql", "1", "--at", moment, "-c", watched).exit_code == 0


def test_a_time_is_what_it_says(obskit: Obskit, watched: Path) -> None:
    def at(moment: str) -> float:
        return float(obskit("query", "promql", "time()", "--at", moment, "-c", watched).stdout)

    assert at("2024-01-01") == at("2024-01-01T00:00:00Z") == at("1704067200") == 1704067200
    assert at("2024-01-01T02:00:00+02:00") == 1704067200
    assert abs(SystemClock().now_ms() / 1000 - 3600 - at("1h")) < 30


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--at", "yesterday"], "'yesterday' is neither a duration before now (5m), nor Unix seconds, nor RFC 3339"),
        (["--step", "1"], "not a duration: '1' (like 30s, 5m or 1h30m)"),
        (["--step", "0s", "--since", "1h"], "must be more than 0s"),
        (["--since", "1h", "--until", "2h"], "--since is after --until"),
    ],
)
def test_a_time_that_is_none_is_wrong_usage(arguments: list[str], told: str, obskit: Obskit, watched: Path) -> None:
    result = obskit("query", "promql", "1", *arguments, "-c", watched)
    assert result.exit_code == 2
    assert told in result.stderr
