"""Reads the values of rule files and their tests out of a document, and notes what is wrong at its place.

Nothing is raised and every value has a default: reading goes on behind a mistake, so that all of them are told at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from obskit.model.documents import Document
from obskit.model.durations import parse_duration
from obskit.model.labels import NAME
from obskit.model.problems import did_you_mean

if TYPE_CHECKING:
    from obskit.model.settings import Settings

Path = tuple[str | int, ...]
S = TypeVar("S", bound="Settings")

_FORGOTTEN_AT_ONCE: Final = 256


@dataclass(slots=True)
class Fields:
    """The document's problems are added to. `keys` are all that were seen in mappings."""

    document: Document
    keys: set[str] = field(default_factory=set)
    _read: list[Path] = field(default_factory=list)

    def error(self, path: Path, id: str, message: str, *, at_key: bool = False) -> None:
        """An error at the value (or the key) of a path."""
        self.document.problems.append(self.document.problem(path, id, message, at_key=at_key))

    def error_at(self, path: Path, offset: int, length: int, *, id: str, message: str) -> None:
        """An error at a character of a scalar's text."""
        place = self.document.offset_place(path, offset, length)
        self.document.problems.append(self.document.problem_at(place, id, message))

    def done(self, path: Path) -> None:
        """The item of a list at `path` was read. What the last ones were read from makes room for the next ones."""
        self._read.append(path)
        if len(self._read) == _FORGOTTEN_AT_ONCE:  # one by one, the room would be in pieces
            for one in self._read:
                self.document.forget(one)
            self._read.clear()

    def mapping(self, path: Path, value: Any, known: Sequence[str]) -> dict[str, Any] | None:
        """The mapping at `path`; None when it is something else. Keys that nobody knows are errors."""
        if not isinstance(value, dict):
            if value is not None:
                self.error(path, "wrong-type", "a mapping (key: value) belongs here")
            return None
        for key in value:
            if key not in known:
                self.error((*path, key), "unknown-key", f'unknown key "{key}"{did_you_mean(key, known)}', at_key=True)
        self.keys.update(value)
        return value

    def sequence(self, path: Path, value: Any) -> list[Any]:
        """The list at `path`, or an empty one."""
        if value is None or isinstance(value, list):
            return value or []
        self.error(path, "wrong-type", "a list belongs here")
        return []

    def text(self, path: Path, value: Any) -> str:
        """The text at `path`; nothing is an empty one."""
        if value is None or isinstance(value, str):
            return value or ""
        self.error(path, "wrong-type", "text belongs here")
        return ""

    def duration(self, path: Path, value: Any, default_ms: int) -> int:
        """The milliseconds of the duration at `path`."""
        text = self.text(path, value)
        if not text:
            return default_ms
        try:
            return parse_duration(text)
        except ValueError as error:
            self.error(path, "bad-duration", str(error))
            return default_ms

    def integer(self, path: Path, value: Any) -> int:
        """The whole number at `path`; nothing is 0."""
        text = self.text(path, value)
        if not text:
            return 0
        if not text.isascii() or not text.isdigit():
            self.error(path, "bad-number", f"not a whole number of 0 or more: {text!r}")
            return 0
        return int(text)

    def settings(self, path: Path, value: Any, model: type[S]) -> S | None:
        """A mapping with keys of its own; None when something in it is wrong."""
        from pydantic import ValidationError  # noqa: PLC0415 - tests of rules over metrics never load it

        if not isinstance(value, dict):
            self.error(path, "wrong-type", f"a mapping belongs here, with {', '.join(model.model_fields)}")
            return None
        try:
            return model.model_validate(value)
        except ValidationError as error:
            for found in error.errors(include_url=False, include_input=False):
                self._tell((*path, *found["loc"]), found["type"], found["msg"], list(model.model_fields))
        return None

    def _tell(self, path: Path, kind: str, message: str, known: Sequence[str]) -> None:
        if kind == "extra_forbidden":
            meant = did_you_mean(str(path[-1]), known)
            self.error(path, "unknown-key", f'unknown key "{path[-1]}"{meant}', at_key=True)
        elif kind == "missing":
            self.error(path[:-1], "missing-key", f'the key "{path[-1]}" is missing', at_key=True)
        else:
            self.error(path, "bad-value", message.removeprefix("Value error, "))

    def texts(self, path: Path, value: Any, what: str) -> dict[str, str]:
        """Labels or annotations: names to texts. Any UTF-8 name is allowed, as in Prometheus 3, except `__name__`."""
        found = self.strings(path, value, what)
        for name in found:
            if not name or (name == NAME and what == "label"):
                self.error((*path, name), "bad-name", f"not a {what} name: {name!r}", at_key=True)
        return found

    def strings(self, path: Path, value: Any, what: str) -> dict[str, str]:
        """Names to texts, whatever the names are."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.error(path, "wrong-type", f"a mapping of {what} names to texts belongs here")
            return {}
        return {name: self.text((*path, name), text) for name, text in value.items()}
