"""Metric pages: the Prometheus text format 0.0.4 and OpenMetrics 1.0, read into columns.

A target's page hardly changes its form from one scrape to the next, so an ExpositionParser keeps the form of the last
one: where only values changed, they are all that is read. It also keeps the Labels of every series text it has seen: a
known line costs one split and one look-up. What is done with the samples is decided elsewhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import not_
from sys import intern
from typing import Final, NamedTuple, Self

from obskit.model.labels import NAME, Labels, is_metric_name
from obskit.model.samples import MetricMeta, MetricType

OPENMETRICS: Final = "application/openmetrics-text"
_TEXT_TYPES: Final = ("", "text/plain")
_SHOWN: Final = 80
_PIECE: Final = 1 << 17

_BARE_NAME: Final = re.compile(r"[ \t]*([a-zA-Z_:][a-zA-Z0-9_:]*)?[ \t]*")
_PAIR: Final = re.compile(
    r'[ \t]*(?:([a-zA-Z_][a-zA-Z0-9_]*)|"((?:[^"\\]|\\.)*)")[ \t]*(?:(=)[ \t]*"((?:[^"\\]|\\.)*)")?[ \t]*(,|\})'
)
_END: Final = re.compile(r"[ \t]*\}")
_REST: Final = re.compile(r"[ \t]*([^ \t\r]+)(?:[ \t]+([^ \t\r#]+))?[ \t]*(?:#[ \t]*\{.*)?\r?")
_COMMENT: Final = re.compile(r'#[ \t]+(HELP|TYPE|UNIT)[ \t]+(?:"((?:[^"\\]|\\.)*)"|([^ \t]+))(?:[ \t]+(.*))?')
_TYPE_LINE: Final = re.compile(r"#[ \t]+TYPE[ \t]")
_ESCAPE: Final = re.compile(r"\\(.)")
_TYPES: Final = {
    **{kind.value: kind for kind in MetricType},
    "unknown": MetricType.UNTYPED,
    "gaugehistogram": MetricType.HISTOGRAM,
    "info": MetricType.GAUGE,
    "stateset": MetricType.GAUGE,
}
_FLOAT_LABELS: Final = {MetricType.HISTOGRAM: "le", MetricType.SUMMARY: "quantile"}


class ExpositionError(ValueError):
    """A page that is not what it says it is. Names the line (one-based) and shows the beginning of its text."""

    def __init__(self, message: str, line: int = 0, text: str = "") -> None:
        place = f"line {line}: " if line else ""
        shown = f": {text[:_SHOWN]!r}" if text else ""
        super().__init__(f"{place}{message}{shown}")
        self.line = line


@dataclass(frozen=True, slots=True)
class Exposition:
    """One page as columns of one length, in page order, and what it says about its metric families.

    `times_ms` is Unix milliseconds: the sample's own time where `explicit`, else the time of the scrape. Pages of the
    same form share the lists `labels` and `explicit`, which nobody may change.
    """

    labels: list[Labels]
    times_ms: list[int]
    explicit: list[bool]
    values: list[float]
    metadata: dict[str, MetricMeta]


class _Series(NamedTuple):
    """A sample line, taken apart: the text of its series, its labels, and the texts of its value and time."""

    text: str
    labels: Labels
    value: str
    time: str


class ExpositionParser:
    """Reads the pages of one target. Keep one per target: series that two pages in a row did not have are forgotten.

    `finish` makes of the labels on the page those that the samples get, once per series, an object of its own each.
    """

    def __init__(self, finish: Callable[[Labels], Labels] = lambda labels: labels) -> None:
        self._finish = finish
        self._known: dict[str, Labels] = {}
        self._last_page: Sequence[Labels] = ()
        self._comments: list[str] = []
        self._metadata: dict[str, MetricMeta] = {}
        self._form: _Form | None = None

    def parse(self, body: bytes, content_type: str, *, now_ms: int) -> Exposition:
        """The samples of a page. ExpositionError names the first line that is wrong; nothing of a bad page counts.

        A page without a content type is read as the text format. Exemplars are skipped, `_created` series kept,
        `le` and `quantile` written as floats (`1` becomes `1.0`), as Prometheus 3 does.
        """
        openmetrics = _is_openmetrics(content_type)
        form = self._form
        values = None if form is None or form.openmetrics != openmetrics else form.values_of(body)
        if form is None or values is None:
            return self._read(body, now_ms, openmetrics=openmetrics)
        return Exposition(form.labels, [now_ms] * len(values), form.explicit, values, dict(self._metadata))

    def _read(self, body: bytes, now_ms: int, *, openmetrics: bool) -> Exposition:
        if self._form is not None:
            self._known = dict(zip(self._form.series, self._form.labels, strict=True))
            self._form = None
        every = _lines(body)
        lines = every[: _eof(every)] if openmetrics else every
        page = _Page(self._known, self._finish, openmetrics=openmetrics)
        page.read(lines)
        values = _floats(page.values, lines)
        times = [now_ms] * len(values)
        explicit = [False] * len(values)
        for index, t_ms in page.times.items():
            times[index], explicit[index] = t_ms, True
        metadata = self._describe(page.comments, lines)
        self._forget(page.labels)
        if values and not page.times and len(page.labels) == len(self._known):
            self._form = _Form.of(every, self._known, page, explicit)
            self._known = {}  # the form has it all, in less memory
        return Exposition(page.labels, times, explicit, values, metadata)

    def _forget(self, labels: Sequence[Labels]) -> None:
        """Drop what neither this page nor the one before it had."""
        known = self._known
        if len(labels) == len(known) == len(self._last_page):
            return  # the usual page: every series there, none new
        kept = {*map(id, labels), *map(id, self._last_page)}
        self._known = {text: known[text] for text in known if id(known[text]) in kept}
        self._last_page = labels

    def _describe(self, comments: list[str], lines: list[str]) -> dict[str, MetricMeta]:
        if comments != self._comments:
            self._metadata = _metadata(comments, lines)
            self._comments = comments
        return dict(self._metadata)


@dataclass(frozen=True, slots=True)
class _Form:
    """A page less its values: the texts of its series, and its other lines."""

    openmetrics: bool
    is_sample: bytes
    """A byte per line: 1 for a sample, 0 for any other."""
    others: list[str]
    series: list[str]
    labels: list[Labels]
    explicit: list[bool]
    length: int
    """Characters of the series and the other lines."""

    @classmethod
    def of(cls, lines: list[str], known: Mapping[str, Labels], page: _Page, explicit: list[bool]) -> Self:
        """The form of a page whose every sample is `series value`."""
        text_of = {id(labels): text for text, labels in known.items()}
        series = [text_of[id(labels)] for labels in page.labels]
        is_sample = bytes(bool(line) and not line.isspace() and not line.lstrip().startswith("#") for line in lines)
        others = list(compress(lines, map(not_, is_sample)))
        length = sum(map(len, others)) + sum(map(len, series))
        return cls(page.openmetrics, is_sample, others, series, page.labels, explicit, length)

    def values_of(self, body: bytes) -> list[float] | None:
        """The values of a page, in the order of its samples; None when it has another form, or is wrong somewhere."""
        values: list[float] = []
        others: list[str] = []
        done = left = 0
        try:
            for text in _pieces(body):
                lines = text.split("\n")
                which = self.is_sample[done : done + len(lines)]
                done += len(lines)
                if 0 in which:
                    others += compress(lines, map(not_, which))
                    lines = list(compress(lines, which))
                numbers = list(map(str.removeprefix, lines, self.series[len(values) : len(values) + len(lines)]))
                left += len(text) - len(which) + 1 - len(joined := "\n".join(numbers)) + max(len(numbers) - 1, 0)
                if not _are_even(joined, len(numbers)):
                    return None
                values += map(float, numbers)
        except ValueError:
            return None
        # A line of another series was left whole: then less was taken away than the form has.
        return values if done == len(self.is_sample) and left == self.length and others == self.others else None


def _are_even(joined: str, count: int) -> bool:
    """Whether each of the values begins with the one space behind its series, and none is a number to Python alone."""
    if not count:
        return True
    spaces = joined.startswith(" ") and joined.count("\n ") == count - 1 and joined.count(" ") == count
    return spaces and "_" not in joined and joined.isascii()


def _pieces(body: bytes) -> Iterator[str]:
    """The page in pieces of whole lines, so that one of many megabytes does not take a multiple of that."""
    begin = 0
    while (end := body.find(b"\n", begin + _PIECE)) >= 0:
        yield body[begin:end].decode()
        begin = end + 1
    yield body[begin:].decode()


class _Page:
    """One reading of one page: fills columns, adds new series to `known`."""

    def __init__(self, known: dict[str, Labels], finish: Callable[[Labels], Labels], *, openmetrics: bool) -> None:
        self.known = known
        self.finish = finish
        self.openmetrics = openmetrics
        self.labels: list[Labels] = []
        self.values: list[str] = []
        self.times: dict[int, int] = {}
        self.comments: list[str] = []

    def read(self, lines: list[str]) -> None:
        known, add_labels, add_value = self.known.get, self.labels.append, self.values.append
        for line in lines:
            series, _, value = line.rpartition(" ")
            labels = known(series)
            if labels is None:
                self._read_unknown(line, lines)
            else:
                add_labels(labels)
                add_value(value)

    def _read_unknown(self, line: str, lines: list[str]) -> None:
        """A comment, an empty line, a new series, or a known one with a time or an exemplar behind its value."""
        if line.lstrip().startswith("#"):
            self.comments.append(line.strip())
        elif line and not line.isspace():
            try:
                self._add(self._split(line))
            except ValueError as error:
                raise ExpositionError(str(error), _line_of_sample(lines, len(self.labels)), line) from None

    def _split(self, line: str) -> _Series:
        sample = line.partition(" # ")[0]
        text, _, time = sample.rpartition(" ")
        labels = self.known.get(text)
        if labels is not None and time:
            return _Series(text, labels, time, "")
        text, _, value = text.rpartition(" ")
        labels = self.known.get(text)
        if labels is not None and value and time:  # else there are more spaces than one
            return _Series(text, labels, value, time)
        parsed = _parse_sample(line, self._current_type())
        if parsed.text in self.known:
            return parsed
        return parsed._replace(labels=self.finish(parsed.labels))

    def _add(self, series: _Series) -> None:
        if series.time:
            self.times[len(self.labels)] = _time_ms(series.time, openmetrics=self.openmetrics)
        self.labels.append(self.known.setdefault(series.text, series.labels))
        self.values.append(series.value)

    def _current_type(self) -> MetricType:
        """What the nearest `# TYPE` line above says."""
        for comment in reversed(self.comments):
            if _TYPE_LINE.match(comment):
                return _TYPES.get(comment.rpartition(" ")[2], MetricType.UNTYPED)
        return MetricType.UNTYPED


def _is_openmetrics(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != OPENMETRICS and media_type not in _TEXT_TYPES:
        raise ExpositionError(f"the page is {media_type}, which is not a text format for metrics")
    return media_type == OPENMETRICS


def _lines(body: bytes) -> list[str]:
    try:
        return body.decode().split("\n")
    except UnicodeDecodeError as error:
        number = body.count(b"\n", 0, error.start) + 1
        begin = body.rfind(b"\n", 0, error.start) + 1
        text = body[begin : begin + _SHOWN].partition(b"\n")[0].decode(errors="replace")
        raise ExpositionError("not UTF-8", number, text) from None


def _eof(lines: list[str]) -> int:
    """Which line is `# EOF`, with which an OpenMetrics page must end: it shows that the page is whole."""
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    if not end or lines[end - 1].rstrip("\r") != "# EOF":
        raise ExpositionError("the page does not end with # EOF", end, lines[end - 1] if end else "")
    return end - 1


def _line_of_sample(lines: Iterable[str], index: int) -> int:
    """The one-based line of the sample with this index."""
    for number, line in enumerate(lines, 1):
        if line and not line.isspace() and not line.lstrip().startswith("#"):
            if index == 0:
                return number
            index -= 1
    return 0


def _floats(texts: list[str], lines: list[str]) -> list[float]:
    joined = "".join(texts)
    if "_" not in joined and joined.isascii():  # Python takes 1_000 and other scripts' digits; the formats do not
        try:
            return list(map(float, texts))
        except ValueError:
            pass  # found again below, with its place
    for index, text in enumerate(texts):
        try:
            if "_" in text or not text.isascii():
                raise ValueError
            float(text)
        except ValueError:
            number = _line_of_sample(lines, index)
            raise ExpositionError("the value is not a number", number, lines[number - 1]) from None
    raise AssertionError("one of the values was not a number a moment ago")


def _time_ms(text: str, *, openmetrics: bool) -> int:
    try:
        if openmetrics:
            return round(float(text) * 1000)
        return int(text)
    except (ValueError, OverflowError):
        unit = "seconds" if openmetrics else "milliseconds"
        raise ValueError(f"the time is not a number of {unit}") from None


def _parse_sample(line: str, kind: MetricType) -> _Series:
    """Take a sample line apart by its grammar; ValueError says what is missing."""
    name_match = _BARE_NAME.match(line)
    assert name_match is not None
    name, end = name_match[1] or "", name_match.end()
    pairs: dict[str, str] = {}
    if line.startswith("{", end):
        end = _parse_braces(line, end + 1, pairs)
        name = _joined_name(name, pairs)
    if not name:
        raise ValueError("expected a metric name")
    rest = _REST.fullmatch(line, end)
    if rest is None:
        raise ValueError("expected one number behind the series, and at most a time behind that")
    numeric = _FLOAT_LABELS.get(kind)
    if numeric and numeric in pairs:
        pairs[numeric] = _normal_float(pairs[numeric])
    return _Series(
        line[: rest.start(1)].removesuffix(" "), Labels({**pairs, NAME: intern(name)}), rest[1], rest[2] or ""
    )


def _parse_braces(line: str, position: int, pairs: dict[str, str]) -> int:
    """Read `a="b", ...}` into `pairs` (a quoted metric name under __name__); the position behind the brace."""
    while True:
        end = _END.match(line, position)
        if end is not None:
            return end.end()
        pair = _PAIR.match(line, position)
        if pair is None:
            raise ValueError('expected label="value" inside the braces')
        bare, quoted, equals, value, mark = pair.groups()
        name = bare if bare is not None else _unescape(quoted)
        if not equals and bare is not None:
            raise ValueError(f"label {bare} has no value")
        key, text = (name, _unescape(value)) if equals else (NAME, name)
        if key in pairs:
            raise ValueError(f"label {key} is there twice")
        pairs[intern(key)] = intern(text)
        position = pair.end()
        if mark == "}":
            return position


def _joined_name(bare: str, pairs: dict[str, str]) -> str:
    quoted = pairs.pop(NAME, "")
    if bare and quoted:
        raise ValueError("the metric name is there twice")
    return bare or quoted


def _unescape(text: str) -> str:
    return text if "\\" not in text else _ESCAPE.sub(_unescaped, text)


def _unescaped(match: re.Match[str]) -> str:
    char = match[1]
    if char == "n":
        return "\n"
    return char if char in '\\"' else match[0]


def _normal_float(text: str) -> str:
    """A number as Prometheus 3 writes it in `le` and `quantile`: 1.0, 0.25, 1e+06, +Inf; other text unchanged."""
    try:
        value = float(text)
    except ValueError:
        return text
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    shown = repr(value)
    if abs(value) < 1e6 or "e" in shown:
        return shown
    whole, _, fraction = shown.lstrip("-").partition(".")
    digits = (whole + fraction).rstrip("0")
    mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
    return f"{'-' if value < 0 else ''}{mantissa}e+{len(whole) - 1:02d}"


def _metadata(comments: Iterable[str], lines: list[str]) -> dict[str, MetricMeta]:
    found: dict[str, dict[str, str]] = {}
    for comment in comments:
        match = _COMMENT.fullmatch(comment)
        if match is None:
            continue  # any other comment
        keyword, quoted, bare, text = match.groups()
        name = bare if bare is not None else _unescape(quoted)
        problem = _wrong(keyword, bare, text or "")
        if problem:
            number = next(i for i, line in enumerate(lines, 1) if line.strip() == comment)
            raise ExpositionError(problem, number, comment)
        found.setdefault(name, {})[keyword] = text or ""
    return {
        name: MetricMeta(
            type=_TYPES[words.get("TYPE", "untyped")],
            help=_unescape(words.get("HELP", "")),
            unit=words.get("UNIT", ""),
        )
        for name, words in found.items()
    }


def _wrong(keyword: str, bare: str | None, text: str) -> str:
    """What is wrong with a metadata line, or nothing."""
    if bare is not None and not is_metric_name(bare):
        return f"{bare!r} is not a metric name"
    if keyword == "TYPE" and text not in _TYPES:
        return f"{text!r} is not a metric type"
    return ""
