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
    firing    no    since first miss < keep_firing_for      firing (keep_firing_since = first miss)
    firing    no    otherwise                               inactive (resolved = t)                -> RESOLVED
    inactive  yes                                           as none
    inactive  no    t - resolved > 15 min                   none

`arrive` is an evaluation between two slots, because data has come. It may turn an alert on or off earlier than the
next slot would, and leaves alone what the slots count by (a pending alert's beginning, the first miss):

    none      yes   for = 0                                 firing (active = fired = t)            -> FIRED
    pending   yes   t - active >= for                       firing (fired = t)                     -> FIRED
    firing    no    not held by keep_firing_for             inactive (resolved = t)                -> RESOLVED
    inactive  yes   for = 0, resolved since the last slot   firing (fired = t, the rest as it was) -> FIRED
    inactive  yes   for = 0, resolved before                as none

What an arrival resolved the next slot sees as still firing: a dip that no slot saw must not cost the alert its `for`.
So after every slot an alert that Prometheus would have firing is firing here too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote_plus

from obskit.model.alerts import ActiveAlert, Alert, AlertState, ResolveReason, Transition, TransitionKind
from obskit.model.histograms import NativeHistogram
from obskit.model.labels import EMPTY, NAME, Labels
from obskit.model.results import Element
from obskit.rules.groups import AlertRule
from obskit.rules.template import TemplateData, TemplateError
from obskit.rules.template_functions import no_query

RESOLVED_RETENTION_MS: Final = 15 * 60_000
OUTAGE_TOLERANCE_MS: Final = 60 * 60_000

Active = Mapping[Labels, ActiveAlert]
"""The alerts of one rule by their final labels: pending, firing, and those resolved lately."""
Sampled = float | NativeHistogram
Elements = Sequence[tuple[Labels, Sampled]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What templates and links see beside the element itself. `query` answers at the evaluation's time."""

    external_labels: Labels = EMPTY
    external_url: str = ""
    query: Callable[[str], Sequence[Element]] = no_query


@dataclass(frozen=True, slots=True)
class Step:
    """What an evaluation made of the alerts. With an `error` the rule failed; `active` is then what must be kept."""

    active: Active
    transitions: tuple[Transition, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """One evaluation: its time, the slot before it (if any), the group's limit, and what a resolve would mean now."""

    t_ms: int
    last_slot_ms: int | None = None
    limit: int = 0
    resolve_reason: ResolveReason = ResolveReason.RECOVERED
    around: Surroundings = field(default=Surroundings())


def step(rule: AlertRule, active: Active, vector: Elements, occasion: Occasion) -> Step:
    """The alerts after the slot `occasion.t_ms`, at which the rule's query answered `vector`."""
    seen = _by_alert_labels(rule, vector, occasion)
    if seen is None:
        return Step(active, error="vector contains metrics with the same labelset after applying alert labels")
    after: dict[Labels, ActiveAlert] = {}
    for labels, alert in active.items():
        if labels not in seen:
            unseen = _unseen(rule, alert, occasion)
            if unseen is not None:
                after[labels] = unseen
    for labels, element in seen.items():
        after[labels] = _seen(rule, active.get(labels), _Found(labels, element), occasion)
    on = sum(alert.state is not AlertState.INACTIVE for alert in after.values())
    if occasion.limit and on > occasion.limit:
        cleared = tuple(_transitions(rule, active, {}, occasion, gone=ResolveReason.EXPIRED))
        return Step({}, cleared, f"exceeded limit of {occasion.limit} with {on} alerts")
    return Step(after, tuple(_transitions(rule, active, after, occasion, gone=ResolveReason.RULE_CHANGED)))


def arrive(rule: AlertRule, active: Active, vector: Elements, occasion: Occasion) -> Step:
    """The alerts after data arrived at `occasion.t_ms`, later than the last slot. An error is the next slot's to tell."""
    seen = _by_alert_labels(rule, vector, occasion)
    if seen is None:
        return Step(active)
    after = dict(active)
    for labels, element in seen.items():
        fired = _fired_early(rule, active.get(labels), _Found(labels, element), occasion)
        if fired is not None:
            after[labels] = fired
    for labels, alert in active.items():
        if labels not in seen and alert.state is AlertState.FIRING and not _held(rule, alert, occasion.t_ms):
            after[labels] = _resolved(alert, occasion)
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
            annotations=_annotations(rule, self.element, occasion),
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
            annotations=_annotations(rule, found.element, occasion),
            value=found.number,
            # A clock that was set back must not hold an alert in the future.
            active_ms=min(slots_have.active_ms, t_ms),
            keep_firing_since_ms=None,
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
    since = alert.keep_firing_since_ms
    if rule.keep_firing_for_ms:
        alert = replace(alert, keep_firing_since_ms=t_ms if since is None else min(since, t_ms))
        if _held(rule, alert, t_ms):
            return alert if known.state is AlertState.FIRING else replace(alert, fired_ms=t_ms)
    return _resolved(alert, occasion) if known.state is AlertState.FIRING else _ended_by(known, t_ms)


def _ended_by(alert: ActiveAlert, t_ms: int) -> ActiveAlert:
    """A resolved alert, with its end not after now: the clock may have been set back."""
    return replace(alert, resolved_ms=min(alert.resolved_ms or t_ms, t_ms))


def _fired_early(rule: AlertRule, known: ActiveAlert | None, found: _Found, occasion: Occasion) -> ActiveAlert | None:
    slots_have = None if known is None else _as_slots_have_it(known, occasion)
    if known is None or slots_have is None or slots_have.state is AlertState.INACTIVE:
        return found.alert(rule, AlertState.FIRING, occasion) if rule.for_ms == 0 else None
    begun = replace(
        slots_have,
        annotations=_annotations(rule, found.element, occasion),
        state=AlertState.FIRING,
        value=found.number,
        fired_ms=occasion.t_ms,
    )
    if known.state is AlertState.INACTIVE:
        # It dipped since the last slot. What slots count by goes on; with a `for`, only they take the dip back.
        return begun if rule.for_ms == 0 else None
    due = occasion.t_ms - known.active_ms >= rule.for_ms
    return begun if known.state is AlertState.PENDING and due else None


def _as_slots_have_it(alert: ActiveAlert, occasion: Occasion) -> ActiveAlert:
    """Undo what an arrival did since the last slot: resolved in between is firing still, as far as slots know."""
    if (
        alert.state is AlertState.INACTIVE
        and occasion.last_slot_ms is not None
        and alert.resolved_ms is not None
        and occasion.last_slot_ms < alert.resolved_ms
    ):
        return replace(alert, state=AlertState.FIRING, resolved_ms=None, resolve_reason=None)
    return alert


def _held(rule: AlertRule, alert: ActiveAlert, t_ms: int) -> bool:
    """Whether keep_firing_for still holds an alert that is not seen. The first miss is counted from a slot."""
    since = alert.keep_firing_since_ms
    return rule.keep_firing_for_ms > 0 and (since is None or t_ms - since < rule.keep_firing_for_ms)


def _resolved(alert: ActiveAlert, occasion: Occasion) -> ActiveAlert:
    return replace(alert, state=AlertState.INACTIVE, resolved_ms=occasion.t_ms, resolve_reason=occasion.resolve_reason)


def _by_alert_labels(
    rule: AlertRule, vector: Elements, occasion: Occasion
) -> dict[Labels, tuple[Labels, Sampled]] | None:
    """The elements by the labels of their alerts; None when two have the same."""
    seen: dict[Labels, tuple[Labels, Sampled]] = {}
    for element in vector:
        labels = {name: text for name, text in element[0].pairs if name != NAME}
        for name, text in rule.labels.items():
            labels[name] = _expand(rule, text, element, occasion)
        labels["alertname"] = rule.name
        seen[Labels(labels)] = element
    return seen if len(seen) == len(vector) else None


def _annotations(rule: AlertRule, element: tuple[Labels, Sampled], occasion: Occasion) -> dict[str, str]:
    return {name: _expand(rule, text, element, occasion) for name, text in rule.annotations.items()}


def _expand(rule: AlertRule, text: str, element: tuple[Labels, Sampled], occasion: Occasion) -> str:
    template = rule.templates.get(text)
    if template is None:
        return text
    around = occasion.around
    data = TemplateData(
        labels=element[0],
        value=element[1],
        external_labels=around.external_labels,
        external_url=around.external_url,
        query=around.query,
        now_ms=occasion.t_ms,
    )
    try:
        return template.expand(data)
    except TemplateError as error:
        return f"<error expanding template: {error}>"


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
                ended = _resolved(was, replace(occasion, resolve_reason=gone))
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
    )


def generator_url(external_url: str, expr: str) -> str:
    """The link to an expression's table, as Prometheus writes it (util/strutil); nothing without an external URL."""
    return f"{external_url.rstrip('/')}/graph?g0.expr={quote_plus(expr)}&g0.tab=1" if external_url else ""
