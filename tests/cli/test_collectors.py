from __future__ import annotations

from pathlib import Path

import pytest

from obskit.clock import SystemClock
from obskit.collect import BUILT_IN
from tests.cli.conftest import Obskit, write_config

DOWN = {"redis": {"url": "redis://u:hunter2@127.0.0.1:1/0", "lists": ["jobs"]}}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(
        tmp_path,
        collectors=[
            "host",
            {"file": {"paths": ["app.log"], "start": "beginning"}},
            DOWN,
            {"file": {"name": "b", "paths": ["b.log"]}},
        ],
        scrape_configs=[{"job_name": "api", "static_configs": [{"targets": ["127.0.0.1:1"]}]}],
    )


def test_the_list_is_what_runs_our_own_metrics_included_and_what_could(obskit: Obskit, config: Path) -> None:
    result = obskit("collectors", "list", "-c", config)
    assert result.stdout.partition("\n\n")[0] == "host\nfile\nredis\nfile/b\nprometheus/api\nobskit"


def test_what_is_not_configured_is_named(obskit: Obskit, tmp_path: Path) -> None:
    result = obskit("collectors", "list", "-c", write_config(tmp_path, collectors=[]))
    others = ", ".join(kind for kind in sorted(BUILT_IN) if kind != "obskit")
    assert result.stdout == f"obskit\n\nnot configured: {others}\n"


def test_one_read_of_a_file_prints_its_lines_and_stores_nothing(obskit: Obskit, config: Path) -> None:
    result = obskit("collectors", "run", "file", "-c", config)
    first, second = result.stdout.splitlines()
    assert first.endswith('{"level":"error","msg":"no stock"}')
    assert second.endswith("  plain words")
    assert result.stderr.splitlines()[0] == "file: 0 samples, 2 lines; nothing was stored"
    assert not (config.parent / "data").exists()


def test_a_name_may_be_the_kind_of_several(obskit: Obskit, config: Path) -> None:
    result = obskit("collectors", "run", "file", "-c", config)
    assert result.exit_code == 1
    assert [line.rpartition(": ")[0][:14] for line in result.stderr.splitlines()] == ["file", "obskit: file/b"]


@pytest.mark.parametrize(
    ("name", "sample"), [("host", "node_load1{"), ("obskit", "obskit_config_last_reload_successful{")]
)
def test_one_read_prints_samples(name: str, sample: str, obskit: Obskit, config: Path) -> None:
    result = obskit("collectors", "run", name, "-c", config)
    assert result.exit_code == 0
    assert any(line.startswith(sample) for line in result.stdout.splitlines())
    assert " samples, 0 lines; nothing was stored" in result.stderr


@pytest.mark.parametrize("name", ["redis", "prometheus/api"])
def test_what_cannot_be_read_is_told_once_with_its_reason(name: str, obskit: Obskit, config: Path) -> None:
    result = obskit("collectors", "run", name, "-c", config)
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith(f"obskit: {name}: ")]
    assert line.endswith(f"(network); see: obskit collectors run {name} --doctor")
    assert "hunter2" not in line


def test_the_doctor_says_how_to_mend_it(obskit: Obskit, config: Path) -> None:
    result = obskit("collectors", "run", "redis", "--doctor", "-c", config)
    assert result.exit_code == 1
    assert result.stdout.startswith("WRONG  redis: redis://127.0.0.1:1/0: ")
    assert result.stdout.splitlines()[1].startswith("       fix: ")


def test_the_doctor_of_what_is_well_says_ok(obskit: Obskit, config: Path) -> None:
    result = obskit("collectors", "run", "obskit", "--doctor", "-c", config)
    assert (result.exit_code, result.stdout) == (0, "ok     obskit: our own metrics\n")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hots", '(did you mean "host"?); configured: host, file, redis, file/b, prometheus/api, obskit'),
        ("kafka9000", '"kafka9000" is configured; configured: host'),
    ],
)
def test_a_name_that_is_not_configured_is_told_with_those_that_are(
    name: str, told: str, obskit: Obskit, config: Path
) -> None:
    result = obskit("collectors", "run", name, "-c", config)
    assert result.exit_code == 1
    assert told in result.stderr


def test_it_is_quick_to_list(obskit: Obskit, config: Path) -> None:
    """Nothing is read, connected to or looked up."""
    began_s = SystemClock().monotonic()
    obskit("collectors", "list", "-c", config)
    assert SystemClock().monotonic() - began_s < 2
