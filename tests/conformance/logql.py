"""Runs LogQL cases: `python -m tests.conformance.logql FILE...` ends with `N passed, M failed`.

A file is JSON lines: `load` lines bring streams, `case` lines name the loads they see, a query and what it answers.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from obskit.errors import QueryError
from obskit.logql.engine import Engine
from obskit.logql.parser import parse
from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.model.results import Matrix, Scalar, Vector
from obskit.testing.logs import MemoryLogs

TOLERANCE = 1e-6
NS_PER_MS = 1_000_000


def cases(path: Path) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The cases of a file, each with the loads it sees."""
    loads: dict[str, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        item = json.loads(line) if line.strip() else {"kind": "blank"}
        if item["kind"] == "load":
            loads[item["id"]] = item
        elif item["kind"] == "case":
            yield item, [loads[name] for name in item["loads"]]


def run_case(case: dict[str, Any], loads: Iterable[dict[str, Any]]) -> str:
    """What is wrong with the answer; empty when it is as expected."""
    expected = case["expect"]
    try:
        found = _answer(case, _logs(loads))
    except QueryError as error:
        return _compare_error(expected, str(error))
    if expected["type"] == "error":
        return f"expected an error, found {found}"
    if expected["type"] == "empty":
        return "" if not found else f"expected nothing, found {found}"
    return _compare(_expected(expected), found, ordered=bool(expected.get("ordered")))


def _logs(loads: Iterable[dict[str, Any]]) -> MemoryLogs:
    return MemoryLogs(
        Record(Labels(stream["labels"]), int(entry[0]), entry[1], entry[2] if len(entry) > 2 else {})
        for load in loads
        for stream in load["streams"]
        for entry in stream["entries"]
    )


def _answer(case: dict[str, Any], logs: MemoryLogs) -> list[tuple[Labels | None, list[tuple[int, Any]]]]:
    """The answer as (labels, points): a scalar has no labels, a stream's points are lines. Times in nanoseconds."""
    engine, when, expr = Engine(logs), case["eval"], parse(case["query"])
    if when["type"] == "log":
        backward = when.get("direction", "backward") == "backward"
        streams: dict[Labels, list[tuple[int, Any]]] = {}
        limit = int(when.get("limit") or 100)
        for line in engine.lines(expr, when["start_ns"], when["end_ns"], limit=limit, newest_first=backward):
            streams.setdefault(line.labels, []).append((line.t_ns, line.line))
        return list(streams.items())
    if when["type"] == "instant":
        value = engine.instant(expr, when["time_ns"]).value
    else:
        value = engine.range(expr, when["start_ns"], when["end_ns"], when["step_ns"]).value
    if isinstance(value, Scalar):
        return [(None, [(0, value.value)])]
    if isinstance(value, Vector):
        return [(element.labels, [(0, element.value)]) for element in value.elements]
    assert isinstance(value, Matrix)
    return [
        (each.labels, [(t_ms * NS_PER_MS, point) for t_ms, point in zip(each.times_ms, each.values, strict=True)])
        for each in value.series
    ]


def _expected(expected: dict[str, Any]) -> list[tuple[Labels | None, list[tuple[int, Any]]]]:
    kind = expected["type"]
    if kind == "scalar":
        return [(None, [(0, float(expected["scalar"]))])]
    if kind == "streams":
        return [
            (Labels(stream["labels"]), [(int(entry[0]), entry[1]) for entry in stream["entries"]])
            for stream in expected["streams"]
        ]
    if kind == "vector":
        return [(Labels(each["labels"]), [(0, float(each["value"]))]) for each in expected["series"]]
    return [
        (Labels(each["labels"]), [(int(t_ns), float(value)) for t_ns, value in each["values"]])
        for each in expected["series"]
    ]


def _compare(
    wanted: list[tuple[Labels | None, list[tuple[int, Any]]]],
    found: list[tuple[Labels | None, list[tuple[int, Any]]]],
    *,
    ordered: bool,
) -> str:
    if not ordered:
        wanted, found = sorted(wanted, key=_label_text), sorted(found, key=_label_text)
    same = len(wanted) == len(found) and all(
        left == right and len(points) == len(others) and all(map(_same_point, points, others))
        for (left, points), (right, others) in zip(wanted, found, strict=True)
    )
    return "" if same else f"expected {wanted}\n     found {found}"


def _label_text(item: tuple[Labels | None, list[tuple[int, Any]]]) -> str:
    return str(item[0])


def _same_point(wanted: tuple[int, Any], found: tuple[int, Any]) -> bool:
    if wanted[0] != found[0] or isinstance(wanted[1], str) or isinstance(found[1], str):
        return wanted == found
    both_nan = math.isnan(wanted[1]) and math.isnan(found[1])
    return both_nan or math.isclose(wanted[1], found[1], rel_tol=TOLERANCE)


def _compare_error(expected: dict[str, Any], message: str) -> str:
    if expected["type"] != "error":
        return f"unexpected error: {message}"
    if expected.get("msg") and expected["msg"] not in message:
        return f"expected an error saying {expected['msg']!r}, found {message!r}"
    if expected.get("regex") and not re.search(expected["regex"], message):
        return f"expected an error matching {expected['regex']!r}, found {message!r}"
    return ""


def main(arguments: list[str]) -> int:
    """Run the cases of some files and print those that fail."""
    passed = failed = 0
    for path in map(Path, arguments):
        for case, loads in cases(path):
            problem = run_case(case, loads)
            passed, failed = passed + (not problem), failed + bool(problem)
            if problem:
                print(f"FAILED {path.name}:{case.get('line', case['id'])}  {case['query']}\n     {problem}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
