"""Random worlds for the comparison with a real Alertmanager: a config, and what happens to alerts and silences.

Everything happens on whole seconds and every flush half a second off, so that nothing depends on who is first. Left out
is what the two do differently on purpose or by version (differential.py lists it).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from obskit.clock import SystemClock

LENGTH_S: Final = 8
SILENT_END_S: Final = 4.0
RESOLVE_TIMEOUT_S: Final = 2.75
VALUES: Final = {
    "alertname": ["a", "b", "c", 'quo"te <&>'],
    "severity": ["critical", "warning", "info"],
    "team": ["", "x", "y", "xyz"],
    "host": ["", "1", "2"],
    "note": ["", "", "", "new\nline", "é\u2028"],
    "job": ["", "", "j"],
    "instance": ["", "", "i1", "i2"],
}
PATTERNS: Final = [
    "x|y",
    "x.*",
    ".+",
    ".*",
    "",
    "critical|warning",
    "[a-b]",
    "new.line",
    "(?s:new.line)",
    "1",
    "warn.*",
]
GROUPINGS: Final = [None, ["alertname"], ["team", "severity"], ["..."], ["host"], ["alertname", "note"]]

Labels = dict[str, str]


@dataclass
class Step:
    """What happens at one moment: silences first, then one POST of alerts (labels, and how they end)."""

    silence: list[tuple[list[dict[str, Any]], int]] = field(default_factory=list)
    fire: list[tuple[Labels, bool]] = field(default_factory=list)
    resolve: list[Labels] = field(default_factory=list)


@dataclass
class Scenario:
    """One world. `steps` by second; `fire` says whether the alert is posted with an end far away, or without any."""

    seed: int
    config: dict[str, Any]
    receivers: list[str]
    steps: dict[int, Step]


def scenario(seed: int) -> Scenario:
    """The world of a seed."""
    dice = random.Random(seed)
    receivers = ["root", "one", "two", "th.ree"]
    repeats = dice.random() < 0.3
    config: dict[str, Any] = {
        "global": {"resolve_timeout": f"{RESOLVE_TIMEOUT_S * 1000:.0f}ms"},
        "route": _route(dice, receivers, depth=0, repeats=repeats),
        "time_intervals": _intervals(),
    }
    if not repeats:  # what is quiet moves the time of the next repeat: see differential.py
        config["inhibit_rules"] = [_inhibit_rule(dice) for _ in range(dice.randrange(3))]
    return Scenario(seed, config, receivers, _steps(dice, silences=not repeats))


def random_labels(dice: random.Random) -> Labels:
    """An alert's labels."""
    return {name: value for name, values in VALUES.items() if (value := dice.choice(values))}


def _route(dice: random.Random, receivers: list[str], *, depth: int, repeats: bool) -> dict[str, Any]:
    route: dict[str, Any] = {}
    if depth == 0 or dice.random() < 0.7:
        route["receiver"] = receivers[0] if depth == 0 else dice.choice(receivers)
    if (grouping := dice.choice(GROUPINGS)) is not None:
        route["group_by"] = grouping
    if depth == 0 or dice.random() < 0.3:
        route["group_wait"] = dice.choice(["500ms", "1500ms"])
        route["group_interval"] = dice.choice(["1s", "2s", "3s"])
        route["repeat_interval"] = dice.choice(["1500ms", "2500ms"]) if repeats else "1h"
    if depth > 0:
        route |= _conditions(dice)
        route["continue"] = dice.random() < 0.4
    if depth < 2:
        children = [_route(dice, receivers, depth=depth + 1, repeats=repeats) for _ in range(dice.randrange(4))]
        # Two siblings with the same matchers share a key, and so a place in Alertmanager's log of notifications.
        different = {str(_matching(child)): child for child in children}
        route["routes"] = list(different.values())
    return route


def _conditions(dice: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if dice.random() < 0.8:
        found["matchers"] = [_matcher(dice) for _ in range(dice.choice([1, 1, 2]))]
    if dice.random() < 0.2:
        name = dice.choice(list(VALUES))
        found["match"] = {name: dice.choice(VALUES[name])}
    if dice.random() < 0.2:
        found["match_re"] = {dice.choice(list(VALUES)): dice.choice(PATTERNS)}
    for key in ("mute_time_intervals", "active_time_intervals"):
        if dice.random() < 0.15:
            found[key] = dice.sample(["now", "never", "sometimes"], dice.choice([1, 2]))
    return found


def _matching(route: dict[str, Any]) -> list[Any]:
    return [route.get(key) for key in ("matchers", "match", "match_re")]


def _matcher(dice: random.Random) -> str:
    name = dice.choice(list(VALUES))
    if dice.random() < 0.5:
        return f"{name}{dice.choice(['=', '!='])}{_quoted(dice.choice(VALUES[name]))}"
    return f"{name}{dice.choice(['=~', '!~'])}{_quoted(dice.choice(PATTERNS))}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _inhibit_rule(dice: random.Random) -> dict[str, Any]:
    return {
        "source_matchers": [_matcher(dice) for _ in range(dice.choice([1, 2]))],
        "target_matchers": [_matcher(dice)],
        "equal": dice.sample(list(VALUES), dice.randrange(3)),
    }


def _intervals() -> list[dict[str, Any]]:
    now = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)
    other_month = f"{(now.month + 5) % 12 + 1}"
    return [
        {"name": "now", "time_intervals": [{"years": [f"{now.year}:{now.year + 1}"]}]},
        {"name": "never", "time_intervals": [{"years": ["2000"]}, {"months": [other_month]}]},
        {"name": "sometimes", "time_intervals": [{"months": [other_month]}, {"days_of_month": ["1:-1"]}]},
    ]


def _steps(dice: random.Random, *, silences: bool) -> dict[int, Step]:
    alerts = list({str(each): each for each in (random_labels(dice) for _ in range(dice.choice([3, 6, 9])))}.values())
    until: dict[str, float] = {}
    steps = {}
    for second in range(LENGTH_S):
        step = Step()
        if silences and dice.random() < 0.25:
            step.silence.append((_silence_matchers(dice), dice.choice([1, 3, 60])))
        for labels in alerts:
            fires = until.get(str(labels), 0.0) > second
            if dice.random() >= (0.15 if fires else 0.35):
                continue
            if fires:
                step.resolve.append(labels)
                until[str(labels)] = second
            else:
                with_end = dice.random() < 0.8
                step.fire.append((labels, with_end))
                until[str(labels)] = float("inf") if with_end else second + RESOLVE_TIMEOUT_S
        steps[second] = step
    return steps


def _silence_matchers(dice: random.Random) -> list[dict[str, Any]]:
    name = dice.choice(["alertname", "severity"])
    value = dice.choice([each for each in VALUES[name] if each])
    return [{"name": name, "value": value, "isRegex": False, "isEqual": dice.random() < 0.8}]
