"""Paths into a JSON document: `.a.b[0].c`, `.["odd name"]`, `[*]` for every element, `@key` for where a row was found.

A small part of jq's grammar, and nothing that computes. https://jqlang.org/manual/#basic-filters
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

KEY: Final = "@key"
"""Of a row found by `[*]`: its name in the object, or its place in the list."""
_STEP: Final = re.compile(r'\.([A-Za-z_][A-Za-z0-9_-]*)|\.?\["((?:[^"\\]|\\.)*)"\]|\.?\[(-?\d{1,9})\]|\.?\[(\*)\]')
_LONGEST: Final = 500
_DEEPEST: Final = 32


@dataclass(frozen=True, slots=True)
class Every:
    """The step `[*]`."""


Step = str | int | Every


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A path that was read. Its text is `.` for the document itself."""

    text: str
    steps: tuple[Step, ...]

    @property
    def many(self) -> bool:
        """Whether it can lead to more than one place."""
        return any(isinstance(step, Every) for step in self.steps)

    def find(self, document: Any) -> Iterator[tuple[str, Any]]:
        """Every value it leads to, with the `@key` of the last `[*]`; nothing where the way ends."""
        return _walk(document, self.steps, "")

    def first(self, document: Any) -> tuple[bool, Any]:
        """Whether it leads anywhere, and the first value there."""
        for _, value in self.find(document):
            return True, value
        return False, None


def parse_path(text: str) -> JsonPath:
    """Read a path; ValueError says where it goes wrong."""
    if not text.startswith((".", "[")) or len(text) > _LONGEST:
        raise ValueError(f'a path begins with a dot, as in ".a.b[0].c": {text[:80]!r}')
    steps: list[Step] = []
    at = 1 if text == "." else 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            raise ValueError(
                f'not a path at character {at + 1}: {text[at : at + 20]!r} (write .name, ["name"], [0], [*])'
            )
        name, quoted, index, every = found.groups()
        if every:
            steps.append(Every())
        elif index is not None:
            steps.append(int(index))
        else:
            steps.append(name if name is not None else re.sub(r"\\(.)", r"\1", quoted))
        at = found.end()
    if len(steps) > _DEEPEST:
        raise ValueError(f"a path has {_DEEPEST} steps at most")
    return JsonPath(text, tuple(steps))


def _walk(value: Any, steps: Sequence[Step], key: str) -> Iterator[tuple[str, Any]]:
    for at, step in enumerate(steps):
        if isinstance(step, Every):
            for inner_key, inner in _children(value):
                yield from _walk(inner, steps[at + 1 :], inner_key)
            return
        if isinstance(step, str):
            if not isinstance(value, dict) or step not in value:
                return
        elif not isinstance(value, list) or not -len(value) <= step < len(value):
            return
        value = value[step]
    yield key, value


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from ((str(at), inner) for at, inner in enumerate(value))
