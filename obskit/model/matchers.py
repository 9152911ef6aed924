"""Label matchers: `=`, `!=`, `=~`, `!~` on one label. A missing label reads as the empty string."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from obskit.errors import PatternError
from obskit.model.labels import NAME, quote, quote_name
from obskit.model.patterns import anchored


class MatchOp(StrEnum):
    """The four ways to match, as written."""

    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"

    @property
    def negative(self) -> bool:
        """Whether the matcher keeps what does not match its value."""
        return self in (MatchOp.NOT_EQUAL, MatchOp.NOT_REGEX)


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label. Building a regex matcher compiles it: PatternError when RE2 refuses."""

    name: str
    op: MatchOp
    value: str
    _pattern: Any = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if self.op in (MatchOp.REGEX, MatchOp.NOT_REGEX):
            object.__setattr__(self, "_pattern", anchored(self.value))

    def matches(self, value: str) -> bool:
        """Whether a label with this value (empty when absent) satisfies the matcher."""
        if self._pattern is None:
            return (value == self.value) != self.op.negative
        return (self._pattern.match(value) is not None) != self.op.negative

    @property
    def matches_empty(self) -> bool:
        """Whether a series without the label satisfies the matcher."""
        return self.matches("")

    def __str__(self) -> str:
        return f"{quote_name(self.name)}{self.op.value}{quote(self.value)}"


def match_all(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether `labels` satisfies every matcher."""
    return all(matcher.matches(labels.get(matcher.name, "") or "") for matcher in matchers)


def exact_name(matchers: Iterable[Matcher]) -> str | None:
    """The metric name the matchers pin with `=`, or None when they may select several metrics."""
    for matcher in matchers:
        if matcher.name == NAME and matcher.op is MatchOp.EQUAL and matcher.value:
            return matcher.value
    return None


# Alertmanager's text form (delivery.md §4.9; pkg/labels/parse.go and matcher/parse). The classic form is tried first, as
# Alertmanager does: where both could read a text, the classic reading is the one that people's files were written for.
_CLASSIC: Final = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(=~|=|!=|!~)\s*(.*?)\s*", re.DOTALL | re.ASCII)
_QUOTED: Final = r'"(?:[^"\\\n]|\\.)*"'
_BARE: Final = r"""[^\s{}!=~,\\"'`]+"""
_QUOTABLE: Final = re.compile(rf"\s*({_QUOTED}|{_BARE})\s*(=~|=|!=|!~)\s*({_QUOTED}|{_BARE})\s*")
_ESCAPE: Final = re.compile(
    r"""\\(?:(?P<plain>[abfnrtv\\"'])|x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})"""
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
    "'": "'",
}


def parse_matcher(text: str) -> Matcher:
    """One matcher as Alertmanager's files write it (`team="x"`, `severity=~"a|b"`, `"a name" != x`); else ValueError."""
    matchers = parse_matchers(text)
    if len(matchers) != 1:
        raise ValueError(f"expected one matcher, found {len(matchers)}: {text}")
    return matchers[0]


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Matchers with commas between them and, if you like, braces around them; ValueError says what is wrong."""
    try:
        try:
            return _parse_classic(text)
        except ValueError as error:
            return _parse_quotable(text, str(error))
    except PatternError as error:
        raise ValueError(f"{error} (in {text})") from None


def _parse_classic(text: str) -> tuple[Matcher, ...]:
    inner = text.removeprefix("{").removesuffix("}")
    return tuple(_classic_matcher(part) for part in _split_commas(inner) if part.strip())


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


def _classic_matcher(text: str) -> Matcher:
    match = _CLASSIC.fullmatch(text)
    if match is None:
        raise ValueError(f"bad matcher format: {text.strip()}")
    name, op, raw = match.groups()
    return Matcher(name, MatchOp(op), _classic_value(raw))


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
        raise ValueError(f"matcher value has no closing quote: {raw}")
    return value


def _parse_quotable(text: str, classic_error: str) -> tuple[Matcher, ...]:
    """The form that names with any character need: name and value each a Go string or a bare word."""
    inner = text.strip()
    if inner.startswith("{") != inner.endswith("}"):
        raise ValueError(f"a brace is missing: {text}")
    inner = inner[1:-1] if inner.startswith("{") else inner
    matchers, at = [], 0
    while inner[at:].strip():
        match = _QUOTABLE.match(inner, at)
        if match is None or (match.end() < len(inner) and inner[match.end()] != ","):
            raise ValueError(classic_error)
        name, op, value = match.groups()
        matchers.append(Matcher(_unquote(name), MatchOp(op), _unquote(value)))
        at = match.end() + 1
    return tuple(matchers)


def _unquote(text: str) -> str:
    return _ESCAPE.sub(_unescape, text[1:-1]) if text.startswith('"') else text


def _unescape(match: re.Match[str]) -> str:
    kind = match.lastgroup or "bad"
    digits = match[kind]
    if kind == "plain":
        return _PLAIN[digits]
    if kind == "bad":
        raise ValueError(f"unknown escape: {match[0]}")
    return chr(int(digits, 8 if kind == "octal" else 16))
