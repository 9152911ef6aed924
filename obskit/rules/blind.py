"""Rules that look at nothing: a selector that has found no series since the start names something that does not exist.

Looks now and then, apart from evaluation, and only for what was not found before. Whether that is worth a message is
left to a rule over `obskit_rule_blind`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from obskit.clock import Clock
from obskit.model.labels import NAME, Labels
from obskit.model.matchers import Matcher, MatchOp, exact_name
from obskit.model.problems import did_you_mean
from obskit.promql.nodes import Binary, Call, Expr, VectorSelector
from obskit.rules import telemetry
from obskit.rules.groups import AlertRule, Group, Rule
from obskit.store.interface import MetricReader

log = logging.getLogger(__name__)

FIRST_LOOK_S: Final = 300.0
"""After a start every collector gets this long to bring its first data."""
EVERY_S: Final = 60.0
PATIENCE: Final = 3
"""A group must have had this many slots since: a rule nobody has asked is not blind."""
LOOKS_BACK_MS: Final = 6 * 3_600_000
"""What was there in these hours exists, also when it is quiet since the start."""
_WRITTEN_BY_RULES: Final = ("ALERTS", "ALERTS_FOR_STATE")

Matchers = tuple[Matcher, ...]


@dataclass(frozen=True, slots=True)
class BlindRule:
    """A rule as a person finds it, and what it looks for in vain."""

    source: str
    reason: str


@dataclass(slots=True)
class _Looking:
    """A rule, the selectors that have found nothing yet, and since when it is looked at."""

    source: str
    interval_ms: int
    queries: tuple[Expr, ...]
    selectors: list[Matchers]
    since_ms: int
    reasons: dict[Matchers, str] = field(default_factory=dict)


class BlindRules:
    """Watches the selectors of some groups' rules; `found` are the blind ones as of the last look.

    `names` gives the metric names that are known, also those without a sample of late.
    """

    def __init__(self, reader: MetricReader, names: Callable[[], Sequence[str]], clock: Clock) -> None:
        self._reader = reader
        self._names = names
        self._clock = clock
        self._looking: dict[str, _Looking] = {}
        self._shown: set[str] = set()

    @property
    def found(self) -> tuple[BlindRule, ...]:
        """Each blind rule with the first thing it looks for in vain."""
        return tuple(BlindRule(one.source, next(iter(one.reasons.values()))) for one in self._of_reasons())

    def watch(self, groups: Iterable[Group]) -> None:
        """Look at the rules of these groups from now on; what is known of rules that were here before stays known."""
        before, now_ms = self._looking, self._clock.now_ms()
        self._looking = {}
        for group in groups:
            for rule in () if group.type.reads_logs else group.rules:
                known = before.get(rule.key)
                if known is None or known.queries != rule.queries:
                    source = rule.source if isinstance(rule, AlertRule) else f"{group.name}:{rule.name}"
                    selectors = list(dict.fromkeys(_wanted(rule)))
                    known = _Looking(source, group.interval_ms, rule.queries, selectors, now_ms)
                self._looking[rule.key] = known
        self._show()

    async def run(self) -> None:
        """Look until cancelled."""
        await self._clock.sleep(FIRST_LOOK_S)
        while True:
            now_ms = self._clock.now_ms()
            try:
                await asyncio.to_thread(self.look, now_ms)
            except Exception:  # a notice must not take the daemon down
                log.exception("looking for blind rules crashed")
            self._show()
            await self._clock.sleep(EVERY_S)

    def look(self, now_ms: int) -> None:
        """Ask for what was not found yet, and say what is wrong with what is still not there."""
        for one in list(self._looking.values()):
            one.selectors = [matchers for matchers in one.selectors if not self._exists(matchers, now_ms)]
            waited_ms = max(FIRST_LOOK_S * 1000, PATIENCE * one.interval_ms)
            ripe = one.selectors if now_ms - one.since_ms >= waited_ms else []
            for matchers in ripe:
                if matchers not in one.reasons:
                    one.reasons[matchers] = self._reason(matchers, now_ms)
                    log.warning("rule is blind: rule=%s reason=%s", one.source, one.reasons[matchers])
            one.reasons = {matchers: one.reasons[matchers] for matchers in ripe}

    def _of_reasons(self) -> Iterator[_Looking]:
        return (one for one in self._looking.values() if one.reasons)

    def _show(self) -> None:
        """Set the metric of each rule; one that sees again is told as 0, one that is gone not at all."""
        blind = {one.source for one in self._of_reasons()}
        for source in self._shown - {one.source for one in self._looking.values()}:
            telemetry.BLIND.remove(source)
            self._shown.discard(source)
        self._shown |= blind
        for source in self._shown:
            telemetry.BLIND.labels(source).set(source in blind)

    def _exists(self, matchers: Matchers, now_ms: int) -> bool:
        return bool(self._reader.series(matchers, now_ms - LOOKS_BACK_MS, now_ms))

    def _reason(self, matchers: Matchers, now_ms: int) -> str:
        """What does not exist: the metric, a label of it, or a value."""
        name = exact_name(matchers)
        shown = VectorSelector(name=name or "", matchers=matchers).bare()
        if name is None:
            return f"nothing matches {shown}"
        series = self._reader.series([Matcher(NAME, MatchOp.EQUAL, name)], now_ms - LOOKS_BACK_MS, now_ms)
        if not series:
            near = did_you_mean(name, (other for other in self._names() if other != name))
            return f'there is no metric "{name}"{near}'
        for matcher in matchers:
            if matcher.op is MatchOp.EQUAL and matcher.value and matcher.name != NAME:
                values = {labels.get(matcher.name) for labels in series}
                if matcher.value not in values:
                    return _unknown_value(name, matcher, values - {""}, series)
        return f"no series of {name} matches {shown}"


def _unknown_value(name: str, matcher: Matcher, values: set[str], series: Sequence[Labels]) -> str:
    if not values:
        known = {label for labels in series for label in labels if label != NAME}
        return f'{name} has no label "{matcher.name}"{did_you_mean(matcher.name, sorted(known))}'
    return f'{name} has no {matcher.name}="{matcher.value}"{did_you_mean(matcher.value, sorted(values))}'


def _wanted(rule: Rule) -> Iterator[Matchers]:
    """The matchers of each selector that must find something for the rule to be of use."""
    for query in rule.queries:
        for node in _needed(query):
            if exact_name(node.matchers) not in _WRITTEN_BY_RULES:
                yield node.matchers


def _needed(expr: Expr) -> Iterator[VectorSelector]:
    """The selectors of an expression but for those that may well find nothing."""
    if isinstance(expr, VectorSelector):
        yield expr
    elif isinstance(expr, Call) and expr.name in ("absent", "absent_over_time"):
        return
    elif isinstance(expr, Binary) and expr.op == "or":
        return  # one side may stand for what the other lacks
    elif isinstance(expr, Binary) and expr.op == "unless":
        yield from _needed(expr.lhs)
    else:
        for child in expr.children:
            yield from _needed(child)
