"""What there is to know about an alert that its rule's query does not find: asked lazily, once per evaluation.

It asks and compares. What follows for the alert is state.py's to decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from obskit.errors import QueryError
from obskit.model.histograms import NativeHistogram
from obskit.model.labels import Labels
from obskit.promql.nodes import Expr, VectorSelector
from obskit.rules.expansion import Elements, series_labels
from obskit.rules.groups import AlertRule

if TYPE_CHECKING:
    from obskit.rules.comparison import Comparison, Side

Ask = Callable[[Any], Elements]


class Evidence:
    """The evidence about one rule's alerts at one time; `ask` gives the value of an expression then.

    Labels are those of alerts. In logs nothing is ever missing: no lines are an answer.
    """

    def __init__(self, rule: AlertRule, ask: Ask) -> None:
        self._rule = rule
        self._ask = ask
        self._sides: dict[int, dict[Labels, list[float]]] = {}
        self._released: frozenset[Labels] | None = None
        self._nothing: bool | None = None

    @cached_property
    def _comparison(self) -> Comparison | None:
        from obskit.rules.comparison import comparison_of  # noqa: PLC0415 - tests in which no alert ends never load it

        return comparison_of(self._rule.query)

    def value(self, labels: Labels) -> float | None:
        """What the rule measures for the alert now; None when it compares nothing, or that is not to be told apart."""
        comparison = self._comparison
        if comparison is None:
            return None
        try:
            found = self._of(comparison.measured, labels)
        except QueryError:
            return None
        return found[0] if len(found) == 1 and not math.isnan(found[0]) else None

    def missing(self, labels: Labels) -> bool:
        """Whether there is nothing to judge the alert by: its own data are gone, or all that the rule reads."""
        if not isinstance(self._rule.query, Expr):
            return False
        comparison = self._comparison
        if comparison is None or not comparison.steady:
            return self.nothing()
        try:
            return any(not self._of(side, labels) for side in comparison.sides)
        except QueryError:
            return False

    def nothing(self) -> bool:
        """Whether none of the rule's selectors finds anything; False for a rule that has none."""
        if self._nothing is None:
            try:
                self._nothing = self._finds_nothing()
            except QueryError:
                self._nothing = False
        return self._nothing

    def released(self, labels: Labels) -> bool:
        """Whether `resolve_expr` lets the alert go. Raises QueryError when that has no answer."""
        if self._released is None:
            found = self._ask(self._rule.resolve_query)
            self._released = frozenset(series_labels(self._rule, element) for element, _ in found)
        return series_labels(self._rule, labels) in self._released

    def _of(self, side: Side, labels: Labels) -> Sequence[float]:
        """The values of the side's elements that belong to the alert."""
        values = self._sides.get(id(side.query))
        if values is None:
            values = {}
            for element, value in self._ask(side.query):
                if isinstance(value, NativeHistogram):
                    continue  # it is not measured in one number
                values.setdefault(own_labels(self._rule, side, element), []).append(value)
            self._sides[id(side.query)] = values
        return values.get(own_labels(self._rule, side, labels), ())

    def _finds_nothing(self) -> bool:
        if not isinstance(self._rule.query, Expr):
            return False
        selectors = [node for node in self._rule.query.walk() if isinstance(node, VectorSelector)]
        return bool(selectors) and not any(self._ask(node) for node in selectors)


def own_labels(rule: AlertRule, side: Side, labels: Labels) -> Labels:
    """The labels by which an element of the side and an alert of the rule find each other."""
    return Labels([pair for pair in series_labels(rule, labels).pairs if side.tells(pair[0])])
