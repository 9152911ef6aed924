"""What several commands take: where the config is, and how errors are told."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from obskit.model.problems import Problem, Severity

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_CONFIGS: Final = ("obskit.yaml", "/etc/obskit/obskit.yaml")
OUTPUTS: Final = click.Choice(["table", "json"])


def config_option(command: F) -> F:
    """`-c/--config`: the file, else $OBSKIT_CONFIG, else ./obskit.yaml, else /etc/obskit/obskit.yaml."""
    return click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        callback=lambda _ctx, _option, value: find_config(value),
        help="Config file [default: $OBSKIT_CONFIG, ./obskit.yaml, /etc/obskit/obskit.yaml].",
    )(command)


def find_config(value: Path | None) -> Path:
    """The config that is named, or the first there is; UsageError when there is none."""
    if value is not None:
        return value
    candidates = [os.environ["OBSKIT_CONFIG"]] if os.environ.get("OBSKIT_CONFIG") else list(DEFAULT_CONFIGS)
    for candidate in candidates:
        if Path(candidate).is_file():
            return Path(candidate)
    raise click.UsageError(f"no config found ({', '.join(candidates)}): name it with --config FILE")


def show_problems(problems: Iterable[Problem], *, stream: Any = None) -> None:
    """Each problem with its frame, as `obskit check` prints them."""
    out = stream or sys.stderr
    color = out.isatty() and not os.environ.get("NO_COLOR")
    for problem in problems:
        paint = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.HINT: "cyan"}[problem.severity]
        word = click.style(problem.severity.value, fg=paint, bold=True) if color else problem.severity.value
        place = click.style(str(problem.place), bold=True) if color else str(problem.place)
        print(f"{place}  {word}  {problem.id}  {problem.message}", file=out)
        if frame := problem.frame():
            print(frame, file=out)


def quiet_log() -> None:
    """The command tells itself what went wrong: what the parts log about it would only be the same twice."""
    logging.getLogger("obskit").addHandler(logging.NullHandler())


def stop(message: str, *, code: int = 1) -> NoReturn:
    """End the command with one clear line on stderr."""
    click.echo(f"obskit: {message}", err=True)
    raise SystemExit(code)
