"""Windows in memory against re-queries: whatever came when, a rule's vector is the same, bit for bit."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.errors import QueryError
from obskit.logql.engine import Engine
from obskit.model.labels import Labels
from obskit.model.matchers import Matcher
from obskit.model.problems import Severity
from obskit.model.records import Record
from obskit.model.results import Result, Scalar, Vector
from obskit.rules import leaves, log_windows, warming
from obskit.rules.files import load_rules
from obskit.rules.groups import Group
from obskit.rules.leaves import LeafState
from obskit.rules.log_windows import LogWindows
from obskit.store.listed_logs import ListedLogs
from obskit.store.log_interface import LogBlock, MinuteCounts, Records
from obskit.testing.clock import FakeClock
from obskit.testing.logs import MemoryLogs

S = 1_000_000_000
API, WEB = Labels({"app": "api", "env": "prod"}), Labels({"app": "web"})
LOUD = Labels({"app": "web", "level": "error"})

QUERIES = [
    'count_over_time({app="api"}[10s]) > 0',
    'sum(count_over_time({app=~".+"}[1m]))',
    'sum by (app) (rate({app=~".+"} |= "error" [30s]))',
    'sum by (app, level) (count_over_time({app=~".+"} | json | level="error" [30s]))',
    'rate({app="api"} |~ "time(out|d)" [20s]) or rate({app="web"} |= "error" != "x" [20s])',
    'count_over_time({app=~"api|web"} |~ "^error" [20s])',
    'count_over_time({app=~"api|web"} |~ "took$" |= "o" [20s])',
    'count_over_time({app=~"api|web"} |~ "\\\\A{" [20s])',
    'bytes_over_time({app=~".+"}[20s])',
    'bytes_rate({app="api"} |= "level" or "took" [20s] offset 5s)',
    'sum by (app) (sum_over_time({app=~".+"} | logfmt | unwrap took | __error__="" [20s]))',
    'avg_over_time({app=~".+"} | json | unwrap took | __error__="" [20s]) by (app)',
    'min_over_time({app=~".+"} | json | unwrap took | __error__="" [20s]) by (level)',
    'max_over_time({app=~".+"} | json | unwrap took [20s]) by (level)',
    'first_over_time({app=~".+"} | logfmt | __error__="" | unwrap took | __error__="" [20s]) by (app)',
    'last_over_time({app=~".+"} | logfmt | unwrap took | __error__="" [20s]) by (nothing)',
    'sum by (app) (rate_counter({app=~".+"} | logfmt | unwrap took | __error__="" [20s]))',
    'quantile_over_time(0.9, {app=~".+"} | json | unwrap took | __error__="" [20s]) by (app)',
    'stddev_over_time({app=~".+"} | json | unwrap took | __error__="" [20s]) by (app)',
    'stdvar_over_time({app=~".+"} | logfmt | unwrap took | __error__="" [25s]) by (app)',
    'absent_over_time({app="api"} |= "error" [5s])',
    'absent_over_time({app="nobody"}[5s])',
    'topk(2, sum by (level) (count_over_time({app=~".+"} | json | __error__="" [20s])))',
    'sum by (app) (count_over_time({app=~".+"} | json | __error__="" [20s])) / sum by (app) (rate({app=~".+"}[20s])) > 1',
    'count_over_time({app="api"} | json [20s])',
    'sum by (level) (count_over_time({app="api"} | logfmt | level=~"error|warn" [20s]))',
    'sum by (level) (count_over_time({app=~".+"} | json | status >= 500 [20s]))',
    'sum by (app) (count_over_time({app=~".+"} | json | __error__="" | level="error" [20s]))',
    'count_over_time({app=~".+"} |= "error" | label_format kind=level | drop took [20s])',
    'sum without (trace) (count_over_time({app="web"} |> "<_>error<_>" [20s]))',
    'sum by (trace) (count_over_time({app=~".+"} | trace="t1" [20s]))',
    'label_replace(count_over_time({app="api"} != "error" [10s]), "a", "$1", "app", "(.*)") unless rate({app="web"}[1s])',
    'sum by (said) (count_over_time({app=~".+"} |= "error" | line_format "{{.app}} {{__line__}}" | pattern "<said> <_>" [20s]))',
    'sum by (at) (count_over_time({app="api"} | label_format at="{{__timestamp__ | unixEpoch}}" [20s]))',
    "vector(1)",
]  # fmt: skip
LINES = [
    "an error here", "error first", "all is well", "timeout took", "timed", "", "error\nin two lines took",
    '{"level":"error","took":1.1}', '{"level":"warn","took":"3"}', '{"level":"err\\u006fr","took":0.3,"status":500}',
    '{"level":"error","took":', '{"took":"x","status":"503"}', '{"app":"api","level":"info","status":"abc"}',
    "level=error took=0.1", "level=warn took=2.7 trace=t1", 'level="error" took="1e3"', "took=abc", "took=-0.7", "é error ü",
    '{"level": "error", "took": 0.2, "path": "C:\\\\x"}',
]  # fmt: skip


class Store(MemoryLogs):
    """What was committed, in order of time, as the store has it."""

    def __init__(self) -> None:
        super().__init__()
        self.committed: list[Record] = []
        self.fails = False

    def select(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int, **more: Any) -> Iterator[Record]:
        return iter(list(self._listed().select(matchers, start_ns, end_ns, **more)))

    def blocks(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int, **more: Any) -> Iterator[LogBlock]:
        return iter(list(self._listed().blocks(matchers, start_ns, end_ns, **more)))

    def counts(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> Iterator[MinuteCounts] | None:
        return self._listed().counts(matchers, start_ns, end_ns)

    def _listed(self) -> ListedLogs:
        if self.fails:
            raise QueryError("more than may be read")
        return ListedLogs(self.committed)


class World:
    """A store, what it has told the windows, and the windows."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Store()
        self.windows = LogWindows(self.store, self.clock)
        self.untold: list[list[Record]] = []
        self.reading = False

    def at(self, seconds: float) -> int:
        return self.clock.now_ns() + int(seconds * S)

    def commit(self, *records: Record) -> None:
        stored = sorted(records, key=lambda record: record.t_ns)
        self.store.committed += stored
        self.untold.append(stored)

    def line(self, text: str, *, ago_s: float = 0, stream: Labels = API) -> None:
        self.commit(Record(stream, self.at(-ago_s), text))

    def tell(self) -> None:
        if self.untold:
            self.windows.offer(Records.of(self.untold.pop(0)))

    def tell_all(self) -> None:
        while self.untold:
            self.tell()

    def warm(self) -> None:
        for _ in range(200):
            if not self.windows.cold:
                return
            self.windows.read_piece()
            self.tell_all()
            self.windows.judge_piece()
        raise AssertionError("it does not get warm")

    def do(self, action: str, of_it: Any = None) -> None:
        """A step of a random history."""
        match action:
            case "commit":
                self.commit(*(Record(one[0], self.at(-one[1]), one[2], one[3]) for one in of_it))
            case "tell":
                self.tell()
            case "take in":
                self.windows.take_in()
            case "read" if not self.reading:
                self.windows.read_piece()
                self.reading = True
            case "judge" if self.reading:
                self.tell_all()
                self.windows.judge_piece()
                self.reading = False
            case "pass":
                self.clock.advance(of_it)
            case "back":
                self.clock.set_wall(self.clock.now_ms() - int(of_it * 1000))

    def states(self) -> set[str]:
        return {state.value for state, count in self.windows.states().items() if count}


def groups_of(*queries: str, interval: str = "15s") -> list[Group]:
    rules = "".join(f"  - {{alert: A{n}, expr: '{query}'}}\n" for n, query in enumerate(queries))
    read = load_rules(f"groups:\n- name: g\n  type: loki\n  interval: {interval}\n  rules:\n{rules}", "x.yaml")
    assert read.usable, [problem for problem in read.problems if problem.severity is Severity.ERROR]
    return list(read.groups)


def answer(engine: Any, query: Any, at_ns: int) -> object:
    """An answer as bits, or the words of an error."""
    try:
        result: Result = engine.instant(query, at_ns)
    except QueryError as error:
        return str(error)
    if isinstance(result.value, Scalar):
        return result.value
    assert isinstance(result.value, Vector)
    return [(element.labels, struct.pack("d", element.value)) for element in result.value.elements]


def check(world: World, groups: Sequence[Group], at_ns: int) -> None:
    world.tell_all()
    world.windows.take_in()
    asked_of_store = Engine(world.store)
    for group in groups:
        for rule in group.rules:
            assert answer(world.windows, rule.query, at_ns) == answer(asked_of_store, rule.query, at_ns), rule.expr


records = st.builds(
    lambda stream, ago, line, metadata: (stream, ago, line, metadata),
    st.sampled_from([API, WEB, LOUD]),
    st.one_of(st.sampled_from([0.0, 1.0, 1.0, 5.0, 10.0, 20.0, 59.0, 300.0, -3.0]), st.floats(0, 70)),
    st.sampled_from(LINES),
    st.sampled_from([{}, {}, {"trace": "t1"}, {"level": "error"}, {"trace": "t2", "app": "x"}]),
)
actions = st.one_of(
    st.tuples(st.just("commit"), st.lists(records, max_size=12)),
    st.tuples(st.just("tell"), st.none()),
    st.tuples(st.just("take in"), st.none()),
    st.tuples(st.just("read"), st.none()),
    st.tuples(st.just("judge"), st.none()),
    st.tuples(st.just("pass"), st.floats(0.01, 40)),
    st.tuples(st.just("back"), st.floats(1, 400)),
    st.tuples(st.just("check"), st.floats(0, 20)),
    st.tuples(st.just("reload"), st.sets(st.sampled_from(range(len(QUERIES))), min_size=1)),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(actions, max_size=25), st.sets(st.sampled_from(range(len(QUERIES))), min_size=5), st.booleans())
def test_a_window_gives_what_a_re_query_gives(
    steps: list[tuple[str, Any]], chosen: set[int], warm_at_first: bool
) -> None:
    replay(steps, chosen, warm_at_first)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(actions, max_size=25),
    st.sets(st.sampled_from(range(len(QUERIES))), min_size=5),
    st.booleans(),
    st.integers(0, 12),
    st.integers(0, 60),
)
def test_a_window_that_is_too_large_gives_what_a_re_query_gives(
    steps: list[tuple[str, Any]], chosen: set[int], warm_at_first: bool, of_one: int, of_all: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(log_windows, "MAX_SAMPLES", of_one)
        patched.setattr(warming, "MAX_SAMPLES", of_one)
        patched.setattr(log_windows, "MAX_TOTAL", of_all)
        world = replay(steps, chosen, warm_at_first)
        assert all(leaf.samples <= of_one for leaf in world.windows._leaves.values())


def replay(steps: list[tuple[str, Any]], chosen: set[int], warm_at_first: bool) -> World:
    """A random history; every check on the way compares windows with the store."""
    world = World()
    groups = groups_of(*(QUERIES[at] for at in sorted(chosen)))
    world.windows.watch(groups)
    if warm_at_first:
        world.warm()
    for action, of_it in steps:
        if action == "check":
            check(world, groups, world.at(-of_it))
        elif action == "reload":
            groups = groups_of(*(QUERIES[at] for at in sorted(of_it)))
            world.windows.watch(groups)
        else:
            world.do(action, of_it)
    world.do("judge")
    check(world, groups, world.at(0))
    world.warm()
    check(world, groups, world.at(0))
    world.clock.advance(20)
    check(world, groups, world.at(0))
    return world


def test_all_queries_are_answered_from_memory_once_they_are_warm() -> None:
    world = World()
    for number, line in enumerate(LINES * 3):
        world.line(line, ago_s=number / 2, stream=API if number % 3 else WEB)
    world.tell_all()
    groups = groups_of(*QUERIES)
    world.windows.watch(groups)
    world.warm()
    assert world.states() == {"warm"}
    for number, line in enumerate(LINES * 3):
        world.line(line, stream=(API, WEB, LOUD)[number % 3])
    check(world, groups, world.at(0))
    world.tell_all()
    world.windows.take_in()
    world.store.fails = True
    for rule in groups[0].rules:
        assert answer(world.windows, rule.query, world.at(0)) != "more than may be read"


COUNT = 'count_over_time({app="api"}[1m]) > 0'


def counted(world: World, groups: Sequence[Group]) -> float:
    world.tell_all()
    world.windows.take_in()
    found = world.windows.instant(groups[0].rules[0].query, world.at(0)).value
    assert isinstance(found, Vector)
    return sum(element.value for element in found.elements)


def test_a_line_that_comes_while_the_store_is_read_counts_once() -> None:
    world, groups = World(), groups_of(COUNT)
    world.windows.watch(groups)
    world.line("it is read, but was not yet told")
    world.windows.read_piece()
    world.line("it is told, but was not yet there")
    world.tell_all()
    woken, kept = world.windows.judge_piece()
    assert not kept
    assert list(woken) == [groups[0].rules[0].key]
    assert counted(world, groups) == 2
    world.warm()
    assert world.states() == {"warm"}
    assert counted(world, groups) == 2


def test_a_line_from_the_past_counts_once_whether_its_time_has_been_read_or_not() -> None:
    world, groups = World(), groups_of(COUNT)
    world.windows.watch(groups)
    world.windows.read_piece()
    world.windows.judge_piece()
    assert world.windows.cold
    world.line("after its time was read", ago_s=1)
    world.line("before its time is read", ago_s=30)
    world.tell_all()
    world.warm()
    assert counted(world, groups) == 2


@pytest.mark.parametrize("query", [
    'first_over_time({app=~".+"} | logfmt | unwrap v [1m]) by (no)',
    'last_over_time({app=~".+"} | logfmt | unwrap v [1m]) by (no)',
    'sum(sum_over_time({app=~".+"} | logfmt | unwrap v [1m]))',
])  # fmt: skip
def test_lines_of_one_time_count_in_the_order_of_their_arrival(query: str) -> None:
    world, groups = World(), groups_of(query, COUNT)
    world.windows.watch(groups)
    world.warm()
    for streams in ((WEB, API, WEB, LOUD), (API, WEB), (API, WEB, API)):
        world.commit(*(Record(stream, world.at(-1), f"v=0.{n + 1}") for n, stream in enumerate(streams)))
        world.commit(Record(API, world.at(-0.5), "v=7"))
    check(world, groups, world.at(-0.7))
    check(world, groups, world.at(0))


def test_rules_that_fall_behind_are_read_from_the_store_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_windows, "MAX_BACKLOG", 3)
    world, groups = World(), groups_of(COUNT)
    world.windows.watch(groups)
    world.warm()
    for _ in range(6):
        world.line("too many")
    world.tell_all()
    assert world.windows.behind
    assert world.windows.take_in() == {groups[0].rules[0].key: world.clock.now_ms()}
    assert world.states() == {"cold"}
    assert counted(world, groups) == 6
    world.line("one more")
    world.warm()
    assert world.states() == {"warm"}
    assert counted(world, groups) == 7


def test_a_window_that_is_given_up_is_left_to_the_store_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_windows, "MAX_SAMPLES", 5)
    monkeypatch.setattr(warming, "MAX_SAMPLES", 5)
    world, groups = World(), groups_of(COUNT)
    world.windows.watch(groups)
    world.warm()
    for number in range(1, 8):
        world.line("many")
        assert counted(world, groups) == number
    assert world.states() == {"given_up"}
    world.windows.watch(groups_of('count_over_time({app="api"} |= "a" [10s])', COUNT))
    world.warm()
    assert world.windows.states()[LeafState.GIVEN_UP] == 2
    world.clock.advance(201)
    world.line("again")
    assert counted(world, groups) == 1
    world.warm()
    assert world.states() == {"warm"}


def test_a_window_that_is_given_up_while_the_store_is_read_does_not_come_back_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_windows, "MAX_SAMPLES", 2)
    world, groups = World(), groups_of(COUNT)
    world.windows.watch(groups)
    world.windows.read_piece()
    for _ in range(3):
        world.line("many")
    world.tell_all()
    world.windows.judge_piece()
    assert counted(world, groups) == 3
    world.warm()
    assert counted(world, groups) == 3
    assert world.states() == {"given_up"}


def test_of_too_many_series_those_seen_least_recently_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaves, "MAX_SERIES", 3)
    world, groups = World(), groups_of('sum by (trace) (count_over_time({app="api"}[1m]))')
    world.windows.watch(groups)
    world.warm()
    for name in ("a", "b", "c", "a", "d"):
        world.commit(Record(API, world.at(0), "x", {"trace": name}))
    assert counted(world, groups) == 4
    found = world.windows.instant(groups[0].rules[0].query, world.at(0)).value
    assert isinstance(found, Vector)
    assert {element.labels.get("trace") for element in found.elements} == {"a", "c", "d"}


def test_a_window_that_cannot_be_read_is_left_to_the_store() -> None:
    world, groups = World(), groups_of(COUNT)
    world.store.fails = True
    world.windows.watch(groups)
    world.warm()
    assert world.states() == {"given_up"}


def test_a_reload_keeps_the_windows_that_reach_far_enough() -> None:
    world = World()
    world.windows.watch(groups_of(COUNT))
    world.warm()
    world.windows.watch(groups_of(COUNT.replace("1m", "30s"), 'rate({app="web"}[1m]) > 0'))
    assert world.windows.states() == {LeafState.WARM: 1, LeafState.COLD: 1, LeafState.GIVEN_UP: 0}
    world.windows.watch(groups_of(COUNT.replace("1m", "5m")))
    assert world.states() == {"cold"}
