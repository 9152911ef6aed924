"""Lines to show with a log alert: the first, the last and some others of its window, cut to what a message can hold.

Read from the store when an alert begins to fire, and kept while it does; what could not be read is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from obskit.errors import ObskitError
from obskit.logql.engine import Engine
from obskit.logql.metric_nodes import LogRange, log_ranges
from obskit.model.alerts import LOG_LINES, Alert, Transition, TransitionKind
from obskit.model.labels import Labels
from obskit.rules.expansion import series_labels
from obskit.rules.groups import AlertRule

OTHERS: Final = 3
_LOOKED_AT: Final = 500
_LENGTH: Final = 300
_KEPT: Final = 5_000


class SampleLines:
    """Adds lines to the transitions of log rules; `engine` reads them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._shown: dict[tuple[str, Labels], str] = {}

    def told(self, rule: AlertRule, transitions: Sequence[Transition], at_ns: int) -> tuple[Transition, ...]:
        """The transitions, alerts that fire with their lines."""
        return tuple(self._with_lines(rule, one, at_ns) for one in transitions)

    def _with_lines(self, rule: AlertRule, transition: Transition, at_ns: int) -> Transition:
        alert = transition.alert
        key = (rule.key, alert.labels)
        if transition.kind is TransitionKind.RESOLVED:
            self._shown.pop(key, None)
            return transition
        lines = self._shown.get(key) if transition.kind is TransitionKind.CHANGED else None
        if lines is None:
            lines = "\n".join(self._lines(rule, alert, at_ns))
            if len(self._shown) >= _KEPT:
                self._shown.pop(next(iter(self._shown)))
            self._shown[key] = lines
        if not lines or LOG_LINES in alert.annotations:
            return transition
        return replace(transition, alert=replace(alert, annotations={**alert.annotations, LOG_LINES: lines}))

    def _lines(self, rule: AlertRule, alert: Alert, at_ns: int) -> list[str]:
        wanted = series_labels(rule, alert.labels)
        for source in log_ranges(rule.query):
            try:
                newest = list(islice(self._found(source, wanted, at_ns, newest_first=True), _LOOKED_AT))
                oldest = next(self._found(source, wanted, at_ns, newest_first=False), None)
            except ObskitError:  # the alert goes out without them
                continue
            if newest and oldest is not None:
                others = [line for line in dict.fromkeys(newest) if line not in (newest[0], oldest)][:OTHERS]
                return list(dict.fromkeys([oldest, *reversed(others), newest[0]]))
        return []

    def _found(self, source: LogRange, wanted: Labels, at_ns: int, *, newest_first: bool) -> Iterator[str]:
        end_ns = at_ns - source.offset_ns + 1
        found = self._engine.lines(
            source.query, end_ns - source.range_ns, end_ns, limit=_LOOKED_AT, newest_first=newest_first
        )
        for line in found:
            labels = line.labels
            if all(labels.get(name, value) == value for name, value in wanted.pairs):
                yield _short(line.line)


def _short(line: str) -> str:
    text = " ".join(line.split())
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 1]}…"
