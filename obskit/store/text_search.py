"""All that is looked for in lines as they come, in one RE2 set: a text is read once for redaction, rules and error grouping.

It tells which patterns are somewhere in a text; where, is left to who asked. The set is made of many patterns at the price of
one: 0.36 µs for a line of 280 bytes, as each of the three took by itself.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from obskit.clock import worked_s

_SET_BYTES: Final = 64 << 20
_PROBE: Final = "\x00obskit\x00"
_SLOW_S: Final = 40e-9
"""CPU seconds per byte that no set should need; 1.2e-9 is what one takes that has room for its states."""
_JUDGED_BYTES: Final = 4_000_000


class PatternSet:
    """Some patterns, told by their numbers."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = list(patterns)
        self._set = self._made() if self._patterns else None

    def found_in(self, data: bytes) -> Sequence[int]:
        """Those that are somewhere in a text, ascending."""
        if not self._patterns:
            return ()
        if self._set is None:
            return range(len(self._patterns))
        return sorted(number for number in self._set.Match(data) or () if number < len(self._patterns))

    def _made(self) -> Any:
        import re2  # noqa: PLC0415 - as in obskit.model.patterns

        options = re2.Options()
        options.log_errors = False
        options.max_mem = _SET_BYTES
        made = re2.Set.SearchSet(options)
        for pattern in self._patterns:
            made.Add(pattern)
        made.Add(_PROBE)
        made.Compile()
        # A set that has run out of memory finds nothing, and does not say so: then everything may be there.
        return made if made.Match(_PROBE.encode()) else None


class Question:
    """Patterns that somebody looks for. Known by identity: other patterns are another question."""

    __slots__ = ("patterns",)

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)


Answers = Mapping[Question, Sequence[int]]
"""The numbers of each question's patterns that are there. Who is not in it was not asked for, and has to look himself."""


class TextSearch:
    """The questions of a process. They may come from any thread; texts from the writer's alone.

    Others ask for patterns that people wrote, and a set of such may need too many states to be quick. The append must not
    wait for that: then only the `own` question is answered, until the others change.
    """

    def __init__(self, own: Question, worked: Callable[[], float] = worked_s) -> None:
        self._own = own
        self._worked = worked
        self._guests: list[Question] = []
        self._lock = threading.Lock()
        self._asked = _Asked([own])

    def ask(self, question: Question, *, instead_of: Question | None = None) -> None:
        """Answer one more from now on, perhaps in the place of another."""
        with self._lock:
            self._guests = [one for one in self._guests if one is not instead_of] + [question]
            self._asked = _Asked([self._own, *self._guests])

    def look_into(self, data: bytes) -> Answers:
        """What there is of all that was asked for."""
        asked = self._asked
        began_s = self._worked()
        answers = asked.answers(data)
        asked.note(len(data), self._worked() - began_s)
        if asked.slow and len(asked.questions) > 1:
            with self._lock:
                if self._asked is asked:
                    self._asked = _Asked([self._own])
        return answers


class _Asked:
    """Some questions as one set, and how long it has taken."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self.questions = questions
        self._set = PatternSet(pattern for one in questions for pattern in one.patterns)
        self._edges = list(accumulate((len(one.patterns) for one in questions), initial=0))
        self._read, self._took_s = 0, 0.0

    def answers(self, data: bytes) -> Answers:
        found = self._set.found_in(data)
        cuts = [bisect_left(found, edge) for edge in self._edges]
        return {
            question: [number - first for number in found[begin:end]]
            for question, first, begin, end in zip(self.questions, self._edges, cuts, cuts[1:], strict=False)
        }

    def note(self, size: int, took_s: float) -> None:
        self._read += size
        self._took_s += took_s
        if self._read > 2 * _JUDGED_BYTES:  # what was long ago counts less
            self._read, self._took_s = self._read // 2, self._took_s / 2

    @property
    def slow(self) -> bool:
        return self._read >= _JUDGED_BYTES and self._took_s > _SLOW_S * self._read
