"""The evaluate loop: slots, arrivals, what is committed together, and what a restart or a reload leaves."""

from __future__ import annotations

import asyncio
import pickle
import shlex
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from obskit.errors import QueryError, StoreFull
from obskit.logql import engine as logql
from obskit.logql.parser import parse as parse_logql
from obskit.model.alerts import AlertState, ResolveReason, Transition, TransitionKind
from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.model.records import Record
from obskit.model.results import Result
from obskit.model.samples import is_stale
from obskit.promql import engine as promql
from obskit.promql.nodes import Expr
from obskit.promql.ticks import Tick
from obskit.rules import ledger
from obskit.rules.commits import Listeners
from obskit.rules.evaluation import Evaluator
from obskit.rules.files import load_rules
from obskit.rules.groups import Group
from obskit.rules.leaves import LeafState
from obskit.rules.live import GroupStatus, RuleHealth, RuleStatus
from obskit.rules.log_links import LogLinks
from obskit.rules.log_windows import LogWindows
from obskit.rules.runner import Runner
from obskit.rules.sample_lines import SampleLines, no_group
from obskit.rules.telemetry import ARRIVALS, LATE_RECORDS, LOG_REQUERIES
from obskit.store.database import Database, Transaction
from obskit.store.embedded import Also, EmbeddedStore, StoreSettings
from obskit.store.interface import Batch, Samples, SeriesWindow
from obskit.testing.clock import FakeClock, run

SLOT = 15_000
DEPTH = Labels({"__name__": "queue_depth", "queue": "mail"})

BACKLOG = """\
groups:
- name: queues
  interval: 15s
  rules:
  - alert: Backlog
    expr: queue_depth > 5
    labels: {severity: page}
    annotations: {summary: "{{ $value }}"}
"""
PATIENT = BACKLOG.replace("expr:", "for: 30s\n    expr:")


def groups_of(text: str, file: str = "queues.yaml") -> list[Group]:
    read = load_rules(text, file)
    assert read.usable, read.problems
    return list(read.groups)


class Crash(BaseException):
    """The process ends here."""


class WatchedStore(EmbeddedStore):
    """The real store, which can be made to fail, or to end the process around the commits of rules."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        super().__init__(Database.open(folder, reserve_bytes=0), clock, StoreSettings())
        self.batches: list[Batch] = []
        self.fails: Exception | None = None
        self.crash_before: int | None = None
        self.crash_after: int | None = None
        self.commits = 0

    async def append(self, batch: Batch, also: Also | None = None, *, essential: bool = False) -> None:
        if not essential:
            return await super().append(batch, also)
        self.commits += 1
        if self.fails:
            raise self.fails
        if self.commits == self.crash_before:
            raise Crash
        self.batches.append(batch)
        await super().append(batch, also, essential=True)
        if self.commits == self.crash_after:
            raise Crash
        return None


class WatchedEngine(promql.Engine):
    """The real engine, which says when it was asked, and can be made to fail."""

    asked: list[int]
    takes_s: dict[str, float]
    clock: FakeClock
    fails: Exception | None = None

    def instant(self, expr: str | Expr, at_ms: int, tick: Tick | None = None) -> Result:
        self.asked.append(at_ms)
        self.clock.advance(self.takes_s.get(str(expr), 0.0))
        if self.fails:
            raise self.fails
        return super().instant(expr, at_ms, tick)


class Scene:
    """A runner over a store of its own. What routing is told is a table, so that it is gone when a commit is."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.folder = folder
        self.clock = clock
        self.told: list[Transition] = []
        self.notified = 0
        self.links = LogLinks()
        self.group_of: Callable[[Record], str] = no_group
        self.live = False

    def record(self, tx: Transaction, transitions: Sequence[Transition]) -> None:
        tx.execute("CREATE TABLE IF NOT EXISTS told (n INTEGER PRIMARY KEY, transition BLOB)")
        tx.executemany("INSERT INTO told (transition) VALUES (?)", [(pickle.dumps(one),) for one in transitions])

    def after_commit(self) -> None:
        self.notified += 1

    def read_told(self) -> None:
        if self.store.database.read("SELECT 1 FROM sqlite_master WHERE name = 'told'"):
            rows = self.store.database.read("SELECT transition FROM told ORDER BY n")
            self.told = [pickle.loads(row[0]) for row in rows]

    @asynccontextmanager
    async def running(self, text: str) -> AsyncIterator[Scene]:
        self.store = WatchedStore(self.folder, self.clock)
        self.store.load()
        self.engine = WatchedEngine(self.store.metrics)
        self.engine.asked, self.engine.takes_s, self.engine.clock = [], {}, self.clock
        self.logs = LogWindows(self.store.logs, self.clock)
        lines = SampleLines(logql.Engine(self.store.logs), self.links, self.group_of)
        evaluator = Evaluator(self.engine, self.logs, external_url="http://obskit", lines=lines)
        listeners = Listeners(self.record, self.after_commit)
        self.runner = Runner(self.store, evaluator, listeners, self.clock, groups=groups_of(text), logs=self.logs)
        self.store.subscribe(self.runner.wake)
        self.live = True
        self.task = asyncio.create_task(self.runner.run())
        try:
            yield self
        finally:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.read_told()
            self.live = False
            await self.store.close()

    async def depth(self, value: float, *, labels: Labels = DEPTH) -> None:
        await self.store.append(Batch(samples=Samples([labels], [self.clock.now_ms()], [value])))

    async def line(self, text: str, **stream: str) -> None:
        await self.store.append(Batch(records=[Record(Labels(stream), self.clock.now_ns(), text)]))

    async def slots(self, count: int = 1) -> None:
        """Let so many slots of the first group pass, to half a second behind the last."""
        group = self.status.group
        now_ms = self.clock.now_ms()
        until_ms = group.slot_at(now_ms) + count * group.interval_ms + 500
        await self.clock.sleep((until_ms - now_ms) / 1000)

    async def a_moment(self) -> None:
        """Long enough for an arrival, far too short for a slot."""
        await self.clock.sleep(0.05)

    @property
    def status(self) -> GroupStatus:
        return self.runner.snapshot()[0]

    @property
    def rule(self) -> RuleStatus:
        return self.status.rules[0]

    @property
    def told_now(self) -> list[Transition]:
        if self.live:
            self.read_told()
        return self.told

    @property
    def kinds(self) -> list[str]:
        return [transition.kind.value for transition in self.told_now]

    def window(self, *names: str) -> SeriesWindow:
        pattern = Matcher("__name__", MatchOp.REGEX, "|".join(names))
        return self.store.metrics.select([pattern], 0, self.clock.now_ms())

    def values(self, labels: Labels) -> list[float | str]:
        window = self.window(labels.name)
        if labels not in window.labels:
            return []
        index = list(window.labels).index(labels)
        values = window.values[window.starts[index] : window.starts[index + 1]]
        return ["stale" if is_stale(value) else value for value in values.tolist()]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, FakeClock())


def play(scene: Scene, scenario: Coroutine[Any, Any, None]) -> None:
    try:
        run(scenario, scene.clock)
    finally:
        scenario.close()


ALERT = Labels({"alertname": "Backlog", "queue": "mail", "severity": "page"})
PENDING = ALERT.updated({"__name__": "ALERTS", "alertstate": "pending"})
FIRING = ALERT.updated({"__name__": "ALERTS", "alertstate": "firing"})
FOR_STATE = ALERT.updated({"__name__": "ALERTS_FOR_STATE"})


def test_an_alert_goes_from_pending_to_firing_to_resolved_at_slots(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(PATIENT):
            await scene.slots()
            await scene.depth(6)
            await scene.slots(3)
            begun_s = scene.rule.alerts[0].active_ms // 1000
            assert scene.values(PENDING) == [1, 1, "stale"]
            assert scene.values(FIRING) == [1]
            assert scene.values(FOR_STATE) == [begun_s] * 3
            await scene.depth(1)
            await scene.slots()
            assert scene.values(FIRING) == [1, "stale"]
            assert scene.kinds == ["fired", "resolved"]
            assert scene.notified == 2

    play(scene, scenario())


def test_evaluations_are_stamped_with_the_slot(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(BACKLOG):
            await scene.slots(2)
            group = scene.status.group
            last_ms = group.slot_at(scene.clock.now_ms())
            assert scene.engine.asked == [last_ms - SLOT, last_ms]
            assert scene.status.last_evaluation_ms == last_ms

    play(scene, scenario())


def test_a_query_offset_moves_the_question_and_the_answer(scene: Scene) -> None:
    async def scenario() -> None:
        text = BACKLOG.replace("interval: 15s", "interval: 15s\n  query_offset: 1m")
        async with scene.running(text):
            await scene.slots()
            await scene.depth(6)
            await scene.slots(5)
            slot_ms = scene.status.last_evaluation_ms
            assert slot_ms is not None
            assert scene.engine.asked[-1] == slot_ms - 60_000
            assert scene.window("ALERTS").times_ms[-1] == slot_ms - 60_000

    play(scene, scenario())


def test_an_arrival_fires_without_waiting_for_the_slot(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(BACKLOG):
            await scene.slots()
            await scene.depth(6)
            sent_ms = scene.clock.now_ms()
            await scene.a_moment()
            assert scene.kinds == ["fired"]
            (fired,) = scene.told
            assert (fired.kind.value, fired.alert.starts_ms) == ("fired", sent_ms)
            assert fired.alert.annotations == {"summary": "6"}
            assert fired.alert.generator_url == "http://obskit/graph?g0.expr=queue_depth+%3E+5&g0.tab=1"
            assert scene.values(FIRING) == []
            await scene.depth(1)
            await scene.a_moment()
            assert scene.kinds == ["fired", "resolved"]

    play(scene, scenario())


def test_arrivals_work_before_the_first_slot(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(BACKLOG):
            await scene.depth(6)
            await scene.a_moment()
            assert scene.kinds == ["fired"]

    play(scene, scenario())


def test_only_touched_rules_are_asked_on_arrival(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(BACKLOG):
            await scene.slots()
            asked = len(scene.engine.asked)
            await scene.depth(6, labels=Labels({"__name__": "something_else"}))
            await scene.a_moment()
            assert len(scene.engine.asked) == asked

    play(scene, scenario())


def test_arrivals_in_a_burst_are_judged_together(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(BACKLOG):
            await scene.slots()
            asked = len(scene.engine.asked)
            for _ in range(50):
                await scene.depth(1)
            await scene.a_moment()
            assert len(scene.engine.asked) - asked <= 3

    play(scene, scenario())


CHAIN = """\
groups:
- name: chain
  interval: 15s
  rules:
  - {record: depth_copy, expr: queue_depth, labels: {copy: "1"}}
  - {record: depth_copy_copy, expr: depth_copy}
  - {alert: Backlog, expr: depth_copy_copy > 5, labels: {severity: page}}
  - {record: alerts_copy, expr: 'ALERTS{alertstate="firing"}'}
"""


def test_a_rule_sees_what_the_rules_before_it_wrote(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(CHAIN):
            await scene.depth(6)
            await scene.slots()
            assert list(scene.window("alerts_copy").labels) == [
                Labels({"__name__": "alerts_copy", "alertname": "Backlog", "alertstate": "firing", "copy": "1",
                        "queue": "mail", "severity": "page"})
            ]  # fmt: skip

    play(scene, scenario())


def test_a_rule_sees_what_was_written_between_it_and_a_rule_of_its_shape(scene: Scene) -> None:
    text = """\
groups:
- name: g
  interval: 15s
  rules:
  - {alert: Before, expr: copy > 5, for: 1m}
  - {record: copy, expr: queue_depth}
  - {alert: After, expr: copy > 6, for: 1m}
"""

    async def scenario() -> None:
        async with scene.running(text):
            await scene.depth(7)
            await scene.slots()
            assert [bool(rule.alerts) for rule in scene.status.rules] == [False, False, True]

    play(scene, scenario())


def test_a_group_whose_rules_do_not_depend_on_each_other_is_one_append(scene: Scene) -> None:
    async def scenario() -> None:
        rules = "".join(f"  - {{record: copy_{n}, expr: queue_depth}}\n" for n in range(20))
        async with scene.running(f"groups:\n- name: many\n  interval: 15s\n  rules:\n{rules}"):
            await scene.depth(6)
            await scene.slots()
            assert [len(batch.samples) for batch in scene.store.batches] == [20]

    play(scene, scenario())


def test_a_group_with_nothing_to_say_writes_nothing(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(BACKLOG):
            await scene.slots(3)
            assert scene.store.batches == []
            assert scene.rule.health is RuleHealth.OK

    play(scene, scenario())


def test_a_recorded_series_that_vanishes_gets_a_stale_marker(scene: Scene) -> None:
    async def scenario() -> None:
        text = "groups: [{name: g, interval: 15s, rules: [{record: big, expr: queue_depth > 5}]}]"
        async with scene.running(text):
            await scene.depth(6)
            await scene.slots()
            await scene.depth(1)
            await scene.slots(2)
            assert scene.values(DEPTH.updated({"__name__": "big"})) == [6, "stale"]

    play(scene, scenario())


def test_a_failing_rule_writes_nothing_and_says_why(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(CHAIN):
            await scene.depth(6)
            await scene.slots()
            scene.engine.fails = QueryError("too many samples")
            before = len(scene.store.batches)
            await scene.slots()
            assert {rule.health for rule in scene.status.rules} == {RuleHealth.ERR}
            assert scene.rule.last_error == "too many samples"
            assert all(not batch.samples for batch in scene.store.batches[before:])
            scene.engine.fails = None
            await scene.slots()
            assert {rule.health for rule in scene.status.rules} == {RuleHealth.OK}

    play(scene, scenario())


def test_a_rule_that_crashes_does_not_stop_the_loop(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(BACKLOG):
            scene.engine.fails = ZeroDivisionError("ours")
            await scene.depth(6)
            await scene.slots()
            assert scene.rule.last_error == "ZeroDivisionError: ours"
            scene.engine.fails = None
            await scene.slots()
            assert scene.kinds == ["fired"]

    play(scene, scenario())


def test_the_limit_of_a_group_fails_the_rule(scene: Scene) -> None:
    async def scenario() -> None:
        text = BACKLOG.replace("interval: 15s", "interval: 15s\n  limit: 1")
        async with scene.running(text):
            await scene.depth(6)
            await scene.slots()
            await scene.depth(6, labels=DEPTH.updated({"queue": "sms"}))
            await scene.slots()
            assert scene.rule.last_error == "exceeded limit of 1 with 2 alerts"
            assert scene.kinds == ["fired", "resolved"]
            assert scene.rule.alerts == ()

    play(scene, scenario())


def test_an_alert_whose_data_is_gone_resolves_for_lack_of_data(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(BACKLOG):
            await scene.depth(6)
            await scene.slots(21)
            assert scene.kinds[-1] == "resolved"
            assert scene.told[-1].alert.resolve_reason is ResolveReason.NO_DATA

    play(scene, scenario())


def test_late_slots_are_skipped(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(BACKLOG):
            await scene.slots()
            scene.clock.set_wall(scene.clock.now_ms() + 10 * SLOT)
            await scene.slots(2)
            times = scene.engine.asked
            assert [later - earlier for earlier, later in pairwise(times)] in (
                [11 * SLOT, SLOT],
                [12 * SLOT],
                [11 * SLOT],
            )

    play(scene, scenario())


def test_a_clock_that_was_set_back_does_not_stop_evaluation(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(BACKLOG):
            await scene.slots()
            scene.clock.set_wall(scene.clock.now_ms() - 3_600_000)
            await scene.slots(2)
            await scene.depth(6)
            await scene.slots(2)
            assert scene.kinds == ["fired"]

    play(scene, scenario())


# Restarts, failures and reloads


def test_a_restart_goes_on_where_it_was(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(PATIENT):
            await scene.slots()
            await scene.depth(6)
            await scene.slots(2)
            (alert,) = scene.rule.alerts
            assert alert.state is AlertState.PENDING
        async with scene.running(PATIENT):
            await scene.depth(6)
            await scene.slots()
            (again,) = scene.rule.alerts
            assert (again.state, again.active_ms) == (AlertState.FIRING, alert.active_ms)
            assert scene.kinds == ["fired"]

    play(scene, scenario())


def test_a_firing_alert_is_told_once_whatever_the_restarts(scene: Scene) -> None:
    async def scenario() -> None:
        for _ in range(3):
            async with scene.running(BACKLOG):
                await scene.depth(6)
                await scene.slots()
        assert scene.kinds == ["fired"]
        async with scene.running(BACKLOG):
            await scene.depth(1)
            await scene.slots()
        assert scene.kinds == ["fired", "resolved"]

    play(scene, scenario())


def test_series_that_vanish_over_a_restart_get_their_stale_marker(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(BACKLOG):
            await scene.depth(6)
            await scene.slots()
        async with scene.running(BACKLOG):
            await scene.depth(1)
            await scene.slots()
            assert scene.values(FIRING) == [1, "stale"]

    play(scene, scenario())


def test_what_could_not_be_committed_is_decided_again(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(BACKLOG):
            scene.store.fails = StoreFull("no space")
            await scene.depth(6)
            await scene.slots(2)
            assert scene.kinds == []
            scene.store.fails = None
            await scene.slots()
            assert scene.kinds == ["fired"]

    play(scene, scenario())


def test_pending_goes_on_counting_while_the_disk_is_full(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(PATIENT):
            await scene.slots()
            await scene.depth(6)
            scene.store.fails = StoreFull("no space")
            await scene.slots(3)
            scene.store.fails = None
            await scene.slots()
            assert scene.kinds == ["fired"]
            loaded = await scene.store.database.write(ledger.load)
            assert [alert.state for of in loaded.alerts.values() for alert in of.values()] == [AlertState.FIRING]

    play(scene, scenario())


def test_a_reload_keeps_the_alerts_of_rules_that_stay(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(BACKLOG):
            await scene.depth(6)
            await scene.slots()
            await scene.runner.reload(groups_of(BACKLOG.replace("> 5", "> 4")))
            await scene.depth(5.5)
            await scene.slots(2)
            assert scene.kinds == ["fired", "changed"]

    play(scene, scenario())


def test_a_reload_ends_the_alerts_of_rules_that_go(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(BACKLOG):
            await scene.depth(6)
            await scene.slots()
            other = "groups: [{name: g, interval: 15s, rules: [{record: a, expr: queue_depth}]}]"
            await scene.runner.reload(groups_of(other))
            assert scene.kinds == ["fired", "resolved"]
            assert scene.told[-1].alert.resolve_reason is ResolveReason.RULE_CHANGED
            assert scene.told[-1].alert.source == "queues.yaml:Backlog"
            loaded = await scene.store.database.write(ledger.load)
            assert (loaded.alerts, loaded.groups) == ({}, {})
            assert scene.values(FIRING) == [1, "stale"]

    play(scene, scenario())


def test_series_go_on_without_a_gap_when_their_rule_moves_to_another_group(scene: Scene) -> None:
    async def scenario() -> None:
        moved = PATIENT.replace("name: queues", "name: others")
        async with scene.running(PATIENT):
            await scene.depth(6)
            await scene.slots()
            await scene.runner.reload(groups_of(moved))
            await scene.slots(3)
            assert scene.values(PENDING) == [1, 1, 1, "stale"]
            assert scene.values(FIRING) == [1]

    play(scene, scenario())


def test_series_that_no_rule_goes_on_with_end_once_all_who_could_have_were_asked(scene: Scene) -> None:
    async def scenario() -> None:
        quiet = BACKLOG.replace("name: queues", "name: others").replace("> 5", "> 50")
        async with scene.running(BACKLOG):
            await scene.depth(6)
            await scene.slots()
            await scene.runner.reload(groups_of(quiet))
            assert scene.values(FIRING) == [1]
            await scene.slots()
            assert scene.values(FIRING) == [1, "stale"]

    play(scene, scenario())


def test_a_start_ends_the_alerts_of_rules_that_went_meanwhile(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(BACKLOG):
            await scene.depth(6)
            await scene.slots()
        async with scene.running("groups: [{name: queues, interval: 15s}]"):
            await scene.clock.sleep(1)
        assert scene.kinds == ["fired", "resolved"]

    play(scene, scenario())


def test_a_reload_does_not_skip_a_slot(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(BACKLOG):
            for _ in range(4):
                await scene.slots()
                await scene.runner.reload(groups_of(BACKLOG))
            assert len(scene.engine.asked) == 4

    play(scene, scenario())


def test_everything_can_be_evaluated_once(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(CHAIN):
            await scene.depth(6)
            await scene.runner.evaluate_all(scene.clock.now_ms())
            assert "fired" in scene.kinds

    play(scene, scenario())


# Logs


LINES = """\
groups:
- name: lines
  type: loki
  interval: 1m
  rules:
  - alert: Errors
    expr: sum by (app) (count_over_time({app="api"} |= "error" [5m])) > 2
    labels: {severity: page}
"""


def test_a_log_rule_fires_with_the_line_that_is_too_many(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(LINES):
            for text in ("error 1", "fine", "error 2", "error 3"):
                assert scene.kinds == []
                await scene.line(text, app="api")
                await scene.a_moment()
            assert scene.kinds == ["fired"]
            await scene.clock.sleep(400)
            assert scene.kinds == ["fired", "resolved"]

    play(scene, scenario())


def test_a_log_rule_is_woken_by_its_streams_alone(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(LINES):
            before = ARRIVALS._value.get()
            await scene.line("error", app="web")
            await scene.a_moment()
            assert ARRIVALS._value.get() == before
            await scene.line("error", app="api")
            await scene.a_moment()
            assert ARRIVALS._value.get() == before + 1

    play(scene, scenario())


COSTLY = (
    BACKLOG
    + """\
- name: costly
  interval: 1h
  rules:
  - alert: Costly
    expr: costly > 5
    labels: {severity: page}
"""
)


def test_a_costly_rule_that_rests_holds_up_no_other(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(COSTLY):
            costly = Labels({"__name__": "costly"})
            scene.engine.takes_s["costly > 5"] = 2.0
            for value in (1, 6):
                await scene.depth(value, labels=costly)
                await scene.a_moment()
            await scene.depth(6)
            await scene.a_moment()
            assert [transition.alert.name for transition in scene.told_now] == ["Backlog"]
            await scene.clock.sleep(20)
            assert [transition.alert.name for transition in scene.told_now] == ["Backlog", "Costly"]

    play(scene, scenario())


def test_the_time_that_others_take_from_a_rule_does_not_make_it_rest(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(COSTLY):
            scene.runner._worked_s = lambda: 0.0
            costly = Labels({"__name__": "costly"})
            scene.engine.takes_s["costly > 5"] = 2.0
            for value in (1, 6, 6):
                await scene.depth(value, labels=costly)
                await scene.a_moment()
            assert [transition.alert.name for transition in scene.told_now] == ["Costly"]

    play(scene, scenario())


# Crashes: the process ends right before or right after any commit of the rules

STORY = [1, 6, 6, 6, 1, 1, 6, 6, 6, 6, 1, 1]
STORY_RULES = PATIENT.replace("for: 30s", "for: 15s")


@pytest.mark.parametrize("moment", ["crash_before", "crash_after"])
@pytest.mark.parametrize("commit", range(1, 14))
def test_a_kill_around_any_commit_leaves_nothing_untold_and_nothing_told_twice(
    scene: Scene, commit: int, moment: str
) -> None:
    async def scenario() -> None:
        story = iter(STORY)
        for crash in (commit, None):
            async with scene.running(STORY_RULES):
                setattr(scene.store, moment, crash)
                for value in story:
                    await scene.depth(value)
                    await scene.slots()
                    if scene.task.done():
                        break
        async with scene.running(STORY_RULES):
            await scene.slots(2)
        assert [kind for kind in scene.kinds if kind != "changed"] == ["fired", "resolved"] * 2

    play(scene, scenario())


ERRORS = """\
groups:
- name: logs
  type: loki
  interval: 15s
  rules:
  - alert: Errors
    expr: 'sum by (app) (count_over_time({app=~".+"} |= "error" [1m])) > 1'
    labels: {severity: page}
"""


def test_a_line_fires_at_once_and_a_restart_forgets_none(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(ERRORS):
            await scene.slots()
            await scene.line("an error", app="api")
            await scene.line("all is well", app="api")
            await scene.a_moment()
            assert scene.kinds == []
        async with scene.running(ERRORS):
            await scene.line("an error", app="api")
            await scene.a_moment()
            assert scene.kinds == ["fired"]
            await scene.clock.sleep(2)
            assert scene.logs.states()[LeafState.WARM] == 1
            await scene.slots(6)
            assert scene.kinds == ["fired", "resolved"]

    play(scene, scenario())


def test_log_rules_do_not_ask_the_store_once_their_windows_are_there(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(ERRORS):
            await scene.slots(2)
            before = LOG_REQUERIES._value.get()
            for _ in range(3):
                await scene.line("an error", app="api")
                await scene.slots()
            assert scene.kinds == ["fired", "changed"]
            assert LOG_REQUERIES._value.get() == before

    play(scene, scenario())


def test_a_line_is_told_of_also_when_the_append_is_cancelled(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(ERRORS):
            await scene.slots(2)
            stream, loop = Labels({"app": "api"}), asyncio.get_running_loop()
            for number in range(2):
                batch = Batch(records=[Record(stream, scene.clock.now_ns(), f"error {number}")])
                cancel = asyncio.Event()
                append = asyncio.create_task(
                    scene.store.append(batch, lambda _, cancel=cancel: loop.call_soon_threadsafe(cancel.set))
                )
                await cancel.wait()
                append.cancel()
                await asyncio.gather(append, return_exceptions=True)
                await scene.store.database.call(lambda: None)  # its writer is done
            await scene.a_moment()
            assert scene.kinds == ["fired"]

    play(scene, scenario())


async def deliver(scene: Scene, *ago_s: float) -> None:
    """Lines that are this old when they come."""
    now_ns = scene.clock.now_ns()
    stream = Labels({"app": "edge", "source": "cdn"})
    records = [Record(stream, now_ns - int(ago * 1e9), "an error") for ago in sorted(ago_s, reverse=True)]
    await scene.store.append(Batch(records=records))
    await scene.a_moment()


def test_slots_wait_for_a_source_that_delivers_late_and_lines_do_not(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(ERRORS):
            await scene.slots()
            await deliver(scene, 30)
            await deliver(scene, 20, 3)
            slot_ms = scene.status.last_evaluation_ms
            assert slot_ms is not None
            await scene.clock.sleep(18)
            assert scene.status.last_evaluation_ms == slot_ms
            assert scene.kinds == ["fired"]
            await deliver(scene, 17, 0.5)
            assert scene.status.last_evaluation_ms == slot_ms + SLOT
            await scene.clock.sleep(120)
            now_ms = scene.clock.now_ms()
            assert now_ms - SLOT - 21_000 < (scene.status.last_evaluation_ms or 0) <= now_ms - 19_000

    play(scene, scenario())


def test_late_lines_are_counted_by_source(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(ERRORS):
            await scene.slots(2)
            before = LATE_RECORDS.labels("cdn")._value.get()
            await deliver(scene, 40, 35, 0)
            assert LATE_RECORDS.labels("cdn")._value.get() == before + 2
            assert scene.kinds == ["fired"]

    play(scene, scenario())


def test_a_log_alert_carries_lines_of_its_own(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(ERRORS):
            await scene.slots()
            await scene.line("another error", app="web")
            for number in range(8):
                await scene.line(f"error number {number % 6}\nof  many", app="api")
                await scene.clock.sleep(1)
            await scene.slots()
            lines = scene.told_now[0].alert.annotations["log_lines"].splitlines()
            assert lines == ["error number 0 of many", "error number 1 of many"]
            assert scene.told_now[-1].kind is TransitionKind.CHANGED
            assert scene.told_now[-1].alert.annotations["log_lines"].splitlines() == lines
            await scene.slots(6)
            assert "log_lines" not in scene.told_now[-1].alert.annotations

    play(scene, scenario())


def test_a_log_alert_says_where_its_lines_are(scene: Scene) -> None:
    scene.links = LogLinks("https://logs.example/?q={query}&from={start_ms}&to={end_ms}")
    scene.group_of = lambda record: "abc" if record.line.startswith("error 1") else ""

    async def scenario() -> None:
        async with scene.running(ERRORS):
            await scene.slots()
            for number in range(3):
                await scene.line(f"error {number}", app="it's")
                await scene.clock.sleep(1)
            await scene.slots()
            annotations = scene.told_now[0].alert.annotations
            assert annotations["error_group"] == "abc"
            command = shlex.split(annotations["logs_command"])
            assert command[:3] == ["obskit", "logs", "query"]
            assert command[3] == '{app=~".+"} |= "error" | app="it\'s"'
            asked = parse_qs(urlsplit(annotations["logs_url"]).query)
            assert asked["q"] == [command[3]]
            since, until = (datetime.fromisoformat(command[at]).timestamp() * 1000 for at in (5, 7))
            assert (since, until) == (float(asked["from"][0]), float(asked["to"][0]))
            assert 60_000 <= until - since <= 60_001
            start_ns, end_ns = int(since) * 10**6, int(until) * 10**6
            lines = logql.Engine(scene.store.logs).lines(
                parse_logql(command[3]), start_ns, end_ns, limit=9, newest_first=False
            )
            assert [line.line for line in lines] == ["error 0", "error 1"]
            assert scene.told_now[-1].alert.annotations["logs_url"] == annotations["logs_url"]

    play(scene, scenario())


def test_what_the_rule_says_of_its_lines_stays(scene: Scene) -> None:
    async def scenario() -> None:
        async with scene.running(f"{ERRORS}    annotations: {{logs_url: here, logs_command: look}}\n"):
            await scene.slots()
            for _ in range(3):
                await scene.line("error", app="api")
            await scene.slots()
            annotations = scene.told_now[0].alert.annotations
            assert (annotations["logs_url"], annotations["logs_command"]) == ("here", "look")
            assert annotations["log_lines"] == "error"
            assert "error_group" not in annotations

    play(scene, scenario())
