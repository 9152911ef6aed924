"""`obskit logs query`, which is `obskit query logql` too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from obskit.cli.log_search import readable_step_ms
from obskit.cli.main import main
from obskit.cli.scan_progress import ShownProgress
from obskit.testing.clock import FakeClock
from tests.cli.conftest import Obskit


def test_it_is_one_command_under_two_names() -> None:
    def command(group: str, name: str) -> object:
        return main.get_command(None, group).commands[name]  # type: ignore[arg-type, union-attr]  # a group

    assert command("query", "logql") is command("logs", "query")


def test_lines_are_shown_newest_first_or_oldest_first(obskit: Obskit, watched: Path) -> None:
    lines = obskit("logs", "query", '{app="shop"}', "-c", watched).stdout.splitlines()
    assert lines[0].endswith("}  plain words")
    assert lines[1].endswith('{"level":"error","msg":"no stock"}')
    assert '{app="shop", ' in lines[0]
    forward = obskit("logs", "query", '{app="shop"}', "--direction", "forward", "-c", watched)
    assert forward.stdout.splitlines() == lines[::-1]


@pytest.mark.parametrize(("direction", "end"), [("backward", "plain words"), ("forward", '"no stock"}')])
def test_the_limit_keeps_the_first_of_the_direction(direction: str, end: str, *, obskit: Obskit, watched: Path) -> None:
    arguments = ("logs", "query", '{app="shop"}', "--limit", "1", "--direction", direction, "-c", watched)
    (line,) = obskit(*arguments).stdout.splitlines()
    assert line.endswith(end)


@pytest.mark.parametrize("how", [["--json"], ["-o", "json"]])
def test_as_json_there_is_an_object_per_line(how: list[str], obskit: Obskit, watched: Path) -> None:
    line = json.loads(obskit("logs", "query", '{app="shop"} |= "stock"', *how, "-c", watched).stdout)
    assert line["line"] == '{"level":"error","msg":"no stock"}'
    assert line["labels"]["app"] == "shop"
    assert line["labels"]["level"] == "error"
    assert line["time_ns"] > 10**18
    assert line["time"].endswith(f"{line['time_ns'] % 10**9:09d}Z")


def test_raw_is_the_lines_alone(obskit: Obskit, watched: Path) -> None:
    shown = obskit("logs", "query", '{app="shop"}', "--raw", "-c", watched).stdout
    assert shown == 'plain words\n{"level":"error","msg":"no stock"}\n'


COUNT = 'sum by (app) (count_over_time({app="shop"}[1h]))'


def test_a_metric_query_is_a_value_at_the_end(obskit: Obskit, watched: Path) -> None:
    assert obskit("logs", "query", COUNT, "-c", watched).stdout == '{app="shop"}  2\n'


@pytest.mark.parametrize("how", [["--since", "1h"], ["--step", "1m"], ["--from", "1h", "--to", "now", "--step", "60s"]])
def test_with_a_range_or_a_step_a_metric_query_is_a_series_at_round_times(
    how: list[str], obskit: Obskit, watched: Path
) -> None:
    found = json.loads(obskit("logs", "query", "vector(1)", *how, "--json", "-c", watched).stdout)
    assert found["resultType"] == "matrix"
    times = [t for t, _ in found["result"][0]["values"]]
    assert len(times) == 61
    assert {t % 60 for t in times} == {0}


@pytest.mark.parametrize(
    ("span_s", "step_s"), [(0, 1), (60, 1), (61, 5), (3600, 60), (21_600, 600), (86_400, 1800), (10**9, 86_400)]
)
def test_a_step_that_nobody_chose_gives_about_a_line_of_points(span_s: int, step_s: int) -> None:
    assert readable_step_ms(span_s * 1000) == step_s * 1000


def test_no_lines_are_said_beside_the_output(obskit: Obskit, watched: Path) -> None:
    result = obskit("logs", "query", '{app="nobody"}', "-c", watched)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no data\n")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["{app=}"], 1, "    1 | {app=}\n      |      ^"),
        (['{app="a"} |~ "["'], 1, "error parsing regexp"),
        (["{}"], 1, "obskit: "),
        (['{app="a"}', "--since", "1h", "--until", "2h"], 2, "--since is after --until"),
        (['rate({app="a"}[1m])', "--step", "0s"], 2, "--step must be more than 0s"),
        (['{app="a"}', "--limit", "0"], 2, "--limit"),
    ],
)
def test_what_is_wrong_is_told(arguments: list[str], code: int, told: str, *, obskit: Obskit, watched: Path) -> None:
    result = obskit("logs", "query", *arguments, "-c", watched)
    assert result.exit_code == code
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_a_scan_tells_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    clock = FakeClock()
    progress = ShownProgress(clock, shown=True)
    progress.bytes_total, progress.bytes_read, progress.lines_found = 400_000_000, 300_000_000, 1_234
    clock.advance(1)
    progress.check()
    assert capsys.readouterr().err == "\r\x1b[K75 % of 400 MB, 1,234 lines found"
    progress.clear()
    progress.clear()
    assert capsys.readouterr().err == "\r\x1b[K"


def test_a_quick_scan_tells_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ShownProgress(FakeClock(), shown=True)
    progress.bytes_total = 1
    progress.check()
    progress.clear()
    assert capsys.readouterr().err == ""
