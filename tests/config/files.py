"""Config files in a temporary folder, and what is found wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import dedent

from obskit.config import check_files
from obskit.model.problems import Problem

SECRET = "s3cr3t-" + "x9" * 8


def lay(folder: Path, files: Mapping[str, str] | str) -> Path:
    """Write the files (a text alone is obskit.yaml), indented as it suits a test; the path of obskit.yaml."""
    for name, text in ({"obskit.yaml": files} if isinstance(files, str) else files).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    return folder / "obskit.yaml"


def found(folder: Path, files: Mapping[str, str] | str, **environment: str) -> list[Problem]:
    """Every problem of the config."""
    return check_files([lay(folder, files)], environment).problems


def told(problems: Iterable[Problem], folder: Path) -> list[str]:
    """Each as `line:column severity id message`, with the file in front when it is not obskit.yaml."""
    lines = [f"{problem.place}  {problem.severity.value}  {problem.id}  {problem.message}" for problem in problems]
    return [line.replace(f"{folder}/", "").removeprefix("obskit.yaml:") for line in lines]
