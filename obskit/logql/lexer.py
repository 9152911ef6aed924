"""LogQL text to tokens with exact places, and the stream the parsers read them from.

Words are one kind of token: whether `rate` is a function or a label is decided where it stands, by the parser. Errors
are worded as Loki words them: people search for these sentences, and tools read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, NoReturn

from obskit.errors import QuerySyntaxError
from obskit.logql.units import MAX_DURATION_NS, NS_PER_MS, go_duration_ns, go_quoted, literal_bytes, literal_duration_ns
from obskit.model.durations import parse_duration

MAX_QUERY_BYTES: Final = 131_072

_SPACE: Final = re.compile(r"(?:\s+|#[^\n]*)+")
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FIGURE: Final = re.compile(
    "0[xX][0-9a-fA-F.]+(?:[pP][-+]?[0-9]+)?|(?:[0-9]+\\.?[0-9]*|\\.[0-9]+)(?:[eE][-+]?[0-9]+(?![0-9A-Za-z]))?[0-9A-Za-z_.µ\u03bc]*"
)
_DECIMAL: Final = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_HEX: Final = re.compile(r"0[xX][0-9a-fA-F.]+[pP][-+]?[0-9]+")
_OTHER_BASE: Final = re.compile(r"0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*_[0-9]+")
"""Go's scanner takes them for numbers, but they are none to its ParseFloat."""
_DOUBLE_QUOTED: Final = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_BACK_QUOTED: Final = re.compile(r"`([^`]*)`")
_FLAG: Final = re.compile(r"--(?:strict|keep-empty)\b")
_SIGN: Final = re.compile(r"\|[=~>]|![=~>]|=~|==|>=|<=|[|{}()\],=<>+\-*/%^]")
_ESCAPE: Final = re.compile(
    r"""\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([abfnrtv\\"']))"""
)
_PLAIN_ESCAPES: Final = dict(zip("abfnrtv\\\"'", "\a\b\f\n\r\t\v\\\"'", strict=True))


FUNCTIONS: Final = frozenset(
    [
        "rate",
        "rate_counter",
        "count_over_time",
        "bytes_rate",
        "bytes_over_time",
        "avg_over_time",
        "sum_over_time",
        "min_over_time",
        "max_over_time",
        "stdvar_over_time",
        "stddev_over_time",
        "quantile_over_time",
        "first_over_time",
        "last_over_time",
        "absent_over_time",
        "sum",
        "avg",
        "max",
        "min",
        "count",
        "stddev",
        "stdvar",
        "bottomk",
        "topk",
        "sort",
        "sort_desc",
        "approx_topk",
        "vector",
        "bytes",
        "duration",
        "duration_seconds",
    ]
)
KEYWORDS: Final = frozenset(
    [
        "by",
        "without",
        "bool",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "or",
        "and",
        "unless",
        "json",
        "regexp",
        "unpack",
        "pattern",
        "offset",
        "logfmt",
        "unwrap",
        "line_format",
        "label_format",
        "decolorize",
        "drop",
        "keep",
        "label_replace",
        "ip",
    ]
)


class Kind(Enum):
    """What a token is. The value is how an error message calls it."""

    WORD = "IDENTIFIER"
    STRING = "STRING"
    NUMBER = "NUMBER"
    DURATION = "DURATION"
    BYTES = "BYTES"
    RANGE = "RANGE"
    SIGN = "a sign"
    FLAG = "PARSER_FLAG"
    END = "$end"


def parse_error(message: str, query: str, start: int, end: int) -> QuerySyntaxError:
    """An error at a place, worded as Loki words those of its grammar."""
    error = QuerySyntaxError(message, query, start, end)
    return QuerySyntaxError(
        message, query, start, end, said=f"parse error at line {error.line}, col {error.column}: {message}"
    )


@dataclass(frozen=True, slots=True)
class Token:
    """One token: `text` as written, `value` as meant (a string unescaped, a duration in ns, a size in bytes)."""

    kind: Kind
    text: str
    start: int
    end: int
    value: str | float = ""


class Tokens:
    """The tokens of one query, read from left to right. All errors are QuerySyntaxError with their place."""

    def __init__(self, query: str) -> None:
        if len(query.encode(errors="surrogatepass")) >= MAX_QUERY_BYTES:
            size = len(query.encode(errors="surrogatepass"))
            message = f"input size too long ({size} > {MAX_QUERY_BYTES})"
            raise QuerySyntaxError(message, query, 0, said=f"parse error : {message}")
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

    def expect_sign(self, sign: str) -> Token:
        """Take this sign, or say that it is missing."""
        if not self.at_sign(sign):
            self.unexpected(sign)
        return self.take()

    def expect(self, kind: Kind, *others: str) -> Token:
        """Take a token of this kind, or say that it, or one of the others, was expected."""
        if self.here.kind is not kind:
            self.unexpected(" or ".join((kind.value, *others)))
        return self.take()

    def unexpected(self, wanted: str = "") -> NoReturn:
        """Refuse the next token, saying what was expected in its place where that is one of few."""
        expecting = f", expecting {wanted}" if wanted else ""
        message = f"syntax error: unexpected {self._name_of(self.here)}{expecting}"
        if not self.query.strip():
            self.fail(message, self.here)  # Loki knows no place in nothing
        if self.here.kind is Kind.RANGE:
            raise _range_error(message, self.query, self.here.start, self.here.start, self.here.end)
        raise parse_error(message, self.query, self.here.start, self.here.end)

    def fail(self, message: str, token: Token, end: Token | None = None) -> NoReturn:
        """Refuse what stands from `token` to `end`, for what it means."""
        raise QuerySyntaxError(message, self.query, token.start, (end or token).end, said=f"parse error : {message}")

    def _name_of(self, token: Token) -> str:
        """How the grammar calls the next token: a function only where it is called."""
        if token.kind is Kind.SIGN:
            return token.text
        if token.kind is Kind.WORD:
            word, called = token.text.lower(), self.ahead().text.lower() in ("(", "by", "without")
            if word in FUNCTIONS and called:
                return word.upper()
            if word in KEYWORDS and (called or word != "ip"):
                return word
        return str(token.kind.value)


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
    if query[start] == "[":
        return _range(query, start)
    if match := _SIGN.match(query, start):
        return Token(Kind.SIGN, match[0], start, match.end(), match[0])
    raise parse_error(f"syntax error: unexpected {query[start]!r}", query, start, start + 1)


def _figure(query: str, match: re.Match[str]) -> Token:
    """A number, a duration or a size, tried in this order."""
    text, start, end = match[0], match.start(), match.end()
    for kind, read in ((Kind.NUMBER, _number), (Kind.DURATION, literal_duration_ns), (Kind.BYTES, literal_bytes)):
        try:
            return Token(kind, text, start, end, read(text))
        except (ValueError, OverflowError):
            continue
    if _OTHER_BASE.fullmatch(text):
        message = f"unable to parse literal as a float: strconv.ParseFloat: parsing {go_quoted(text)}: invalid syntax"
        raise QuerySyntaxError(message, query, start, end, said=f"parse error : {message}")
    raise parse_error("syntax error: unexpected IDENTIFIER", query, start, end)


def _range(query: str, start: int) -> Token:
    """`[5m]`. Loki reads it as one piece, and counts its line from 0."""
    end = query.find("]", start)
    text = query[start + 1 : end if end >= 0 else len(query)].strip()
    if end < 0:
        message = "missing closing ']' in duration"
    else:
        try:
            range_ns = parse_duration(text) * NS_PER_MS
        except ValueError:
            message = _why_no_range(text)
        else:
            if range_ns <= MAX_DURATION_NS:
                return Token(Kind.RANGE, query[start : end + 1], start, end + 1, range_ns)
            message = "duration out of range"
    raise _range_error(message, query, start, start + 1, start + 1 + len(text))


def _range_error(message: str, query: str, bracket: int, start: int, end: int) -> QuerySyntaxError:
    place = QuerySyntaxError(message, query, bracket)
    said = f"parse error at line {place.line - 1}, col {place.column}: {message}"
    return QuerySyntaxError(message, query, start, end, said=said)


def _why_no_range(text: str) -> str:
    try:
        go_duration_ns(text)
    except ValueError as error:
        return str(error).removeprefix("time: ")
    return f"not a valid duration string: {go_quoted(text)}"


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
        raise parse_error("literal not terminated", query, start, len(query))
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
            raise parse_error("invalid char escape", query, offset + slash, offset + slash + 2)
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
