"""Acks: which groups somebody has taken on, and until when that holds.

    what was said last of the group          the worst that fires         the group is
    nothing, open, closed elsewhere          -                            not acked
    acked                                    as bad as then, or less      acked: told again to nobody, escalated to nobody
    acked                                    worse than when acked        open again, which is noted
    of every alert that fires: acked         -                            acked

It ends with the incident. Who says it (a chat, a command, PagerDuty) notes it through `Acks`, or with note_ack().
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from obskit.clock import Clock
from obskit.model.alert_matchers import AlertMatcher
from obskit.model.context import Ack
from obskit.model.matchers import match_all
from obskit.model.severity import rank
from obskit.routing import rows
from obskit.routing.flush import Standing
from obskit.store.acks import WHOLE, AckRow, AckState, load_acks, note_ack, note_rank, read_acks
from obskit.store.database import Database, Transaction

Tend = Callable[[Iterable[str]], None]
"""Hears of which incidents somebody has said something, once that is committed."""


def ack_that_stands(tx: Transaction, incident: str, standing: Standing, now_ms: int) -> Ack | None:
    """The group's ack by the table above; notes how bad it is when one is first seen, and when one is outgrown."""
    said = {row.fingerprint: row for row in load_acks(tx, incident)}
    if not said:
        return None
    whole = said.get(WHOLE)
    if whole is None or whole.state is not AckState.ACKED:
        alone = [said[each] for each in standing.firing if each in said and said[each].state is AckState.ACKED]
        return _ack(max(alone, key=lambda row: row.t_ms)) if alone and len(alone) == len(standing.firing) else None
    worst = max((rank(alert) for alert in standing.alerts if alert.firing), default=0)
    if whole.rank == 0:
        note_rank(tx, whole, worst)
    elif worst > whole.rank:
        note_ack(tx, replace(whole, state=AckState.OPEN, by="", where="", t_ms=max(now_ms, whole.t_ms + 1), rank=0))
        return None
    return _ack(whole)


def _ack(row: AckRow) -> Ack:
    return Ack(row.by or "somebody", row.t_ms, row.where, row.note)


@dataclass(frozen=True, slots=True)
class OpenGroup:
    """A group that somebody was told of: of one receiver, with what that one was told to be on (fingerprints)."""

    group_key: str
    incident: str
    firing: frozenset[str]


def told_groups(database: Database) -> list[OpenGroup]:
    """Every group of which something was told to be on."""
    found: dict[tuple[str, str], set[str]] = {}
    for key, incident, firing in database.read(
        "SELECT group_key, alert_group.incident, firing FROM alert_group JOIN notification USING (group_key)"
    ):
        found.setdefault((key.partition(rows.SEPARATOR)[2], incident), set()).update(json.loads(firing))
    return [OpenGroup(key, incident, frozenset(firing)) for (key, incident), firing in found.items() if firing]


def within(groups: Sequence[OpenGroup], incidents: Collection[str]) -> list[OpenGroup]:
    """The groups of these incidents, and those of other routes that hold nothing else than they do."""
    known = {each for group in groups if group.incident in incidents for each in group.firing}
    return [group for group in groups if group.incident in incidents or group.firing <= known]


def chosen(
    database: Database, group: str, matchers: Sequence[AlertMatcher], groups: Sequence[OpenGroup]
) -> list[OpenGroup]:
    """The groups that a person means: by incident or group key; else with an alert that satisfies all matchers."""
    named = [each.incident for each in groups if group and group in (each.incident, each.group_key)]
    if named or not matchers:
        return within(groups, named)
    alerts = map(rows.read_alert, database.read(rows.ALERTS))
    meant = {each.fingerprint for each in alerts if each.firing and match_all(matchers, each.labels)}
    return within(groups, [each.incident for each in groups if each.firing & meant])


def acked_alerts(database: Database) -> dict[str, Ack]:
    """The alerts that were told to be on and that somebody has taken on, by fingerprint."""
    found: dict[str, Ack] = {}
    for group in told_groups(database):
        for row in read_acks(database, group.incident):
            if row.state is AckState.ACKED:
                found.update(dict.fromkeys({row.fingerprint} if row.fingerprint else group.firing, _ack(row)))
    return found


class Acks:
    """What a person says of groups."""

    def __init__(self, database: Database, clock: Clock, tend: Tend = lambda _: None) -> None:
        self._database = database
        self._clock = clock
        self._tend = tend

    async def ack(
        self, group: str, matchers: Sequence[AlertMatcher], *, by: str, where: str = "", note: str = ""
    ) -> list[str]:
        """Somebody takes groups on: their keys."""
        return await self._say(group, matchers, AckRow("", "", AckState.ACKED, by, where, 0, note=note))

    async def unack(self, group: str, matchers: Sequence[AlertMatcher], *, by: str, where: str = "") -> list[str]:
        """Somebody lets go of them: their keys."""
        return await self._say(group, matchers, AckRow("", "", AckState.OPEN, by, where, 0))

    def _meant(self, group: str, matchers: Sequence[AlertMatcher]) -> list[OpenGroup]:
        return chosen(self._database, group, matchers, told_groups(self._database))

    async def _say(self, group: str, matchers: Sequence[AlertMatcher], said: AckRow) -> list[str]:
        meant = await asyncio.to_thread(self._meant, group, matchers)
        said = replace(said, t_ms=self._clock.now_ms())
        lines = [replace(said, incident=each.incident, group_key=each.group_key) for each in meant]
        await self._database.write(lambda tx: [note_ack(tx, line) for line in lines], essential=True)
        self._tend([each.incident for each in meant])
        return sorted({each.group_key for each in meant})
