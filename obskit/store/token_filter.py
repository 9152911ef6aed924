"""Which ids a block may hold: a filter that answers "certainly not here" for a text with an id in it.

Ids (trace, request, order) are long words with digits. Of every word (a run of ASCII letters and digits) the pieces of
eight bytes at 0, 8, 16 ... from its start are put into a Bloom filter, if there is a digit in the piece. A text that is
searched for may lie anywhere in a longer word, so its own pieces are looked up at each of the eight distances that the
word's start may have; where the text itself shows that a word starts, at that one alone. Nothing is missed: a block is left
out only when no distance is possible. Texts of fifteen id characters (or eight after a word's start) and more are helped.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_PIECE: Final = 8
_BITS_EACH: Final = 10
_PROBES: Final = 6
_LETTER_BITS: Final = np.uint64(0x4040404040404040)
"""Set in every ASCII letter and in no digit."""
_MULTIPLIER: Final = 0x9E3779B97F4A7C15
_HALF: Final = np.uint64(32)
_LOW: Final = np.uint64(0xFFFFFFFF)
_MASK: Final = 0xFFFFFFFF
_SLOTS: Final = 1 << 15

Alternatives = Sequence[Sequence[int]]
"""A text's pieces as hashes, per distance: all of one of them must be in the filter."""


def build_filter(data: bytes) -> bytes:
    """The filter of a text; empty when it has no ids."""
    hashes = _mostly_distinct(_hashes(_pieces(data)))
    if not len(hashes):
        return b""
    size = -(-len(hashes) * _BITS_EACH // 64) * 64
    bits = np.zeros(size, np.uint8)
    high, low = hashes >> _HALF, hashes & _LOW
    for probe in range(_PROBES):
        bits[_place((high + np.uint64(probe) * low) & _LOW, np.uint64(size))] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def wanted_ids(text: bytes) -> list[Alternatives]:
    """What a filter is asked for the sake of a text: every one of these. None at all when the text has no id to ask for."""
    found = [_alternatives(word, starts=starts) for word, starts in _words(text)]
    return [alternatives for alternatives in found if alternatives]


def may_hold(filters: Sequence[bytes], wanted: Sequence[Alternatives]) -> NDArray[np.bool_]:
    """Which of the blocks with these filters can hold the text."""
    sizes = np.array([8 * len(one) for one in filters], np.uint64)
    begins = np.cumsum(sizes) - sizes
    data = np.frombuffer(b"".join(filters), np.uint8)
    possible = sizes > 0 if wanted else np.ones(len(filters), np.bool_)
    for choices in wanted:
        blocks = np.flatnonzero(possible)
        possible = np.zeros(len(filters), np.bool_)
        for pieces in choices:
            left = blocks
            for bit in (
                (piece >> 32) + probe * (piece & _MASK) & _MASK for piece in pieces for probe in range(_PROBES)
            ):
                if not len(left):
                    break
                at = begins[left] + _place(np.uint64(bit), sizes[left])
                left = left[data[at >> np.uint64(3)] >> (at & np.uint64(7)).astype(np.uint8) & 1 == 1]
            possible[left] = True
    return possible


def _place(bits: Any, size: Any) -> Any:
    """32 bits as a place among so many; a division would take several times as long."""
    return bits * size >> _HALF


def _words(text: bytes) -> list[tuple[bytes, bool]]:
    """The words of a text, and whether it shows where they start."""
    mask = np.concatenate(([False], _in_words(np.frombuffer(text, np.uint8)), [False]))
    edges = np.flatnonzero(mask[1:] != mask[:-1]).tolist()
    return [(text[start:end], start > 0) for start, end in list(pairwise(edges))[::2]]


def _alternatives(word: bytes, *, starts: bool) -> Alternatives:
    """Empty when there is a distance at which the word has no piece to ask for: then nothing can be said."""
    choices = []
    for distance in range(1 if starts else _PIECE):
        pieces = np.frombuffer(
            b"".join(word[at : at + _PIECE] for at in range(distance, len(word) - _PIECE + 1, _PIECE)), "<u8"
        )
        hashes = _hashes(pieces).tolist()
        if not hashes:
            return ()
        choices.append(hashes)
    return choices


def _pieces(data: bytes) -> NDArray[np.uint64]:
    """The pieces of all words of a text."""
    text = np.frombuffer(data, np.uint8)
    if len(text) < _PIECE:
        return np.zeros(0, np.uint64)
    # Where eight word characters begin; of each run of such places the first is a word's start.
    mask = _in_words(text)
    for step in (1, 2, 4):
        mask = mask[:-step] & mask[step:]
    edges = np.flatnonzero(mask[1:] != mask[:-1]) + 1
    if mask[0]:
        edges = np.concatenate(([0], edges))
    if len(edges) % 2:
        edges = np.append(edges, len(mask))
    starts, ends = edges[::2], edges[1::2]
    counts = (ends - starts + _PIECE - 1) // _PIECE
    firsts = np.cumsum(counts) - counts
    places = np.repeat(starts - firsts * _PIECE, counts) + np.arange(int(counts.sum())) * _PIECE
    overlapping = np.ndarray(len(text) - _PIECE + 1, "<u8", data, 0, (1,))
    found: NDArray[np.uint64] = overlapping[places]
    return found


def _hashes(pieces: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Of those that have a digit in them."""
    kept = pieces[(pieces & _LETTER_BITS) != _LETTER_BITS]
    mixed: NDArray[np.uint64] = kept * np.uint64(_MULTIPLIER)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    return mixed


def _mostly_distinct(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each of them at least once; a tenth of the cost of sorting them."""
    slots = hashes & np.uint64(_SLOTS - 1)
    last = np.zeros(_SLOTS, np.int64)
    numbers = np.arange(len(hashes))
    last[slots] = numbers
    kept = last[slots]
    found: NDArray[np.uint64] = hashes[(kept == numbers) | (hashes[kept] != hashes)]
    return found


def _in_words(text: NDArray[np.uint8]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = text - np.uint8(ord("0")) < np.uint8(10)
    letters = text | np.uint8(0x20)
    letters -= np.uint8(ord("a"))
    found |= letters < np.uint8(26)
    return found
