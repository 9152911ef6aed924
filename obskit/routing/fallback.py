"""Who stands in for a receiver that fails: which groups are told to its `fallback` as well, and why.

    a destination of the receiver      the group                                           its fallback is told
    takes messages                     any                                                 nothing
    takes none for 2 minutes           a critical alert fires, and waits to be told        once, and all that follows
    the same                           else                                                nothing
    takes messages again               was told to the fallback                            what follows, its end too

Nothing of it is kept by itself. That a destination fails is in the outbox, that the fallback was told in what was told
of the group, written in the transaction that tells it: a process that dies in between looks again, and who was told is
not told twice. So there are no circles either: a chain of fallbacks ends where everybody has been told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from obskit.model.severity import CRITICAL, rank
from obskit.outbox.outages import outages, waiting_lanes
from obskit.routing.groups import Group, Groups, told_of
from obskit.store.database import Transaction

LOOKS_EVERY_MS: Final = 15_000
_DETAIL: Final = 200


def stand_ins(
    tx: Transaction, groups: Groups, fallbacks: Mapping[str, str], ids: Mapping[str, Sequence[str]], now_ms: int
) -> dict[str, dict[str, str]]:
    """By the group's key, the receivers that are told of it too, and why. `ids` are those of each receiver's
    destinations, `now_ms` is wall time."""
    found: dict[str, dict[str, str]] = {}
    for receiver, fallback in fallbacks.items():
        for outage in outages(tx, ids.get(receiver, ()), now_ms):
            minutes = (now_ms - outage.since_ms) // 60_000
            why = f"{outage.destination} has not taken messages for {minutes} min: {outage.trouble[:_DETAIL]}"
            lanes = waiting_lanes(tx, outage.destination)
            for group in groups.all():
                if group.group_key in lanes and _matters(tx, groups, group, outage.destination):
                    found.setdefault(group.key, {})[fallback] = why
    return found


def _matters(tx: Transaction, groups: Groups, group: Group, destination: str) -> bool:
    """Whether something critical fires that the destination is to hear of."""
    told = told_of(tx, group).get(destination)
    return told is not None and any(
        alert.fingerprint in told.firing and rank(alert) >= CRITICAL
        for alert in groups.stand(group).alerts
        if alert.firing
    )
