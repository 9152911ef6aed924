"""`obskit check`: everything wrong with config and rule files in one run. `obskit schema`: for editors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import click

from obskit.cli.options import DEFAULT_CONFIGS, show_problems
from obskit.cli.tables import count
from obskit.model.problems import Problem, Severity

_LEVELS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.HINT: "notice"}
"""GitHub's words."""


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--format", "style", type=click.Choice(["text", "json", "github"]), default="text", show_default=True)
@click.option("--lint-fatal", is_flag=True, help="Warnings end with exit code 3.")
def check(paths: tuple[Path, ...], style: str, lint_fatal: bool) -> None:
    """Check config and rule files; report everything wrong in one run.

    PATHS are config files (checked with everything they name), rule files, their unit tests, or folders of these
    with all the folders in them; without any, ./obskit.yaml.

    Hints suggest what would make routing better; they are not counted.

    Exit codes: 0 nothing wrong, 1 errors, 2 wrong usage, 3 warnings with --lint-fatal.

    \b
    Examples:
      obskit check
      obskit check alert_rules/ --format github
    """
    from obskit.config import check_files

    checked = check_files(_expand(paths))
    errors = [problem for problem in checked.problems if problem.severity is Severity.ERROR]
    warnings = [problem for problem in checked.problems if problem.severity is Severity.WARNING]
    _print(checked.problems, style)
    if style == "text":
        for file, keys in checked.own_keys.items():
            click.echo(f"{file} uses obskit's own keys, a Prometheus refuses them: {', '.join(keys)}")
        seen = f"{count(len(checked.files), 'file')}, {count(checked.rules, 'rule')}"
        click.echo(f"{seen}, {count(len(errors), 'error')}, {count(len(warnings), 'warning')}")
    if errors:
        sys.exit(1)
    if warnings and lint_fatal:
        sys.exit(3)


@click.command()
def schema() -> None:
    """Print the JSON Schema of obskit.yaml, for editors.

    \b
    Example:
      obskit schema > obskit.schema.json
    and as the first line of obskit.yaml:
      # yaml-language-server: $schema=obskit.schema.json
    """
    from obskit.config.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


def _expand(paths: tuple[Path, ...]) -> list[Path]:
    if not paths:
        found = [Path(name) for name in DEFAULT_CONFIGS if Path(name).is_file()][:1]
        if not found:
            raise click.UsageError(f"no config found ({', '.join(DEFAULT_CONFIGS)}): name the files to check")
        return found
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted([*path.rglob("*.yaml"), *path.rglob("*.yml")])
            if not found:
                raise click.UsageError(f"no .yaml or .yml file in {path}")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise click.UsageError(f"no such file: {path}")
    return files


def _print(problems: list[Problem], style: str) -> None:
    if style == "json":
        click.echo(json.dumps([_as_dict(problem) for problem in problems], indent=2))
    elif style == "github":
        for problem in problems:
            level = _LEVELS[problem.severity]
            place = f"file={_escape_property(problem.place.file)},line={problem.place.line},col={problem.place.column}"
            click.echo(f"::{level} {place},title={problem.id}::{_escape(problem.message)}")
    else:
        show_problems(problems, stream=sys.stdout)


def _as_dict(problem: Problem) -> dict[str, Any]:
    place = problem.place
    return {
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "length": place.length,
        "severity": problem.severity.value,
        "id": problem.id,
        "message": problem.message,
    }


def _escape(text: str) -> str:
    """As GitHub's workflow commands want a message."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    """As they want a property, which a comma or colon would end."""
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
