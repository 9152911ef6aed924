"""One rule file and one script of samples, run by a real Prometheus and by our rule runner: what each made of it.

The script has a step per second. All samples are written to Prometheus before they are due, with their times, so that
nothing depends on how fast anything runs. A group evaluates once per step, wherever in the second its slot lies: all
times are counted in steps, and then the two sides must agree. Between two steps there may be a turn: other rules, a
process that does nothing for a while, or that is gone for a while.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from obskit.clock import SystemClock
from obskit.logql import engine as logql
from obskit.model.alerts import ActiveAlert, AlertState, Transition
from obskit.model.labels import Labels
from obskit.model.results import Matrix, Result
from obskit.promql import engine as promql
from obskit.promql.notation import parse_series
from obskit.rules.commits import Listeners
from obskit.rules.evaluation import Evaluator
from obskit.rules.files import load_rules
from obskit.rules.groups import Group
from obskit.rules.runner import Runner
from obskit.store.database import Database
from obskit.store.embedded import EmbeddedStore, StoreSettings
from obskit.store.interface import Batch, Samples
from obskit.testing.clock import FakeClock, run
from tests.promql.differential.data import Series
from tests.promql.differential.prometheus import Prometheus

STEP_MS: Final = 1000
LOOKBACK_MS: Final = 3000
LEAD_MS: Final = 3000
"""Prometheus writes ALERTS from a group's third evaluation on."""
CANDIDATES: Final = 12
"""Where in the second a group's slot lies follows from its name; of so many names one has it far from a turn."""
FAR_MS: Final = 600
START_MS: Final = 800
"""How long Prometheus takes to start."""
FAILED: Final = "<error expanding template: "
WRITTEN: Final = '{__name__=~"ALERTS|ALERTS_FOR_STATE|.+:.+"}'
FLAGS: Final = (f"--query.lookback-delta={LOOKBACK_MS // 1000}s", "--rules.alert.for-grace-period=0s")
CONFIG: Final = "global: {evaluation_interval: 1s}\nrule_files: [rules.yml]\n"


@dataclass(frozen=True, slots=True)
class Turn:
    """What happens as a step begins: other rules; or for so many steps the process does nothing, or is gone."""

    rules: str = ""
    held: int = 0
    gone: int = 0


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
    """What one side made of the script: by step, the alerts of each group, and the series that rules wrote.

    `visible` is what a query finds at the end of each step: a series that has ended is not in it.
    """

    alerts: dict[str, dict[int, Alerts]] = field(default_factory=dict)
    series: dict[Labels, Points] = field(default_factory=dict)
    visible: dict[Labels, Points] = field(default_factory=dict)
    transitions: list[tuple[float, Transition]] = field(default_factory=list)


class Script:
    """Samples and turns by step, and when the first step is."""

    def __init__(self, lines: str, start_ms: int, turns: Mapping[int, Turn] | None = None) -> None:
        self.start_ms = start_ms
        self.turns = dict(turns or {})
        self._rows = [parse_series(line) for line in lines.strip().splitlines()]
        self.steps = max(len(values) for _, values in self._rows)

    def step_of(self, t_ms: float) -> int:
        """The step in which a moment lies."""
        return math.floor((t_ms - self.start_ms) / STEP_MS)

    def time_of(self, step: int) -> int:
        """When a step begins."""
        return self.start_ms + step * STEP_MS

    def series(self) -> list[Series]:
        """Everything, for remote write."""
        made = []
        for labels, values in self._rows:
            points = [(self.time_of(step), v) for step, v in enumerate(values) if v is not None]
            made.append(Series(labels, [t_ms for t_ms, _ in points], [value for _, value in points]))
        return made

    def batch(self, step: int) -> Batch:
        """What comes at a step."""
        samples = Samples()
        for labels, values in self._rows:
            value = values[step] if step < len(values) else None
            if value is not None:
                samples.add(labels, self.time_of(step), value)
        return Batch(samples=samples)


# Prometheus


def record_prometheus(
    folder: Path, rules: str, lines: str, turns: Mapping[int, Turn] | None = None
) -> tuple[Script, Timeline]:
    """Run the script in real time. The script that comes back has the length of each absence as it really was."""
    return run(_Theirs(folder, turns or {}).record(rules, lines))


class _Theirs:
    def __init__(self, folder: Path, turns: Mapping[int, Turn]) -> None:
        self._rules = folder / "rules.yml"
        self._turns = turns
        self._clock = SystemClock()
        self._names: dict[str, str] = {}
        self._timeline = Timeline()
        self._write("")
        self._server = Prometheus(folder, CONFIG, *FLAGS)

    async def record(self, rules: str, lines: str) -> tuple[Script, Timeline]:
        with self._server:
            if self._turns:
                await self._choose_names([rules, *(turn.rules for turn in self._turns.values())])
            self._write(rules)
            self._server.reload()
            start_ms = (self._clock.now_ms() // STEP_MS + 1) * STEP_MS + LEAD_MS
            self._script = script = Script(lines, start_ms, self._turns)
            self._server.write(script.series())
            await self._watch()
            end_ms = script.time_of(script.steps) - 1
            found = self._server.instant(f"{WRITTEN}[{script.steps}s]", end_ms)
            self._timeline.series = self._points(found)
            found = self._server.range(WRITTEN, script.time_of(1) - 1, end_ms, STEP_MS)
            self._timeline.visible = self._points(found)
        self._measure_absences()
        return script, self._timeline

    def _write(self, rules: str) -> None:
        self._rules.write_text(
            re.sub(r"(?m)^- name: (\S+)$", lambda m: f"- name: {self._names.get(m[1], m[1])}", rules)
        )

    async def _choose_names(self, texts: list[str]) -> None:
        """Names for the groups that give them slots far from the beginning of a step, where the turns are."""
        names = {name for text in texts for name in re.findall(r"(?m)^- name: (\S+)$", text)}
        tried = [f"{name}.{at}" for name in sorted(names) for at in range(CANDIDATES)]
        rules = "".join(f"- name: {name}\n  rules: [{{record: probe, expr: vector(1)}}]\n" for name in tried)
        self._write(f"groups:\n{rules}")
        self._server.reload()
        await self._clock.sleep(2.2 * STEP_MS / 1000)
        found = {group["name"]: _ms(group["lastEvaluation"]) % STEP_MS for group in self._server.get("rules")["groups"]}
        for name in names:
            mine = [one for one in tried if one.rpartition(".")[0] == name]
            self._names[name] = min(mine, key=lambda one: abs(found[one] - FAR_MS))

    async def _watch(self) -> None:
        """Take the turns, and note each group's alerts as they are right after each of its evaluations."""
        script, turns = self._script, dict(self._turns)
        names = {chosen: name for name, chosen in self._names.items()}
        while (step := script.step_of(self._clock.now_ms())) < script.steps:
            if turn := turns.pop(step, None):
                await self._take(turn, step)
            if step >= 0:
                for group in (await asyncio.to_thread(self._server.get, "rules"))["groups"]:
                    evaluated = script.step_of(_ms(group["lastEvaluation"]))
                    name = names.get(group["name"], group["name"])
                    self._timeline.alerts.setdefault(name, {}).setdefault(evaluated, self._alerts(group))
            await self._clock.sleep(0.05)

    async def _take(self, turn: Turn, step: int) -> None:
        if turn.rules:
            self._write(turn.rules)
            await asyncio.to_thread(self._server.reload)
        if turn.held:
            self._server.hold()
            await self._until(self._script.time_of(step + turn.held))
            self._server.release()
        if turn.gone:
            self._server.kill()
            await self._until(self._script.time_of(step + turn.gone) - START_MS)
            await asyncio.to_thread(self._server.start)

    async def _until(self, t_ms: int) -> None:
        await self._clock.sleep(max(t_ms - self._clock.now_ms(), 0) / 1000)

    def _alerts(self, group: dict[str, Any]) -> Alerts:
        return {
            Labels(alert["labels"]): Seen(
                alert["state"],
                self._script.step_of(_ms(alert["activeAt"])),
                repr(float(alert["value"])),
                _without_reasons(alert["annotations"]),
            )
            for rule in group["rules"]
            for alert in rule.get("alerts", ())
        }

    def _points(self, found: dict[str, Any]) -> dict[Labels, Points]:
        return {
            Labels(one["metric"]): {self._script.step_of(t * 1000): float(value) for t, value in one["values"]}
            for one in found["result"]
        }

    def _measure_absences(self) -> None:
        ticks = [
            step for labels, points in self._timeline.series.items() if labels.name[:5] == "tick:" for step in points
        ]
        for step, turn in self._turns.items():
            if turn.gone:
                back = min(tick for tick in ticks if tick >= step)
                self._script.turns[step] = replace(turn, gone=back - step)


def _ms(rfc3339: str) -> float:
    # Python reads microseconds, Go writes nanoseconds.
    stem, _, fraction = rfc3339.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{stem}.{fraction[:6]:0<6}+00:00").timestamp() * 1000


# obskit


def record_obskit(folder: Path, rules: str, script: Script, *, arrivals: bool) -> Timeline:
    """Run the script with a clock that jumps; without `arrivals` rules are evaluated at their slots only."""
    clock = FakeClock(script.start_ms - LEAD_MS)
    ours = _Ours(folder, script, clock)
    run(ours.record(rules, arrivals=arrivals), clock)
    return ours.timeline


class _Ours:
    def __init__(self, folder: Path, script: Script, clock: FakeClock) -> None:
        self._script = script
        self._clock = clock
        self._store = EmbeddedStore(Database.open(folder, reserve_bytes=0), clock, StoreSettings())
        self._store.load()
        self._engine = promql.Engine(self._store.metrics, lookback_ms=LOOKBACK_MS)
        self._listening = False
        self.timeline = Timeline()

    async def record(self, rules: str, *, arrivals: bool) -> None:
        self._listening = arrivals
        self._start(_groups(rules))
        await self._clock.sleep(LEAD_MS / 1000)
        step = 0
        while step < self._script.steps:
            if turn := self._script.turns.get(step):
                rules = turn.rules or rules
                await self._take(turn, step, rules)
                step += turn.held + turn.gone
            await self._store.append(self._script.batch(step))
            await self._clock.sleep(STEP_MS / 1000 - 0.001)
            self._note(step)
            await self._clock.sleep(0.001)
            step += 1
        end_ms = self._script.time_of(self._script.steps) - 1
        self.timeline.series = self._points(self._engine.instant(f"{WRITTEN}[{self._script.steps}s]", end_ms))
        visible = self._engine.range(WRITTEN, self._script.time_of(1) - 1, end_ms, STEP_MS)
        self.timeline.visible = self._points(visible)
        await self._stop()
        await self._store.close()

    def _start(self, groups: list[Group]) -> None:
        evaluator = Evaluator(self._engine, logql.Engine(self._store.logs))
        self._runner = Runner(self._store, evaluator, Listeners(self._hear, lambda: None), self._clock, groups=groups)
        if self._listening:
            self._store.subscribe(self._runner.wake)
        self._task = asyncio.create_task(self._runner.run())

    async def _stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _take(self, turn: Turn, step: int, rules: str) -> None:
        if turn.rules:
            await self._runner.reload(_groups(turn.rules))
        if turn.gone:
            await self._stop()
        for missed in range(turn.held + turn.gone):
            await self._store.append(self._script.batch(step + missed))
        self._clock.advance((turn.held + turn.gone) * STEP_MS / 1000)
        if turn.gone:
            self._start(_groups(rules))

    def _hear(self, _tx: object, transitions: Any) -> None:
        self.timeline.transitions += [
            ((self._clock.now_ms() - self._script.start_ms) / STEP_MS, one) for one in transitions
        ]

    def _note(self, step: int) -> None:
        for status in self._runner.snapshot():
            seen = {alert.labels: self._seen(alert) for rule in status.rules for alert in rule.alerts}
            active = {labels: alert for labels, alert in seen.items() if alert.state != AlertState.INACTIVE}
            self.timeline.alerts.setdefault(status.group.name, {})[step] = active

    def _seen(self, alert: ActiveAlert) -> Seen:
        annotations = _without_reasons(alert.annotations)
        return Seen(alert.state.value, self._script.step_of(alert.active_ms), repr(alert.value), annotations)

    def _points(self, found: Result) -> dict[Labels, Points]:
        assert isinstance(found.value, Matrix)
        return {
            one.labels: dict(zip(map(self._script.step_of, one.times_ms), one.values, strict=True))
            for one in found.value.series
        }


def _groups(rules: str) -> list[Group]:
    read = load_rules(rules, "rules.yml", default_interval_ms=STEP_MS)
    assert read.usable, read.problems
    return list(read.groups)


def _without_reasons(annotations: Mapping[str, str]) -> dict[str, str]:
    """Why a template fails, each side says in its own words."""
    return {name: FAILED if text.startswith(FAILED) else text for name, text in annotations.items()}
