"""Who fires, where, and how many of how many: a notice's alerts by the labels that tell a person something."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from obskit.model.actions import Notice
from obskit.model.alerts import Alert

MEMBERS_SHOWN: Final = 3
_SCOPE_SHOWN: Final = 4

# What tells a person where to look, in this order; the rest of the labels stays behind the link.
_PLACES: Final = (
    "app", "service", "queue", "job", "collector", "region", "environment", "env", "cluster", "namespace",
    "machine", "host", "instance",
)  # fmt: skip


def who(notice: Notice, alerts: Iterable[Alert]) -> list[str]:
    """Each alert by its labels that are not common to the group (`machine b`), else by its severity, or its name."""
    common = set(notice.common_labels)
    names = []
    for alert in alerts:
        apart = [(name, value) for name, value in alert.labels.items() if name not in common and name != "severity"]
        apart.sort(key=lambda pair: (pair[0] != "alertname", _place(pair[0])))
        names.append(" ".join(value if name == "alertname" else f"{name} {value}" for name, value in apart[:3]))
    return [
        name or ("severity" not in common and alert.labels.get("severity")) or alert.name
        for name, alert in zip(names, alerts, strict=True)
    ]


def listed(names: Sequence[str]) -> str:
    more = f" +{len(names) - MEMBERS_SHOWN} more" if len(names) > MEMBERS_SHOWN else ""
    return ", ".join(names[:MEMBERS_SHOWN]) + more


def _place(label: str) -> tuple[int, str]:
    return (_PLACES.index(label) if label in _PLACES else len(_PLACES), label)


def scope(notice: Notice) -> str:
    """Where it is, as `app api · region fra`."""
    return " · ".join(f"{name} {value}" for name, value in places(notice))


def places(notice: Notice) -> list[tuple[str, str]]:
    """What the group is grouped by, then the known places that all its alerts share."""
    common = notice.common_labels
    grouped = [name for name in notice.group_labels if name not in ("alertname", "severity")]
    places = [name for name in _PLACES if name in common and name not in grouped]
    chosen = sorted(grouped, key=_place) + places
    return [(name, notice.group_labels.get(name) or common.get(name)) for name in chosen[:_SCOPE_SHOWN]]


def reach(notice: Notice) -> str:
    """How much of the group it is, counted by the label that varies: `2 machines`, `2 of 3 machines`."""
    total, firing = len(notice.alerts), len(notice.firing)
    if total < 2:
        return ""
    common = notice.common_labels
    varies = {name for alert in notice.alerts for name in alert.labels if name not in common} - {"severity"}
    noun = plural(varies.pop()) if len(varies) == 1 else "alerts"
    return f"{firing} of {total} {noun}" if 0 < firing < total else f"{total} {noun}"


def plural(noun: str) -> str:
    """More than one of what a label names."""
    if noun in ("alertname", ""):
        return "alerts"
    return (
        f"{noun[:-1]}ies"
        if noun[-1] == "y" and noun[-2:-1] not in "aeiou"
        else f"{noun}{'es' if noun[-1] in 'sx' else 's'}"
    )


def counts(notice: Notice) -> str:
    if len(notice.alerts) < 2:
        return ""
    firing, resolved = len(notice.firing), len(notice.resolved)
    parts = [f"{firing} firing" if firing else "", f"{resolved} resolved" if resolved else ""]
    return ", ".join(part for part in parts if part)
