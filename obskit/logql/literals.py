"""Texts that every match of a pattern must hold: what lets a search leave out lines, and whole blocks, unread.

Only what is certain is told; of a pattern this does not understand, nothing is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

Choice: TypeAlias = tuple[str, ...]
"""Texts of which every match holds at least one."""

_SHORTEST: Final = 2
_MOST_CHOICES: Final = 8
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ /:=,@-\"'<>;!#%&~`")
_ESCAPED: Final = tuple(".\\+*?()|[]{}^$/-\"'")
_CLASSES: Final = tuple("dDwWsSbBAz")
_QUANTIFIER: Final = re.compile(r"([*?+]|\{\d+(?:,\d*)?\})\??")
_CLASS: Final = re.compile(r"\[\^?\]?(?:[^\]\\\[]|\\.|\[:\^?\w+:\])*\]", re.DOTALL)
_GROUP_START: Final = re.compile(r"\((?:\?:|\?P?<\w+>)?(?!\?)")
_AT_LEAST_ONE: Final = re.compile(r"\+|\{[1-9]")


class _Piece(NamedTuple):
    """A part of a sequence: a literal character, or what is known of something else. `end` is the place behind it."""

    literal: str
    choices: tuple[Choice, ...]
    end: int


class _Unknown(ValueError):  # noqa: N818 - not an error: nothing can be told
    """The pattern has something in it that may change what the rest means."""


@lru_cache(maxsize=512)
def required_choices(pattern: str) -> tuple[Choice, ...]:
    """Texts of which every match of an RE2 pattern holds: of each choice at least one."""
    try:
        choices, end = _alternatives(pattern, 0)
    except (_Unknown, RecursionError):
        return ()
    return choices if end == len(pattern) else ()


def required_literals(pattern: str) -> tuple[str, ...]:
    """The texts that every match of an RE2 pattern holds."""
    return tuple(choice[0] for choice in required_choices(pattern) if len(choice) == 1)


def _alternatives(pattern: str, at: int) -> tuple[tuple[Choice, ...], int]:
    """What holds for sequences with `|` between them, up to a `)` or the end."""
    found = [_sequence(pattern, at)]
    while pattern[found[-1][1] : found[-1][1] + 1] == "|":
        found.append(_sequence(pattern, found[-1][1] + 1))
    end = found[-1][1]
    if len(found) == 1:
        return found[0][0], end
    texts: list[str] = []
    for choices, _ in found:
        if not choices:
            return (), end
        texts += max((_strength(choice), choice) for choice in choices)[1]
    return ((tuple(dict.fromkeys(texts)),) if len(texts) <= _MOST_CHOICES else ()), end


def _strength(choice: Choice) -> tuple[int, int]:
    """Few and long texts are quick to look for and seldom there."""
    return -len(choice), min(map(len, choice))


def _sequence(pattern: str, at: int) -> tuple[tuple[Choice, ...], int]:
    found: list[Choice] = []
    run = ""
    while at < len(pattern) and pattern[at] not in "|)":
        piece = _piece(pattern, at)
        quantifier = _QUANTIFIER.match(pattern, piece.end)
        there = quantifier is None or _AT_LEAST_ONE.match(quantifier[0]) is not None
        if piece.literal and there:
            run += piece.literal
        if not piece.literal or quantifier is not None:
            found.append((run,))
            run = ""
        if there:
            found += piece.choices
        at = quantifier.end() if quantifier else piece.end
    found.append((run,))
    return tuple(_telling(found)), at


def _telling(choices: Iterable[Choice]) -> Iterable[Choice]:
    return dict.fromkeys(choice for choice in choices if min(map(len, choice)) >= _SHORTEST)


def _piece(pattern: str, at: int) -> _Piece:
    char = pattern[at]
    if char in _PLAIN or not char.isascii():
        return _Piece(char, (), at + 1)
    if char == "\\" and pattern[at + 1 : at + 2] in _ESCAPED:
        return _Piece(pattern[at + 1], (), at + 2)
    if char == "\\" and pattern[at + 1 : at + 2] in _CLASSES:
        return _Piece("", (), at + 2)
    if char == "[":
        end = _CLASS.match(pattern, at)
        if end is not None:
            return _Piece("", (), end.end())
    if char in ".^$":
        return _Piece("", (), at + 1)
    if char == "(":
        return _group(pattern, at)
    raise _Unknown


def _group(pattern: str, at: int) -> _Piece:
    start = _GROUP_START.match(pattern, at)
    if start is None:
        raise _Unknown
    choices, end = _alternatives(pattern, start.end())
    if pattern[end : end + 1] != ")":
        raise _Unknown
    return _Piece("", choices, end + 1)
