"""A config that was not taken: what is wrong with it, in which files, and how a person is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from obskit.errors import ConfigError, ObskitError
from obskit.model.problems import Problem


def problems_of(error: ObskitError | None) -> Sequence[Problem]:
    """Each thing that is wrong; none where it is no matter of what is written."""
    return error.problems if isinstance(error, ConfigError) else ()


def refused_files(error: ObskitError | None) -> set[Path]:
    """Where it is to be mended: a file that only the refused config named is watched too."""
    return {Path(problem.place.file) for problem in problems_of(error)}


def report(error: ObskitError) -> str:
    """All of it, each with its frame."""
    return "".join(f"{problem}\n{problem.frame()}\n" for problem in problems_of(error)) or f"{error}\n"
