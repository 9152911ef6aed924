from __future__ import annotations

import math
import string
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from obskit.model import exposition
from obskit.model.exposition import Exposition, ExpositionError, ExpositionParser
from obskit.model.labels import Labels, quote
from obskit.model.samples import MetricMeta, MetricType

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
NOW_MS = 1_700_000_000_000


def read(page: str, content_type: str = TEXT) -> Exposition:
    return ExpositionParser().parse(page.encode(), content_type, now_ms=NOW_MS)


def one(page: str, content_type: str = TEXT) -> tuple[Labels, float]:
    exposition = read(page, content_type)
    return exposition.labels[0], exposition.values[0]


@pytest.mark.parametrize(
    ("line", "labels", "value"),
    [
        ("up 1", {"__name__": "up"}, 1.0),
        ("job:up:sum 1.5e3", {"__name__": "job:up:sum"}, 1500.0),
        ("up{} 0", {"__name__": "up"}, 0.0),
        ('up{a="b",} 1', {"__name__": "up", "a": "b"}, 1.0),
        ('up { a = "b" , c="d" } 1', {"__name__": "up", "a": "b", "c": "d"}, 1.0),
        ("up\t1", {"__name__": "up"}, 1.0),
        ("up  1\r", {"__name__": "up"}, 1.0),
        ('up{a="x y # {z} , = \\" \\\\ \\n \\d"} 1', {"__name__": "up", "a": 'x y # {z} , = " \\ \n \\d'}, 1.0),
        ('{"my.metric", "l.x"="ü"} 1', {"__name__": "my.metric", "l.x": "ü"}, 1.0),
        ('{a="b","my metric"} 1', {"__name__": "my metric", "a": "b"}, 1.0),
        ("up +Inf", {"__name__": "up"}, math.inf),
        ("up -Inf", {"__name__": "up"}, -math.inf),
        ('up{gone=""} 1', {"__name__": "up"}, 1.0),
    ],
)
def test_a_sample_line_is_read(line: str, labels: dict[str, str], value: float) -> None:
    assert one(line + "\n") == (Labels(labels), value)


def test_nan_is_a_value() -> None:
    assert math.isnan(read("up NaN\n").values[0])


def test_a_time_of_its_own_is_told_from_the_time_of_the_scrape() -> None:
    page = read('a 1\nb 2 1234\nc{x="y"} 3 -5\n')
    assert page.times_ms == [NOW_MS, 1234, -5]
    assert page.explicit == [False, True, True]


def test_times_in_openmetrics_are_seconds() -> None:
    assert read("a 1 1520879607.789\n# EOF\n", OPENMETRICS).times_ms == [1520879607789]


def test_exemplars_are_skipped() -> None:
    page = 'h_bucket{le="1.0"} 17 # {trace_id="a # b"} 0.67 1.5\nh_bucket{le="2.0"} 18 1.5 # {trace_id="x"} 0.1\n# EOF'
    exposition = read(page, OPENMETRICS)
    assert exposition.values == [17.0, 18.0]
    assert exposition.times_ms == [NOW_MS, 1500]


def test_created_series_are_kept() -> None:
    labels, value = one("# TYPE jobs counter\njobs_created 1.5\njobs_total 3\n# EOF\n", OPENMETRICS)
    assert (labels.name, value) == ("jobs_created", 1.5)


@pytest.mark.parametrize(
    ("written", "stored"),
    [("1", "1.0"), ("0.5", "0.5"), ("1e6", "1e+06"), ("1234567", "1.234567e+06"), ("+Inf", "+Inf"), (".25", "0.25"),
     ("0.00001", "1e-05"), ("-Inf", "-Inf"), ("NaN", "NaN"), ("soon", "soon"), ("100000", "100000.0"), ("-12500000", "-1.25e+07"), ("1e22", "1e+22"), ("1048576.5", "1.0485765e+06")],
)  # fmt: skip
def test_bounds_of_buckets_are_written_as_floats(written: str, stored: str) -> None:
    labels, _ = one(f'# TYPE h histogram\nh_bucket{{le="{written}"}} 1\n')
    assert labels["le"] == stored


def test_le_and_quantile_of_other_types_stay_as_they_are() -> None:
    page = '# TYPE a gauge\na{le="1",quantile="1"} 1\n# TYPE s summary\ns{le="1",quantile="1"} 1\n'
    assert [(each["le"], each["quantile"]) for each in read(page).labels] == [("1", "1"), ("1", "1.0")]


def test_metadata_is_read() -> None:
    page = (
        "# HELP a_seconds How long \\\\ it\\ntook.\n# TYPE a_seconds summary\n# UNIT a_seconds seconds\n"
        '# a comment\n#\n#TYPE no\n# TYPE "my.metric" counter\n# TYPE info info\na_seconds 1\n# EOF\n'
    )
    assert read(page, OPENMETRICS).metadata == {
        "a_seconds": MetricMeta(MetricType.SUMMARY, "How long \\ it\ntook.", "seconds"),
        "my.metric": MetricMeta(MetricType.COUNTER),
        "info": MetricMeta(MetricType.GAUGE),
    }


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("<!doctype html>\n", "line 1: expected a metric name: '<!doctype html>'"),
        ("a 1\n\n# x\nb{c=d} 1", "line 4: expected label=\"value\" inside the braces: 'b{c=d} 1'"),
        ("a 1\nb", "line 2: expected one number behind the series"),
        ("a 1\nb x", "line 2: the value is not a number: 'b x'"),
        ("a 1\n# c\nb 1_000", "line 3: the value is not a number"),
        ("a \N{ARABIC-INDIC DIGIT ONE}", "line 1: the value is not a number"),
        ("a 1 2 3", "line 1: expected one number behind the series"),
        ("a 1 1.5", "line 1: the time is not a number of milliseconds"),
        ('a{b="c",b="d"} 1', "line 1: label b is there twice"),
        ('a{"n",b="d"} 1', "line 1: the metric name is there twice"),
        ('a{b} 1', "line 1: label b has no value"),
        ('{b="c"} 1', "line 1: expected a metric name"),
        ('a{b="c} 1', "line 1: expected label="),
        ("a 1\n# TYPE a fancy\n", "line 2: 'fancy' is not a metric type"),
        ("# TYPE a-b gauge\n", "line 1: 'a-b' is not a metric name"),
        ("a" * 500 + "!\n", "a" * 79 + "'"),
    ],
)  # fmt: skip
def test_a_bad_page_is_refused_with_the_line_and_its_text(page: str, message: str) -> None:
    with pytest.raises(ExpositionError) as caught:
        read(page)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (b"a 1\nb\xff 1\n", TEXT, "line 2: not UTF-8"),
        (b"{}", "application/json", "the page is application/json"),
        (b"a 1\n", OPENMETRICS, "line 1: the page does not end with # EOF: 'a 1'"),
        (b"", OPENMETRICS, "the page does not end with # EOF"),
        (b"a 1 soon\n# EOF\n", OPENMETRICS, "line 1: the time is not a number of seconds"),
        (b"a 1 NaN\n# EOF\n", OPENMETRICS, "line 1: the time is not a number of seconds"),
    ],
)
def test_what_is_not_a_page_is_refused(body: bytes, content_type: str, message: str) -> None:
    with pytest.raises(ExpositionError) as caught:
        ExpositionParser().parse(body, content_type, now_ms=NOW_MS)
    assert message in str(caught.value)


def test_an_empty_page_has_no_samples() -> None:
    assert read("").labels == []
    assert read("", "").labels == []


def test_labels_are_the_same_objects_from_page_to_page() -> None:
    parser = ExpositionParser()
    page = b'# TYPE a counter\na{x="1"} 1\nb 2 77\nc\t3\nd{x=" # "} 4\n'
    first = parser.parse(page, TEXT, now_ms=1)
    second = parser.parse(page.replace(b"} 1", b"} 5"), TEXT, now_ms=2)
    assert [id(each) for each in second.labels] == [id(each) for each in first.labels]
    assert second.values == [5.0, 2.0, 3.0, 4.0]
    assert second.times_ms == [2, 77, 2, 2]
    assert second.metadata == first.metadata


def test_series_that_two_pages_did_not_have_are_forgotten() -> None:
    parser = ExpositionParser()
    for page in range(50):
        parser.parse(f"steady 1\nchurn{page} 1\n".encode(), TEXT, now_ms=page)
    assert sorted(parser._known) == ["churn48", "churn49", "steady"]


def test_a_bad_page_does_not_harm_the_next() -> None:
    parser = ExpositionParser()
    parser.parse(b"a 1\n", TEXT, now_ms=1)
    with pytest.raises(ExpositionError):
        parser.parse(b"a 1\nb 2\n!", TEXT, now_ms=2)
    assert parser.parse(b"a 3\n", TEXT, now_ms=3).values == [3.0]


NAMES = st.text(string.ascii_letters + "_", min_size=1, max_size=8)
SERIES = st.tuples(NAMES, st.dictionaries(NAMES, st.text(max_size=12), max_size=4), st.floats(allow_nan=False))


@settings(max_examples=100)
@given(st.lists(SERIES, max_size=8))
def test_what_is_written_is_read_back(series: list[tuple[str, dict[str, str], float]]) -> None:
    wanted = [Labels({**labels, "__name__": name}) for name, labels, _ in series]
    lines = [
        f"{name}{{{','.join(f'{key}={quote(text)}' for key, text in labels.items() if key != '__name__')}}} {value!r}\n"
        for name, labels, value in series
    ]
    parser = ExpositionParser()
    for now_ms in (1, 2):
        exposition = parser.parse("".join(lines).encode(), TEXT, now_ms=now_ms)
        assert exposition.labels == wanted
        assert exposition.values == [value for _, _, value in series]


@settings(max_examples=150)
@given(st.one_of(st.binary(max_size=60), st.text('a1{}="\\#, \n.', max_size=40).map(str.encode)))
def test_garbage_gives_samples_or_a_clear_error(body: bytes) -> None:
    with suppress(ExpositionError):
        exposition = ExpositionParser().parse(body, TEXT, now_ms=1)
        assert len(exposition.labels) == len(exposition.values) == len(exposition.times_ms)


LINES = st.lists(
    st.sampled_from([
        "foo 1", "foo 2", "foo  2", "foo 2 ", "foo2", "foo_bar 1", 'foo{a="b"} 1', 'foo{a="b"} 2', 'foo{a="b"}2', " 5", "5",
        "", "# HELP foo Text", "# TYPE foo counter", "# TYPE foo bogus", "foo 1_0", "foo 1 1700000000000", "foo NaN", "foo \x0b5", "foo ٣", "bar -1e3",
        "foo 3 # {} 1", "foo 4\r", "foo\t4", "foo x",
    ]),
    min_size=1,
    max_size=5,
)  # fmt: skip


@given(
    st.lists(LINES, min_size=2, max_size=4),
    st.sampled_from(["text/plain", "application/openmetrics-text"]),
    st.booleans(),
)
@example([["foo 1"], [""]], "text/plain", False)
def test_a_parser_that_knows_the_form_of_a_page_reads_what_a_new_one_reads(
    pages: list[list[str]], content_type: str, small: bool
) -> None:
    parser = ExpositionParser()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exposition, "_PIECE", 3 if small else 1 << 17)
        for lines in pages:
            text = "\n".join([*lines, "# EOF", ""] if "open" in content_type else lines)
            for body in (text.encode(), text.replace("1", "7").encode()):
                assert outcome(parser, body, content_type) == outcome(ExpositionParser(), body, content_type)


def outcome(parser: ExpositionParser, body: bytes, content_type: str) -> object:
    try:
        found = parser.parse(body, content_type, now_ms=1)
    except ExpositionError as error:
        return str(error)
    return found.labels, found.times_ms, found.explicit, list(map(repr, found.values)), found.metadata
