"""What rules answer at many slots, asked at once: for rules over data that no rule writes, all of it known before.

Rules of one shape are one query, from whatever group they are. What a rule does with its answers is evaluation.py's;
rules that are not foreseen, because they read what rules write or cannot be asked together, are asked slot by slot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from obskit.errors import QueryError
from obskit.promql.engine import Engine
from obskit.promql.families import Answer, Family, families
from obskit.promql.nodes import Expr
from obskit.promql.plans import asks_for_range, metric_names
from obskit.rules.evaluation import writes
from obskit.rules.groups import Group, Rule

SLOTS_AT_ONCE: Final = 200
"""Bounds what is held: the answers of a day of minutes are a handful of queries."""


@dataclass(frozen=True, slots=True)
class Foreseeable:
    """A family of rules (by key, in the order of its members) of groups with one query offset."""

    family: Family
    keys: tuple[str, ...]
    query_offset_ms: int


def foreseeable(groups: Sequence[Group]) -> list[Foreseeable]:
    """The families of rules that can be asked ahead, when these groups are all there are."""
    written = frozenset[str]().union(*(writes(rule) for group in groups for rule in group.rules))
    by_offset: dict[int, list[Rule]] = {}
    for group in groups:
        if not group.type.reads_logs:
            by_offset.setdefault(group.query_offset_ms, []).extend(group.rules)
    return [
        Foreseeable(family, tuple(rules[member].key for member in family.members), offset_ms)
        for offset_ms, rules in by_offset.items()
        for family in families([rule.query for rule in rules], at_least=1)
        # Metrics, times and ranges are the same in all of a family.
        if _is_given(rules[family.members[0]].query, written)
    ]


def _is_given(query: Expr, written: frozenset[str]) -> bool:
    """Whether the query reads nothing that a rule writes, and gives at a moment what it gives at many."""
    names = metric_names(query)
    return names is not None and names.isdisjoint(written) and not asks_for_range(query)


class Foresight:
    """The answers at slots up to `end_ms`, `step_ms` apart, which have to be visited in order.

    `keys` are the rules it answers for: fewer, once they turn out to have no answer together.
    """

    def __init__(self, engine: Engine, known: Iterable[Foreseeable], *, end_ms: int, step_ms: int) -> None:
        self._engine = engine
        self._known = list(known)
        self._end_ms = end_ms
        self._step_ms = step_ms
        self._from_ms = 0
        self._answers: list[dict[str, Answer]] = []
        self.keys = {key for one in self._known for key in one.keys}

    def at(self, slot_ms: int) -> Mapping[str, Answer]:
        """The answers at a slot, by rule; rules that find nothing are left out."""
        if not 0 <= slot_ms - self._from_ms < len(self._answers) * self._step_ms:
            self._look(slot_ms)
        return self._answers[(slot_ms - self._from_ms) // self._step_ms]

    def _look(self, slot_ms: int) -> None:
        """Ask for the slots from this one on."""
        slots = min(SLOTS_AT_ONCE, (self._end_ms - slot_ms) // self._step_ms + 1)
        self._from_ms, self._answers = slot_ms, [{} for _ in range(slots)]
        for one in list(self._known):
            start_ms = slot_ms - one.query_offset_ms
            end_ms = start_ms + (slots - 1) * self._step_ms
            try:
                found = self._engine.answers_ahead(one.family, start_ms, end_ms, self._step_ms)
            except QueryError:
                self._known.remove(one)
                self.keys.difference_update(one.keys)
                continue
            key_of = dict(zip(one.family.members, one.keys, strict=True))
            for answers, of_slot in zip(self._answers, found, strict=True):
                answers.update((key_of[member], answer) for member, answer in of_slot.items())
