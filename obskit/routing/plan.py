"""One policy with the groups and destinations it decides for, and how a group stands under it at a turn."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from obskit.model.actions import Action, Notice
from obskit.model.alerts import Alert
from obskit.model.context import Care
from obskit.model.context import Silence as SilenceShown
from obskit.model.digest import Digest
from obskit.model.severity import CRITICAL, rank
from obskit.routing import escalation, fallback
from obskit.routing.acks import ack_that_stands
from obskit.routing.decisions import Turn
from obskit.routing.flaps import Flap, observe
from obskit.routing.flush import Standing, Told
from obskit.routing.groups import Group, Groups, Quiet
from obskit.routing.inhibit import Inhibitor
from obskit.routing.policy import Policy
from obskit.routing.silences import ActiveSilences, Silence
from obskit.store.database import Transaction


class Destination(Protocol):
    """One way to reach a receiver. `edits`: it can be shown what became of a group, without a sound."""

    id: str
    send_resolved: bool
    digests: bool
    edits: bool

    def digest(self, digest: Digest) -> Sequence[Action]:
        """The outbox actions that tell it of a flood, if it `digests` them. Pure."""
        ...

    def actions(self, notice: Notice) -> Sequence[Action]:
        """The outbox actions that tell it. Pure."""
        ...


@dataclass(frozen=True, slots=True)
class Moment:
    """When a turn is (steady, and for people), the silences that hold then, and where links lead."""

    now_ms: int
    wall_ms: int
    silences: ActiveSilences = field(default_factory=ActiveSilences)
    external_url: str = ""


@dataclass(slots=True, eq=False)
class Plan:
    """`loaded` when groups and inhibitor agree with the rows; `looks`: which groups have a turn before their flush, when;
    `stand_ins`: which receivers are told in the place of one that fails, and why."""

    policy: Policy
    groups: Groups
    destinations: Mapping[str, Sequence[Destination]]
    inhibitor: Inhibitor
    loaded: bool = False
    looks: dict[str, int] = field(default_factory=dict)
    stand_ins: dict[str, dict[str, str]] = field(default_factory=dict)
    stood_in_ms: int = 0
    ids: Mapping[str, Sequence[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.ids = {name: [each.id for each in ours] for name, ours in self.destinations.items()}

    @classmethod
    def of(cls, policy: Policy, destinations: Mapping[str, Sequence[Destination]]) -> Plan:
        """A plan that has not looked at the rows yet."""
        reach = {name: tuple(each) for name, each in destinations.items()}
        ids = {name: [each.id for each in ours] for name, ours in reach.items()}
        return cls(policy, Groups(policy.route, ids), reach, Inhibitor(policy.inhibit_rules))

    def anew(self) -> Plan:
        """The same, before it looked at the rows."""
        return Plan.of(self.policy, self.destinations)

    def load_more(self, tx: Transaction, now_ms: int) -> None:
        """Take over the next page of what is in the rows; `loaded` when there was none."""
        page = self.groups.load_more(tx, now_ms)
        for alert in page or ():
            self.inhibitor.note(alert)
        if page is None:
            self.looks = dict.fromkeys((group.key for group in self.groups.all() if group.escalate), now_ms)
            self.loaded = True

    def take_in(self, tx: Transaction, alert: Alert, now_ms: int) -> None:
        """An alert has changed."""
        self.inhibitor.note(alert)
        self.groups.take_in(tx, alert, now_ms)

    def next_turn_ms(self) -> int | None:
        """When a group is looked at next; None without groups."""
        turns = [at for at in (self.groups.next_flush_ms(), *self.looks.values()) if at is not None]
        if turns and self.policy.fallbacks:
            turns.append(self.stood_in_ms + fallback.LOOKS_EVERY_MS)
        return min(turns, default=None)

    def look_for_stand_ins(self, tx: Transaction, now_ms: int, wall_ms: int) -> None:
        """Now and then: which groups are told to a fallback. Those have a turn at once."""
        if not self.policy.fallbacks or 0 <= now_ms - self.stood_in_ms < fallback.LOOKS_EVERY_MS:
            return
        self.stood_in_ms = now_ms
        before = self.stand_ins
        self.stand_ins = fallback.stand_ins(tx, self.groups, self.policy.fallbacks, self.ids, wall_ms)
        for key, instead in self.stand_ins.items():
            if instead.keys() - before.get(key, {}).keys():
                self.looks[key] = now_ms

    def due_looks(self, now_ms: int, limit: int) -> list[Group]:
        """The groups that are looked at now, though their flush is not due; each once."""
        keys = [key for key, at_ms in self.looks.items() if at_ms <= now_ms][:limit]
        found = {group.key: group for group in self.groups.all()} if keys else {}
        for key in keys:
            del self.looks[key]
        return [found[key] for key in keys if key in found]

    def look_again(self, incidents: Collection[str], silences: Iterable[Silence], now_ms: int) -> None:
        """Somebody has said something of these incidents, or has silenced something."""
        for group in self.groups.all():
            if group.incident in incidents or any(_may_cover(each, group) for each in silences):
                self.looks[group.key] = now_ms

    def quiet(self, group: Group, standing: Standing, silences: ActiveSilences) -> Quiet:
        """What is silenced and what is inhibited of a group."""
        quiet, inhibitor = group.quiet, self.inhibitor
        if quiet is None or quiet.silences is not silences or quiet.inhibitions != inhibitor.version:
            inhibited = silenced = frozenset[str]()
            if self.policy.inhibit_rules:
                inhibited = frozenset(one.fingerprint for one in standing.alerts if inhibitor.inhibiting(one.labels))
            if silences:
                silenced = frozenset(one.fingerprint for one in standing.alerts if silences.covering(one.labels))
            quiet = group.quiet = Quiet(silences, inhibitor.version, inhibited, silenced - inhibited)
        return quiet

    def turn(
        self, tx: Transaction, group: Group, state: tuple[Standing, frozenset[str], Mapping[str, Told]], moment: Moment
    ) -> tuple[Turn, list[tuple[str, Destination]]]:
        """How a group stands (its alerts, which of them are quiet, who was told what), and who is to hear of it."""
        standing, quiet, told = state
        ack = ack_that_stands(tx, group.incident, standing, moment.wall_ms)
        since_ms = escalation.first_told_ms(told.get(each) for each in self.ids.get(group.receiver, ()))
        due = escalation.due(group.escalate, since_ms, moment.now_ms, acked=ack is not None)
        if not standing.firing - quiet:
            due = []  # what nobody is to hear of wakes nobody
        flap = self._flap(tx, group, standing, moment)
        care = Care(
            ack=ack,
            silence=_silence_over(standing, moment.silences),
            flaps=flap.flaps_at(moment.now_ms, self.policy.flapping) if flap else 0,
            home=flap.home if flap and flap.home != group.incident else "",
            escalated=escalation.taken(group.escalate, self.ids, {*told, *self._ids_of(due)}),
        )
        self._plan_look(group, moment.now_ms, escalation.next_due_ms(group.escalate, since_ms, moment.now_ms), flap)
        instead = self.stand_ins.get(group.key, {})
        turn = Turn(group, standing, quiet, told, care, moment.now_ms, moment.wall_ms, moment.external_url, instead)
        return turn, self._reach(group, told.keys(), [*instead, *(name for step in due for name in step.to)])

    def _flap(self, tx: Transaction, group: Group, standing: Standing, moment: Moment) -> Flap | None:
        rule = self.policy.flapping
        if not any(each.edits for each in self.destinations.get(group.receiver, ())):
            return None
        if not rule.critical and any(rank(alert) >= CRITICAL for alert in standing.alerts):
            return None
        return observe(tx, group.key, group.incident, moment.now_ms, rule, firing=bool(standing.firing))

    def _plan_look(self, group: Group, now_ms: int, escalates_ms: int | None, flap: Flap | None) -> None:
        calm_ms = (
            flap.calm_at_ms(self.policy.flapping) if flap and flap.flaps_at(now_ms, self.policy.flapping) else None
        )
        next_ms = min((at_ms for at_ms in (escalates_ms, calm_ms) if at_ms is not None), default=None)
        if next_ms is not None:
            self.looks[group.key] = next_ms

    def _ids_of(self, steps: Iterable[escalation.Step]) -> set[str]:
        return {each for step in steps for name in step.to for each in self.ids.get(name, ())}

    def _reach(self, group: Group, told: Collection[str], also: Iterable[str]) -> list[tuple[str, Destination]]:
        """The group's own destinations, those it is escalated to, and whoever has been told of it."""
        own = self.destinations.get(group.receiver, ())
        found = [(group.receiver, each) for each in own]
        known = {each.id for each in own}
        names = set(also)
        if names or not known.issuperset(told):
            for name, ours in self.destinations.items():
                found += [(name, each) for each in ours if each.id not in known and (name in names or each.id in told)]
        return found


def _may_cover(silence: Silence, group: Group) -> bool:
    """Whether a silence may mean alerts of the group: by the labels that all of them share."""
    return all(each.matches(group.labels.get(each.name)) for each in silence.matchers if each.name in group.labels)


def _silence_over(standing: Standing, silences: ActiveSilences) -> SilenceShown | None:
    """What silences all that fires, until the first of it is heard again."""
    if not silences:
        return None
    longest = []
    for alert in standing.alerts:
        if alert.firing:
            covering = silences.covering(alert.labels)
            if not covering:
                return None
            longest.append(max(covering, key=lambda each: each.ends_ms))
    if not longest:
        return None
    first = min(longest, key=lambda each: each.ends_ms)
    return SilenceShown(first.created_by or "somebody", first.ends_ms, first.comment)
