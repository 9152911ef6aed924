"""Template text to tokens: the text between actions, and the words inside `{{ }}` (after Go's text/template/parse)."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from obskit.errors import TemplateError

_SPACE: Final = " \t\r\n"
_COMMENT_OPEN: Final = re.compile(r"\{\{(?:-[ \t\r\n]+)?/\*")
_NUMBER: Final = re.compile(r"[+-]?\.?[0-9](?:[eEpP][+-]|[0-9A-Za-z_.])*")
_WORD: Final = re.compile(r"[^\W\d]\w*")
_QUOTED: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_RAW: Final = re.compile(r"`[^`]*`")
_CHAR: Final = re.compile(r"'(?:[^'\\\n]|\\.)+'")
_GAP: Final = re.compile(r"[ \t\r\n]*")


class Kind(Enum):
    """What a token is."""

    TEXT = "text"
    OPEN = "{{"
    CLOSE = "}}"
    WORD = "word"
    FIELD = "field"
    VARIABLE = "variable"
    NUMBER = "number"
    STRING = "string"
    RAW = "raw string"
    CHAR = "character"
    DOT = "."
    PIPE = "|"
    LEFT = "("
    RIGHT = ")"
    COMMA = ","
    DECLARE = ":="
    ASSIGN = "="
    END = "the end of the text"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text. `spaced` says that space stood before it: `.a .b` are two operands, `.a.b` is one."""

    kind: Kind
    text: str
    start: int
    spaced: bool = False


_MARKS: Final = (
    (":=", Kind.DECLARE),
    *((kind.value, kind) for kind in (Kind.ASSIGN, Kind.PIPE, Kind.LEFT, Kind.RIGHT, Kind.COMMA)),
)
_FORMS: Final = (
    (_QUOTED, Kind.STRING),
    (_RAW, Kind.RAW),
    (_CHAR, Kind.CHAR),
    (_NUMBER, Kind.NUMBER),
    (_WORD, Kind.WORD),
)
_UNFINISHED: Final = {
    '"': "this string has no end",
    "`": "this raw string has no end",
    "'": "this character has no end",
}


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a template; TemplateError where there is none. Text trimmed away by `{{-` and `-}}` is left out."""
    at, trim = 0, False
    while True:
        brace = text.find("{{", at)
        end = len(text) if brace < 0 else brace
        chunk = text[at:end]
        if trim:
            chunk = chunk.lstrip(_SPACE)
        if brace >= 0 and _trims_before(text, brace):
            chunk = chunk.rstrip(_SPACE)
        if chunk:
            yield Token(Kind.TEXT, chunk, at)
        if brace < 0:
            yield Token(Kind.END, "", len(text))
            return
        if comment := _COMMENT_OPEN.match(text, brace):
            at, trim = _after_comment(text, comment)
            continue
        at, trim = yield from _action(text, brace)


def _trims_before(text: str, brace: int) -> bool:
    return text[brace + 2 : brace + 3] == "-" and text[brace + 3 : brace + 4] in (*_SPACE,)


def _after_comment(text: str, opening: re.Match[str]) -> tuple[int, bool]:
    end = text.find("*/", opening.end())
    if end < 0:
        raise TemplateError("this comment has no end: */ is missing", opening.start())
    for close, trim in (("}}", False), *((f"{space}-}}}}", True) for space in _SPACE)):
        if text.startswith(close, end + 2):
            return end + 2 + len(close), trim
    raise TemplateError("a comment must be alone in its braces: {{/* like this */}}", opening.start())


def _action(text: str, brace: int) -> Generator[Token, None, tuple[int, bool]]:
    """The tokens from `{{` to `}}`; returns where the text goes on, and whether its space is trimmed."""
    yield Token(Kind.OPEN, "{{", brace)
    at = brace + (3 if _trims_before(text, brace) else 2)
    while True:
        gap = _GAP.match(text, at)
        assert gap is not None  # it matches nothing, too
        spaced, at = gap.end() > at, gap.end()
        if spaced and text.startswith("-}}", at):
            yield Token(Kind.CLOSE, "-}}", at)
            return at + 3, True
        if text.startswith("}}", at):
            yield Token(Kind.CLOSE, "}}", at)
            return at + 2, False
        token = _token(text, at, brace, spaced=spaced)
        yield token
        at += len(token.text)


def _token(text: str, at: int, brace: int, *, spaced: bool) -> Token:
    if at >= len(text):
        raise TemplateError("this {{ has no }}", brace)
    for mark, kind in _MARKS:
        if text.startswith(mark, at):
            return Token(kind, mark, at, spaced)
    for form, kind in _FORMS:
        if match := form.match(text, at):
            return Token(kind, match.group(), at, spaced)
    first = text[at]
    if first in "$.":
        word = _WORD.match(text, at + 1)
        kind = Kind.VARIABLE if first == "$" else Kind.FIELD if word else Kind.DOT
        return Token(kind, text[at : word.end() if word else at + 1], at, spaced)
    if first in _UNFINISHED:
        raise TemplateError(_UNFINISHED[first], at)
    raise TemplateError(f"unexpected character {first!r} between braces", at)
