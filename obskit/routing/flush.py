"""What a destination is told when its group is flushed; pure. When groups are flushed is dispatch.py's.

    what it was last told      the group now                                   it is told
    nothing                    some firing                                     first notification
    nothing                    only resolved                                   -
    none firing                some firing                                     first notification
    some firing                one firing that it does not know                new alerts added
    some firing                none firing                                     all alerts resolved
    none firing                none firing                                     -
    some firing                one resolved that it does not know              some alerts resolved (if it wants that)
    some firing                as told, repeat_interval ago or longer          repeat interval elapsed
    some firing                as told, lately                                 -
    anything                   none that may be told                           -

(prometheus/alertmanager notify/dedup_stage.go.) "All resolved" holds for a destination without send_resolved too: it
is not told, but it is noted that for it nothing fires any more.

Alerts that are kept quiet (silenced, inhibited) are left out of the group first. Unlike Alertmanager we do not forget
the end of what was told to be on (`owed`): it is in the next message, and when all of it is over it is one, however
quiet the alerts are kept. Who was paged learns that it is over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Final

from obskit.model.actions import NoticeReason
from obskit.model.alerts import Alert
from obskit.model.labels import Labels

UNTOUCHED: Final = "{}"
"""The care of a group that nobody has touched, as it is kept."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a destination was last told of a group: fingerprints, and when (Unix milliseconds).

    It knows since `since_ms` that the group fires, and was told so again `repeats` times since it last changed. `care`
    and `content` are what it was last shown of either (care.py, content.py), if it shows them.
    """

    firing: frozenset[str]
    resolved: frozenset[str]
    t_ms: int
    since_ms: int = 0
    repeats: int = 0
    care: str = UNTOUCHED
    content: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """A group's alerts at a flush, in the order in which they are shown; and the fingerprints that are on, or over."""

    alerts: tuple[Alert, ...]
    firing: frozenset[str]
    resolved: frozenset[str]

    def changed(self, told: Told | None) -> frozenset[str]:
        """What began or stopped firing since."""
        return self.firing ^ (told.firing if told else frozenset())

    def owed(self, told: Told | None) -> frozenset[str]:
        """What is over and was told to be on."""
        return self.resolved & told.firing if told else frozenset()

    def ended(self, told: Told | None) -> bool:
        """Whether all that was told to be on is over."""
        return told is not None and bool(told.firing) and not told.firing & self.firing

    def known_to(self, told: Told) -> Standing:
        """The same less what the destination has not heard of yet."""
        return self.without((self.firing | self.resolved) - told.firing - told.resolved)

    def without(self, fingerprints: frozenset[str]) -> Standing:
        """The same less these alerts."""
        if not fingerprints:
            return self
        return Standing(
            tuple(alert for alert in self.alerts if alert.fingerprint not in fingerprints),
            self.firing - fingerprints,
            self.resolved - fingerprints,
        )


def stand(alerts: Iterable[Alert]) -> Standing:
    """The alerts sorted as Alertmanager sorts them: job, instance, then all labels."""
    shown = list(alerts)
    if len({tuple(alert.labels) for alert in shown}) > 1:
        shown.sort(key=cmp_to_key(_order))
    else:
        shown.sort(key=_alike_order)
    return Standing(
        alerts=tuple(shown),
        firing=frozenset(alert.fingerprint for alert in shown if alert.firing),
        resolved=frozenset(alert.fingerprint for alert in shown if not alert.firing),
    )


def _alike_order(alert: Alert) -> tuple[bool, str, bool, str, tuple[tuple[str, str], ...]]:
    """`_order` among alerts that have the same labels, as most groups are: a sixth of its time."""
    job, instance = alert.labels.get("job"), alert.labels.get("instance")
    return not job, job, not instance, instance, alert.labels.pairs


def _order(one: Alert, other: Alert) -> int:
    """Less than 0 when `one` comes first (types.AlertSlice): one without the label comes after those that have it."""
    for name in ("job", "instance"):
        mine, theirs = one.labels.get(name), other.labels.get(name)
        if mine != theirs:
            return -1 if mine and (not theirs or mine < theirs) else 1
    return label_order(one.labels, other.labels)


def label_order(one: Labels, other: Labels) -> int:
    """Less than 0 when `one` comes first (model.LabelSet.Before): fewer labels, or without the first that differs."""
    if len(one) != len(other):
        return len(one) - len(other)
    for (mine, value), (theirs, theirs_value) in zip(one.pairs, other.pairs, strict=True):
        if mine != theirs:
            return 1 if mine < theirs else -1
        if value != theirs_value:
            return -1 if value < theirs_value else 1
    return 0


def decide(
    told: Told | None, now: Standing, *, now_ms: int, repeat_interval_ms: int | None, send_resolved: bool
) -> NoticeReason | None:
    """Why the destination is told now, by the table above; None when it is not. Without an interval nothing repeats."""
    if not now.alerts:
        return None
    if told is None or not told.firing:
        return NoticeReason.FIRST if now.firing else None
    if now.firing - told.firing:
        return NoticeReason.NEW_ALERTS
    if not now.firing:
        return NoticeReason.ALL_RESOLVED
    if send_resolved and now.resolved - told.resolved:
        return NoticeReason.SOME_RESOLVED
    # Told in the future: that was written by a wall clock which has been set back since. Better twice than never.
    if repeat_interval_ms is not None and not 0 <= now_ms - told.t_ms < repeat_interval_ms:
        return NoticeReason.REPEAT
    return None


def tell(
    told: Told | None,
    now: Standing,
    quiet: frozenset[str],
    *,
    now_ms: int,
    repeat_interval_ms: int | None,
    send_resolved: bool,
) -> tuple[NoticeReason, Standing] | None:
    """Why the destination is told now, and of what; `quiet` are the alerts that are kept quiet."""
    reason = decide(
        told,
        now.without(quiet),
        now_ms=now_ms,
        repeat_interval_ms=repeat_interval_ms,
        send_resolved=send_resolved,
    )
    owed = quiet & now.owed(told)
    if reason is None and owed and now.ended(told):
        reason = NoticeReason.ALL_RESOLVED
    return None if reason is None else (reason, now.without(quiet - owed))
