"""The command as a whole: its help, its errors, and where it looks for the config."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from obskit import __version__
from obskit.cli.main import COMMANDS, main
from obskit.cli.tables import age_text
from tests.cli.conftest import Obskit


def commands(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command and subcommand, by its words."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, f"{path} {name}".strip())
    else:
        yield path, command


ALL = dict(commands(main))


@pytest.mark.parametrize("name", ALL)
def test_every_command_says_what_it_does_and_gives_an_example(name: str, obskit: Obskit) -> None:
    result = obskit(*name.split(), "--help")
    assert result.exit_code == 0
    assert f"obskit {name}" in result.stdout.partition("Example")[2]
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_of_commands_tells_what_the_command_itself_tells(name: str) -> None:
    address, text = COMMANDS[name]
    module, _, attribute = address.partition(":")
    command = getattr(import_module(module), attribute)
    assert command.name == name
    assert (command.help or "").splitlines()[0] == text


def test_help_names_every_command_on_a_line_of_its_own(obskit: Obskit) -> None:
    shown = obskit("--help").stdout
    for name, (_, text) in COMMANDS.items():
        assert any(line.split() == [name, *text.split()] for line in shown.splitlines()), name


def test_the_version_is_ours(obskit: Obskit) -> None:
    assert obskit("--version").stdout == f"obskit, version {__version__}\n"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("qury", "No such command 'qury'. Did you mean 'query'?"),
        ("tests", "No such command 'tests'. Did you mean 'test'?"),
        ("xyzzy", "No such command 'xyzzy'. See obskit --help."),
    ],
)
def test_a_misspelt_command_is_answered_with_the_nearest(word: str, told: str, obskit: Obskit) -> None:
    result = obskit(word)
    assert result.exit_code == 2
    assert told in result.stderr


NEEDS_CONFIG = ["watch", "status", "alerts", "collectors list", "outbox list", "test receiver x", "query promql up"]


@pytest.mark.parametrize("words", NEEDS_CONFIG)
def test_without_a_config_it_says_where_it_looked(
    words: str, obskit: Obskit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = obskit(*words.split())
    assert result.exit_code == 2
    assert "no config found (obskit.yaml, /etc/obskit/obskit.yaml): name it with --config FILE" in result.stderr


@pytest.mark.parametrize("words", NEEDS_CONFIG)
def test_a_wrong_config_is_told_with_its_place(words: str, obskit: Obskit, tmp_path: Path) -> None:
    (tmp_path / "obskit.yaml").write_text("colectors: []\n")
    result = obskit(*words.split(), "-c", tmp_path / "obskit.yaml")
    assert result.exit_code == 1
    assert "obskit.yaml:1:1  error  unknown-key" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("obskit: ")
    assert result.stdout == ""


@pytest.mark.parametrize("words", ["status", "alerts", "query promql up", 'query logql {a="b"}', "outbox list"])
def test_without_a_store_it_says_so_and_makes_none(words: str, obskit: Obskit, config: Path) -> None:
    result = obskit(*words.split(), "-c", config)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"obskit: no store in {config.parent}/data: is `obskit watch` running")
    assert not (config.parent / "data").exists()


def test_the_environment_names_the_config(obskit: Obskit, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBSKIT_CONFIG", str(config))
    assert obskit("collectors", "list").stdout.startswith("file\nobskit\n")
    monkeypatch.setenv("OBSKIT_CONFIG", "/nowhere.yaml")
    assert "no config found (/nowhere.yaml)" in obskit("collectors", "list").stderr


@pytest.mark.parametrize(
    ("ms", "text"),
    [(-5, "0s"), (0, "0s"), (999, "0s"), (42_500, "42s"), (60_000, "1m"), (61_000, "1m1s"), (3_600_000, "1h"),
     (3_661_000, "1h1m"), (90_000_000, "1d1h"), (86_400_000, "1d"), (40 * 86_400_000 + 5, "40d")],
)  # fmt: skip
def test_an_age_has_its_two_largest_units(ms: int, text: str) -> None:
    assert age_text(ms) == text
