"""The only place where an alert changes state. Pure: the rule, what was, what the query found and a time go in.

`step` is one evaluation at a slot, in Prometheus' semantics (rules/alerting.go). `t` is the slot; "seen" means that
an element of the result has the alert's labels.

    before    seen  condition                               after
    --------  ----  --------------------------------------  ---------------------------------------------------
    none      yes                                           pending (active = t), then as pending
    pending   yes   t - active >= for                       firing (fired = t)                     -> FIRED
    pending   yes   otherwise                               pending; value and annotations replaced
    pending   no                                            none
    firing    yes   t - active >= for                       firing; keep_firing_since cleared      -> CHANGED if so
    firing    yes   otherwise (`for` was raised)            pending                                -> RESOLVED
    firing    no    missing, on_missing keep, for < 24 h    firing (missing_since = first such t)
    firing    no    since first miss < keep_firing_for      firing (keep_firing_since = first miss)
    firing    no    not missing, resolve_expr lacks it      firing (keep_firing_since = first miss)
    firing    no    otherwise                               inactive (resolved = t)                -> RESOLVED
    inactive  yes                                           as none
    inactive  no    t - resolved > 15 min                   none

"Missing" means that there are no data to judge the alert by, see evidence.py; an alert that resolves then has the reason
"no data", any other one carries what the rule measures now. With `on_missing: alert` there are alerts of their own, with
the label reason="no data" (`missing_since` is set):

    none            the rule finds nothing, no alert is on  pending (active = t)
    none            another alert resolved as missing       firing (active = that one's, fired = t) -> FIRED
    pending         the same for max(`for`, 5 min)          firing (fired = t)                     -> FIRED
    firing          missing still (one of many: < 24 h)     firing
    firing/pending  otherwise                               inactive (resolved = t) / none         -> RESOLVED / -

`arrive` is an evaluation between two slots, because data has come. It may turn an alert on or off earlier than the
next slot would, and leaves alone what the slots count by (a pending alert's beginning, the first miss):

    none      yes   for = 0                                 firing (active = fired = t)            -> FIRED
    pending   yes   t - active >= for                       firing (fired = t)                     -> FIRED
    firing    yes   for = 0, last slot: only resolve_expr   firing; keep_firing_since cleared
    firing    no    nothing in the table above holds it     inactive (resolved = t)                -> RESOLVED
    inactive  yes   for = 0, resolved since the last slot   firing (fired = t, the rest as it was) -> FIRED
    inactive  yes   for = 0, resolved before                as none

What an arrival resolved the next slot sees as still firing: a dip that no slot saw must not cost the alert its `for`.
So after every slot an alert that Prometheus would have firing is firing here too. What resolve_expr let go on an arrival
is gone all the same, unless the slot sees it: that is no dip. What resolve_expr alone still held would be a new alert
without it: keep_firing_for begins anew, or the alert would end earlier because of resolve_expr. A missing alert with
`on_missing: keep` or `alert` is the slots' business alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from obskit.model.alerts import ActiveAlert, Alert, AlertState, ResolveReason, Transition, TransitionKind
from obskit.model.histograms import NativeHistogram
from obskit.model.labels import Labels
from obskit.rules.expansion import NO_DATA, REASON, Elements, Expansion, Sampled, Surroundings, generator_url
from obskit.rules.groups import AlertRule, OnMissing

RESOLVED_RETENTION_MS: Final = 15 * 60_000
OUTAGE_TOLERANCE_MS: Final = 60 * 60_000
KEPT_MISSING_MS: Final = 24 * 60 * 60_000
"""What has been gone for a day was taken away: `on_missing` ends then."""
NO_DATA_FOR_MS: Final = 5 * 60_000
"""A rule without data is told after this time at the earliest: a start must not look like an outage."""

Active = Mapping[Labels, ActiveAlert]
"""The alerts of one rule by their final labels: pending, firing, and those resolved lately."""


class Evidence(Protocol):
    """What can be found out about an alert (by its labels) that the rule's query does not find; see evidence.py."""

    def value(self, labels: Labels) -> float | None:
        """What the rule measures for it now, if that can be told."""
        ...

    def missing(self, labels: Labels) -> bool:
        """Whether there are no data to judge it by."""
        ...

    def nothing(self) -> bool:
        """Whether there are no data for any alert of the rule."""
        ...

    def released(self, labels: Labels) -> bool:
        """Whether the rule's `resolve_expr` finds it; QueryError when that cannot be told."""
        ...


class NoEvidence:
    """Knows nothing: the query's answer is all there is."""

    def value(self, labels: Labels) -> float | None:  # noqa: ARG002 - Evidence
        """Not known."""
        return None

    def missing(self, labels: Labels) -> bool:  # noqa: ARG002 - Evidence
        """Not known."""
        return False

    def nothing(self) -> bool:
        """Not known."""
        return False

    def released(self, labels: Labels) -> bool:  # noqa: ARG002 - Evidence
        """Nothing holds it."""
        return True


NO_EVIDENCE: Final = NoEvidence()


@dataclass(frozen=True, slots=True)
class Step:
    """What an evaluation made of the alerts. With an `error` the rule failed; `active` is then what must be kept."""

    active: Active
    transitions: tuple[Transition, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """One evaluation: its time, the slot before it (if any), the group's limit, and what else can be found out."""

    t_ms: int
    last_slot_ms: int | None = None
    limit: int = 0
    around: Surroundings = field(default=Surroundings())
    evidence: Evidence = NO_EVIDENCE


def step(rule: AlertRule, active: Active, vector: Elements, occasion: Occasion) -> Step:
    """The alerts after the slot `occasion.t_ms`, at which the rule's query answered `vector`.

    Raises QueryError when `resolve_expr` has to be asked and has no answer.
    """
    seen = _expansion(rule, occasion).by_labels(vector)
    if seen is None:
        return Step(active, error="vector contains metrics with the same labelset after applying alert labels")
    after: dict[Labels, ActiveAlert] = {}
    for labels, alert in active.items():
        if labels not in seen:
            unseen = _blind(rule, alert, occasion) if _tells_blindness(alert) else _unseen(rule, alert, occasion)
            if unseen is not None:
                after[labels] = unseen
    for labels, element in seen.items():
        after[labels] = _seen(rule, active.get(labels), _Found(labels, element), occasion)
    if rule.on_missing is OnMissing.ALERT:
        begun = _newly_blind(rule, active, after, occasion)
        after |= {labels: alert for labels, alert in begun.items() if labels not in seen}
    on = sum(alert.state is not AlertState.INACTIVE for alert in after.values())
    if occasion.limit and on > occasion.limit:
        cleared = tuple(_transitions(rule, active, {}, occasion, gone=ResolveReason.EXPIRED))
        return Step({}, cleared, f"exceeded limit of {occasion.limit} with {on} alerts")
    return Step(after, tuple(_transitions(rule, active, after, occasion, gone=ResolveReason.RULE_CHANGED)))


def arrive(rule: AlertRule, active: Active, vector: Elements, occasion: Occasion) -> Step:
    """The alerts after data arrived at `occasion.t_ms`, later than the last slot. An error is the next slot's to tell.

    Raises QueryError as `step` does.
    """
    seen = _expansion(rule, occasion).by_labels(vector)
    if seen is None:
        return Step(active)
    after = dict(active)
    for labels, element in seen.items():
        fired = _fired_early(rule, active.get(labels), _Found(labels, element), occasion)
        if fired is not None:
            after[labels] = fired
    for labels, alert in active.items():
        if labels not in seen and alert.state is AlertState.FIRING and _lets_go(rule, alert, occasion):
            blind = _tells_blindness(alert)
            after[labels] = _sees_again(rule, alert, occasion) if blind else _resolved(rule, alert, occasion)
    on = sum(alert.state is not AlertState.INACTIVE for alert in after.values())
    if occasion.limit and on > occasion.limit:
        return Step(active)
    return Step(after, tuple(_transitions(rule, active, after, occasion, gone=ResolveReason.RULE_CHANGED)))


def resume(active: Active, last_slot_ms: int, now_ms: int, interval_ms: int) -> Active:
    """The alerts after a restart: while nobody looked, the clock of `for` stood still.

    A pause of up to two intervals is none. After an hour a pending alert begins anew (Prometheus: for-outage-tolerance);
    firing and resolved ones stay as they are.
    """
    pause_ms = now_ms - last_slot_ms - interval_ms
    if pause_ms <= interval_ms:
        return active
    resumed: dict[Labels, ActiveAlert] = {}
    for labels, alert in active.items():
        if alert.state is not AlertState.PENDING:
            resumed[labels] = alert
        elif pause_ms <= OUTAGE_TOLERANCE_MS:
            resumed[labels] = replace(alert, active_ms=alert.active_ms + pause_ms)
    return resumed


def abandon(alert: ActiveAlert, source: str, t_ms: int) -> Transition | None:
    """The end of an alert whose rule is gone; None when nobody was told that it fires."""
    if alert.state is not AlertState.FIRING:
        return None
    ended = replace(alert, state=AlertState.INACTIVE, resolved_ms=t_ms, resolve_reason=ResolveReason.RULE_CHANGED)
    return Transition(TransitionKind.RESOLVED, _alert(ended, source, ""))


def _expansion(rule: AlertRule, occasion: Occasion) -> Expansion:
    return Expansion(rule, occasion.around, occasion.t_ms)


@dataclass(frozen=True, slots=True)
class _Found:
    """An element of the result, with the labels its alert has."""

    labels: Labels
    element: tuple[Labels, Sampled]

    @property
    def number(self) -> float:
        """The value of its alert: 0 for a histogram, as in Prometheus; templates see the histogram."""
        return 0.0 if isinstance(self.element[1], NativeHistogram) else self.element[1]

    def alert(self, rule: AlertRule, state: AlertState, occasion: Occasion) -> ActiveAlert:
        """The alert that begins with this element."""
        return ActiveAlert(
            labels=self.labels,
            annotations=_expansion(rule, occasion).annotations(self.element),
            state=state,
            value=self.number,
            active_ms=occasion.t_ms,
            fired_ms=occasion.t_ms if state is AlertState.FIRING else None,
        )


def _seen(rule: AlertRule, known: ActiveAlert | None, found: _Found, occasion: Occasion) -> ActiveAlert:
    t_ms = occasion.t_ms
    slots_have = None if known is None else _as_slots_have_it(known, occasion)
    if slots_have is None or slots_have.state is AlertState.INACTIVE:
        alert = found.alert(rule, AlertState.PENDING, occasion)
    else:
        alert = replace(
            slots_have,
            annotations=_expansion(rule, occasion).annotations(found.element),
            value=found.number,
            # A clock that was set back must not hold an alert in the future.
            active_ms=min(slots_have.active_ms, t_ms),
            keep_firing_since_ms=None,
            missing_since_ms=None,
        )
    due = t_ms - alert.active_ms >= rule.for_ms
    if alert.state is AlertState.FIRING and not due:
        return replace(alert, state=AlertState.PENDING, fired_ms=None)
    newly = known is None or known.state is not AlertState.FIRING
    if due and newly:
        return replace(alert, state=AlertState.FIRING, fired_ms=t_ms)
    return alert


def _unseen(rule: AlertRule, known: ActiveAlert, occasion: Occasion) -> ActiveAlert | None:
    t_ms = occasion.t_ms
    if known.state is AlertState.PENDING:
        return None
    alert = _as_slots_have_it(known, occasion)
    if alert.state is AlertState.INACTIVE:
        ended = _ended_by(alert, t_ms)
        return None if t_ms - (ended.resolved_ms or t_ms) > RESOLVED_RETENTION_MS else ended
    fires = known.state is AlertState.FIRING
    missing = occasion.evidence.missing(alert.labels)
    if fires and missing and rule.on_missing is OnMissing.KEEP and _since(alert, t_ms) < KEPT_MISSING_MS:
        return replace(alert, missing_since_ms=t_ms - _since(alert, t_ms))
    if not missing:
        alert = replace(alert, missing_since_ms=None)
    if rule.keep_firing_for_ms:
        since = alert.keep_firing_since_ms
        alert = replace(alert, keep_firing_since_ms=t_ms if since is None else min(since, t_ms))
        if _held(rule, alert, t_ms):
            return alert if fires else replace(alert, fired_ms=t_ms)
    if not fires:
        return _ended_by(known, t_ms)
    return _resolved(rule, alert, occasion) if missing or _released(rule, alert, occasion) else alert


def _ended_by(alert: ActiveAlert, t_ms: int) -> ActiveAlert:
    """A resolved alert, with its end not after now: the clock may have been set back."""
    return replace(alert, resolved_ms=min(alert.resolved_ms or t_ms, t_ms))


def _fired_early(rule: AlertRule, known: ActiveAlert | None, found: _Found, occasion: Occasion) -> ActiveAlert | None:
    slots_have = None if known is None else _as_slots_have_it(known, occasion)
    if known is None or slots_have is None or slots_have.state is AlertState.INACTIVE:
        return found.alert(rule, AlertState.FIRING, occasion) if rule.for_ms == 0 else None
    begun = replace(
        slots_have,
        annotations=_expansion(rule, occasion).annotations(found.element),
        state=AlertState.FIRING,
        value=found.number,
        fired_ms=occasion.t_ms,
    )
    if known.state is AlertState.INACTIVE:
        # It dipped since the last slot. What slots count by goes on; with a `for`, only they take the dip back.
        return begun if rule.for_ms == 0 else None
    if known.state is AlertState.PENDING:
        return begun if occasion.t_ms - known.active_ms >= rule.for_ms else None
    return replace(known, keep_firing_since_ms=None) if _outlived(rule, known, occasion) else None


def _as_slots_have_it(alert: ActiveAlert, occasion: Occasion) -> ActiveAlert:
    """Undo what an arrival did since the last slot: resolved in between is firing still, as far as slots know."""
    if (
        alert.state is AlertState.INACTIVE
        and occasion.last_slot_ms is not None
        and alert.resolved_ms is not None
        and occasion.last_slot_ms < alert.resolved_ms
    ):
        fires = replace(alert, state=AlertState.FIRING, resolved_ms=None, resolve_reason=None)
        return replace(fires, resolved_value=None, resolved_summary="")
    return alert


def _held(rule: AlertRule, alert: ActiveAlert, t_ms: int) -> bool:
    """Whether keep_firing_for still holds an alert that is not seen. The first miss is counted from a slot."""
    since = alert.keep_firing_since_ms
    return rule.keep_firing_for_ms > 0 and (since is None or t_ms - since < rule.keep_firing_for_ms)


def _outlived(rule: AlertRule, alert: ActiveAlert, occasion: Occasion) -> bool:
    """Whether a firing alert was held by `resolve_expr` alone at the last slot: keep_firing_for had let it go."""
    since, slot_ms = alert.keep_firing_since_ms, occasion.last_slot_ms
    if since is None or slot_ms is None:
        return False
    return rule.for_ms == 0 and slot_ms - since >= rule.keep_firing_for_ms > 0


def _released(rule: AlertRule, alert: ActiveAlert, occasion: Occasion) -> bool:
    """Whether nothing but the rule's expression decides, or `resolve_expr` agrees."""
    return rule.resolve_query is None or occasion.evidence.released(alert.labels)


def _lets_go(rule: AlertRule, alert: ActiveAlert, occasion: Occasion) -> bool:
    """Whether a firing alert that an arrival does not see may resolve at once."""
    if _tells_blindness(alert):
        return not _still_blind(rule, alert, occasion)
    if _held(rule, alert, occasion.t_ms):
        return False
    if occasion.evidence.missing(alert.labels):
        return rule.on_missing is OnMissing.RESOLVE
    return _released(rule, alert, occasion)


def _since(alert: ActiveAlert, t_ms: int) -> int:
    """For how long (ms) its data have been missing; a clock that was set back does not make that less than nothing."""
    return 0 if alert.missing_since_ms is None else max(0, t_ms - alert.missing_since_ms)


def _tells_blindness(alert: ActiveAlert) -> bool:
    """Whether the alert is about missing data."""
    return alert.missing_since_ms is not None and alert.labels.get(REASON) == NO_DATA


def _blind(rule: AlertRule, alert: ActiveAlert, occasion: Occasion) -> ActiveAlert | None:
    """What a slot makes of an alert about missing data."""
    t_ms = occasion.t_ms
    if alert.state is AlertState.INACTIVE:
        ended = _ended_by(alert, t_ms)
        return None if t_ms - (ended.resolved_ms or t_ms) > RESOLVED_RETENTION_MS else ended
    pending = alert.state is AlertState.PENDING
    if rule.on_missing is not OnMissing.ALERT or not _still_blind(rule, alert, occasion):
        return None if pending else _sees_again(rule, alert, occasion)
    if pending and t_ms - alert.active_ms >= max(rule.for_ms, NO_DATA_FOR_MS):
        return replace(alert, state=AlertState.FIRING, fired_ms=t_ms)
    return replace(alert, active_ms=min(alert.active_ms, t_ms))


def _sees_again(rule: AlertRule, alert: ActiveAlert, occasion: Occasion) -> ActiveAlert:
    """The end of an alert about missing data."""
    reason = ResolveReason.RECOVERED
    if rule.on_missing is not OnMissing.ALERT:
        reason = ResolveReason.RULE_CHANGED
    elif _since(alert, occasion.t_ms) >= KEPT_MISSING_MS and occasion.evidence.missing(alert.labels.without(REASON)):
        reason = ResolveReason.EXPIRED
    return replace(alert, state=AlertState.INACTIVE, resolved_ms=occasion.t_ms, resolve_reason=reason)


def _still_blind(rule: AlertRule, alert: ActiveAlert, occasion: Occasion) -> bool:
    if occasion.evidence.nothing():
        return True
    if alert.labels == _expansion(rule, occasion).no_data_labels():
        return False
    gone = occasion.evidence.missing(alert.labels.without(REASON))
    return gone and _since(alert, occasion.t_ms) < KEPT_MISSING_MS


def _newly_blind(rule: AlertRule, before: Active, after: Active, occasion: Occasion) -> dict[Labels, ActiveAlert]:
    """The alerts about missing data that begin at this slot."""
    t_ms, expansion = occasion.t_ms, _expansion(rule, occasion)
    begun: dict[Labels, ActiveAlert] = {}
    for labels, alert in after.items():
        ended_now = alert.resolved_ms == t_ms and _fired(before.get(labels))
        if ended_now and alert.resolve_reason is ResolveReason.NO_DATA:
            # Who was told that it fires is told at once that it is not known any more.
            blind = labels.updated({REASON: NO_DATA})
            begun[blind] = ActiveAlert(
                labels=blind,
                annotations=expansion.no_data_annotations(labels),
                state=AlertState.FIRING,
                value=math.nan,
                active_ms=alert.active_ms,
                fired_ms=t_ms,
                missing_since_ms=t_ms,
            )
    # Where one alert is on, something is known, or its end will tell: whether there are data need not be asked.
    on = any(alert.state is not AlertState.INACTIVE for alert in after.values())
    if begun or on or not occasion.evidence.nothing():
        return begun
    labels = expansion.no_data_labels()
    said = expansion.no_data_annotations(labels)
    return {labels: ActiveAlert(labels, said, AlertState.PENDING, math.nan, t_ms, missing_since_ms=t_ms)}


def _fired(alert: ActiveAlert | None) -> bool:
    return alert is not None and alert.state is AlertState.FIRING


def _resolved(rule: AlertRule, alert: ActiveAlert, occasion: Occasion) -> ActiveAlert:
    """The alert, over, with the reason; one that recovered says what the rule measures now."""
    ended = replace(alert, state=AlertState.INACTIVE, resolved_ms=occasion.t_ms)
    if occasion.evidence.missing(alert.labels):
        return replace(ended, resolve_reason=ResolveReason.NO_DATA)
    value = occasion.evidence.value(alert.labels)
    summary = "" if value is None else _expansion(rule, occasion).summary(alert.labels, value)
    return replace(ended, resolve_reason=ResolveReason.RECOVERED, resolved_value=value, resolved_summary=summary)


def _transitions(
    rule: AlertRule, before: Active, after: Active, occasion: Occasion, *, gone: ResolveReason
) -> Iterator[Transition]:
    """What must be told, in order of labels, so that the order of the result does not matter."""
    url = generator_url(occasion.around.external_url, rule.expr)
    for labels in sorted(before.keys() | after.keys()):
        was, now = before.get(labels), after.get(labels)
        was_on = was is not None and was.state is AlertState.FIRING
        if now is not None and now.state is AlertState.FIRING:
            if not was_on:
                yield Transition(TransitionKind.FIRED, _alert(now, rule.source, url))
            elif was is not None and _tells_more(was, now):
                yield Transition(TransitionKind.CHANGED, _alert(now, rule.source, url))
        elif was is not None and was_on:
            ended = now
            if now is None or now.state is not AlertState.INACTIVE:
                ended = replace(was, state=AlertState.INACTIVE, resolved_ms=occasion.t_ms, resolve_reason=gone)
            yield Transition(TransitionKind.RESOLVED, _alert(ended or was, rule.source, url))


def _tells_more(was: ActiveAlert, now: ActiveAlert) -> bool:
    same_value = was.value == now.value or (math.isnan(was.value) and math.isnan(now.value))
    return not same_value or was.annotations != now.annotations


def _alert(alert: ActiveAlert, source: str, url: str) -> Alert:
    return Alert(
        labels=alert.labels,
        annotations=alert.annotations,
        starts_ms=alert.active_ms if alert.fired_ms is None else alert.fired_ms,
        ends_ms=alert.resolved_ms if alert.state is AlertState.INACTIVE else None,
        value=alert.value,
        generator_url=url,
        source=source,
        resolve_reason=alert.resolve_reason,
        resolved_value=alert.resolved_value,
        resolved_summary=alert.resolved_summary,
    )
