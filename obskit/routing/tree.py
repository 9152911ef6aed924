"""The routing tree: which receivers hear of an alert, and how they want it grouped and timed; pure.

Keys, checks and matching are Alertmanager's (config/config.go, dispatch/route.go), so its files can be pasted. When a
group is told is left to dispatch.py, what it is told to flush.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from pydantic import Field, field_validator

from obskit.model.alert_matchers import RESERVED, AlertMatcher, matchers_text
from obskit.model.go_text import go_quote
from obskit.model.labels import Labels
from obskit.model.matchers import MatchOp, match_all
from obskit.model.problems import did_you_mean
from obskit.model.settings import Duration, Settings
from obskit.routing.escalation import EscalationSettings, Step
from obskit.routing.match_settings import MatcherLine, Patterns, written_matchers
from obskit.routing.repeats import NO_GROWTH, Growth

GROUP_WAIT_MS: Final = 30_000
GROUP_INTERVAL_MS: Final = 300_000
REPEAT_INTERVAL_MS: Final = 4 * 3_600_000
ALL_LABELS: Final = "..."
INTERVAL_KEYS: Final = ("mute_time_intervals", "active_time_intervals")

_OPS: Final = (MatchOp.EQUAL, MatchOp.NOT_EQUAL, MatchOp.REGEX, MatchOp.NOT_REGEX)


@dataclass(frozen=True, slots=True)
class Route:
    """A node of the tree with everything it inherited. Times are milliseconds.

    `key` is Alertmanager's route key (`{}/{team="x"}`). `group_by` is None for "all labels".
    `mutes` and `actives` name time intervals (intervals.py). `escalate` and `growth` are ours.
    """

    receiver: str
    key: str = "{}"
    matchers: tuple[AlertMatcher, ...] = ()
    group_by: frozenset[str] | None = frozenset()
    group_wait_ms: int = GROUP_WAIT_MS
    group_interval_ms: int = GROUP_INTERVAL_MS
    repeat_interval_ms: int = REPEAT_INTERVAL_MS
    goes_on: bool = False
    routes: tuple[Route, ...] = ()
    mutes: tuple[str, ...] = ()
    actives: tuple[str, ...] = ()
    escalate: tuple[Step, ...] = ()
    growth: Growth = NO_GROWTH

    def match(self, labels: Mapping[str, str]) -> list[Route]:
        """The routes an alert takes: depth first, the first child that matches wins unless it says `continue`."""
        if not match_all(self.matchers, labels):
            return []
        found: list[Route] = []
        for child in self.routes:
            taken = child.match(labels)
            found += taken
            if taken and not child.goes_on:
                break
        return found or [self]

    def group_labels(self, labels: Labels) -> Labels:
        """The labels that name the alert's group on this route."""
        return labels if self.group_by is None else labels.only(*self.group_by)

    def group_key(self, group_labels: Labels) -> str:
        """Alertmanager's text for the group: `{}/{team="x"}:{alertname="y"}`."""
        pairs = ", ".join(f"{_name(name)}={go_quote(value)}" for name, value in group_labels.pairs)
        return f"{self.key}:{{{pairs}}}"

    def walk(self) -> Iterator[Route]:
        """This route and all below it."""
        yield self
        for child in self.routes:
            yield from child.walk()


class RouteSettings(Settings):
    """A `route:` with Alertmanager's keys; what is not given is inherited, at the root defaulted."""

    receiver: str | None = Field(None, description="who is told; the root must name one")
    group_by: list[str] | None = Field(
        None, description="alerts with the same values of these labels are one message; `[...]`: all labels"
    )
    matchers: list[MatcherLine] = Field([], description='all must match, such as `severity="critical"`')
    match: dict[str, str] = Field({}, description="labels and their values (the old form)")
    match_re: Patterns = Field({}, description="labels and patterns (the old form)")
    goes_on: bool = Field(
        default=False, alias="continue", description="go on to the next routes after this one matched"
    )
    routes: list[RouteSettings] = Field([], description="more exact routes; the first that matches wins")
    group_wait: Duration | None = Field(None, description="how long a new group waits for more alerts; default 30s")
    group_interval: Duration | None = Field(
        None, description="how long until a group that was told is told of changes; default 5m"
    )
    repeat_interval: Duration | None = Field(None, description="how often what still fires is told again; default 4h")
    mute_time_intervals: list[str] = Field([], description="time intervals in which nobody is told; not inherited")
    active_time_intervals: list[str] = Field(
        [], description="time intervals outside which nobody is told; not inherited"
    )

    escalate: list[EscalationSettings] | None = Field(
        None, description="who else is told of what nobody takes on; `[]` takes the inherited steps away"
    )
    repeat_growth: float | None = Field(
        None, ge=1, le=10, description="each repeat of what is not critical comes so many times later; default 1"
    )
    max_repeat_interval: Duration | None = Field(
        None, gt=0, description="the longest that `repeat_growth` makes of `repeat_interval`; default 7d"
    )

    @field_validator("group_by")
    @classmethod
    def _check_group_by(cls, names: list[str] | None) -> list[str] | None:
        for index, name in enumerate(names or ()):
            if not name:
                raise ValueError("a label of group_by is empty")
            if name in (names or ())[:index]:
                raise ValueError(f'duplicated label "{name}" in group_by')
        if names and ALL_LABELS in names and len(names) > 1:
            raise ValueError("cannot have wildcard group_by (`...`) and other labels at the same time")
        return names

    @field_validator("group_interval", "repeat_interval")
    @classmethod
    def _check_interval(cls, value_ms: int | None) -> int | None:
        if value_ms == 0:
            raise ValueError("must not be zero")
        return value_ms

    def all_matchers(self) -> tuple[AlertMatcher, ...]:
        """`match`, `match_re` and `matchers` together, in Alertmanager's order: it is part of the route's key."""
        found = written_matchers(self.match, self.match_re, self.matchers)
        return tuple(sorted(found, key=lambda each: (each.name, each.value, _OPS.index(each.op))))


@dataclass(frozen=True, slots=True)
class RouteProblem:
    """What is wrong with a tree as a whole. `path` leads from the root route to the key (`("routes", 0, "receiver")`)."""

    path: tuple[str | int, ...]
    message: str


def check_tree(root: RouteSettings, receivers: Collection[str], intervals: Collection[str] = ()) -> list[RouteProblem]:
    """Everything that only the whole file can tell: the root's duties, names of receivers or intervals nobody defined."""
    problems = []
    if root.receiver is None:
        problems.append(RouteProblem((), "the root route must name a default receiver"))
    for key, given in (("matchers", root.matchers), ("match", root.match), ("match_re", root.match_re)):
        if given:
            problems.append(RouteProblem((key,), "the root route must not have any matchers: every alert takes it"))
    if root.goes_on:
        problems.append(RouteProblem(("continue",), "the root route cannot have `continue`"))
    for key in INTERVAL_KEYS:
        if getattr(root, key):
            message = f"the root route cannot have {key}: put a route with them below it"
            problems.append(RouteProblem((key,), message))
    return problems + list(_undefined(root, (receivers, intervals), ()))


def _undefined(
    settings: RouteSettings, known: tuple[Collection[str], Collection[str]], path: tuple[str | int, ...]
) -> Iterator[RouteProblem]:
    receivers, intervals = known
    if settings.receiver is not None and settings.receiver not in receivers:
        hint = did_you_mean(settings.receiver, receivers)
        yield RouteProblem((*path, "receiver"), f'undefined receiver "{settings.receiver}" used in route{hint}')
    for key in INTERVAL_KEYS:
        for index, name in enumerate(getattr(settings, key)):
            if name not in intervals:
                hint = did_you_mean(name, intervals)
                yield RouteProblem((*path, key, index), f'undefined time interval "{name}" used in route{hint}')
    for index, step in enumerate(settings.escalate or ()):
        for name in step.to:
            if name not in receivers:
                hint = did_you_mean(name, receivers)
                yield RouteProblem(
                    (*path, "escalate", index, "to"), f'undefined receiver "{name}" used in escalate{hint}'
                )
    for index, child in enumerate(settings.routes):
        yield from _undefined(child, known, (*path, "routes", index))


def build_tree(root: RouteSettings) -> Route:
    """The tree of settings that `check_tree` found nothing wrong with."""
    assert root.receiver is not None
    return _build(root, Route(root.receiver), "{}")


def _build(settings: RouteSettings, parent: Route, key: str) -> Route:
    inherited = Route(
        receiver=settings.receiver or parent.receiver,
        key=key,
        matchers=settings.all_matchers(),
        group_by=_group_by(settings, parent),
        group_wait_ms=_given(settings.group_wait, parent.group_wait_ms),
        group_interval_ms=_given(settings.group_interval, parent.group_interval_ms),
        repeat_interval_ms=_given(settings.repeat_interval, parent.repeat_interval_ms),
        goes_on=settings.goes_on,
        mutes=tuple(settings.mute_time_intervals),
        actives=tuple(settings.active_time_intervals),
        escalate=parent.escalate if settings.escalate is None else tuple(each.step() for each in settings.escalate),
        growth=Growth(
            parent.growth.factor if settings.repeat_growth is None else settings.repeat_growth,
            parent.growth.longest_ms if settings.max_repeat_interval is None else settings.max_repeat_interval,
        ),
    )
    children = [_build(child, inherited, f"{key}/{matchers_text(child.all_matchers())}") for child in settings.routes]
    return replace(inherited, routes=tuple(children))


def _group_by(settings: RouteSettings, parent: Route) -> frozenset[str] | None:
    if settings.group_by is None:
        return parent.group_by
    return None if settings.group_by == [ALL_LABELS] else frozenset(settings.group_by)


def _given(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def _name(name: str) -> str:
    """Alertmanager quotes a name only where the characters of its own grammar are in it."""
    return go_quote(name) if RESERVED.search(name) else name
