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

(prometheus/alertmanager notify/dedup_stage.go.) "All resolved" holds for a destination without send_resolved too: it
is not told, but it is noted that for it nothing fires any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from obskit.model.actions import NoticeReason
from obskit.model.alerts import Alert


@dataclass(frozen=True, slots=True)
class Told:
    """What a destination was last told of a group: fingerprints, and when (Unix milliseconds)."""

    firing: frozenset[str]
    resolved: frozenset[str]
    t_ms: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A group's alerts at a flush, in the order in which they are shown; and the fingerprints that are on, or over."""

    alerts: tuple[Alert, ...]
    firing: frozenset[str]
    resolved: frozenset[str]

    def changed(self, told: Told | None) -> frozenset[str]:
        """What began or stopped firing since."""
        return self.firing ^ (told.firing if told else frozenset())


def stand(alerts: Iterable[Alert]) -> Standing:
    """The alerts sorted as Alertmanager sorts them: job, instance, then all labels."""
    shown = sorted(alerts, key=lambda alert: (alert.labels.get("job"), alert.labels.get("instance"), alert.labels))
    return Standing(
        alerts=tuple(shown),
        firing=frozenset(alert.fingerprint for alert in shown if alert.firing),
        resolved=frozenset(alert.fingerprint for alert in shown if not alert.firing),
    )


def decide(
    told: Told | None, now: Standing, *, now_ms: int, repeat_interval_ms: int | None, send_resolved: bool
) -> NoticeReason | None:
    """Why the destination is told now, by the table above; None when it is not. Without an interval nothing repeats."""
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
