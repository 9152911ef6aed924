"""The lower half of the parser: tokens at hand, selectors in braces, label lists, durations and times."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, NoReturn

from obskit.errors import PatternError, QuerySyntaxError
from obskit.model.labels import NAME
from obskit.model.matchers import Matcher, MatchOp
from obskit.promql.lexer import Kind, Token, tokens
from obskit.promql.nodes import Duration, DurationCall, DurationOp, VectorSelector

_DURATION_PRECEDENCE: Final = {"+": 1, "-": 1, "*": 2, "/": 2, "%": 2, "^": 3}
_DURATION_CALLS: Final = {"step": 0, "range": 0, "min_of": 2, "max_of": 2}
_MATCH_OPERATORS: Final = {op.value: op for op in MatchOp}
_MAX_SECONDS: Final = (1 << 63) / 1e9


class TokenReader:
    """The tokens of one text, `token` being the one at hand, and the errors that point at them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.index = 0
        self.token = self.tokens[0]
        self.last_end = 0

    def peek(self, ahead: int = 1) -> Token:
        """A token further on (the last one when there are no more)."""
        return self.tokens[min(self.index + ahead, len(self.tokens) - 1)]

    def advance(self) -> Token:
        """Take the token at hand, unless it is the last one: the end, or an error."""
        token, index = self.token, self.index + 1
        if index == len(self.tokens):
            self.unexpected()
        self.last_end = token.end
        self.index = index
        self.token = self.tokens[index]
        return token

    def take_word(self, word: str) -> bool:
        """Take a keyword if it stands here."""
        if self.token.word != word:
            return False
        self.advance()
        return True

    def expect(self, kind: Kind, context: str, expected: str) -> Token:
        """Take a token of this kind or fail."""
        if self.token.kind is not kind:
            self.unexpected(context, expected)
        return self.advance()

    def expect_operator(self, text: str, context: str, expected: str = "") -> Token:
        """Take this punctuation or fail."""
        if self.token.text != text:  # no other kind of token is written like that
            self.unexpected(context, expected)
        return self.advance()

    def sign(self) -> float:
        """Take an optional sign."""
        if self.token.kind is Kind.OPERATOR and self.token.text in "+-":
            return -1.0 if self.advance().text == "-" else 1.0
        return 1.0

    def unexpected(self, context: str = "", expected: str = "") -> NoReturn:
        """Fail at the token at hand; what the lexer found wrong comes first."""
        token = self.token
        if token.kind is Kind.ERROR:
            self.fail_at(token.text, token)
        message = f"unexpected {token.describe()}"
        message += f" in {context}" if context else ""
        message += f", expected {expected}" if expected else ""
        self.fail_at(message, token)

    def fail_at(self, message: str, token: Token) -> NoReturn:
        """Fail at a token."""
        raise QuerySyntaxError(message, self.text, token.start, max(token.end, token.start + 1))

    def fail_here(self, message: str) -> NoReturn:
        """Fail at the token at hand."""
        self.fail_at(message, self.token)

    def fail_span(self, message: str, start: int, end: int) -> NoReturn:
        """Fail at a stretch of the text."""
        raise QuerySyntaxError(message, self.text, start, end)


class SelectorParser(TokenReader):
    """Selectors, label lists, durations and times.

    `empty_allowed` is set while the second argument of info() is read: its selector may match everything.
    """

    empty_allowed = False

    def selector(self) -> VectorSelector:
        """`name`, `name{…}` or `{…}`."""
        start = self.token.start
        name = self.advance().text if self.token.kind is Kind.NAME else ""
        matchers = [_equal(NAME, name)] if name else []
        if self.token.text == "{":
            name = self.braces(name, matchers)
        if not self.empty_allowed and all(matcher.matches_empty for matcher in matchers):
            self.fail_span("vector selector must contain at least one non-empty matcher", start, self.last_end)
        return VectorSelector(name=name, matchers=tuple(matchers), start=start, end=self.last_end)

    def braces(self, name: str, matchers: list[Matcher]) -> str:
        """The matchers between braces; gives the metric name, which may stand there as a string."""
        self.advance()
        while self.token.text != "}":
            if self.token.kind is Kind.STRING and self.peek().text not in _MATCH_OPERATORS:
                token = self.advance()
                self.name_once(name, str(token.value), token)
                name = str(token.value)
                matchers.insert(0, _equal(NAME, name))
            else:
                name = self.matcher(name, matchers)
            if self.token.text != ",":
                break
            self.advance()
        self.expect_operator("}", "label matching", 'identifier or "}"' if self.text[self.last_end - 1] == "," else "")
        return name

    def matcher(self, name: str, matchers: list[Matcher]) -> str:
        """One `label op "value"`; gives the metric name, set when it is `__name__="…"`."""
        token = self.token
        if token.kind not in (Kind.NAME, Kind.STRING):
            self.unexpected("label matching", 'identifier or "}"')
        label = str(token.value) if token.kind is Kind.STRING else token.text
        self.advance()
        if (op := _MATCH_OPERATORS.get(self.token.text)) is None:
            self.unexpected("label matching", "label matching operator")
        self.advance()
        value = self.expect(Kind.STRING, "label matching", "string")
        try:
            matcher = _equal(label, str(value.value)) if op is MatchOp.EQUAL else Matcher(label, op, str(value.value))
        except PatternError as error:
            self.fail_at(f"error parsing regexp: {error}", value)
        if label == NAME and op is MatchOp.EQUAL:
            self.name_once(name, matcher.value, token)
            name = name or matcher.value
            if matcher.value:
                matchers.insert(0, matcher)
                return name
        matchers.append(matcher)
        return name

    def name_once(self, name: str, other: str, token: Token) -> None:
        """The metric name may be set only once."""
        if name:
            self.fail_at(f'metric name must not be set twice: "{name}" or "{other}"', token)

    def names(self, context: str) -> tuple[str, ...]:
        """`( label, … )`, a trailing comma allowed."""
        self.expect_operator("(", context, '"("')
        names: list[str] = []
        while self.token.text != ")":
            if self.token.kind not in (Kind.NAME, Kind.STRING) or ":" in self.token.text:
                self.unexpected(context, "label")
            token = self.advance()
            names.append(str(token.value) if token.kind is Kind.STRING else token.text)
            if self.token.text != ",":
                break
            self.advance()
        self.expect_operator(")", context, '"," or ")"')
        return tuple(names)

    def duration(self, minimum: int = 1) -> Duration:
        """A duration between brackets: literals and arithmetic over them."""
        left = self.duration_operand(minimum_of_sign=2)
        while (text := self.token.text) in _DURATION_PRECEDENCE and _DURATION_PRECEDENCE[text] >= minimum:
            op = self.advance()
            right = self.duration(_DURATION_PRECEDENCE[text] + (text != "^"))
            left = self.folded(op, left, right)
        return left

    def duration_operand(self, minimum_of_sign: int) -> Duration:
        """A number, a parenthesis, or a call of the functions that durations know; a sign before it."""
        token = self.token
        if token.kind is Kind.OPERATOR and token.text in ("+", "-"):
            self.advance()
            inner = self.duration(minimum_of_sign + 1) if minimum_of_sign else self.duration_operand(0)
            return self.folded(token, 0.0, inner) if token.text == "-" else inner
        if token.kind is Kind.NUMBER:
            self.advance()
            return self.bounded(float(token.value), token)
        if token.text == "(":
            self.advance()
            inner = self.duration()
            self.expect_operator(")", "duration")
            return inner
        if token.word not in _DURATION_CALLS or self.peek().text != "(":
            self.unexpected("duration", "number, duration, step(), or range()")
        return self.duration_call()

    def duration_call(self) -> Duration:
        """`step()`, `range()`, `min_of(a, b)`, `max_of(a, b)`."""
        name = self.advance().word
        self.expect_operator("(", "duration")
        args = []
        for position in range(_DURATION_CALLS[name]):
            if position:
                self.expect_operator(",", "duration")
            args.append(self.duration())
        self.expect_operator(")", "duration")
        return DurationCall(name, tuple(args))

    def offset(self) -> Duration:
        """What stands behind `offset`: one operand with an optional sign; other operators end it."""
        if self.token.kind is Kind.END:
            self.unexpected("offset", "number, duration, step(), or range()")
        return self.duration_operand(minimum_of_sign=0)

    def folded(self, op: Token, left: Duration, right: Duration) -> Duration:
        """Arithmetic on constants at once, on the rest when step and range are known."""
        if not (isinstance(left, float) and isinstance(right, float)):
            return DurationOp(op.text, left, right)
        if op.text in "/%" and right == 0:
            self.fail_at("division by zero" if op.text == "/" else "modulo by zero", op)
        return self.bounded(duration_arithmetic(op.text, left, right), op)

    def bounded(self, seconds: float, token: Token) -> float:
        """Prometheus keeps durations in 64-bit nanoseconds."""
        if math.isnan(seconds) or abs(seconds) >= _MAX_SECONDS:
            self.fail_at("duration out of range", token)
        return seconds

    def positive(self, span: Duration, token: Token) -> None:
        """Ranges and steps that are known must be at least a millisecond."""
        if isinstance(span, float) and span < 0.001:
            self.fail_at("duration must be greater than 0", token)

    def at(self) -> float | str:
        """What stands behind `@`: Unix seconds with a sign, `start()` or `end()`."""
        if self.token.word in ("start", "end"):
            word = self.advance().word
            self.expect_operator("(", "@")
            self.expect_operator(")", "@")
            return word
        sign = self.sign()
        token = self.expect(Kind.NUMBER, "@", "timestamp")
        seconds = sign * float(token.value)
        if math.isnan(seconds) or abs(seconds) >= 1e15:
            self.fail_at("timestamp out of bounds for @ modifier: " + token.text, token)
        return round(seconds * 1000) / 1000


@lru_cache(maxsize=4096)
def _equal(label: str, value: str) -> Matcher:
    """One object for the matcher that many rules of a service have in common."""
    return Matcher(label, MatchOp.EQUAL, value)


def duration_arithmetic(op: str, left: float, right: float) -> float:
    """`left op right` in seconds; the remainder has the sign of the dividend, as in C."""
    if op == "+":
        return left + right
    if op == "-":
        return left - right
    if op == "*":
        return left * right
    if op == "/":
        return left / right
    if op == "%":
        return math.fmod(left, right)
    try:
        return float(left**right)
    except (OverflowError, ZeroDivisionError, TypeError):
        return math.nan
