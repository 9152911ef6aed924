"""LogQL cases, and what they expect, whatever file they come from."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from obskit.errors import QueryError
from obskit.logql.engine import Engine
from obskit.logql.parser import parse
from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.model.results import Matrix, Scalar, Vector
from obskit.testing.logs import MemoryLogs

TOLERANCE = 1e-9
NS_PER_MS = 1_000_000

Point = tuple[int, Any]
"""A time in nanoseconds (0 where the result has none) and a value, or a line."""
Group = tuple[object, tuple[Point, ...]]
"""What the points of a series or a stream have in common, and the points."""


@dataclass(frozen=True)
class Expected:
    """`kind` is scalar, series, lines, empty or error; for an error `text` is what it says, or a pattern of that."""

    kind: str
    groups: tuple[Group, ...] = ()
    ordered: bool = False
    text: str = ""
    is_pattern: bool = False
    by_category: bool = False


@dataclass(frozen=True)
class LogCase:
    """A query over some records. `times` are one (instant), two (lines) or three (range, with its step), in ns."""

    id: str
    query: str
    records: Sequence[Record]
    times: tuple[int, ...]
    expected: Expected
    newest_first: bool = False
    limit: int = 100_000


def problem(case: LogCase) -> str:
    """What is wrong with the answer; empty when it is as expected."""
    expected = case.expected
    try:
        found = _answer(case)
    except QueryError as error:
        return _wrong_error(expected, str(error))
    if expected.kind == "error":
        return f"expected an error, found {found}"
    wanted = list(expected.groups)
    if not expected.ordered:
        wanted, found = sorted(wanted, key=_key), sorted(found, key=_key)
    same = len(wanted) == len(found) and all(map(_same_group, wanted, found))
    return "" if same else f"expected {wanted}\n     found {found}"


def _answer(case: LogCase) -> list[Group]:
    engine, expr = Engine(MemoryLogs(case.records)), parse(case.query)
    if len(case.times) == 2:
        lines = engine.lines(expr, *case.times, limit=case.limit, newest_first=case.newest_first)
        streams: dict[object, list[Point]] = {}
        for line in lines:
            if case.expected.by_category:
                point = (line.t_ns, (line.line, line.metadata, line.parsed))
                streams.setdefault(line.stream, []).append(point)
            else:
                streams.setdefault(line.labels, []).append((line.t_ns, line.line))
        return [(labels, tuple(points)) for labels, points in streams.items()]
    at = case.times
    value = (engine.instant(expr, *at) if len(at) == 1 else engine.range(expr, *at)).value
    if isinstance(value, Scalar):
        return [(None, ((0, value.value),))]
    if isinstance(value, Vector):
        return [(element.labels, ((0, element.value),)) for element in value.elements]
    assert isinstance(value, Matrix)
    return [
        (each.labels, tuple((t_ms * NS_PER_MS, point) for t_ms, point in zip(each.times_ms, each.values, strict=True)))
        for each in value.series
    ]


def _key(group: Group) -> str:
    return str(group[0])


def _same_group(wanted: Group, found: Group) -> bool:
    same_points = len(wanted[1]) == len(found[1]) and all(map(_same_point, wanted[1], found[1]))
    return wanted[0] == found[0] and same_points


def _same_point(wanted: Point, found: Point) -> bool:
    if wanted[0] != found[0] or not isinstance(wanted[1], float) or not isinstance(found[1], float):
        return wanted == found
    both_nan = math.isnan(wanted[1]) and math.isnan(found[1])
    return both_nan or math.isclose(wanted[1], found[1], rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _wrong_error(expected: Expected, message: str) -> str:
    if expected.kind != "error":
        return f"unexpected error: {message}"
    fits = re.search(expected.text, message) if expected.is_pattern else expected.text in message
    return "" if fits else f"expected an error saying {expected.text!r}, found {message!r}"


@dataclass
class _Loads:
    """The loads of a file of JSON lines, by name."""

    records: dict[str, list[Record]] = field(default_factory=dict)

    def add(self, item: dict[str, Any]) -> None:
        self.records[item["id"]] = [
            Record(Labels(stream["labels"]), int(entry[0]), entry[1], entry[2] if len(entry) > 2 else {})
            for stream in item["streams"]
            for entry in stream["entries"]
        ]


def read_json(path: Path) -> Iterator[LogCase]:
    """The cases of a file of JSON lines: `load` lines bring streams, `case` lines name the loads they see."""
    loads = _Loads()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        item = json.loads(line) if line.strip() else {"kind": "blank"}
        if item["kind"] == "load":
            loads.add(item)
        elif item["kind"] == "case":
            when, expected = item["eval"], _expected(item["expect"])
            times = {"instant": ("time_ns",), "range": ("start_ns", "end_ns", "step_ns"), "log": ("start_ns", "end_ns")}
            yield LogCase(
                id=item.get("id", f"{path.name}:{number}"),
                query=item["query"],
                records=[record for name in item["loads"] for record in loads.records[name]],
                times=tuple(when[name] for name in times[when["type"]]),
                expected=expected,
                newest_first=when.get("direction", "backward") == "backward",
                limit=int(when.get("limit") or 100),
            )


def _expected(item: dict[str, Any]) -> Expected:
    groups: list[Group] = []
    match item["type"]:
        case "scalar":
            groups = [(None, ((0, float(item["scalar"])),))]
        case "streams":
            groups = [
                (_labels(stream), tuple((int(entry[0]), entry[1]) for entry in stream["entries"]))
                for stream in item["streams"]
            ]
        case "vector":
            groups = [(_labels(each), ((0, float(each["value"])),)) for each in item["series"]]
        case "matrix":
            groups = [
                (_labels(each), tuple((int(t_ns), float(value)) for t_ns, value in each["values"]))
                for each in item["series"]
            ]
    return Expected(
        item["type"],
        tuple(groups),
        ordered=bool(item.get("ordered")),
        text=item.get("msg") or item.get("regex") or "",
        is_pattern=bool(item.get("regex")),
    )


def _labels(item: dict[str, Any]) -> Labels:
    return Labels.keeping_empty(item["labels"])
