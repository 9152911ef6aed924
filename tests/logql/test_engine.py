from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.errors import QueryError
from obskit.logql import samples
from obskit.logql.engine import Engine, LogLine, Progress
from obskit.logql.log_nodes import LogQuery
from obskit.logql.parser import parse
from obskit.model.labels import EMPTY, Labels
from obskit.model.records import Record
from obskit.model.results import Matrix, Scalar, Vector
from obskit.testing.logs import MemoryLogs

S = 1_000_000_000
HOUR = 3_600 * S
API = Labels({"app": "api"})


def logs_of(*lines: tuple[int, str], stream: Labels = API) -> MemoryLogs:
    return MemoryLogs(Record(stream, t_s * S, line) for t_s, line in lines)


def values(engine: Engine, query: str, at_s: int) -> dict[Labels, float]:
    value = engine.instant(parse(query), at_s * S).value
    assert isinstance(value, Vector)
    return {element.labels: element.value for element in value.elements}


def test_the_window_is_open_at_its_start_to_the_nanosecond() -> None:
    logs = MemoryLogs([Record(API, 10 * S, "start"), Record(API, 10 * S + 1, "just in"), Record(API, 20 * S, "end")])
    assert values(Engine(logs), 'count_over_time({app="api"}[10s])', 20) == {API: 2.0}


def test_times_of_results_are_milliseconds() -> None:
    engine = Engine(logs_of((1, "x")))
    vector = engine.instant(parse('count_over_time({app="api"}[10s])'), 2 * S).value
    assert isinstance(vector, Vector)
    assert vector.elements[0].t_ms == 2000
    assert engine.instant(parse("1"), 2 * S).value == Scalar(1.0, 2000)


def test_needed_texts_are_handed_to_the_reader() -> None:
    logs = logs_of((1, "an error here"))
    query = '{app="api"} |= "error" |~ "here" != "x" |= "a" or "b" | json |= "after" | decolorize |= "changed"'
    assert list(Engine(logs).lines(parse(query), 0, 10 * S, limit=10, newest_first=False)) == []
    assert logs.asked_for == [("error", "here", "after")]


def test_lines_come_newest_first_and_bounded_when_asked_so() -> None:
    engine = Engine(logs_of((1, "a"), (2, "b"), (3, "c")), max_lines=2)
    query = parse('{app="api"}')
    newest = list(engine.lines(query, 0, 10 * S, limit=1, newest_first=True))
    assert newest == [LogLine(3 * S, "c", API, EMPTY, EMPTY)]
    assert [line.line for line in engine.lines(query, 0, 10 * S, limit=100, newest_first=False)] == ["a", "b"]
    assert [line.line for line in engine.lines(query, 1 * S, 2 * S, limit=9, newest_first=False)] == ["a"]
    assert list(engine.lines(query, 0, 10 * S, limit=0, newest_first=False)) == []


def test_a_log_query_has_no_value_and_a_metric_query_no_lines() -> None:
    engine = Engine(MemoryLogs())
    with pytest.raises(QueryError, match="log queries are not supported"):
        engine.instant(parse('{app="api"}'), 0)
    with pytest.raises(QueryError, match="log queries are not supported"):
        engine.range(parse('{app="api"}'), 0, 1, 1)
    with pytest.raises(QueryError, match="numbers"):
        engine.lines(parse("vector(1)"), 0, 1, limit=1, newest_first=True)


def test_too_many_series_are_refused() -> None:
    logs = MemoryLogs(Record(Labels({"app": "api", "n": str(n)}), S, "x") for n in range(4))
    query = 'count_over_time({app="api"}[1m])'
    assert len(values(Engine(logs, max_series=4), query, 2)) == 4
    with pytest.raises(QueryError, match=r"maximum of series \(3\)"):
        values(Engine(logs, max_series=3), query, 2)
    assert values(Engine(logs, max_series=3), f"sum({query})", 2) == {Labels(): 4.0}


@pytest.mark.parametrize(("start", "end", "step"), [(0, 10, 0), (0, 10, -1), (10, 0, 1), (0, 11_000, 1)])
def test_a_range_that_makes_no_sense_is_refused(start: int, end: int, step: int) -> None:
    with pytest.raises(QueryError):
        Engine(MemoryLogs()).range(parse("vector(1)"), start, end, step)


def test_approximate_ranking_is_refused_over_a_range() -> None:
    query = '1 + label_replace(approx_topk(1, rate({a="b"}[1m])), "a", "b", "c", "d")'
    with pytest.raises(QueryError, match="approx_topk"):
        Engine(MemoryLogs()).range(parse(query), 0, 10, 1)


def test_a_bad_line_outside_of_every_window_does_no_harm() -> None:
    logs = logs_of((5, "not json"), (15, '{"level":"info"}'), (25, '{"level":"info"}'))
    query = parse('sum by (level) (count_over_time({app="api"} | json [3s]))')
    matrix = Engine(logs).range(query, 15 * S, 25 * S, 10 * S).value
    assert isinstance(matrix, Matrix)
    assert [list(series.values) for series in matrix.series] == [[1.0, 1.0]]
    with pytest.raises(QueryError, match="JSONParserErr"):
        Engine(logs).range(query, 5 * S, 25 * S, 10 * S)


@pytest.mark.parametrize(
    "query",
    [
        'count_over_time({app=~"a|b"}[7s])',
        'sum by (level) (rate({app=~"a|b"} | logfmt | v>2 [9s]))',
        'max_over_time({app="a"} | logfmt | unwrap v [5s]) by (level)',
        'quantile_over_time(0.3, {app=~"a|b"} | logfmt | unwrap v [20s]) by (app)',
        'absent_over_time({app="a"} |= "warn" [3s])',
        'topk(1, sum by (level) (count_over_time({app=~"a|b"} | logfmt [6s]))) > 1',
        'sum by (app) (count_over_time({app=~"a|b"}[4s])) / on (app) count_over_time({app="a"}[9s]) or vector(0)',
        'count_over_time({app="a"}[5s] offset 4s) unless count_over_time({app="a"}[2s])',
    ],
)
@settings(max_examples=25, deadline=None)
@given(
    lines=st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from("ab"), st.sampled_from(["info", "warn"]), st.integers(0, 5)),
        max_size=20,
    ),
    step=st.integers(1, 9),
)
def test_a_range_is_what_the_instants_say(query: str, lines: list[tuple[int, str, str, int]], step: int) -> None:
    engine = Engine(
        MemoryLogs(Record(Labels({"app": app}), t * S, f"level={level} v={v}") for t, app, level, v in lines)
    )
    expr = parse(query)
    matrix = engine.range(expr, 0, 30 * S, step * S).value
    assert isinstance(matrix, Matrix)
    ranged = {
        (t_ms, series.labels, value)
        for series in matrix.series
        for t_ms, value in zip(series.times_ms, series.values, strict=True)
    }
    instants = {
        (t_s * 1000, labels, value)
        for t_s in range(0, 31, step)
        for labels, value in values(engine, query, t_s).items()
    }
    assert ranged == instants


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 99), st.text(max_size=12)), max_size=30), st.text(max_size=2), st.integers(1, 50)
)
def test_counting_is_what_a_person_would_count(lines: list[tuple[int, str]], needle: str, seconds: int) -> None:
    logs = MemoryLogs(Record(API, t_s * S, line) for t_s, line in lines)
    quoted = needle.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    found = values(Engine(logs), f'count_over_time({{app="api"}} |= "{quoted}" [{seconds}s])', 50)
    counted = sum(50 - seconds < t_s <= 50 and needle in line for t_s, line in lines)
    assert found == ({API: float(counted)} if counted else {})


@pytest.mark.parametrize(
    "query", ['{app="a"} | json', 'sum(count_over_time({app="a"} | json | n >= 0 [1h]))', 'rate({app="a"} |= "n" [1h])']
)
def test_a_query_says_how_far_it_is_and_can_be_stopped(query: str) -> None:
    def ask(progress: Progress) -> None:
        expr = parse(query)
        if isinstance(expr, LogQuery):
            list(engine.lines(expr, 0, HOUR, limit=1000, newest_first=True, progress=progress))
        else:
            engine.instant(expr, HOUR, progress=progress)

    engine = Engine(MemoryLogs(Record(Labels({"app": "a"}), at * HOUR // 60, f'{{"n":{at}}}') for at in range(60)))
    progress = Progress()
    ask(progress)
    assert progress.bytes_read == progress.bytes_total > 0
    assert progress.lines_found >= 59
    stopped = Progress()
    stopped.stop()
    with pytest.raises(QueryError, match="the query was cancelled"):
        ask(stopped)


def test_a_query_that_makes_too_many_series_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_MOST_SERIES", 10)
    engine = Engine(MemoryLogs(Record(Labels({"app": "a"}), at, f'{{"id":"{at}"}}') for at in range(60)))
    with pytest.raises(QueryError, match="more than 10 series"):
        engine.instant(parse('count(count_over_time({app="a"} | json [1h]))'), HOUR)
