"""PromQL text to tokens with exact positions. Knows characters, not grammar.

A wrong character becomes an ERROR token instead of an exception: the parser reports it only when it gets there, so
that the first error in the text is the one a person sees, as in Prometheus.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from sys import intern
from typing import Final, NamedTuple

from obskit.promql.literals import parse_number, unquote


class Kind(StrEnum):
    """What a token is. OPERATOR covers everything that is written with punctuation."""

    NUMBER = "number"
    STRING = "string"
    NAME = "identifier"
    OPERATOR = "operator"
    ERROR = "error"
    END = "end of input"


_LAST: Final = (Kind.ERROR, Kind.END)

AGGREGATIONS: Final = frozenset(
    {
        "sum",
        "avg",
        "min",
        "max",
        "count",
        "stddev",
        "stdvar",
        "group",
        "topk",
        "bottomk",
        "quantile",
        "count_values",
        "limitk",
        "limit_ratio",
    }
)
KEYWORDS: Final = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset"})
WORD_OPERATORS: Final = frozenset({"and", "or", "unless", "atan2"})

_PUNCTUATION: Final = {
    "(": "left parenthesis",
    ")": "right parenthesis",
    "{": "left brace",
    "}": "right brace",
    "[": "left bracket",
    "]": "right bracket",
    ",": "comma",
    ":": "colon",
    "=": "assignment",
    "@": "at",
}
_SPACE: Final = r"(?:[ \t\r\n]+|#[^\r\n]*)*"
_NUMBER: Final = r"0[xX][0-9a-zA-Z_]*|(?=\.?\d)[0-9a-zA-Z_.]+(?:(?<=[0-9.][eE])[+-][0-9a-zA-Z_.]*)?"
_NUMBER_FORM: Final = re.compile(
    r"0[xX][0-9a-fA-F]+(?:_[0-9a-fA-F]+)*"
    r"|(?:\d+(?:ms|[ywdhms]))+"
    r"|(?:\d+(?:_\d+)*(?:\.(?:\d+(?:_\d+)*)?)?|\.\d+(?:_\d+)*)(?:[eE][+-]?\d+(?:_\d+)*)?",
    re.ASCII,
)
_NAME: Final = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_NAME_IN_BRACKETS: Final = r"[a-zA-Z_][a-zA-Z0-9_]*"
_STRING: Final = r"\"(?:[^\"\\\n]|\\(?s:.))*\"|'(?:[^'\\\n]|\\(?s:.))*'|`[^`]*`"
_OPERATOR: Final = r"=~|!~|!=|==|>=|<=|</|>/|[-+*/%^=<>(){}\[\],:@]"


def _next(name: str) -> re.Pattern[str]:
    """A token and the space behind it; when there is no token, no group has a match."""
    token = f"({name})|({_OPERATOR})|({_STRING})|({_NUMBER})"
    return re.compile(f"(?:{token})?{_SPACE}", re.ASCII)


_IS_NAME, _IS_OPERATOR, _IS_STRING, _IS_NUMBER = range(1, 5)
_BRACKETS: Final = frozenset("(){}[]")
_NAMED_NUMBERS: Final = frozenset({"inf", "nan"})
_LEADING: Final = re.compile(_SPACE)
_ANYWHERE: Final = _next(_NAME)
_WITHIN_BRACKETS: Final = _next(_NAME_IN_BRACKETS)


class Token(NamedTuple):
    """One token. `text` is as written; an ERROR's `text` is the message.

    `word` is the text of a name in lower case (keywords do not mind case), and empty for other kinds.
    """

    kind: Kind
    text: str
    start: int
    end: int
    value: float | str = ""
    word: str = ""

    def describe(self) -> str:
        """How Prometheus names the token in its messages."""
        if self.kind is Kind.END:
            return "end of input"
        if self.kind is Kind.OPERATOR:
            return _quoted(self.text) if self.text in _PUNCTUATION else f"<op:{self.text}>"
        if self.kind is Kind.NAME:
            return self._describe_name()
        shown = self.text if len(self.text) <= 10 else f"{self.text[:10]}..."
        return f"{self.kind.value} {shown if self.kind is Kind.STRING else _quoted(shown)}"

    def _describe_name(self) -> str:
        if self.word in KEYWORDS:
            return f"<{self.text}>"
        if self.word in WORD_OPERATORS:
            return f"<op:{self.text}>"
        if self.word in AGGREGATIONS:
            return f"<aggr:{self.text}>"
        return f'{"metric identifier" if ":" in self.text else "identifier"} "{self.text}"'


def _quoted(text: str) -> str:
    return f'"{text}"'


_made: Final[Callable[[type[Token], tuple[object, ...]], Token]] = tuple.__new__
"""Makes a token; NamedTuple's constructor would take a third of the lexer's time."""


def tokens(text: str) -> list[Token]:
    """All tokens of the text; the last one is END or the first ERROR."""
    return _Lexer(text).run()


@lru_cache(maxsize=1024)
def _number(word: str) -> float | None:
    """The value of a number or duration; None when it is neither. Rules have few different ones."""
    try:
        return parse_number(word) if _NUMBER_FORM.fullmatch(word) else None
    except (ValueError, OverflowError):
        return None


class _Lexer:
    """Walks the text. Brackets are tracked because names hold no colon inside them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.braces = False
        self.brackets = False
        self.parentheses = 0
        self.out: list[Token] = []

    def run(self) -> list[Token]:
        text, out, operator, name = self.text, self.out, Kind.OPERATOR, Kind.NAME
        pattern, position = _ANYWHERE, _LEADING.match(text).end()  # type: ignore[union-attr]  # no space is space
        while True:
            match = pattern.match(text, position)
            assert match is not None  # everything in it is optional
            group = match.lastindex
            if group == _IS_OPERATOR:
                if (word := match[group]) in _BRACKETS:
                    self.position = position
                    if not self._nests(word):
                        return out
                    pattern = _WITHIN_BRACKETS if self.braces or self.brackets else _ANYWHERE
                out.append(_made(Token, (operator, word, position, position + len(word), "", "")))
            elif group == _IS_NAME and (lower := match[group].lower()) not in _NAMED_NUMBERS:
                # Names of metrics and labels are in many trees at once: they share one text while any of them has it.
                word = intern(match[group])
                out.append(_made(Token, (name, word, position, position + len(word), "", lower)))
            else:
                self.position = position
                if not self._rarer(group, match[group or 0]):
                    return out
            position = match.end()

    def _rarer(self, group: int | None, text: str) -> bool:
        """A token that says more than its text; False when it is the last."""
        if group == _IS_STRING:
            self._string(text)
        elif group == _IS_NUMBER:
            self._number(text)
        elif group == _IS_NAME:
            self._named_number(text)
        else:
            self._no_token()
        return self.out[-1].kind not in _LAST

    def _add(self, kind: Kind, text: str, value: float | str = "") -> None:
        self.out.append(_made(Token, (kind, text, self.position, self.position + len(text), value, "")))

    def _fail(self, message: str, length: int = 1) -> None:
        self.out.append(Token(Kind.ERROR, message, self.position, self.position + length))

    def _no_token(self) -> None:
        char = self.text[self.position : self.position + 1]
        if not char:
            self._end()
        elif char in "\"'`":
            kind = "raw" if char == "`" else "quoted"
            self._fail(f"unterminated {kind} string", len(self.text) - self.position)
        else:
            self._unknown(char)

    def _end(self) -> None:
        if self.braces:
            self._fail("unexpected end of input inside braces")
        elif self.brackets:
            self._fail("unclosed left bracket")
        elif self.parentheses:
            self._fail("unclosed left parenthesis")
        else:
            self._add(Kind.END, "")

    def _unknown(self, char: str) -> None:
        if char == "!":
            following = self.text[self.position + 1 : self.position + 2]
            self._fail(f"unexpected character after '!': {following!r}" if following else "unexpected end of input")
        else:
            where = " inside braces" if self.braces else " in duration expression" if self.brackets else ""
            self._fail(f"unexpected character{where}: {char!r}")

    def _string(self, text: str) -> None:
        try:
            value = intern(unquote(text))
        except ValueError as error:
            self._fail(str(error), len(text))
        else:
            self._add(Kind.STRING, text, value)

    def _number(self, word: str) -> None:
        if self.braces:
            self._fail(f"unexpected character inside braces: {word[0]!r}", len(word))
            return
        value = _number(word)
        if value is None:
            self._fail(f'bad number or duration syntax: "{word}"', len(word))
        else:
            self._add(Kind.NUMBER, word, value)

    def _named_number(self, word: str) -> None:
        if self.braces:
            self.out.append(Token(Kind.NAME, word, self.position, self.position + len(word), word=word.lower()))
        else:
            self._add(Kind.NUMBER, word, parse_number(word))

    def _nests(self, text: str) -> bool:
        """Keep track of a bracket; an error when it cannot stand here."""
        if text == "(":
            self.parentheses += 1
        elif text == ")":
            self.parentheses -= 1
            if self.parentheses < 0:
                self._fail("unexpected right parenthesis ')'")
                return False
        elif text in "{}":
            if self.braces is (text == "{"):
                what = _PUNCTUATION[text] if text == "{" else "character:"
                self._fail(f"unexpected {what} {text!r}")
                return False
            self.braces = text == "{"
        else:
            if self.brackets is (text == "["):
                self._fail(f"unexpected {_PUNCTUATION[text]} {text!r}")
                return False
            self.brackets = text == "["
        return True
