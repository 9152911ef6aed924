"""logfmt lines, `level=info msg="it works" took=3ms`, to pairs. What is no pair is told, and skipped, as Loki does it.

A line without a fault is one search; where there is one, `_scan` goes on word by word (go-logfmt's decoder, MIT).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final, TypeAlias

_PAIR: Final = re.compile(
    r'([^\x00-\x20="]++)(?:="((?:[^"\\]|\\.)*+)"|=([^\x00-\x20="]*+)(?![^\x00-\x20])|(?![^\x00-\x20]))|([^\x00-\x20]++)',
    re.DOTALL,
)
"""A key with a value, quoted or bare, or without one; or else a word that is no pair."""
_KEY: Final = re.compile(r'[^\x00-\x20="]*+')
_WORD: Final = re.compile(r"[^\x00-\x20]*+")
_SPACE: Final = re.compile(r"[\x00-\x20]*+")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_ESCAPE: Final = re.compile(r"""\\(?:u[0-9a-fA-F]{4}|["\\/'bfnrt])""")
_ESCAPED_QUOTE: Final = {"\\'": "'"}

Pair: TypeAlias = tuple[str, str]


class BadLogfmt(ValueError):  # noqa: N818 - a finding about a line, which becomes __error_details__
    """A word that is no pair, in strict mode."""

    def __init__(self, message: str, line: str, position: int) -> None:
        place = position if line.isascii() else len(line[:position].encode(errors="surrogatepass"))
        super().__init__(f"logfmt syntax error at pos {place + 1} : {message}")
        self.position = position


def pairs(line: str) -> Iterator[Pair]:
    """The pairs of a line; a key without `=` has the value "". What is no pair is skipped."""
    found = _PAIR.findall(line)
    if any(wrong for _, _, _, wrong in found) or "\\" in line or "\ufffd" in line:
        yield from _lenient(line)
        return
    for key, quoted, bare, _ in found:
        yield key, quoted or bare


def _lenient(line: str) -> Iterator[Pair]:
    at = 0
    while at < len(line):
        try:
            key, value, at = _scan(line, at)
        except BadLogfmt as bad:
            word = _WORD.match(line, bad.position)
            assert word is not None, "it matches nothing, too"
            at = max(word.end(), at + 1)
        else:
            if key:
                yield key, value


def strict_pairs(line: str) -> Iterator[Pair]:
    """As `pairs`, down to the first word that is no pair: BadLogfmt."""
    at = 0
    while at < len(line):
        key, value, at = _scan(line, at)
        if key:
            yield key, value


def _scan(line: str, at: int) -> tuple[str, str, int]:
    """The pair that begins at a place or behind the space there, and where it ends; no key at the end of the line."""
    start = _end(_SPACE, line, at)
    end = _end(_KEY, line, start)
    key, sign = line[start:end], line[end : end + 1]
    if sign == '"' or (sign == "=" and not key):
        raise BadLogfmt(f"unexpected '{sign}'", line, end)
    if "\ufffd" in key:
        raise BadLogfmt("invalid key", line, end)
    if sign != "=":
        return key, "", end
    if line[end + 1 : end + 2] == '"':
        quoted = _QUOTED.match(line, end + 1)
        if quoted is None:
            raise BadLogfmt("unterminated quoted value", line, len(line))
        return key, _unescaped(line, quoted), quoted.end()
    after = _end(_KEY, line, end + 1)
    sign = line[after : after + 1]
    if sign in ("=", '"'):
        raise BadLogfmt(f"unexpected '{sign}'", line, after)
    return key, line[end + 1 : after], after


def _end(form: re.Pattern[str], line: str, at: int) -> int:
    match = form.match(line, at)
    assert match is not None, "it matches nothing, too"
    return match.end()


def _unescaped(line: str, quoted: re.Match[str]) -> str:
    """The value; an escape that is none makes the pair a bad one."""
    text = quoted[1]
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub("", text)
    if "\\" in plain:
        raise BadLogfmt("invalid quoted value", line, quoted.end())
    return _ESCAPE.sub(lambda escape: _ESCAPED_QUOTE.get(escape[0]) or str(json.loads(f'"{escape[0]}"')), text)
