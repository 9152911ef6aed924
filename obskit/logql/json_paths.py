"""`json name="a.b[0]["c d"]"`: paths into JSON, and the values found there."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, TypeAlias

from obskit.logql.json_fields import BadJson, Reader, unescaped

Path: TypeAlias = tuple[str | int, ...]

_TOKEN: Final = re.compile(
    r'(?P<FIELD>[A-Za-z_][A-Za-z0-9_]*)|(?P<INDEX>[0-9]+)|(?P<STRING>"(?:[^"\\]|\\.)*(?:"|\Z))'
    r"|(?P<DOT>\.)|(?P<LSB>\[)|(?P<RSB>\])|(?P<SPACE>[ \t\n\r]+)"
)
_NEXT: Final = {
    "": ("LSB", "FIELD"),
    "DOT": ("FIELD",),
    "LSB": ("STRING", "INDEX"),
    "STRING": ("RSB",),
    "INDEX": ("RSB",),
}
"""What may follow a token; after the others, a dot, a bracket or the end."""


@lru_cache(maxsize=512)
def parse_path(text: str) -> Path:
    """The steps of a path; ValueError, in Loki's words, when it is none."""
    try:
        return _steps(text)
    except ValueError as error:
        raise ValueError(f"cannot parse expression [{text}]: {error}") from None


def _steps(text: str) -> Path:
    steps: list[str | int] = []
    before = ""
    for kind, token in (*_tokens(text), ("$end", "")):
        wanted = _NEXT.get(before)
        if wanted is not None and kind not in wanted:
            raise ValueError(f"syntax error: unexpected {kind}, expecting {' or '.join(wanted)}")
        if wanted is None and kind not in ("DOT", "LSB", "$end"):
            raise ValueError(f"syntax error: unexpected {kind}")
        if kind == "FIELD":
            steps.append(token)
        elif kind == "INDEX":
            steps.append(int(token))
        elif kind == "STRING":
            steps.append(unescaped(token[1:-1]))
        before = kind
    return tuple(steps)


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"unexpected char {text[at]}")
        assert match.lastgroup is not None, "every branch has a name"
        if match.lastgroup != "SPACE":
            found.append((match.lastgroup, match[0]))
        at = match.end()
    return found


def value_at(line: str, path: Path) -> str | None:
    """The value at a path, an object or array as its text; None where there is none. BadJson where it is broken."""
    reader = Reader(line)
    try:
        at = reader.skip(0)
    except BadJson:
        return None
    end = len(line)
    for step in path:
        found = _step(reader, at, step)
        if found is None:
            return None
        at, end = found
    return reader.text(at, end) or ""


def _step(reader: Reader, at: int, step: str | int) -> tuple[int, int] | None:
    first = reader.line[at]
    if isinstance(step, int):
        spans = reader.elements(at) if first == "[" else iter(())
        return next((span for index, span in enumerate(spans) if index == step), None)
    if first == "{":
        for key, start, end in reader.members(at):
            if key == step:
                return start, end
    return None
