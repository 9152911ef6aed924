"""Files of `templates:`: what they define is known to the texts of receivers."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from obskit.config.files import ConfigTree, expand
from obskit.errors import TemplateError
from obskit.model.documents import Document
from obskit.model.problems import Place, Problem, Severity
from obskit.notify.definitions import Definitions, alertmanagers

KEY: Final = "templates"


def read_templates(tree: ConfigTree) -> None:
    """Read the files that `templates:` names; without any, Alertmanager's own definitions are all there is."""
    listed = tree.data.get(KEY)
    if not listed:
        return
    if not isinstance(listed, list):
        tree.problems.append(tree.problem((KEY,), "bad-value", f"{KEY} must be a list (- item)"))
        return
    definitions = alertmanagers()
    for index, pattern in enumerate(listed):
        files = expand(tree.folder((KEY, index)), str(pattern))
        if not files:  # Alertmanager goes on without a word
            message = f"no file matches {pattern}"
            tree.problems.append(tree.problem((KEY, index), "file-missing", message, severity=Severity.WARNING))
        for file in files:
            definitions = _with_file(tree, definitions, file)
    tree.definitions = definitions


def _with_file(tree: ConfigTree, definitions: Definitions, file: Path) -> Definitions:
    if file not in tree.files:
        tree.files.append(file)
    text = ""
    try:
        text = file.read_text(encoding="utf-8")
        return definitions.with_file(file.name, text)
    except TemplateError as error:
        tree.problems.append(_problem(file, text, error))
    except OSError as error:
        tree.problems.append(Problem(Place(str(file)), "file-missing", f"cannot read it: {error.strerror}"))
    except UnicodeDecodeError:
        tree.problems.append(Problem(Place(str(file)), "not-utf-8", "the file is not UTF-8 text"))
    return definitions


def _problem(file: Path, text: str, error: TemplateError) -> Problem:
    before = text[: error.start]
    line, column = before.count("\n") + 1, error.start - (before.rfind("\n") + 1) + 1
    place = Place(str(file), line, column)
    return Document(text, str(file)).problem_at(place, "template-syntax", f"the template is wrong: {error.message}")
