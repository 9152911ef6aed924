"""What evaluations found, written: samples, alert state and what routing makes of it, in one transaction.

What could not be committed is not taken over as true, so the next slot decides it again. A kill between any two
commits leaves a state from which the next slot goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from obskit.errors import StoreError
from obskit.model.alerts import Transition
from obskit.model.labels import Labels
from obskit.model.samples import STALE_NAN
from obskit.rules import ledger, telemetry
from obskit.rules.evaluation import Outcome, may_write
from obskit.rules.expansion import ALERTNAME
from obskit.rules.groups import Group, Rule, source_of_rule
from obskit.rules.live import LiveGroup, Past
from obskit.rules.state import abandon
from obskit.store.database import Database, Transaction
from obskit.store.interface import Batch, Samples

log = logging.getLogger(__name__)

OnTransitions = Callable[[Transaction, Sequence[Transition]], None]


class RuleStore(Protocol):
    """What the runner needs of the store: an append that takes a part of the transaction with it."""

    @property
    def database(self) -> Database:
        """Where the ledger is read from."""
        ...

    async def append(
        self, batch: Batch, also: Callable[[Transaction], object] | None = None, *, essential: bool = False
    ) -> object:
        """Store the batch, and do what `also` does, in one transaction."""
        ...


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who hears of transitions: `record` inside their transaction, `after_commit` when it has been committed."""

    record: OnTransitions
    after_commit: Callable[[], None]


class Commits:
    """Writes outcomes to the store, and tells the listeners."""

    def __init__(self, store: RuleStore, listeners: Listeners) -> None:
        self._store = store
        self._listeners = listeners
        self._failing = False

    async def commit(
        self, live: LiveGroup, outcomes: Sequence[Outcome], samples: Samples, *, slot_ms: int | None
    ) -> None:
        """Write what was found at a slot (None: on arrival), and take it over as true; the caller holds the lock."""
        transitions = [transition for outcome in outcomes for transition in outcome.transitions]

        def also(tx: Transaction) -> None:
            _save(tx, live, outcomes, slot_ms)
            if transitions:
                self._listeners.record(tx, transitions)

        try:
            if samples or transitions or any(_has_alerts(live, outcome) for outcome in outcomes):
                await self._store.append(Batch(samples=samples), also, essential=True)
        except Exception as error:  # noqa: BLE001 - logged there; rules must outlive a full disk and a bug in routing
            self._note_failure(error)
            # Pending alerts go on counting in memory; what must be told is decided again at the next slot.
            for outcome in outcomes:
                if not outcome.transitions:
                    live.rules[outcome.rule.key].standing = outcome.standing
            return
        self._failing = False
        for outcome in outcomes:
            rule = live.rules[outcome.rule.key]
            rule.standing = rule.saved = outcome.standing
        if transitions:
            self._listeners.after_commit()

    async def end_gone(self, groups: Sequence[Group], past: Past, now_ms: int) -> dict[Labels, set[str]]:
        """End what fires for rules of the past that are in no group, and forget them.

        Their series end too, but for those that a rule may be about to go on with: these are returned, each with the
        keys of the groups that have such a rule.
        """
        kept = {rule.key for group in groups for rule in group.rules}
        gone = {key: known for key, known in past.rules.items() if key not in kept}
        gone_groups = past.groups.keys() - {group.key for group in groups}
        if not gone and not gone_groups:
            return {}
        ended = [
            transition
            for key, known in gone.items()
            for alert in known.standing.active.values()
            if (transition := abandon(alert, source_of_rule(key), now_ms)) is not None
        ]

        leaving = _heirs([series for known in gone.values() for series in known.standing.series], groups)
        markers = Samples()
        for series, heirs in leaving.items():
            if not heirs:
                markers.add(series, now_ms, STALE_NAN)

        def also(tx: Transaction) -> None:
            ledger.forget(tx, rules=gone, groups=gone_groups)
            if ended:
                self._listeners.record(tx, ended)

        await self._store.append(Batch(samples=markers), also, essential=True)
        if ended:
            self._listeners.after_commit()
        return {series: heirs for series, heirs in leaving.items() if heirs}

    def _note_failure(self, error: Exception) -> None:
        telemetry.UNSAVED.inc()
        if self._failing:
            return
        self._failing = True
        expected = isinstance(error, StoreError)
        log.error("rule results cannot be saved: reason=%s", error, exc_info=None if expected else error)


def _heirs(leaving: Iterable[Labels], groups: Sequence[Group]) -> dict[Labels, set[str]]:
    """Of each series the keys of the groups with a rule that may write it."""
    by_name: dict[str, list[tuple[Rule, str]]] = {}
    for group in groups:
        for rule in group.rules:
            by_name.setdefault(rule.name, []).append((rule, group.key))
    return {
        series: {
            key
            for name in (series.name, series.get(ALERTNAME))
            for rule, key in by_name.get(name, ())
            if may_write(rule, series)
        }
        for series in leaving
    }


def _save(tx: Transaction, live: LiveGroup, outcomes: Sequence[Outcome], slot_ms: int | None) -> None:
    for outcome in outcomes:
        saved = live.rules[outcome.rule.key].saved
        ledger.save_alerts(tx, outcome.rule.key, saved.active, outcome.standing.active)
    if slot_ms is None:
        return
    ledger.save_slot(tx, live.group.key, slot_ms)
    now = {outcome.rule.key: outcome.standing.series for outcome in outcomes}
    if any(live.rules[key].saved.series.keys() != series.keys() for key, series in now.items()):
        series = {key: now.get(key, rule.saved.series) for key, rule in live.rules.items()}
        ledger.save_series(tx, live.group.key, series)


def _has_alerts(live: LiveGroup, outcome: Outcome) -> bool:
    """Whether the slot must be known to the next process: an alert counts by it, now or until now."""
    return bool(outcome.standing.active or live.rules[outcome.rule.key].saved.active)
