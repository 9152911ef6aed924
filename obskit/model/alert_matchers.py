"""Alertmanager's matchers: their text forms, which of two readings counts, and what a pattern's `.` matches.

Two grammars are read (matcher/compat/parse.go): the classic one, and the one for names with any character. Where both
can read a text and differ, the classic reading is the one that people's files were written for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from obskit.errors import PatternError
from obskit.model.go_text import go_quote
from obskit.model.labels import quote
from obskit.model.matchers import Matcher, MatchOp
from obskit.model.patterns import compile_pattern

_SPACE: Final = "\t\n\v\f\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""What Go's unicode.IsSpace says yes to."""
RESERVED: Final = re.compile(rf"""[{_SPACE}{{}}!=~,\\"'`]""")
"""What a bare name or value cannot hold."""


_Reading = Callable[[str], "tuple[AlertMatcher, ...]"]


@dataclass(frozen=True, slots=True)
class AlertMatcher(Matcher):
    """A matcher of a route, a silence or an inhibition: in its patterns `.` is anything but a newline."""

    def __post_init__(self) -> None:
        if self.op in (MatchOp.REGEX, MatchOp.NOT_REGEX):
            object.__setattr__(self, "_pattern", compile_pattern(f"^(?:{self.value})$"))

    def __str__(self) -> str:
        """As Alertmanager prints it, in route keys too (pkg/labels/matcher.go)."""
        if RESERVED.search(self.name):
            return f"{go_quote(self.name)}{self.op.value}{go_quote(self.value)}"
        return f"{self.name}{self.op.value}{quote(self.value)}"


def matchers_text(matchers: tuple[AlertMatcher, ...]) -> str:
    """`{team="x",severity=~"a|b"}`."""
    return "{" + ",".join(str(each) for each in matchers) + "}"


def parse_matcher(text: str) -> AlertMatcher:
    """One matcher without braces (`team="x"`, `severity=~"a|b"`, `"a name" != x`); else ValueError."""
    if text.startswith("{") or text.endswith("}"):
        raise ValueError(f"unexpected open or close brace: {text}")
    try:
        return _first_reading(text, lambda whole: (_classic_matcher(whole),), _parse_one_quotable)[0]
    except PatternError as error:
        raise ValueError(f"{error} (in {text})") from None


def parse_matchers(text: str) -> tuple[AlertMatcher, ...]:
    """Matchers with commas between them and, if you like, braces around them; ValueError says what is wrong."""
    try:
        return _first_reading(text, _parse_classic, _parse_quotable)
    except PatternError as error:
        raise ValueError(f"{error} (in {text})") from None


def _first_reading(text: str, classic: _Reading, quotable: _Reading) -> tuple[AlertMatcher, ...]:
    """What the classic grammar reads, else the other; the error is the classic one's."""
    try:
        return classic(text)
    except ValueError as error:
        try:
            return quotable(text)
        except ValueError:
            raise error from None


def misgiving(text: str) -> str:
    """What Alertmanager would warn of in a text that can be read: its two grammars do not agree on it."""
    classic = parse_matchers(text)
    try:
        if _parse_quotable(text) == classic:
            return ""
    except (ValueError, PatternError):
        return f"only Alertmanager's old grammar reads this: write {', '.join(str(each) for each in classic)}"
    return f"Alertmanager's two grammars read this differently; taken as {', '.join(str(each) for each in classic)}"


# The classic form (matcher/oldparse/parse.go)

_CLASSIC: Final = re.compile(
    r"[\t\n\f\r ]*([a-zA-Z_:][a-zA-Z0-9_:]*)[\t\n\f\r ]*(=~|=|!=|!~)[\t\n\f\r ]*(.*)", re.DOTALL
)


def _parse_classic(text: str) -> tuple[AlertMatcher, ...]:
    parts = _split_commas(text.removeprefix("{").removesuffix("}"))
    if not parts[-1].strip():
        parts.pop()
    return tuple(_classic_matcher(part) for part in parts)


def _split_commas(text: str) -> list[str]:
    """The parts between the commas that are not inside double quotes."""
    parts, part, quoted, escaped = [], "", False, False
    for char in text:
        if char == "," and not quoted:
            parts.append(part)
            part = ""
            continue
        if char == '"' and not escaped:
            quoted = not quoted
        escaped = char == "\\" and not escaped
        part += char
    return [*parts, part]


def _classic_matcher(text: str) -> AlertMatcher:
    match = _CLASSIC.fullmatch(text)
    if match is None:
        raise ValueError(f"bad matcher format: {text.strip()}")
    name, op, raw = match.groups()
    return AlertMatcher(name, MatchOp(op), _classic_value(raw.rstrip("\t\n\f\r ")))


def _classic_value(raw: str) -> str:
    """The value without its quotes, if it has any; an escape that is none stays as it is."""
    quoted = raw.startswith('"')
    inner = raw[1:] if quoted else raw
    value, index, closed = "", 0, False
    while index < len(inner):
        char, following = inner[index], inner[index + 1 : index + 2]
        if char == '"':
            closed = quoted and index == len(inner) - 1
            if not closed:
                raise ValueError(f"matcher value contains unescaped double quote: {raw}")
        elif char == "\\" and following:
            value += {"n": "\n", '"': '"', "\\": "\\"}.get(following, char + following)
            index += 1
        else:
            value += char
        index += 1
    if quoted and not closed:
        raise ValueError(f"matcher value contains unescaped double quote: {raw}")
    return value


# The form for names with any character (matcher/parse)

_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_BARE: Final = rf"""[^{_SPACE}{{}}!=~,\\"'`]+"""
_GAP: Final = rf"[{_SPACE}]*"
_QUOTABLE: Final = re.compile(rf"{_GAP}({_QUOTED}|{_BARE}){_GAP}(=~|=|!=|!~){_GAP}({_QUOTED}|{_BARE}){_GAP}", re.DOTALL)
_BLANK: Final = re.compile(_GAP)
_ESCAPE: Final = re.compile(
    r"""\\(?:(?P<plain>[abfnrtv\\"])|x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})"""
    r"|(?P<octal>[0-3][0-7]{2})|(?P<bad>.))",
    re.DOTALL,
)
_PLAIN: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    '"': '"',
}


def _parse_quotable(text: str) -> tuple[AlertMatcher, ...]:
    """Name and value are each a Go string or a bare word; one comma may follow the last matcher."""
    inner = text.strip(_GO_SPACES)
    if inner.startswith("{") != inner.endswith("}") or inner == "{":
        raise ValueError(f"a brace is missing: {text}")
    inner = inner[1:-1] if inner.startswith("{") else inner
    matchers, at = [], 0
    while not _BLANK.fullmatch(inner, at):
        match = _QUOTABLE.match(inner, at)
        if match is None or (match.end() < len(inner) and inner[match.end()] != ","):
            raise ValueError(f"bad matcher format: {text}")
        name, op, value = match.groups()
        matchers.append(AlertMatcher(_unquote(name), MatchOp(op), _unquote(value)))
        at = match.end() + 1
    return tuple(matchers)


def _parse_one_quotable(text: str) -> tuple[AlertMatcher, ...]:
    matchers = _parse_quotable(text)
    if len(matchers) != 1:
        raise ValueError(f"expected 1 matcher, found {len(matchers)}")
    return matchers


_GO_SPACES: Final = "".join(chr(code) for code in range(0x3001) if re.fullmatch(f"[{_SPACE}]", chr(code)))


def _unquote(text: str) -> str:
    if not text.startswith('"'):
        return text
    if "\n" in text:
        raise ValueError(f"a line ends inside quotes: {text}")
    # Escapes stand for bytes, and two of them may make one character.
    return b"".join(_pieces(text[1:-1])).decode("utf-8")


def _pieces(text: str) -> list[bytes]:
    pieces, at = [], 0
    for match in _ESCAPE.finditer(text):
        pieces += [text[at : match.start()].encode(), _unescape(match)]
        at = match.end()
    return [*pieces, text[at:].encode()]


def _unescape(match: re.Match[str]) -> bytes:
    kind = match.lastgroup or "bad"
    digits = match[kind]
    if kind == "plain":
        return _PLAIN[digits].encode()
    if kind == "bad":
        raise ValueError(f"unknown escape: {match[0]}")
    code = int(digits, 8 if kind == "octal" else 16)
    if kind in ("x", "octal"):
        return bytes([code])
    return chr(code).encode()
