"""Bytes in a row, each out of a set (`[A-Z]{3}[0-9]{9}`), that every match of a pattern holds, and where they stand in a text.

For patterns without a literal to look for: a few passes over all bytes of a text take a third of RE2's time. Only what is
certain is told; of a pattern this does not understand, nothing is.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Run: TypeAlias = tuple[str, ...]
"""For each byte the characters that it may be, ascending."""

_TOKEN: Final = re.compile(
    r"""(?:\[(?P<set>(?:[A-Za-z0-9]-[A-Za-z0-9]|[A-Za-z0-9_])+)\]
        |(?P<plain>[A-Za-z0-9_ /:=,@"'<>;!\#%&~-])
        |\\(?P<class>[dw])
        |\\(?P<escaped>[.+*?()|\[\]{}^$/-])
        |(?P<open>\((?:\?:|\?P?<\w+>)?(?!\?))
        |(?P<close>\)(?![*+?{]))
        |(?P<other>[.^$]|\\[bBDWsS]|\[\^[A-Za-z0-9_ ":,-]+\]))
    (?P<times>[*+?]|\{\d{1,3}(?:,\d{0,3})?\})?\??""",
    re.VERBOSE,
)
_CLASSES: Final = {"d": string.digits, "w": "".join(sorted(string.ascii_letters + string.digits + "_"))}
_SHORTEST_CORE: Final = 4
_SHORTEST: Final = 6
_LONGEST: Final = 64
_MOST_RANGES: Final = 3


@lru_cache(maxsize=512)
def required_run(pattern: str) -> Run:
    """The longest run that every match of an RE2 pattern holds; empty when none is worth looking for."""
    tokens = list(_tokens(pattern))
    if "".join(token[0] for token in tokens) != pattern:
        return ()
    run = max(_runs(tokens), key=len)[:_LONGEST]
    return run if len(run) >= _SHORTEST and _core(run)[1] >= _SHORTEST_CORE else ()


class RunSearch:
    """Looks for a run in texts: for the longest part of one set in every byte, for the rest only where that is."""

    def __init__(self, run: Run) -> None:
        self._at, self._length = _core(run)
        self._ranges = _ranges(run[self._at])
        self._size = len(run)
        self._rest = [
            (at, np.isin(np.arange(256), list(map(ord, characters))))
            for at, characters in enumerate(run)
            if not self._at <= at < self._at + self._length
        ]

    def places(self, data: bytes) -> NDArray[np.int64]:
        """Where it begins, ascending."""
        text = np.frombuffer(data, np.uint8)
        found = np.flatnonzero(_repeated(self._in_core(text), self._length)) - self._at
        found = found[(found >= 0) & (found <= len(text) - self._size)]
        for at, members in self._rest:
            found = found[members[text[found + at]]]
        return found

    def _in_core(self, text: NDArray[np.uint8]) -> NDArray[np.bool_]:
        # Below the first character of a range a byte wraps around to a large number: one comparison is enough.
        first, *others = [text - np.uint8(low) < high - low + 1 for low, high in self._ranges]
        for other in others:
            first |= other
        return first


def _repeated(mask: NDArray[np.bool_], times: int) -> NDArray[np.bool_]:
    """Where so many in a row begin that are all set."""
    have = 1
    while have < times:
        step = min(have, times - have)
        mask = mask[:-step] & mask[step:]
        have += step
    return mask


def _tokens(pattern: str) -> Iterator[re.Match[str]]:
    at = 0
    while (token := _TOKEN.match(pattern, at)) is not None:
        yield token
        at = token.end()


def _runs(tokens: Iterable[re.Match[str]]) -> list[Run]:
    """The runs between what may be anything. A group alters nothing: there are no alternatives, and it is there once."""
    runs: list[Run] = [()]
    for token in tokens:
        if token["open"] or token["close"]:
            continue
        characters = _characters(token)
        least, most = _times(token["times"])
        own = (characters,) * min(least, _LONGEST) if characters else ()
        runs[-1] += own
        if not characters or least != most:
            runs.append(own)
    return runs


def _characters(token: re.Match[str]) -> str:
    if token["set"]:
        pairs = re.findall(r"(.)-(.)|(.)", token["set"])
        members = {chr(code) for low, high, one in pairs for code in range(ord(low or one), ord(high or one) + 1)}
        return "".join(sorted(members))
    return _CLASSES.get(token["class"] or "", "") or token["plain"] or token["escaped"] or ""


def _times(quantifier: str | None) -> tuple[int, int | None]:
    """How often at least and at most."""
    if quantifier is None:
        return 1, 1
    if quantifier in "*+?":
        return int(quantifier == "+"), 1 if quantifier == "?" else None
    least, comma, most = quantifier[1:-1].partition(",")
    return int(least), (int(most) if most else None) if comma else int(least)


def _core(run: Run) -> tuple[int, int]:
    """Where the longest part of one set begins, and its length; sets of many ranges are too dear to look for."""
    best = at = length = 0
    for characters, some in groupby(run):
        size = len(list(some))
        if size > length and len(_ranges(characters)) <= _MOST_RANGES:
            best, length = at, size
        at += size
    return best, length


def _ranges(characters: str) -> list[tuple[int, int]]:
    """The first and last codes of characters that follow each other."""
    codes = list(map(ord, characters))
    edges = [0, *(at for at, (one, other) in enumerate(pairwise(codes), 1) if other != one + 1), len(codes)]
    return [(codes[start], codes[end - 1]) for start, end in pairwise(edges)]
