"""Values read out of many JSON lines at once are those that parsing each of them gives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.errors import QueryError
from obskit.logql.engine import Engine
from obskit.logql.flat_json import FlatJson
from obskit.logql.log_nodes import LogQuery
from obskit.logql.metric_nodes import Grouping, Unwrap
from obskit.logql.parser import parse
from obskit.logql.pipeline import Pipeline
from obskit.logql.samples import Extraction, SampleSeries, read_samples
from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.store.log_blocks import TextBlock
from obskit.store.log_interface import Records
from obskit.testing.logs import MemoryLogs

MEMBERS = st.sampled_from(
    ['"status":500', '"status": "503"', '"status":200', '"status" : 404.5', '"status":"abc"', '"\\u0073tatus":500', '"xstatus":600',
     '"http":{"status":500}', '" status ":501', '"status":null', '"status":true', '"status":-1e3', '"level":"error"', '"level":"e\\u0072ror"',
     '"level":"info"', '"status":01', '"status":', '"a\\"status\\":700,":1', '"msg":"\\"status\\":700,"', '"msg":"status"', '"tags":["status",1]',
     '"tags":["status":1]', '"tags":[{"status":500}]', '"http_status":500', '"http.status":501', '"http-x":1', '"status_":1', '"_status":1',
     '"é status":1', '"status":"é"', '"status":"\ufffd"', '"status":"half \ud800"', '"status\\n":1', '"msg":"two\nlines"', '"level":""', '"":1',
     '"__error__":"x"', '"--error--":1', '"app":"b"', '"note":"n"', '"status":[1]', '"status":5e2 ', '"9x":1', '"status":500}', '"took":"3s"']
)  # fmt: skip
LINES = st.lists(
    st.lists(MEMBERS, max_size=4).map(lambda members: "{" + ",".join(members) + "}")
    | st.sampled_from(["words", "", '{"status":500', "{}", "{ }", '{"status":500}}', '[{"status":500}]', ' {"status":500}', '{"status":500} ']),
    min_size=1,
    max_size=16,
)  # fmt: skip
STAGES = st.sampled_from(
    ["| status >= 500", "| status = 200", '| status=~".+"', '| level="error"', '| level!="error"', '| status>=500 or level="error"', '| __error__=""',
     '| __error__!="" or status>1', "| http_status > 1", "| _9x > 0", '| status_extracted=""', '| app_extracted="b" | drop level', '| keep status, app',
     '| note="n"', '| note_extracted!="" | status>0', "| took > 1s", ""]
)  # fmt: skip
GROUPINGS = st.sampled_from(
    [(), ("app",), ("status",), ("level", "status"), ("app_extracted",), ("note",), ("http_status", "_status"), ("note_extracted", "a_b")]
)  # fmt: skip


def series(pipeline: Pipeline, extraction: Extraction, block: TextBlock) -> list[tuple[Labels, list[int], list[float]]]:
    found: list[SampleSeries] = read_samples(extraction, pipeline, [block])
    return [(one.labels, one.times_ns.tolist(), one.values.tolist()) for one in found]


@settings(max_examples=400, deadline=None)
@given(LINES, STAGES, GROUPINGS, st.sampled_from([None, "status", "http_status"]))
def test_samples_are_those_of_parsed_lines(
    lines: list[str], stages: str, grouping: tuple[str, ...], unwrapped: str | None
) -> None:
    query = parse('{app=~".+"} | json ' + stages)
    assert isinstance(query, LogQuery)
    streams = [Labels({"app": "a"}), Labels({"app": "a", "level": "error"})]
    copies = 40 // len(lines) + 1
    records = [
        Record(streams[at % 2], at, line, [{}, {"note": "n"}, {"status": "7", "trace": "t"}][at % 3])
        for at, line in enumerate(lines * copies)
    ]
    block = TextBlock.of(Records.of(records))
    extraction = Extraction(query, "lines", Unwrap(unwrapped, "", ()) if unwrapped else None, Grouping(grouping))
    pipeline = Pipeline(query, extraction.demands(0))
    quick = series(pipeline, extraction, block)
    pipeline._fields, pipeline._probes = None, []
    assert quick == series(pipeline, extraction, block)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('{"status":500}', "500"),
        ('{"a":1,"status": "5xx" , "b":[1,"}",null]}', "5xx"),
        ('{"msg":"say \\"status\\":1,","status":-1.50e+3}', "-1.50e+3"),
        ('{"status":null}', None),
        ('{"other":true}', None),
    ],
)
def test_a_flat_object_is_read(line: str, value: str | None) -> None:
    block = TextBlock.of(Records.of([Record(Labels({"app": "a"}), 1, line)]))
    fields = FlatJson(["status"])
    columns = fields.read(block, block.chosen)
    assert columns.lines.tolist() == [0]
    raw = columns.values[0][0]
    assert (None if raw is None else fields.text(raw)) == value


@pytest.mark.parametrize(
    "line",
    ['{"a":{"status":500}}', '{"status":1,"status":2}', '{"st\\u0061tus":1}', '{"status":"a\\nb"}', '{"status":1', '{"status":01}', "status=500",
     '{" status":1}', '{"status":1}\n', '{"status":[1]}', '{"a":["status":1]}', '{"a" "status":1}', '{"status":NaN}']
)  # fmt: skip
def test_of_other_lines_nothing_is_told(line: str) -> None:
    records = [Record(Labels({"app": "a"}), at, text) for at, text in enumerate(['{"status":5}', line, '{"status":5}'])]
    block = TextBlock.of(Records.of(records))
    assert 1 not in FlatJson(["status"]).read(block, block.chosen).lines.tolist()


def test_many_other_lines_are_given_up() -> None:
    records = [Record(Labels({"app": "a"}), at, '{"a":{"status":500}}') for at in range(1_000)]
    block = TextBlock.of(Records.of(records))
    assert not len(FlatJson(["status"]).read(block, block.chosen).lines)


def test_a_line_that_fails_still_fails_the_query() -> None:
    logs = MemoryLogs(
        Record(Labels({"app": "a"}), at, '{"status":"x"}' if at == 30 else '{"status":500}') for at in range(60)
    )
    query = parse('sum(count_over_time({app="a"} | json | status>=500 [1m]))')
    with pytest.raises(QueryError, match="LabelFilterErr"):
        Engine(logs).instant(query, 100)
