"""kill -9 at any moment, while alerts fire and resolve: every decided message arrives, and nobody is left believing what
is not so."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from obskit.testing.http import Failure
from tests.journeys.daemon import Watch, clock, eventually, pause
from tests.journeys.receivers import AT_ONCE, GaugePage, Receivers

NAMES: Final = tuple(f"Broken{number}" for number in range(6))
IN_SLACK: Final = NAMES[:2]
"""Slack takes a message a second: more groups would only make its queue longer."""
GROUP_INTERVAL_S: Final = 1.0
SOLID_S: Final = 0.8
"""A daemon that runs for so long scrapes (every 0.2 s), evaluates, and commits what follows."""
SETTLED_S: Final = 60.0
OUTAGES: Final = (
    Failure(429, retry_after=1),
    Failure(500),
    Failure(drop=True),
    Failure(500, after=True),
    Failure(hang_s=2, drop=True),
)


@dataclass(slots=True)
class Period:
    """A time in which a gauge was on, or off (Unix seconds)."""

    on: bool
    began_s: float
    ended_s: float = float("inf")

    def had(self, seconds: float, stretches: Sequence[tuple[float, float]]) -> bool:
        """Whether the daemon ran for so long at a stretch within it."""
        return any(min(end, self.ended_s) - max(begin, self.began_s) >= seconds for begin, end in stretches)


class Switches:
    """Turns the gauges of a page on and off at random, in a thread, and notes when."""

    def __init__(self, page: GaugePage, dice: random.Random) -> None:
        self._page, self._dice = page, dice
        self._ended = threading.Event()
        self._next_s = {name: clock.monotonic() + dice.uniform(0, 4) for name in NAMES}
        self.periods: dict[str, list[Period]] = {name: [] for name in NAMES}
        for name in NAMES:
            self.turn(name, on=False)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """Stop turning; each stays as it is."""
        self._ended.set()
        self._thread.join()

    def turn(self, name: str, *, on: bool) -> None:
        """Turn one on or off."""
        now_s = clock.now_ms() / 1000
        if self.periods[name]:
            self.periods[name][-1].ended_s = now_s
        self.periods[name].append(Period(on, now_s))
        self._page.values[series(name)] = float(on)

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            for name in NAMES:
                if clock.monotonic() >= self._next_s[name]:
                    self.turn(name, on=not self.periods[name][-1].on)
                    self._next_s[name] = clock.monotonic() + self._dice.uniform(0.5, 9)


@dataclass(slots=True)
class Killer:
    """Starts and kills the daemon; `stretches` are the times in which it ran (Unix seconds)."""

    watch: Watch
    dice: random.Random
    stretches: list[tuple[float, float]] = field(default_factory=list)

    def run_and_kill(self) -> None:
        """One life: in one of five it dies while it starts, in the others within a second and a half."""
        if self.dice.random() < 0.2:
            self.watch.launch()
            pause(self.dice.uniform(0.1, 0.8))
            self.watch.kill()
            return
        self.watch.start()
        began_s = clock.now_ms() / 1000
        pause(self.dice.uniform(0.0, 0.5) if self.dice.random() < 0.6 else self.dice.uniform(0.8, 1.5))
        self.watch.kill()
        self.stretches.append((began_s, clock.now_ms() / 1000))


def series(name: str) -> str:
    return f'broken{{name="{name}"}}'


def rules() -> dict[str, Any]:
    alerts = [{"alert": name, "expr": f"{series(name)} > 0", "labels": {"severity": "critical"}} for name in NAMES]
    return {"groups": [{"name": "broken", "interval": "1s", "rules": alerts}]}


def config(folder: Path, page: GaugePage, receivers: Receivers) -> dict[str, Any]:
    """All three destinations hear of the first groups, webhook and PagerDuty of the others."""
    (folder / "rules.yaml").write_text(json.dumps(rules()))
    (everyone,) = receivers.config("1s")["receivers"]
    pagers = {"name": "pagers"} | {key: everyone[key] for key in ("webhook_configs", "pagerduty_configs")}
    to_all = {"receiver": "everyone", "matchers": [f'alertname=~"{"|".join(IN_SLACK)}"']}
    return {
        "global": {"scrape_interval": "200ms"},
        "scrape_configs": [{"job_name": "page", "static_configs": [{"targets": [page.target]}]}],
        "rule_packs": [],
        "rule_files": ["rules.yaml"],
        "route": {"receiver": "pagers", **AT_ONCE, "routes": [to_all]},
        "receivers": [everyone, pagers],
    }


def believed(receivers: Receivers, name: str) -> dict[str, str]:
    """What each destination that hears of an alert was last told of it."""
    states = receivers.states(name)
    return {who: state for who, state in states.items() if who != "slack" or name in IN_SLACK}


def is_so(receivers: Receivers, truth: dict[str, bool]) -> bool:
    """Whether all destinations believe what is so. Of an alert that is over they may never have heard."""
    return all(
        set(believed(receivers, name).values()) <= ({"firing"} if on else {"resolved", ""})
        for name, on in truth.items()
    )


def survive(watch: Watch, page: GaugePage, receivers: Receivers, kills: int, outages: Sequence[Failure]) -> None:
    """Kill the daemon while gauges are turned and, maybe, receivers fail; then let it run, and look at what is left."""
    dice = random.Random()
    watch.write(config(watch.folder, page, receivers))
    killer, switches = Killer(watch, dice), Switches(page, random.Random())
    try:
        for _ in range(kills):
            if outages:
                receivers.repair()
                if dice.random() < 0.7:
                    receivers.break_down(dice.choice(outages))
            killer.run_and_kill()
    finally:
        switches.end()
    receivers.repair()
    truth = {name: periods[-1].on for name, periods in switches.periods.items()}
    watch.start()
    assert eventually(lambda: is_so(receivers, truth), SETTLED_S), {name: believed(receivers, name) for name in NAMES}
    check_store(watch, truth)
    watch.stop()
    assert is_so(receivers, truth)
    check_history(receivers, switches.periods, killer.stretches)


def check_store(watch: Watch, truth: dict[str, bool]) -> None:
    """All that was decided has arrived, and what is noted as told is what is so."""
    with watch.store() as store:
        assert eventually(lambda: store.read("SELECT DISTINCT state FROM outbox") == [("sent",)], SETTLED_S), (
            store.read("SELECT state, destination, reason, detail, COUNT(*) FROM outbox GROUP BY 1, 2, 3, 4")
        )
        noted = store.read("SELECT group_key, firing FROM notification")
    fires = {name: [json.loads(firing) != [] for key, firing in noted if f'"{name}"' in key] for name in NAMES}
    assert {name: set(told) for name, told in fires.items()} == {
        name: {True} if on else set() for name, on in truth.items()
    }


def check_history(
    receivers: Receivers, periods: dict[str, list[Period]], stretches: Sequence[tuple[float, float]]
) -> None:
    """The webhook heard of everything that the daemon had time to see: it took the alert to be on, or its end."""
    seen = 0
    for name in NAMES:
        episodes = told_episodes(receivers.posted(name))
        for period in periods[name]:
            if period.on and period.had(SOLID_S, stretches):
                seen += 1
                assert any(began <= period.ended_s and ended >= period.began_s for began, ended in episodes), (
                    name,
                    period,
                )
            elif not period.on and episodes and period.had(SOLID_S + GROUP_INTERVAL_S, stretches):
                assert not any(began < period.began_s and ended > period.ended_s for began, ended in episodes), (
                    name,
                    period,
                )
    assert seen, "no period was long enough to be judged: nothing was tested"


def told_episodes(bodies: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """When, after what a webhook was told, an alert was firing: from `firing` to the `resolved` that followed."""
    episodes: list[tuple[float, float]] = []
    began_s = 0.0
    for body in bodies:
        (alert,) = body["alerts"]
        if body["status"] == "firing":
            began_s = began_s or unix_s(alert["startsAt"])
        elif began_s:
            episodes.append((began_s, unix_s(alert["endsAt"])))
            began_s = 0.0
    return [*episodes, *([(began_s, float("inf"))] if began_s else [])]


def unix_s(rfc3339: str) -> float:
    return datetime.fromisoformat(rfc3339).timestamp()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_fifty_deaths_lose_nothing(watch: Watch, page: GaugePage, receivers: Receivers) -> None:
    survive(watch, page, receivers, 50, ())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_deaths_while_receivers_fail_lose_nothing(watch: Watch, page: GaugePage, receivers: Receivers) -> None:
    survive(watch, page, receivers, 15, OUTAGES)
