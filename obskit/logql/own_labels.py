"""Label filters before any parser: they look at labels of the stream and at metadata, a whole column at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile

import numpy as np

from obskit.logql.entries import EXTRACTED
from obskit.logql.log_nodes import Both, Condition, LabelFilter, LineFilter, Stage
from obskit.logql.scan import Indices, Sieve
from obskit.model.matchers import Matcher
from obskit.store.log_interface import LogBlock


def own_label_sieves(stages: Sequence[Stage]) -> list[Sieve]:
    """Sieves for what the first stages ask of labels that a line has by itself; the stages ask again."""
    leading = takewhile(lambda stage: isinstance(stage, LabelFilter | LineFilter), stages)
    filters = [stage.condition for stage in leading if isinstance(stage, LabelFilter)]
    return [own_label_sieve(matcher) for condition in filters for matcher in _matchers(condition)]


def _matchers(condition: Condition) -> Iterator[Matcher]:
    """The text comparisons that all must hold."""
    match condition:
        case Both():
            yield from _matchers(condition.left)
            yield from _matchers(condition.right)
        case Matcher() if not condition.name.startswith("__") and not condition.name.endswith(EXTRACTED):
            yield condition


def own_label_sieve(matcher: Matcher) -> Sieve:
    """The lines whose own label passes a matcher; a label that is not there is an empty one."""
    name, answers = matcher.name, _Answers(matcher)

    def sieve(block: LogBlock, lines: Indices) -> Indices:
        by_stream = np.array([answers[stream.get(name)] for stream in block.streams], np.bool_)
        passing = by_stream[block.stream_of[lines]]
        if name in block.metadata_names:
            bare = np.array([name not in stream for stream in block.streams], np.bool_)[block.stream_of[lines]]
            values = block.metadata_column(name)[lines[bare]].tolist()
            passing[bare] = [answers[value or ""] for value in values]
        return lines[passing]

    return sieve


class _Answers(dict[str, bool]):
    """What a matcher says of values, asked once of each; it does not forget, but does not remember for ever either."""

    _MOST = 10_000

    def __init__(self, matcher: Matcher) -> None:
        super().__init__()
        self._matcher = matcher

    def __missing__(self, value: str) -> bool:
        if len(self) >= self._MOST:
            self.clear()
        # Text that is no UTF-8 is put right before a stage sees it: the stage decides.
        self[value] = answer = not value.isascii() or self._matcher.matches(value)
        return answer
