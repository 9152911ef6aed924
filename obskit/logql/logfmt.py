"""logfmt lines, `level=info msg="it works" took=3ms`, to pairs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

_PAIR: Final = re.compile(
    r'([^\x00-\x20="]+)(?:=(?:"((?:[^"\\]|\\.)*)"(?=[\x00-\x20]|$)|([^\x00-\x20="]*)(?=[\x00-\x20]|$)))?'
)
_GAP: Final = re.compile(r"[\x00-\x20]*")
_WORD_END: Final = re.compile(r"[\x00-\x20]|$")
_ESCAPE: Final = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)


class BadLogfmt(ValueError):  # noqa: N818 - a finding about a line, which becomes __error_details__
    """A pair that cannot be read, in strict mode."""


def pairs(line: str, *, strict: bool = False) -> Iterator[tuple[str, str]]:
    """The pairs of a line; a key without `=` has the value "". Bad pairs are skipped, or in strict mode BadLogfmt."""
    position, end = 0, len(line)
    while True:
        gap = _GAP.match(line, position)
        position = gap.end() if gap else end
        if position >= end:
            return
        match = _PAIR.match(line, position)
        if match is not None and (match.end() == end or line[match.end()] <= " "):
            yield match[1], _unescaped(match[2]) if match[2] is not None else match[3] or ""
            position = match.end()
            continue
        if strict:
            raise BadLogfmt(f"logfmt syntax error at position {position + 1}: unexpected {line[position]!r}")
        after = _WORD_END.search(line, position + 1)
        position = after.start() if after else end


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_escape, text) if "\\" in text else text


def _escape(match: re.Match[str]) -> str:
    try:
        return str(json.loads(f'"{match[0]}"'))
    except ValueError:
        return match[0]
