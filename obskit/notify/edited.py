"""What channels share in which a message can be edited: one message per incident, and a line beside it when an edit
alone, which no phone tells of, would be too quiet.

    the notice                                   the message     a line beside it
    first notification, test                     is posted       -
    new alerts, repeat interval elapsed          is edited       yes
    escalated, flapping is over                  is edited       yes
    all alerts resolved                          is edited       yes, without a sound
    any other                                    is edited       -
    any of a group that flaps, but escalated     is edited       -

A message that is gone (deleted, too old to edit) is posted anew. A group that flaps goes on in the message in which it
began to, whatever the incident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from obskit.model.actions import Notice, NoticeReason
from obskit.notify.base import Step

ROOT: Final = "root"
LINE: Final = "line"
TOLD: Final = "told_ms"
"""In the handle: when the state was decided with which the message was first posted."""

_LOUD: Final = (NoticeReason.NEW_ALERTS, NoticeReason.REPEAT, NoticeReason.ESCALATED, NoticeReason.CALM)


def edited_steps(notice: Notice) -> Sequence[Step]:
    """The message, and its line where the table above says so; the newest state replaces an unsent one."""
    home = notice.care.home or notice.incident
    root = Step(ROOT, coalesce=f"{notice.incident}:{ROOT}", handle_key=home)
    if notice.care.flaps and notice.reason is not NoticeReason.ESCALATED:
        return [root]
    if not is_loud(notice) and notice.reason is not NoticeReason.ALL_RESOLVED:
        return [root]
    return [root, Step(LINE, coalesce=f"{notice.incident}:{LINE}", handle_key=home)]


def is_loud(notice: Notice) -> bool:
    """Whether people shall hear of it again."""
    return notice.reason in _LOUD


def has_said(notice: Notice, handle: Mapping[str, str] | None) -> bool:
    """Whether the message that the line would stand beside does not exist, or began with this state or a later one."""
    return handle is None or int(handle.get(TOLD, "0")) >= notice.decided_ms


def told(notice: Notice, handle: Mapping[str, str] | None) -> Mapping[str, str]:
    """What the handle shall remember when the root was sent: of an edited one, still when it was first posted."""
    return {TOLD: str(notice.decided_ms) if handle is None else handle.get(TOLD, "0")}
