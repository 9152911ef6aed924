"""What `obskit check` would suggest of routing: nothing is wrong, but somebody will be told twice, or all at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from obskit.config.files import ConfigTree
from obskit.model.alert_matchers import AlertMatcher, misgiving
from obskit.model.documents import Path as KeyPath
from obskit.model.problems import Problem, Severity
from obskit.routing.inhibit import InhibitRule
from obskit.routing.tree import ALL_LABELS, RouteSettings
from obskit.rules.groups import AlertRule, Group

EQUAL: Final = ("alertname", "system", "queue", "instance", "mountpoint", "job")
"""What tells two alerts of one name apart in our packs: a label that neither has is equal too."""
MANY: Final = frozenset(
    {
        "instance",
        "pod",
        "container",
        "container_id",
        "machine",
        "host",
        "hostname",
        "node",
        "ip",
        "address",
        "path",
        "url",
    }
    | {"id", "task_id", "request_id", "trace_id", "user_id", "session_id", "fingerprint"}
)
"""Labels of which there are as many values as there are things: what breaks in all of them should be told once."""
SUGGESTED: Final = (
    "inhibit_rules: [{source_matchers: [severity=critical], target_matchers: [severity=warning],"
    f" equal: [{', '.join(EQUAL)}]}}]"
)
_NAMED: Final = 3


def hints(
    tree: ConfigTree, route: RouteSettings, inhibit_rules: Sequence[InhibitRule], groups: Iterable[Group]
) -> Iterator[Problem]:
    """Suggestions for a config whose routing somebody wrote."""
    yield from _misgivings(tree)
    if tree.data.get("route") is None:
        return
    if not route.group_by:
        message = "all alerts of a receiver are one message: `group_by: [alertname]` makes one of each kind of trouble"
        yield tree.problem(("route",), "group-by", message, severity=Severity.HINT, at_key=True)
    for path, message in _groupings(route, ("route",)):
        yield tree.problem((*path, "group_by"), "group-by", message, severity=Severity.HINT, at_key=True)
    doubled = [name for name in _in_two_severities(groups) if not any(_covers(rule, name) for rule in inhibit_rules)]
    if doubled:
        section = "inhibit_rules" if tree.data.get("inhibit_rules") else "route"
        yield tree.problem((section,), "told-twice", _told_twice(doubled), severity=Severity.HINT, at_key=True)


def _groupings(route: RouteSettings, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """What groups say that are smaller, or larger, than what a person wants to read."""
    names = route.group_by or []
    many = [name for name in names if name.lower() in MANY]
    if ALL_LABELS in names:
        yield path, "each alert is a message, and fifty machines are fifty: `group_by: [alertname]` makes one of them"
    elif many:
        yield path, f"each {many[0]} is a message of its own: without `{many[0]}` they are listed in one"
    elif names and "alertname" not in names:
        yield (
            path,
            f"whatever fires for one {names[0]} is one message: with `alertname` each kind of trouble has its own",
        )
    for index, child in enumerate(route.routes):
        yield from _groupings(child, (*path, "routes", index))


def _misgivings(tree: ConfigTree) -> Iterator[Problem]:
    """Matchers that a newer Alertmanager would read in another way, or not at all."""
    for path, line in _matcher_lines(tree.data.get("route"), ("route",)):
        if reason := misgiving(line):
            yield tree.problem(path, "matcher-form", reason, severity=Severity.HINT)
    for index, rule in enumerate(tree.data.get("inhibit_rules") or ()):
        for key in ("source_matchers", "target_matchers"):
            for number, line in enumerate(rule.get(key) or ()):
                if reason := misgiving(line):
                    where: KeyPath = ("inhibit_rules", index, key, number)
                    yield tree.problem(where, "matcher-form", reason, severity=Severity.HINT)


def _matcher_lines(route: Mapping[str, Any] | None, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    for number, line in enumerate((route or {}).get("matchers") or ()):
        yield (*path, "matchers", number), line
    for index, child in enumerate((route or {}).get("routes") or ()):
        yield from _matcher_lines(child, (*path, "routes", index))


def _told_twice(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (
        f"{', '.join(names[:_NAMED])}{more}: the warning is told beside the critical one; to keep it quiet: {SUGGESTED}"
    )


def _in_two_severities(groups: Iterable[Group]) -> list[str]:
    """The alerts that fire as a warning first and, when it gets worse, as critical as well."""
    severities: dict[str, set[str]] = defaultdict(set)
    for group in groups:
        for rule in group.rules:
            if isinstance(rule, AlertRule):
                severities[rule.name].add(rule.labels.get("severity", ""))
    return sorted(name for name, found in severities.items() if {"warning", "critical"} <= found)


def _covers(rule: InhibitRule, name: str) -> bool:
    """Whether the rule may keep the warning of this name quiet while the critical one fires."""
    return _fits(rule.sources, name, "critical") and _fits(rule.targets, name, "warning")


def _fits(matchers: Iterable[AlertMatcher], name: str, severity: str) -> bool:
    """By these two labels; what the others are, only the alert itself can tell."""
    known = {"alertname": name, "severity": severity}
    return all(matcher.matches(known[matcher.name]) for matcher in matchers if matcher.name in known)
