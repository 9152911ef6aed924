"""Which alerting rules an append may concern, and which of them wait for their turn.

Waking by metrics is a few set lookups: what a name wakes is worked out once. Which rules lines concern is decided in
log_windows.py. A rule that has been evaluated
rests for a multiple of the time that took, so that costly rules under a flood of data cannot take the machine: they
are evaluated less often on arrival, at last only at their slots. Quiet times are saved up, and pay for a burst.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from obskit.model.labels import NAME
from obskit.model.matchers import Matcher, exact_name, match_all
from obskit.rules.evaluation import metric_selectors
from obskit.rules.groups import AlertRule, Group
from obskit.store.interface import Touched

REST: Final = 9
"""A rule rests nine times as long as it took, times the rules that rest: under a flood, with what is saved, arrivals
cost about a fifth of a core."""
SAVED_S: Final = 0.1
"""What a quiet second has saved: evaluations of so much time together follow each other without a rest."""
_SAVING: Final = 0.1
_MEMORY: Final = 20_000


@dataclass(frozen=True, slots=True)
class Woken:
    """A rule whose turn it is, and the time of the newest data that woke it."""

    group: str
    rule: AlertRule
    newest_ms: int
    woken_s: float


@dataclass(slots=True)
class _Waiting:
    newest_ms: int
    woken_s: float


class Arrivals:
    """The rules that listen. Times in `_s` are a clock's monotonic seconds."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self._rules: dict[str, tuple[str, AlertRule]] = {}
        self._by_name: dict[str, set[str]] = {}
        self._by_matchers: list[tuple[Sequence[Matcher], str]] = []
        self._metric_memory: dict[str, frozenset[str]] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._rested_s: dict[str, float] = {}
        self._saved_s = SAVED_S
        self._counted_s = 0.0
        for group in groups:
            # An offset asks for data that came a while ago: what comes now says nothing to such a group.
            if group.query_offset_ms == 0:
                key = group.key
                for rule in group.rules:
                    if isinstance(rule, AlertRule):
                        self._listen(key, group, rule)

    def take_over(self, before: Arrivals) -> None:
        """Keep waiting and resting what did so before a reload."""
        self._waiting = {key: waiting for key, waiting in before._waiting.items() if key in self._rules}
        self._rested_s = {key: until_s for key, until_s in before._rested_s.items() if key in self._rules}
        self._saved_s, self._counted_s = before._saved_s, before._counted_s

    def wake(self, touched: Touched, now_s: float) -> bool:
        """Note the rules that may see the samples that were appended; whether any is waiting now."""
        keys: set[str] = set()
        for name in touched.metrics:
            keys |= self._woken_by_metric(name)
        self.wake_rules(dict.fromkeys(keys, touched.newest_ms), now_s)
        return bool(self._waiting)

    def wake_rules(self, newest_ms: Mapping[str, int], now_s: float) -> None:
        """Note rules by their keys, with the time of the newest data that concern them."""
        for key, of_rule_ms in newest_ms.items():
            waiting = self._waiting.get(key)
            if waiting is not None:
                waiting.newest_ms = max(waiting.newest_ms, of_rule_ms)
            elif key in self._rules:
                self._waiting[key] = _Waiting(of_rule_ms, now_s)

    def take(self, now_s: float, busy: Iterable[str] = ()) -> list[Woken]:
        """The waiting rules that are rested and whose group is not busy, in order of the files; they wait no longer."""
        self._rested_s = {key: until_s for key, until_s in self._rested_s.items() if until_s > now_s}
        taken = [
            key
            for key, (group, _) in self._rules.items()
            if key in self._waiting and key not in self._rested_s and group not in busy
        ]
        return [self._pop(key) for key in taken]

    def put_back(self, woken: Iterable[Woken]) -> None:
        """Let rules that were taken wait again."""
        for one in woken:
            newest = self._waiting.get(one.rule.key, _Waiting(one.newest_ms, one.woken_s)).newest_ms
            self._waiting[one.rule.key] = _Waiting(max(newest, one.newest_ms), one.woken_s)

    def rest(self, key: str, *, took_s: float, now_s: float) -> None:
        """Let a rule rest after an evaluation that took this long, unless a quiet time has paid for it."""
        self._saved_s = min(SAVED_S, self._saved_s + (now_s - self._counted_s) * _SAVING)
        self._counted_s = now_s
        if took_s <= self._saved_s:
            self._saved_s -= took_s
            return
        self._rested_s[key] = now_s + REST * took_s * (len(self._rested_s) + 1)

    def next_s(self) -> float | None:
        """When the first of the waiting rules is rested; None when none waits."""
        return min((self._rested_s.get(key, 0.0) for key in self._waiting), default=None)

    def _pop(self, key: str) -> Woken:
        waiting = self._waiting.pop(key)
        return Woken(*self._rules[key], waiting.newest_ms, waiting.woken_s)

    def _listen(self, key: str, group: Group, rule: AlertRule) -> None:
        self._rules[rule.key] = (key, rule)
        if group.type.reads_logs:
            return
        for matchers in (matchers for query in rule.queries for matchers in metric_selectors(query)):
            name = exact_name(matchers)
            if name is not None:
                self._by_name.setdefault(name, set()).add(rule.key)
            else:
                of_name = [matcher for matcher in matchers if matcher.name == NAME]
                self._by_matchers.append((of_name, rule.key))

    def _woken_by_metric(self, name: str) -> frozenset[str]:
        keys = self._metric_memory.get(name)
        if keys is None:
            matched = {key for matchers, key in self._by_matchers if match_all(matchers, {NAME: name})}
            keys = frozenset(matched | self._by_name.get(name, set()))
            if len(self._metric_memory) >= _MEMORY:
                self._metric_memory.clear()
            self._metric_memory[name] = keys
        return keys
