"""What is known around a notice: Context is what the store knows (how the value went, deploys, errors), Care is what
people and routing made of the group (acknowledged, silenced, flapping). Who fills them in is not decided here; whatever
is unknown is empty, and nothing is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self


@dataclass(frozen=True, slots=True)
class Limit:
    """What the rule compares its value with: `op` is PromQL's (`>`)."""

    op: str
    value: float


@dataclass(frozen=True, slots=True)
class Deploy:
    """A change that went live: what (`4f2a1c9 "retry on 502"`), who, and from which version to which (`v212 → v213`)."""

    t_ms: int
    what: str
    by: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class TopError:
    """The most frequent error pattern lately, and how many lines had it."""

    pattern: str
    count: int


@dataclass(frozen=True, slots=True)
class Context:
    """How the value of the worst alert went (`readings`: Unix milliseconds and value, oldest first), the last deploys
    (newest first), and the top error. `unit` is that of the readings and the limit."""

    limit: Limit | None = None
    readings: tuple[tuple[int, float], ...] = ()
    unit: str = ""
    deploys: tuple[Deploy, ...] = ()
    top_error: TopError | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """Who has taken a group on, when, where they said so (`PagerDuty`), and what they said with it."""

    by: str
    t_ms: int
    where: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Silence:
    """Who silenced a group, until when, and why."""

    by: str
    until_ms: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Escalated:
    """Who else was told because nobody took the group on: receivers (`pagerduty, phone`), so long after it was told."""

    to: str
    after_ms: int


@dataclass(frozen=True, slots=True)
class Care:
    """What people and routing made of the group.

    `flaps` counts its transitions of late while it flaps, `home` is the incident whose message it goes on in since.
    """

    ack: Ack | None = None
    silence: Silence | None = None
    flaps: int = 0
    home: str = ""
    escalated: tuple[Escalated, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; what is not so is left out."""
        said: dict[str, Any] = {}
        if self.ack:
            said["ack"] = [self.ack.by, self.ack.t_ms, self.ack.where, self.ack.note]
        if self.silence:
            said["silence"] = [self.silence.by, self.silence.until_ms, self.silence.why]
        if self.escalated:
            said["escalated"] = [[each.to, each.after_ms] for each in self.escalated]
        if self.home:
            said["home"] = self.home
        return said | ({"flaps": self.flaps} if self.flaps else {})

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Self:
        """What `to_dict` wrote."""
        return cls(
            ack=Ack(*said["ack"]) if "ack" in said else None,
            silence=Silence(*said["silence"]) if "silence" in said else None,
            flaps=said.get("flaps", 0),
            home=said.get("home", ""),
            escalated=tuple(Escalated(*each) for each in said.get("escalated", ())),
        )


UNKNOWN: Final = Context()
UNTOUCHED: Final = Care()
