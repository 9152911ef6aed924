"""Flapping: a group that begins and ends again and again is one message that is edited in silence, until it is calm.

    the group                                        it is
    turned (began, or ended) so often of late        flapping: nobody hears of its turns
    flapping, and turns again                        flapping
    flapping, and did not turn for that long         calm: who still sees it fire hears so once
    holds a critical alert                           never flapping, unless the config wants it

Kept beside the groups, which are gone when they end. Times are steady milliseconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Final

from pydantic import Field

from obskit.model.settings import Duration, Settings
from obskit.store.database import Transaction

_KEPT: Final = 100


class FlapSettings(Settings):
    """`flapping:`, ours: when a group is told in silence."""

    transitions: int = Field(4, ge=2, le=_KEPT, description="so many begins and ends of a group")
    within: Duration = Field(3_600_000, gt=0, description="in this time; it is over when none came for as long")
    critical: bool = Field(default=False, description="whether groups with critical alerts flap too")


@dataclass(frozen=True, slots=True)
class Flap:
    """How a group turned of late. `flaps` counts that while it flaps; `home` is the incident whose message goes on."""

    turns: tuple[int, ...]
    firing: bool
    flaps: int
    home: str

    def flaps_at(self, now_ms: int, rule: FlapSettings) -> int:
        """How often it turned; 0 when it does not flap, or has been calm."""
        return self.flaps if 0 <= now_ms - self.turns[-1] < rule.within else 0

    def calm_at_ms(self, rule: FlapSettings) -> int:
        """When it is over, unless it turns again."""
        return self.turns[-1] + rule.within


def turned(flap: Flap | None, incident: str, now_ms: int, rule: FlapSettings, *, firing: bool) -> Flap | None:
    """The group as it is found now; the same when it has not turned, None when it never began."""
    if flap is None:
        return Flap((now_ms,), firing, 0, incident) if firing else None
    if flap.firing == firing:
        return flap
    turns = (*(t_ms for t_ms in flap.turns if now_ms - rule.within < t_ms <= now_ms), now_ms)
    flapping = bool(flap.flaps_at(now_ms, rule)) or len(turns) >= rule.transitions
    home = incident if firing and not flapping else flap.home
    return replace(flap, turns=turns[-_KEPT:], firing=firing, flaps=len(turns) if flapping else 0, home=home)


def observe(tx: Transaction, key: str, incident: str, now_ms: int, rule: FlapSettings, *, firing: bool) -> Flap | None:
    """The group as it is found now, noted when it has turned."""
    row = tx.execute("SELECT turns, firing, flaps, home FROM flap WHERE group_key = ?", (key,)).fetchone()
    was = None if row is None else Flap(tuple(json.loads(row[0])), bool(row[1]), row[2], row[3])
    now = turned(was, incident, now_ms, rule, firing=firing)
    if now is None or now is was:
        return now
    tx.execute("DELETE FROM flap WHERE last_ms < ? AND NOT firing", (now_ms - rule.within,))
    tx.execute(
        "INSERT OR REPLACE INTO flap (group_key, turns, firing, flaps, home, last_ms) VALUES (?,?,?,?,?,?)",
        (key, json.dumps(now.turns), now.firing, now.flaps, now.home, now.turns[-1]),
    )
    return now
