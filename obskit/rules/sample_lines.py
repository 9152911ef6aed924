"""What a log alert has with it: lines of its window, the error group they are of, and where more of them are found.

The first line, the last and some others, cut to what a message can hold. Read from the store when an alert begins to
fire, and kept while it does; what could not be read is left out, and what the rule says itself stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from obskit.errors import ObskitError
from obskit.logql.engine import Engine, LogLine
from obskit.logql.metric_nodes import LogRange, log_ranges
from obskit.model.alerts import LOG_LINES, Alert, Transition, TransitionKind
from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.rules.expansion import series_labels
from obskit.rules.groups import AlertRule
from obskit.rules.log_links import LogLinks

OTHERS: Final = 3
ERROR_GROUP: Final = "error_group"
"""The annotation with the id of the lines' error group, which `obskit errors show` takes."""
_LOOKED_AT: Final = 500
_LENGTH: Final = 300
_KEPT: Final = 5_000


def no_group(_record: Record) -> str:
    """Where errors are not grouped."""
    return ""


class SampleLines:
    """Adds lines to the transitions of log rules. `engine` reads them, `group_of` is the id of a line's error group."""

    def __init__(
        self, engine: Engine, links: LogLinks | None = None, group_of: Callable[[Record], str] = no_group
    ) -> None:
        self._engine = engine
        self._links = links or LogLinks()
        self._group_of = group_of
        self._shown: dict[tuple[str, Labels], dict[str, str]] = {}

    def told(self, rule: AlertRule, transitions: Sequence[Transition], at_ns: int) -> tuple[Transition, ...]:
        """The transitions, alerts that fire with their lines."""
        return tuple(self._with_lines(rule, one, at_ns) for one in transitions)

    def _with_lines(self, rule: AlertRule, transition: Transition, at_ns: int) -> Transition:
        alert = transition.alert
        key = (rule.key, alert.labels)
        if transition.kind is TransitionKind.RESOLVED:
            self._shown.pop(key, None)
            return transition
        shown = self._shown.get(key) if transition.kind is TransitionKind.CHANGED else None
        if shown is None:
            shown = self._annotations(rule, alert, at_ns)
            if len(self._shown) >= _KEPT:
                self._shown.pop(next(iter(self._shown)))
            self._shown[key] = shown
        if shown.keys() <= alert.annotations.keys():
            return transition
        return replace(transition, alert=replace(alert, annotations={**shown, **alert.annotations}))

    def _annotations(self, rule: AlertRule, alert: Alert, at_ns: int) -> dict[str, str]:
        wanted = series_labels(rule, alert.labels)
        sources = list(log_ranges(rule.query))
        for source in sources:
            found = self._sample(source, wanted, at_ns)
            if found:
                newest = found[-1].labels
                carried = [(name, value) for name, value in wanted.pairs if name in newest]
                group = next(filter(None, map(self._group, reversed(found))), "")
                return {
                    LOG_LINES: "\n".join(dict.fromkeys(_short(line.line) for line in found)),
                    **({ERROR_GROUP: group} if group else {}),
                    **self._links.to(source, carried, at_ns),
                }
        return self._links.to(sources[0], [], at_ns) if sources else {}

    def _sample(self, source: LogRange, wanted: Labels, at_ns: int) -> list[LogLine]:
        """The first line, some others and the last, each text once."""
        try:
            newest = list(islice(self._found(source, wanted, at_ns, newest_first=True), _LOOKED_AT))
            oldest = next(self._found(source, wanted, at_ns, newest_first=False), None)
        except ObskitError:  # the alert goes out without them
            return []
        if not newest or oldest is None:
            return []
        by_text: dict[str, LogLine] = {}
        for line in newest:
            by_text.setdefault(_short(line.line), line)
        ends = _short(newest[0].line), _short(oldest.line)
        others = [line for text, line in by_text.items() if text not in ends][:OTHERS]
        return [oldest, *reversed(others), newest[0]]

    def _group(self, line: LogLine) -> str:
        return self._group_of(Record(line.stream, line.t_ns, line.line, line.metadata))

    def _found(self, source: LogRange, wanted: Labels, at_ns: int, *, newest_first: bool) -> Iterator[LogLine]:
        end_ns = at_ns - source.offset_ns + 1
        found = self._engine.lines(
            source.query, end_ns - source.range_ns, end_ns, limit=_LOOKED_AT, newest_first=newest_first
        )
        for line in found:
            labels = line.labels
            if all(labels.get(name, value) == value for name, value in wanted.pairs):
                yield line


def _short(line: str) -> str:
    text = " ".join(line.split())
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 1]}…"
