"""One rule file and one script of samples, run by a real Prometheus and by our rule runner: what each made of it.

The script has a step per second. All samples are written to Prometheus before they are due, with their times, so that
nothing depends on how fast anything runs. A group evaluates once per step, wherever in the second its slot lies: all
times are counted in steps, and then the two sides must agree.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from obskit.clock import SystemClock
from obskit.logql import engine as logql
from obskit.model.alerts import ActiveAlert, AlertState, Transition
from obskit.model.labels import Labels
from obskit.model.results import Matrix
from obskit.promql import engine as promql
from obskit.promql.notation import parse_series
from obskit.rules.commits import Listeners
from obskit.rules.evaluation import Evaluator
from obskit.rules.files import load_rules
from obskit.rules.runner import Runner
from obskit.store.database import Database
from obskit.store.embedded import EmbeddedStore, StoreSettings
from obskit.store.interface import Batch, Samples
from obskit.testing.clock import FakeClock, run
from tests.promql.differential.data import Series
from tests.promql.differential.prometheus import Prometheus

STEP_MS = 1000
LOOKBACK_MS = 3000
LEAD_MS = 3000
"""Prometheus writes ALERTS from a group's third evaluation on."""
FAILED = "<error expanding template: "
WRITTEN = '{__name__=~"ALERTS|ALERTS_FOR_STATE|.+:.+"}'


@dataclass(frozen=True, slots=True)
class Seen:
    """An alert at one step. `since` is the step in which it became active."""

    state: str
    since: int
    value: str
    annotations: Mapping[str, str]


Points = dict[int, float]
Alerts = dict[Labels, Seen]


@dataclass(slots=True)
class Timeline:
    """What one side made of the script: by step, the alerts of each group, and the series that rules wrote."""

    alerts: dict[str, dict[int, Alerts]] = field(default_factory=dict)
    series: dict[Labels, Points] = field(default_factory=dict)
    transitions: list[tuple[float, Transition]] = field(default_factory=list)


class Script:
    """Samples by step, and when the first step is."""

    def __init__(self, lines: str, start_ms: int) -> None:
        self.start_ms = start_ms
        self._rows = [parse_series(line) for line in lines.strip().splitlines()]
        self.steps = max(len(values) for _, values in self._rows)

    def step_of(self, t_ms: float) -> int:
        """The step in which a moment lies."""
        return math.floor((t_ms - self.start_ms) / STEP_MS)

    def series(self) -> list[Series]:
        """Everything, for remote write."""
        made = []
        for labels, values in self._rows:
            points = [(self.start_ms + step * STEP_MS, v) for step, v in enumerate(values) if v is not None]
            made.append(Series(labels, [t_ms for t_ms, _ in points], [value for _, value in points]))
        return made

    def batch(self, step: int) -> Batch:
        """What comes at a step."""
        samples = Samples()
        for labels, values in self._rows:
            value = values[step] if step < len(values) else None
            if value is not None:
                samples.add(labels, self.start_ms + step * STEP_MS, value)
        return Batch(samples=samples)


# Prometheus


def record_prometheus(folder: Path, rules: str, lines: str) -> tuple[Script, Timeline]:
    """Run the script in real time."""
    (folder / "rules.yml").write_text(rules)
    config = "global: {evaluation_interval: 1s}\nrule_files: [rules.yml]\n"
    clock = SystemClock()
    with Prometheus(folder, config, f"--query.lookback-delta={LOOKBACK_MS // 1000}s") as server:
        script = Script(lines, (clock.now_ms() // 1000 + LEAD_MS // 1000 + 1) * 1000)
        server.write(script.series())
        timeline = Timeline()
        run(_watch(server, script, timeline, clock))
        timeline.series = _written(server, script)
    return script, timeline


async def _watch(server: Prometheus, script: Script, timeline: Timeline, clock: SystemClock) -> None:
    """Note each group's alerts as they are right after each of its evaluations."""
    end_ms = script.start_ms + script.steps * STEP_MS
    while (now_ms := clock.now_ms()) < end_ms:
        if now_ms >= script.start_ms:
            for group in (await asyncio.to_thread(server.get, "rules"))["groups"]:
                step = script.step_of(_ms(group["lastEvaluation"]))
                timeline.alerts.setdefault(group["name"], {}).setdefault(step, _their_alerts(group, script))
        await clock.sleep(0.05)


def _their_alerts(group: dict[str, Any], script: Script) -> Alerts:
    return {
        Labels(alert["labels"]): Seen(
            alert["state"],
            script.step_of(_ms(alert["activeAt"])),
            repr(float(alert["value"])),
            _without_reasons(alert["annotations"]),
        )
        for rule in group["rules"]
        for alert in rule.get("alerts", ())
    }


def _ms(rfc3339: str) -> float:
    # Python reads microseconds, Go writes nanoseconds.
    stem, _, fraction = rfc3339.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{stem}.{fraction[:6]:0<6}+00:00").timestamp() * 1000


def _written(server: Prometheus, script: Script) -> dict[Labels, Points]:
    end_ms = script.start_ms + script.steps * STEP_MS - 1
    found = server.instant(f"{WRITTEN}[{script.steps}s]", end_ms)["result"]
    return {
        Labels(one["metric"]): {script.step_of(t * 1000): float(value) for t, value in one["values"]} for one in found
    }


# obskit


def record_obskit(folder: Path, rules: str, script: Script, *, arrivals: bool) -> Timeline:
    """Run the script with a clock that jumps; without `arrivals` rules are evaluated at their slots only."""
    clock = FakeClock(script.start_ms - LEAD_MS)
    timeline = Timeline()
    run(_replay(folder, rules, script, timeline, clock=clock, arrivals=arrivals), clock)
    return timeline


async def _replay(
    folder: Path, rules: str, script: Script, timeline: Timeline, *, clock: FakeClock, arrivals: bool
) -> None:
    store = EmbeddedStore(Database.open(folder, reserve_bytes=0), clock, StoreSettings())
    store.load()
    engine = promql.Engine(store.metrics, lookback_ms=LOOKBACK_MS)
    read = load_rules(rules, "rules.yml", default_interval_ms=STEP_MS)
    assert read.usable, read.problems

    def record(_tx: object, transitions: Any) -> None:
        timeline.transitions += [((clock.now_ms() - script.start_ms) / STEP_MS, one) for one in transitions]

    evaluator = Evaluator(engine, logql.Engine(store.logs))
    runner = Runner(store, evaluator, Listeners(record, lambda: None), clock, groups=read.groups)
    if arrivals:
        store.subscribe(runner.wake)
    task = asyncio.create_task(runner.run())
    await clock.sleep(LEAD_MS / 1000)
    for step in range(script.steps):
        await store.append(script.batch(step))
        await clock.sleep(STEP_MS / 1000 - 0.001)
        for status in runner.snapshot():
            seen = {alert.labels: _seen(alert, script) for rule in status.rules for alert in rule.alerts}
            active = {labels: alert for labels, alert in seen.items() if alert.state != AlertState.INACTIVE}
            timeline.alerts.setdefault(status.group.name, {})[step] = active
        await clock.sleep(0.001)
    found = engine.instant(f"{WRITTEN}[{script.steps}s]", clock.now_ms() - 1).value
    assert isinstance(found, Matrix)
    for one in found.series:
        timeline.series[one.labels] = dict(zip(map(script.step_of, one.times_ms), one.values, strict=True))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.close()


def _seen(alert: ActiveAlert, script: Script) -> Seen:
    annotations = _without_reasons(alert.annotations)
    return Seen(alert.state.value, script.step_of(alert.active_ms), repr(alert.value), annotations)


def _without_reasons(annotations: Mapping[str, str]) -> dict[str, str]:
    """Why a template fails, each side says in its own words."""
    return {name: FAILED if text.startswith(FAILED) else text for name, text in annotations.items()}
