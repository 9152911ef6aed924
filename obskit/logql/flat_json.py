"""Values out of JSON lines, many at a time: no document is made of any.

Most JSON lines are one object without another in it. RE2 tells in one go how far a text is made of such lines; in these a
key that is there once gives its label, and what stands behind it is its value. Of other lines (objects in objects, an
escape in a key or in a value that is wanted, a key twice, broken JSON) nothing is told: they must be parsed.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from obskit.logql.json_fields import valid_text
from obskit.logql.scan import Indices
from obskit.model.patterns import compile_pattern
from obskit.model.records import whole_text
from obskit.store.log_interface import LogBlock

_STRING: Final = r'"(?:[^"\\\n]|\\[^\n])*"'
_NUMBER: Final = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
_ARRAY: Final = rf'\[(?:{_STRING}|[^"\[\]{{}}:\\\n])*\]'
_VALUE: Final = rf"(?:{_STRING}|{_NUMBER}|true|false|null|{_ARRAY})"
_MEMBER: Final = rf'[ \t]*"[^"\\\n]*"[ \t]*:[ \t]*{_VALUE}[ \t]*'
_FLAT_LINES: Final = rf"(?:\{{(?:{_MEMBER}(?:,{_MEMBER})*|[ \t]*)\}}\n)*"

_RUN: Final = re.compile(r"[A-Za-z0-9]+")
_BETWEEN: Final = r'[^A-Za-z0-9"\\\n]'
_COLON: Final = r'"[ \t]*+:'
_READ: Final = r'[ \t]*+("[^"\\]*+"|[^",}\]\[ \t\n]++)'
_MOST_LABELS: Final = 8
_BAD_LINES: Final = 16
_KNOWN_MOST: Final = 10_000

Raw = bytes | None
"""A value as it stands in a line; None where there is none."""


class Columns(NamedTuple):
    """Some lines of a block, and for each label the values in them."""

    lines: Indices
    values: list[list[Raw]]


class _Key:
    """Where a label's key stands in a text of flat objects: `exact` with its value, `any_form` all that may give it."""

    def __init__(self, label: str) -> None:
        runs = _RUN.findall(label)
        lead = "" if label[0] == "_" else rf'(?<=["\s\x80-\xff]{runs[0]})'
        tail = len(label) - len(label.rstrip("_"))
        spelled = f"{_BETWEEN}++".join([runs[0] + lead, *runs[1:]]) + f"{_BETWEEN}{{{tail},}}+"
        self.any_form = re.compile((spelled + _COLON).encode())
        self.word = max(runs, key=len).encode()  # in every form
        exact = f'"{label}{_COLON}{_READ}'
        self.exact = re.compile(exact.encode())
        self.first = re.compile((exact + r"[^\n]*+\n").encode())  # takes its line with it: one match for each line


class FlatJson:
    """Reads some labels."""

    def __init__(self, labels: Collection[str]) -> None:
        self.labels = sorted(labels)
        self._keys = [_Key(label) for label in self.labels]
        self._run = compile_pattern(_FLAT_LINES).match
        self._texts: dict[bytes, str | None] = {}

    @staticmethod
    def reads(labels: Collection[str]) -> bool:
        """Whether it can read these."""
        return len(labels) <= _MOST_LABELS and all(label.isascii() and _RUN.search(label) for label in labels)

    def read(self, block: LogBlock, lines: Indices) -> Columns:
        """The lines that can be read, ascending, and their values by label."""
        data = block.data
        edges = zip(block.starts[lines].tolist(), block.ends[lines].tolist(), strict=True)
        text = b"\n".join([data[start:end] for start, end in edges]) + b"\n"
        ends = np.cumsum(block.ends[lines] - block.starts[lines] + 1)
        if text.count(b"\n") != len(lines):
            return Columns(lines[:0], [[] for _ in self._keys])
        certain = self._flat(text, ends)
        columns = [_column(key, text, ends, certain) for key in self._keys]
        if not certain.all():
            kept = np.flatnonzero(certain).tolist()
            columns = [[column[at] for at in kept] for column in columns]
        return Columns(lines[certain], columns)

    def text(self, raw: bytes) -> str | None:
        """A value as a label has it; None for null, which gives no label."""
        if raw not in self._texts:
            if len(self._texts) >= _KNOWN_MOST:
                self._texts.clear()
            text = whole_text(raw.decode(errors="surrogatepass"))
            self._texts[raw] = valid_text(text[1:-1]) if text[0] == '"' else None if text == "null" else text
        return self._texts[raw]

    def _flat(self, text: bytes, ends: Indices) -> NDArray[np.bool_]:
        """Which lines are flat objects. Where too many are not, no more are asked."""
        flat = np.zeros(len(ends), np.bool_)
        line = at = 0
        for _ in range(_BAD_LINES + len(ends) // 4):
            end = self._run(text, at).end()
            after = int(np.searchsorted(ends, end, side="right"))
            flat[line:after] = True
            line = after + 1
            if line >= len(ends):
                break
            at = int(ends[after])
        return flat


def _column(key: _Key, text: bytes, ends: Indices, certain: NDArray[np.bool_]) -> list[Raw]:
    """The values of one key by line. Lines in which it is there twice, or in another form, are no longer certain."""
    if text.count(key.word) == len(ends):  # no more than that many forms
        firsts: list[Raw] = key.first.findall(text)
        if len(firsts) == len(ends):
            return firsts  # once in every line
    matches = list(key.exact.finditer(text))
    values: list[Raw] = [match[1] for match in matches]
    owners = _owners(ends, [match.start() for match in matches])
    others = len(key.any_form.findall(text)) > len(values)
    exactly = anyhow = np.bincount(owners, minlength=len(ends))
    if others:
        anyhow = np.bincount(
            _owners(ends, [match.start() for match in key.any_form.finditer(text)]), minlength=len(ends)
        )
    certain &= (anyhow == exactly) & (anyhow <= 1)
    column: list[Raw] = [None] * len(ends)
    for owner, value in zip(owners.tolist(), values, strict=True):
        column[owner] = value
    return column


def _owners(ends: Indices, places: list[int]) -> Indices:
    """In which lines these places are."""
    return np.searchsorted(ends, np.array(places, np.int64), side="right")
