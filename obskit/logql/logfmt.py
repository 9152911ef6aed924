"""logfmt lines, `level=info msg="it works" took=3ms`, to pairs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

_PAIR: Final = re.compile(
    r'([^\x00-\x20="]++)(?:=(?:"((?:[^"\\]|\\.)*+)"|([^\x00-\x20="]*+)))?(?![^\x00-\x20])|([^\x00-\x20]+)', re.DOTALL
)
"""A key with a value, quoted or bare, or without one; or else a word that is no pair."""
_ESCAPE: Final = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)


class BadLogfmt(ValueError):  # noqa: N818 - a finding about a line, which becomes __error_details__
    """A word that is no pair, in strict mode."""


def pairs(line: str) -> Iterator[tuple[str, str]]:
    """The pairs of a line; a key without `=` has the value "". What is no pair is skipped."""
    for key, quoted, bare, _ in _PAIR.findall(line):
        if key:
            yield key, _unescaped(quoted) if quoted else bare


def strict_pairs(line: str) -> Iterator[tuple[str, str]]:
    """As `pairs`, down to the first word that is no pair: BadLogfmt."""
    for match in _PAIR.finditer(line):
        key, quoted, bare, wrong = match.groups()
        if wrong is not None:
            raise BadLogfmt(f"logfmt syntax error at position {match.start() + 1}: {wrong[:40]!r}")
        yield key, _unescaped(quoted) if quoted else bare or ""


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_escape, text) if "\\" in text else text


def _escape(match: re.Match[str]) -> str:
    try:
        return str(json.loads(f'"{match[0]}"'))
    except ValueError:
        return match[0]
