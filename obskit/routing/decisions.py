"""What one destination is told at a turn of its group, and what is noted of it; pure.

At a flush it is told what Alertmanager would tell (flush.py). Beside that a destination whose messages are edited is
shown, without a sound, what became of a group that it knows to fire:

    since it was last shown                              it is told       at
    somebody else was told, for nobody took it on        escalated        any turn
    the group flapped and does no longer                 it is calm       any turn
    acked, let go of, silenced, heard again              so, quietly      any turn
    what its alerts say is another thing                 so, quietly      a flush

Others are told none of this: who is paged, or reads JSON, hears what Alertmanager would tell.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from obskit.model.actions import Notice, NoticeReason
from obskit.model.context import UNTOUCHED, Care
from obskit.model.severity import CRITICAL, rank
from obskit.routing import repeats
from obskit.routing.content import content_of
from obskit.routing.flush import Standing, Told, tell
from obskit.routing.groups import Group

QUIET: Final = (NoticeReason.ESCALATED, NoticeReason.CALM, NoticeReason.TENDED, NoticeReason.CHANGED)
"""What says nothing new of which alerts are on or over."""


class Reader(Protocol):
    """What is asked of a destination here."""

    id: str
    send_resolved: bool
    edits: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """A group as it stands now. `now_ms` is steady, `wall_ms` is what is written in messages. `instead` says
    why receivers are told that stand in for another."""

    group: Group
    standing: Standing
    quiet: frozenset[str]
    last_told: Mapping[str, Told]
    care: Care
    now_ms: int
    wall_ms: int
    external_url: str = ""
    instead: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What one destination is told, and what is noted that it was told. Nothing is said without alerts."""

    notice: Notice
    told: Told


def at_flush(turn: Turn, receiver: str, destination: Reader) -> Decision | None:
    """What it is told when the group's time has come."""
    told, group = turn.last_told.get(destination.id), turn.group
    if told is None and group.closing:
        return None
    found = tell(
        told,
        turn.standing,
        turn.quiet,
        now_ms=turn.now_ms,
        repeat_interval_ms=_repeat_interval_ms(turn, told),
        send_resolved=destination.send_resolved,
    )
    if found is not None:
        return _news(turn, receiver, destination, *found)
    return _remark(turn, receiver, destination) or _changed(turn, receiver, destination)


def between_flushes(turn: Turn, receiver: str, destination: Reader) -> Decision | None:
    """What it is told at once: of a destination of the group itself only what is no news of its alerts."""
    if destination.id not in turn.last_told and receiver != turn.group.receiver:
        return at_flush(turn, receiver, destination)
    return _remark(turn, receiver, destination)


def _repeat_interval_ms(turn: Turn, told: Told | None) -> int | None:
    if told is None:
        return turn.group.repeat_interval_ms
    growth = turn.group.growth
    critical = growth.factor > 1 and any(alert.firing and rank(alert) >= CRITICAL for alert in turn.standing.alerts)
    return repeats.interval_ms(
        turn.group.repeat_interval_ms,
        growth,
        told.repeats,
        critical=critical,
        acked=turn.care.ack is not None,
    )


def _news(turn: Turn, receiver: str, destination: Reader, reason: NoticeReason, shown: Standing) -> Decision:
    told = turn.last_told.get(destination.id)
    knew = told is not None and bool(told.firing)
    now_told = Told(
        shown.firing,
        shown.resolved,
        turn.now_ms,
        since_ms=told.since_ms if told and knew else turn.now_ms,
        repeats=told.repeats + 1 if told and reason is NoticeReason.REPEAT else 0,
    )
    if destination.edits:
        now_told = replace(now_told, care=_text(turn.care), content=content_of(shown.alerts))
    notice = _notice(turn, receiver, destination, reason, shown)
    return Decision(replace(notice, changed=shown.changed(told)), now_told)


def _remark(turn: Turn, receiver: str, destination: Reader) -> Decision | None:
    told = turn.last_told.get(destination.id)
    if told is None or not destination.edits or not told.firing & turn.standing.firing:
        return None
    care = _text(turn.care)
    if care == told.care:
        return None
    was = Care.from_dict(json.loads(told.care))
    if len(turn.care.escalated) > len(was.escalated):
        reason = NoticeReason.ESCALATED
    elif was.flaps and not turn.care.flaps:
        reason = NoticeReason.CALM
    else:
        reason = NoticeReason.TENDED
    shown = turn.standing.known_to(told)
    # Its alerts are shown as they are by now: where one of them turns back before the flush, that is to be shown again.
    now_told = replace(told, care=care, content=content_of(shown.alerts))
    return Decision(_notice(turn, receiver, destination, reason, shown), now_told)


def _changed(turn: Turn, receiver: str, destination: Reader) -> Decision | None:
    told = turn.last_told.get(destination.id)
    if told is None or not destination.edits or not turn.group.stirred or not told.firing & turn.standing.firing:
        return None
    shown = turn.standing.known_to(told).without(turn.quiet)
    content = content_of(shown.alerts)
    if content == told.content or not shown.firing:
        return None
    decision = Decision(
        _notice(turn, receiver, destination, NoticeReason.CHANGED, shown), replace(told, content=content)
    )
    # Told by a version that noted no content: it is noted without a word, or every group would be edited at an upgrade.
    return decision if told.content else replace(decision, notice=replace(decision.notice, alerts=()))


def _notice(turn: Turn, receiver: str, destination: Reader, reason: NoticeReason, shown: Standing) -> Notice:
    group = turn.group
    return Notice(
        receiver=receiver,
        group_key=group.group_key,
        group_labels=group.labels,
        alerts=tuple(each for each in shown.alerts if each.firing or destination.send_resolved),
        reason=reason,
        incident=group.incident,
        decided_ms=turn.wall_ms,
        external_url=turn.external_url,
        instead=turn.instead.get(receiver, ""),
        care=turn.care if destination.edits else UNTOUCHED,
    )


def _text(care: Care) -> str:
    return json.dumps(care.to_dict(), separators=(",", ":"))
