"""Text as Go changes it: case, titles, and replacements by pattern with Go's `$1` and `${name}`."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final

from obskit.gotemplate.problems import ValueProblem
from obskit.model.patterns import compile_pattern

_MOST_PARTS: Final = 100_000
_GROUP: Final = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def replace_all(pattern: str, replacement: str, text: str, *, room: int) -> str:
    """Go's ReplaceAllString: `$1`, `$name`, `${name}` and `$$` in the replacement. ValueProblem above `room`."""
    compiled, at, size = compile_pattern(pattern), 0, 0
    plain = "$" not in replacement
    parts: list[str] = []
    for match in compiled.finditer(text):
        if parts and match.start() == match.end() == at:
            continue  # Go allows no empty match right behind another one
        added = replacement if plain else _GROUP.sub(partial(_group, match), replacement)
        piece = text[at : match.start()] + added
        parts.append(piece)
        at, size = match.end(), size + len(piece)
        if size > room:
            raise ValueProblem(f"the text is longer than {room} characters")
        if len(parts) > _MOST_PARTS:
            raise ValueProblem(f"more than {_MOST_PARTS} matches to replace")
    return "".join(parts) + text[at:]


def _group(match: Any, reference: re.Match[str]) -> str:
    dollar, bare, braced = reference.groups()
    if dollar:
        return "$"
    name = bare or braced
    try:
        return match.group(int(name) if name.isdecimal() else name) or ""
    except (IndexError, KeyError, OverflowError):
        return ""


def title(text: str) -> str:
    """The first letter of each word in its title case."""
    return re.sub(r"(?<!\w)\w", lambda first: _one_for_one(first[0], first[0].title()), text)


def to_upper(text: str) -> str:
    """Character by character, as Go does: a sharp s stays one."""
    return text.upper() if text.isascii() else "".join(_one_for_one(char, char.upper()) for char in text)


def _one_for_one(char: str, changed: str) -> str:
    return changed if len(changed) == 1 else char


def to_lower(text: str) -> str:
    """Character by character, as Go does."""
    return text.lower() if text.isascii() else "".join(char.lower()[0] for char in text)
