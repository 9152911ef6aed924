"""Label matchers: `=`, `!=`, `=~`, `!~` on one label. A missing label reads as the empty string.

How Alertmanager writes and reads them is alert_matchers.py's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from obskit.model.labels import NAME, quote, quote_name
from obskit.model.patterns import anchored

_TEXTS: Final = re.compile(r"(?:[^\\.+*?()\[\]{}^$]|\\[^\w\\|])*", re.ASCII)
"""Texts and nothing else, any of which may be it: `a|b|c`, with whatever escapes are needed."""


class _OneOf(frozenset[str]):
    """What `a|b|c` matches: nearly all patterns that people write, and a tenth of the time of asking RE2."""

    def match(self, value: str) -> bool | None:
        """As a pattern's: None when it does not match."""
        return True if value in self else None


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
            pattern = anchored(self.value)
            if _TEXTS.fullmatch(self.value):
                pattern = _OneOf(self.value.replace("\\", "").split("|"))
            object.__setattr__(self, "_pattern", pattern)

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
