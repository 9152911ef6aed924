"""LogQL text to tokens with exact places, and the stream the parsers read them from.

Words are one kind of token: whether `rate` is a function or a label is decided where it stands, by the parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, NoReturn

from obskit.errors import QuerySyntaxError
from obskit.logql.units import literal_bytes, literal_duration_ns

MAX_QUERY_BYTES: Final = 131_072

_SPACE: Final = re.compile(r"(?:\s+|#[^\n]*)+")
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FIGURE: Final = re.compile(
    "0[xX][0-9a-fA-F.]+(?:[pP][-+]?[0-9]+)?|(?:[0-9]+\\.?[0-9]*|\\.[0-9]+)(?:[eE][-+]?[0-9]+(?![0-9A-Za-z]))?[0-9A-Za-z_.µ\u03bc]*"
)
_DECIMAL: Final = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_HEX: Final = re.compile(r"0[xX][0-9a-fA-F.]+[pP][-+]?[0-9]+")
_DOUBLE_QUOTED: Final = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_BACK_QUOTED: Final = re.compile(r"`([^`]*)`")
_FLAG: Final = re.compile(r"--(?:strict|keep-empty)\b")
_SIGN: Final = re.compile(r"\|[=~>]|![=~>]|=~|==|>=|<=|[|{}()\[\],=<>+\-*/%^]")
_ESCAPE: Final = re.compile(
    r"""\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([abfnrtv\\"']))"""
)
_PLAIN_ESCAPES: Final = dict(zip("abfnrtv\\\"'", "\a\b\f\n\r\t\v\\\"'", strict=True))


class Kind(Enum):
    """What a token is. The value is how an error message calls it."""

    WORD = "a name"
    STRING = "a string"
    NUMBER = "a number"
    DURATION = "a duration"
    BYTES = "a size in bytes"
    SIGN = "a sign"
    FLAG = "a flag"
    END = "end of query"


@dataclass(frozen=True, slots=True)
class Token:
    """One token: `text` as written, `value` as meant (a string unescaped, a duration in ns, a size in bytes)."""

    kind: Kind
    text: str
    start: int
    end: int
    value: str | float = ""

    def __str__(self) -> str:
        return self.kind.value if self.kind is Kind.END else repr(self.text)


class Tokens:
    """The tokens of one query, read from left to right. All errors are QuerySyntaxError with their place."""

    def __init__(self, query: str) -> None:
        if len(query.encode(errors="surrogatepass")) > MAX_QUERY_BYTES:
            raise QuerySyntaxError(f"the query is longer than {MAX_QUERY_BYTES} bytes", query, 0)
        self.query = query
        self._tokens = list(_tokens(query))
        self._at = 0

    @property
    def here(self) -> Token:
        """The token that is next."""
        return self._tokens[self._at]

    def ahead(self, count: int = 1) -> Token:
        """A token further on."""
        return self._tokens[min(self._at + count, len(self._tokens) - 1)]

    def take(self) -> Token:
        """The next token, which is then behind us."""
        token = self.here
        if token.kind is not Kind.END:
            self._at += 1
        return token

    @property
    def last(self) -> Token:
        """The token that was taken last."""
        return self._tokens[max(self._at - 1, 0)]

    def at_sign(self, *signs: str) -> bool:
        """Whether one of these signs is next."""
        return self.here.kind is Kind.SIGN and self.here.text in signs

    def at_word(self, *words: str) -> bool:
        """Whether one of these words is next, in any case."""
        return self.here.kind is Kind.WORD and self.here.text.lower() in words

    def accept_sign(self, *signs: str) -> Token | None:
        """Take the next token if it is one of these signs."""
        return self.take() if self.at_sign(*signs) else None

    def accept_word(self, *words: str) -> Token | None:
        """Take the next token if it is one of these words."""
        return self.take() if self.at_word(*words) else None

    def expect_sign(self, sign: str, after: str) -> Token:
        """Take this sign, or say that it is missing `after` something."""
        if not self.at_sign(sign):
            self.unexpected(f"{sign!r} after {after}")
        return self.take()

    def expect(self, kind: Kind, wanted: str) -> Token:
        """Take a token of this kind, or say what was `wanted` here."""
        if self.here.kind is not kind:
            self.unexpected(wanted)
        return self.take()

    def unexpected(self, wanted: str) -> NoReturn:
        """Refuse the next token, saying what was wanted in its place."""
        self.fail(f"unexpected {self.here}, expecting {wanted}", self.here)

    def fail(self, message: str, token: Token, end: Token | None = None) -> NoReturn:
        """Refuse what stands from `token` to `end`."""
        raise QuerySyntaxError(message, self.query, token.start, (end or token).end)


def _tokens(query: str) -> Iterator[Token]:
    position = 0
    while True:
        space = _SPACE.match(query, position)
        if space:
            position = space.end()
        if position >= len(query):
            yield Token(Kind.END, "", position, position)
            return
        token = _token(query, position)
        yield token
        position = token.end


def _token(query: str, start: int) -> Token:
    for kind, form in ((Kind.WORD, _WORD), (Kind.FLAG, _FLAG)):
        if match := form.match(query, start):
            return Token(kind, match[0], start, match.end(), match[0])
    if match := _FIGURE.match(query, start):
        return _figure(query, match)
    if query[start] in '"`':
        return _string(query, start)
    if match := _SIGN.match(query, start):
        return Token(Kind.SIGN, match[0], start, match.end(), match[0])
    raise QuerySyntaxError(f"unexpected character {query[start]!r}", query, start)


def _figure(query: str, match: re.Match[str]) -> Token:
    """A number, a duration or a size, tried in this order."""
    text, start, end = match[0], match.start(), match.end()
    for kind, read in ((Kind.NUMBER, _number), (Kind.DURATION, literal_duration_ns), (Kind.BYTES, literal_bytes)):
        try:
            return Token(kind, text, start, end, read(text))
        except (ValueError, OverflowError):
            continue
    raise QuerySyntaxError(f"{text!r} is no number, duration or size in bytes", query, start, end)


def _number(text: str) -> float:
    if _HEX.fullmatch(text):
        return float.fromhex(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    raise ValueError(text)


def _string(query: str, start: int) -> Token:
    raw = query[start] == "`"
    match = (_BACK_QUOTED if raw else _DOUBLE_QUOTED).match(query, start)
    if match is None:
        raise QuerySyntaxError("the string is not closed", query, start, len(query))
    value = match[1] if raw else _unescaped(query, match)
    return Token(Kind.STRING, match[0], start, match.end(), value)


def _unescaped(query: str, match: re.Match[str]) -> str:
    """The text of a double-quoted string, with Go's escapes."""
    body, offset = match[1], match.start(1)
    if "\\" not in body:
        return body
    parts, position = [], 0
    while (slash := body.find("\\", position)) >= 0:
        parts.append(body[position:slash].encode(errors="surrogatepass"))
        escape = _ESCAPE.match(body, slash)
        if escape is None:
            raise QuerySyntaxError("not an escape Go knows", query, offset + slash, offset + slash + 2)
        parts.append(_escaped_bytes(escape))
        position = escape.end()
    parts.append(body[position:].encode(errors="surrogatepass"))
    return b"".join(parts).decode(errors="replace")


def _escaped_bytes(escape: re.Match[str]) -> bytes:
    byte, octal, short, long, plain = escape.groups()
    if byte is not None:
        return bytes([int(byte, 16)])
    if octal is not None:
        return bytes([int(octal, 8) & 0xFF])
    if plain is not None:
        return _PLAIN_ESCAPES[plain].encode()
    point = int(short or long, 16)
    return chr(point if point <= 0x10FFFF else 0xFFFD).encode(errors="replace")
