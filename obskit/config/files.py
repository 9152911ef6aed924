"""obskit.yaml and what it includes, merged into one tree that still knows where each value was written.

Maps are merged, lists appended; a single value may be given once only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from obskit.model.documents import Document, parse_document
from obskit.model.documents import Path as KeyPath
from obskit.model.problems import Place, Problem, Severity

if TYPE_CHECKING:
    from obskit.notify.definitions import Definitions

GLOB: Final = "*?["


@dataclass(slots=True)
class ConfigTree:
    """The merged data, the files it came from (`documents` by their name), and everything that was wrong on the way.

    `definitions` is what texts of receivers may refer to by name, when files define anything.
    """

    data: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    documents: dict[str, Document] = field(default_factory=dict)
    definitions: Definitions | None = None
    _origins: dict[KeyPath, tuple[Document, KeyPath]] = field(default_factory=dict)

    def origin(self, path: KeyPath) -> tuple[Document, KeyPath] | None:
        """The document, and the path in it, that holds the value at `path` of the merged tree."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._origins:
                document, start = self._origins[path[:length]]
                return document, start + path[length:]
        return None

    def problem(
        self, path: KeyPath, id: str, message: str, *, severity: Severity = Severity.ERROR, at_key: bool = False
    ) -> Problem:
        """A problem at the value (or key) of `path`; at the first file when nobody wrote it."""
        found = self.origin(path)
        if found is None:
            return Problem(Place(str(self.files[0]) if self.files else "obskit.yaml"), id, message, severity)
        return found[0].problem(found[1], id, message, severity=severity, at_key=at_key)

    def folder(self, path: KeyPath) -> Path:
        """The folder of the file that holds the value at `path`, else of the first file: relative paths start there."""
        found = self.origin(path)
        return Path(found[0].file if found else self.files[0]).parent

    def merge(self, document: Document) -> None:
        """Add one document's data."""
        if document.data is None:
            return
        if not isinstance(document.data, dict):
            message = "the file must be a mapping of sections (collectors:, receivers:, …)"
            self.problems.append(document.problem((), "not-a-mapping", message))
            return
        self._merge_map(self.data, document.data, (), document, ())

    def _merge_map(
        self, into: dict[str, Any], data: Mapping[str, Any], path: KeyPath, document: Document, at: KeyPath
    ) -> None:
        for key, value in data.items():
            if key not in into or into[key] is None:
                into[key] = [] if isinstance(value, list) else {} if isinstance(value, dict) else value
                self._origins[(*path, key)] = (document, (*at, key))
            self._merge_value(into, key, value, (path, document, at))

    def _merge_value(
        self, into: dict[str, Any], key: str, value: Any, where: tuple[KeyPath, Document, KeyPath]
    ) -> None:
        path, document, at = where
        present = into[key]
        if isinstance(value, dict) and isinstance(present, dict):
            self._merge_map(present, value, (*path, key), document, (*at, key))
        elif isinstance(value, list) and isinstance(present, list):
            for index, item in enumerate(value):
                self._origins[(*path, key, len(present))] = (document, (*at, key, index))
                present.append(item)
        elif self._origins[(*path, key)] != (document, (*at, key)) and value is not None:
            first = self._origins[(*path, key)][0]
            message = f'"{key}" is already given in {first.file}'
            self.problems.append(document.problem((*at, key), "given-twice", message, at_key=True))


def read_tree(path: Path, environment: Mapping[str, str]) -> ConfigTree:
    """Read a config file and its includes. Nothing is raised: see `problems`."""
    tree = ConfigTree()
    _read(tree, path, environment, [])
    tree.data.pop("include", None)
    return tree


def _read(tree: ConfigTree, path: Path, environment: Mapping[str, str], parents: list[Path]) -> None:
    document = read_document(path, environment)
    tree.files.append(path)
    tree.documents[document.file] = document
    tree.problems.extend(document.problems)
    includes = document.data.pop("include", None) if isinstance(document.data, dict) else None
    tree.merge(document)
    for place, included in _included(tree, document, includes):
        resolved = included.resolve()
        if resolved in (parent.resolve() for parent in (*parents, path)):
            tree.problems.append(document.problem(place, "include-loop", f"{included} includes itself"))
        elif resolved not in (file.resolve() for file in tree.files):  # read once, however many include it
            _read(tree, included, environment, [*parents, path])


def _included(tree: ConfigTree, document: Document, includes: Any) -> Iterator[tuple[KeyPath, Path]]:
    """Each file that `include:` names, with the place where it does."""
    patterns = includes if isinstance(includes, list) else [] if includes is None else [includes]
    if not all(isinstance(pattern, str) for pattern in patterns):
        message = "include must be a path or a list of paths"
        tree.problems.append(document.problem(("include",), "bad-value", message))
        return
    for index, pattern in enumerate(patterns):
        place: KeyPath = ("include", index) if isinstance(includes, list) else ("include",)
        found = expand(Path(document.file).parent, pattern)
        if not found:
            tree.problems.append(document.problem(place, "file-missing", f"no file matches {pattern}"))
        yield from ((place, file) for file in found)


def read_document(path: Path, environment: Mapping[str, str] | None = None) -> Document:
    """Parse one file; a file that cannot be read is an empty document with a problem."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        document = Document("", str(path))
        document.problems.append(Problem(Place(str(path)), "file-missing", f"cannot read it: {error.strerror}"))
        return document
    except UnicodeDecodeError as error:
        document = Document("", str(path))
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        document.problems.append(Problem(Place(str(path), line), "not-utf-8", "the file is not UTF-8 text"))
        return document
    return parse_document(text, str(path), environment=environment)


def expand(folder: Path, pattern: str) -> list[Path]:
    """The files a path or glob names, relative to `folder`; sorted."""
    path = Path(pattern).expanduser()
    base = Path(path.anchor) if path.is_absolute() else folder
    relative = path.relative_to(path.anchor) if path.is_absolute() else path
    if not any(character in pattern for character in GLOB):
        return [base / relative] if (base / relative).is_file() else []
    return sorted(match for match in base.glob(str(relative)) if match.is_file())
