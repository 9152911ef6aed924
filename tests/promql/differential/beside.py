"""One data set in both: a query is asked on either side, and a difference is explained by a known change or is one."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from obskit.promql.engine import Engine
from obskit.testing.store import MemoryMetrics
from tests.promql.differential.answers import LARGE_TOLERANCE, TOLERANCE, Answer, difference, ours, theirs
from tests.promql.differential.changes import (
    as_in_2_42,
    combinations_of_changes,
    in_words_of_2_42,
    with_bool,
    with_units,
)
from tests.promql.differential.data import BASE_MS, SPAN_MS, Series, make_series
from tests.promql.differential.prometheus import Prometheus
from tests.promql.differential.queries import make_query

INEXACT = (
    "deriv",
    "predict_linear",
    "stddev",
    "stdvar",
    "avg_over_time",
    "exp",
    "sinh",
    "cosh",
    "^",
    "tan",
    "sin",
    "cos",
)
"""What sums in another order terms that cancel, or makes much of the last digit."""
NAME_REFUSED = ("invalid label name", "invalid destination label name", "invalid source label name")
STEPS_MS = (15_000, 30_000, 47_000, 60_000, 300_000)


@dataclass(frozen=True, slots=True)
class Question:
    """A query at one moment, or at each step of a range (`step_ms` is not 0)."""

    query: str
    start_ms: int
    end_ms: int = 0
    step_ms: int = 0

    def __str__(self) -> str:
        if not self.step_ms:
            return f"{self.query}\n  at {self.start_ms}"
        return f"{self.query}\n  from {self.start_ms} to {self.end_ms} step {self.step_ms}"

    def difference(self, want: Answer, got: Answer) -> str | None:
        """What differs between two answers to this, in order where the query asks for one."""
        ordered = not self.step_ms and self.query.startswith(("sort", "topk(", "bottomk("))
        inexact = any(name in self.query for name in INEXACT)
        return difference(want, got, ordered=ordered, tolerance=LARGE_TOLERANCE if inexact else TOLERANCE)

    def answer_of(self, engine: Engine) -> Answer:
        """What an engine of ours answers."""
        if not self.step_ms:
            return ours(lambda: engine.instant(self.query, self.start_ms))
        return ours(lambda: engine.range(self.query, self.start_ms, self.end_ms, self.step_ms))

    def moments(self) -> list[int]:
        """When it is evaluated."""
        return [self.start_ms, *range(self.start_ms + self.step_ms, self.end_ms + 1, self.step_ms or 1)]


@dataclass(frozen=True, slots=True)
class Finding:
    """A question whose answers differ. `change` names the known change that accounts for it, if one does."""

    question: Question
    what: str
    want: Answer
    got: Answer
    change: str = ""

    def __str__(self) -> str:
        return f"{self.question}\n{self.what}\n--- Prometheus\n{self.want}\n--- obskit\n{self.got}\n"


class Beside:
    """Prometheus and obskit's engine over the same series."""

    def __init__(self, prometheus: Prometheus, engine: Engine) -> None:
        self._prometheus = prometheus
        self._engine = engine

    def compare(self, question: Question) -> Finding | None:
        """What differs, or None."""
        want, got = self._ask_prometheus(question), self._ask_engine(question)
        what = question.difference(want, got)
        if what is None:
            return None
        return Finding(question, what, want, got, self._known_change(question, want, got))

    def _known_change(self, question: Question, want: Answer, got: Answer) -> str:
        for names in combinations_of_changes():
            with as_in_2_42(names):
                if question.difference(want, self._ask_engine(question)) is None:
                    return ", ".join(names)
        if got.kind == "error" and got.text.startswith("multiple matches for labels"):
            asked = self._ask_prometheus(replace(question, query=with_bool(question.query)))
            if asked.text == got.text:
                return "duplicates that a comparison drops"
        if want.kind == "error" and with_units(question.query) != question.query:
            finding = self.compare(replace(question, query=with_units(question.query)))
            if finding is None or finding.change:
                return "durations without a unit"
        if want.text.startswith(NAME_REFUSED) and got.kind != "error" and not legacy_name(want.text):
            return "names in UTF-8"
        if question.step_ms and ("topk" in question.query or "bottomk" in question.query):
            return self._ties(question)
        return ""

    def _ties(self, question: Question) -> str:
        """Over a range 2.42 shuffles what it computed before topk looks at it; each step alone must be the same."""
        for at_ms in question.moments():
            finding = self.compare(Question(question.query, at_ms))
            if finding and not finding.change:
                return ""
        return "topk over a shuffled range"

    def _ask_prometheus(self, question: Question) -> Answer:
        query = in_words_of_2_42(question.query)
        if not question.step_ms:
            return theirs(lambda: self._prometheus.instant(query, question.start_ms))
        return theirs(lambda: self._prometheus.range(query, question.start_ms, question.end_ms, question.step_ms))

    def _ask_engine(self, question: Question) -> Answer:
        return question.answer_of(self._engine)


def legacy_name(error: str) -> bool:
    """Whether the label name at the end of an error is one that 2.42 takes."""
    return re.search(r'"[a-zA-Z_][a-zA-Z0-9_]*"$|: [a-zA-Z_][a-zA-Z0-9_]*$', error) is not None


def make_questions(seed: int, count: int) -> Iterator[Question]:
    """Each query at one moment and over a range."""
    rng = random.Random(seed)
    for _ in range(count):
        query = make_query(rng)
        yield Question(query, _moment(rng))
        start, step = _moment(rng), rng.choice(STEPS_MS)
        yield Question(query, start, start + step * rng.randrange(1, 30), step)


def _moment(rng: random.Random) -> int:
    return BASE_MS + rng.randrange(SPAN_MS // 1000) * 1000 + 500


@contextmanager
def beside(folder: Path, seed: int) -> Iterator[Beside]:
    """Both sides with the data set of this seed."""
    series = make_series(seed)
    with Prometheus(folder) as prometheus:
        prometheus.write(series)
        yield Beside(prometheus, Engine(in_memory(series)))


def in_memory(series: list[Series]) -> MemoryMetrics:
    """The series for obskit's engine."""
    metrics = MemoryMetrics()
    for one in series:
        metrics.add(one.labels, one.times_ms, one.values)
    return metrics
