"""What the rules of a group ask together: rules of one shape are answered at once, and what several of them contain is
computed once. Each rule gets what it would have got alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from obskit.errors import QueryError
from obskit.model.results import Result
from obskit.promql.engine import Engine
from obskit.promql.families import Answer, Family, families
from obskit.promql.ticks import Tick
from obskit.rules.groups import Group, Rule

log = logging.getLogger(__name__)

WORTHWHILE: Final = 4
"""A family is asked when at least one in so many of its members wants the answer."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A family of rules; `keys` are its members' keys, by their place in the group."""

    family: Family
    keys: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Batches:
    """The families among a group's rules, by the keys of their members."""

    by_rule: Mapping[str, Batch] = field(default_factory=dict)

    @classmethod
    def of(cls, group: Group) -> Batches:
        """Find them: some milliseconds for a thousand rules, once per load."""
        if group.type.reads_logs:
            return cls()
        by_rule = {}
        for family in families([rule.query for rule in group.rules]):
            batch = Batch(family, {member: group.rules[member].key for member in family.members})
            by_rule.update(dict.fromkeys(batch.keys.values(), batch))
        return cls(by_rule)


class Sharing:
    """The evaluation of some rules of a group at one moment. Begin anew when something was stored that they read.

    `seconds` times the families, so that each rule can be told its share.
    """

    def __init__(self, engine: Engine, batches: Batches, at_ms: int, *, seconds: Callable[[], float]) -> None:
        self._tick = Tick()
        self._engine = engine
        self._batches = batches
        self._at_ms = at_ms
        self._seconds = seconds
        self._asking: frozenset[str] | None = None
        self._answers: dict[str, Answer] = {}
        self._share_s: dict[int, float] = {}
        self._failed: set[int] = set()

    def only(self, keys: Collection[str]) -> None:
        """Say which rules will ask; without it, all of the group."""
        self._asking = frozenset(keys)

    def prepare(self, rule: Rule) -> float:
        """Ask the rule's family, if that was not done yet; the rule's share of the time it took."""
        batch = self._batches.by_rule.get(rule.key)
        if batch is None:
            return 0.0
        share_s = self._share_s.get(id(batch))
        if share_s is None:
            began_s = self._seconds()
            asked = self._ask(batch)
            share_s = self._share_s[id(batch)] = (self._seconds() - began_s) / max(1, asked)
        return share_s

    def answer(self, rule: Rule) -> Answer | None:
        """What the rule's family found for it; None when the rule has to be asked alone."""
        batch = self._batches.by_rule.get(rule.key)
        if batch is None or id(batch) in self._failed or id(batch) not in self._share_s:
            return None
        return self._answers.get(rule.key, [])

    def instant(self, rule: Rule) -> Result:
        """Ask the rule alone; QueryError when it has no answer."""
        return self._engine.instant(rule.query, self._at_ms, self._tick)

    def _ask(self, batch: Batch) -> int:
        """Ask a family for all its members; how many of them asked."""
        asking = len(batch.keys) if self._asking is None else len(self._asking & frozenset(batch.keys.values()))
        self._failed.add(id(batch))
        if asking * WORTHWHILE < len(batch.keys) or asking < 2:
            return asking
        try:
            answers = self._engine.answers(batch.family, self._at_ms, self._tick)
        except QueryError:
            return asking  # each of them is asked alone, and tells its own error
        except Exception:  # a bug of ours in one family must not silence its rules
            log.exception("rules cannot be evaluated together: expr=%s", batch.family.expr)
            return asking
        self._failed.discard(id(batch))
        self._answers.update((batch.keys[member], answer) for member, answer in answers.items())
        return asking
