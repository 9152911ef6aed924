"""Label filters, `status>=500 and (method="GET" or ip=ip("10.0.0.0/8"))`, from tokens to conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from obskit.errors import PatternError
from obskit.logql.addresses import parse_range
from obskit.logql.lexer import Kind, Token, Tokens
from obskit.logql.log_nodes import (
    ERROR_DETAILS_LABEL,
    ERROR_LABEL,
    Both,
    Compare,
    CompareIp,
    CompareOp,
    Condition,
    Either,
    IpRange,
)
from obskit.logql.pattern_errors import in_go_words
from obskit.model.matchers import Matcher, MatchOp

T = TypeVar("T")

MATCH_SIGNS: Final = ("=", "!=", "=~", "!~")
_COMPARE_SIGNS: Final = ("==", "=", "!=", ">", ">=", "<", "<=")
_LABEL_SIGNS: Final = (*_COMPARE_SIGNS, "=~", "!~")
MAX_NESTING: Final = 100
_MAX_CONDITIONS: Final = 250
"""A chain of conditions is a tree as deep as it is long, and trees are walked by recursion."""


def checked(tokens: Tokens, read: Callable[[str], T], token: Token, context: str = "") -> T:
    """What `read` makes of the token's value; its ValueError or PatternError becomes one with a place."""
    try:
        return read(str(token.value))
    except PatternError as error:
        tokens.fail(context + in_go_words(error), token)
    except ValueError as error:
        tokens.fail(context + str(error), token)


def ip_range(tokens: Tokens) -> IpRange:
    """`ip("10.0.0.0/8")`."""
    tokens.take()
    tokens.expect_sign("(")
    token = tokens.expect(Kind.STRING)
    checked(tokens, parse_range, token)
    tokens.expect_sign(")")
    return IpRange(str(token.value))


class ConditionParser:
    """Reads the label filters of one query, of which there may be many but not any number."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._depth = 0
        self._count = 0

    def read(self, loosest: int = 0) -> Condition:
        """Label filters: `and` binds tighter than `or`; behind a comma, or behind nothing, all that follows is one side.

        Loki's grammar leaves that to a conflict its generator settles: `a, b or c` is `a and (b or c)`.
        """
        tokens = self._tokens
        left = self._condition()
        while True:
            if tokens.accept_sign(",") or self._at_condition():
                return _chained(left, self.read())
            if tokens.at_word("and") and loosest <= 1:
                tokens.take()
                left = Both(left, self.read(2))
            elif tokens.at_word("or") and loosest <= 0:
                tokens.take()
                left = Either(left, self.read(1))
            else:
                return left

    def _at_condition(self) -> bool:
        """Whether a condition stands here without `and` before it."""
        token, following = self._tokens.here, self._tokens.ahead()
        if token.kind is Kind.WORD:
            return following.kind is Kind.SIGN and following.text in _LABEL_SIGNS
        return self._tokens.at_sign("(")

    def _condition(self) -> Condition:
        tokens = self._tokens
        self._count += 1
        if self._count > _MAX_CONDITIONS:
            tokens.fail(f"more than {_MAX_CONDITIONS} label filters in one query", tokens.here)
        if tokens.accept_sign("("):
            return self._nested()
        label = tokens.here
        if label.kind is not Kind.WORD:
            tokens.unexpected()
        tokens.take()
        if not tokens.at_sign(*_LABEL_SIGNS):
            tokens.unexpected()
        sign = tokens.take()
        if tokens.here.kind is Kind.STRING and sign.text in MATCH_SIGNS:
            value = tokens.take()
            return checked(tokens, lambda text: Matcher(label.text, MatchOp(sign.text), text), value)
        if tokens.at_word("ip") and sign.text in ("=", "!="):
            return self._of_text(CompareIp(label.text, sign.text == "!=", ip_range(tokens)), label)
        return self._of_text(self._compare(label, sign), label)

    def _nested(self) -> Condition:
        self._depth += 1
        if self._depth > MAX_NESTING:
            self._tokens.fail("too many parentheses", self._tokens.last)
        condition = self.read()
        if not self._tokens.accept_sign(")"):
            self._tokens.unexpected()
        self._depth -= 1
        return condition

    def _of_text(self, condition: Compare | CompareIp, label: Token) -> Condition:
        """Errors are text: they cannot be compared as anything else."""
        if label.text in (ERROR_LABEL, ERROR_DETAILS_LABEL):
            self._tokens.fail(f"{label.text} is a string label and cannot be compared with {condition}", label)
        return condition

    def _compare(self, label: Token, sign: Token) -> Compare:
        tokens = self._tokens
        if sign.text not in _COMPARE_SIGNS:
            tokens.unexpected("STRING")
        minus = tokens.accept_sign("-")
        literal = tokens.here
        if literal.kind not in (Kind.NUMBER, Kind.DURATION, Kind.BYTES):
            tokens.unexpected(Kind.NUMBER.value if minus else "")
        tokens.take()
        limit = float(literal.value) / (1e9 if literal.kind is Kind.DURATION else 1)
        kind = {Kind.NUMBER: "number", Kind.DURATION: "duration", Kind.BYTES: "bytes"}[literal.kind]
        op = CompareOp("==" if sign.text == "=" else sign.text)
        return Compare(label.text, op, kind, -limit if minus else limit, f"-{literal.text}" if minus else literal.text)


def _chained(left: Condition, right: Condition) -> Condition:
    """`left and right` as one chain where both are: in which order its parts are put together changes nothing."""
    return Both(_chained(left, right.left), right.right) if isinstance(right, Both) else Both(left, right)
