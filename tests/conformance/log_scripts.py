"""`.logqltest` scripts: `clear`, `load`, `eval instant|range|select …` and what is expected, as Loki's tests are written.

load
  {app="a"} "n={{.i}}" @ 10s [repeat every 5s for 3] [metadata trace="x"]
eval instant at 30s sum by (app) (count_over_time({app="a"}[1m]))
  {app="a"} 3
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from obskit.logql.units import go_duration_ns
from obskit.model.labels import Labels
from obskit.model.records import Record
from tests.conformance.log_cases import Expected, Group, LogCase, Point

LOOKBACK_NS = 30_000_000_000
"""What an instant log query reads."""

_INSTANT = re.compile(r"eval instant at (\S+)\s+(.+)")
_RANGE = re.compile(r"eval range from (\S+) to (\S+) step (\S+)\s+(.+)")
_SELECT = re.compile(r"eval select from (\S+) to (\S+) (forward|backward)\s+(.+)")
_LOAD = re.compile(
    r'(?P<labels>\{.*?\})\s*(?:"(?P<quoted>[^"]*)"|`(?P<raw>[^`]*)`)\s*@\s*(?P<at>\S+)'
    r"(?:\s*\[repeat every (?P<step>\S+)\s+for\s+(?P<count>\d+)\])?"
    r"(?:\s*\[metadata (?P<metadata>.*?)\](?=\s*(?:\[parsed|$)))?(?:\s*\[parsed (?P<parsed>.*)\])?"
)
_PAIR = re.compile(r'"?([^\s=",{}]+)"?\s*=\s*"((?:[^"\\]|\\.)*)"')
_QUOTED_OR_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|#.*')
_EXPANDED = re.compile(r"([-+]?[\w.]+?)(?:([-+][\d.]+))?x(\d+)")


def read_script(path: Path) -> Iterator[LogCase]:
    """The cases of a script."""
    records: list[Record] = []
    for number, head, body in _blocks(path.read_text(encoding="utf-8")):
        if head == "clear":
            records = []
        elif head == "load":
            records = records + [record for line in body for record in _loaded(line)]
        elif head != "flush":
            yield _case(f"{path.name}:{number}", head, body, records)


def _blocks(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Each command with its line number and the indented lines below it."""
    head, first, body = "", 0, []
    for number, raw in enumerate([*text.splitlines(), ""], 1):
        line = _QUOTED_OR_COMMENT.sub(lambda found: "" if found[0][0] == "#" else found[0], raw).rstrip()
        if line.startswith((" ", "\t")) and line.strip():
            body.append(line.strip())
        elif line.strip() or not raw.strip():
            if head:
                yield first, head, body
            head, first, body = line.strip(), number, []


def _loaded(line: str) -> Iterator[Record]:
    match = _LOAD.fullmatch(line)
    assert match, f"not a line to load: {line}"
    text = match["raw"] if match["raw"] is not None else match["quoted"]
    start, step = go_duration_ns(match["at"]), go_duration_ns(match["step"] or "0")
    stream, metadata = Labels(_pairs(match["labels"])), _pairs(match["metadata"] or "")
    for index in range(int(match["count"] or 1)):
        yield Record(stream, start + index * step, text.replace("{{.i}}", str(index)), metadata)


def _pairs(text: str) -> dict[str, str]:
    return {name: re.sub(r'\\(["\\])', r"\1", value) for name, value in _PAIR.findall(text)}


def _case(name: str, head: str, body: list[str], records: list[Record]) -> LogCase:
    newest_first = False
    times: tuple[int, ...]
    if match := _INSTANT.fullmatch(head):
        times, query = (go_duration_ns(match[1]),), match[2]
        if query.startswith("{"):
            times = (times[0] - LOOKBACK_NS, times[0])
    elif match := _RANGE.fullmatch(head):
        times, query = tuple(go_duration_ns(match[at]) for at in (1, 2, 3)), match[4]
        if query.startswith("{"):
            times = times[:2]
    elif match := _SELECT.fullmatch(head):
        times, query = (go_duration_ns(match[1]), go_duration_ns(match[2])), match[4]
        newest_first = match[3] == "backward"
    else:
        raise ValueError(f"{name}: not a command: {head}")
    return LogCase(name, query, records, times, _expected(name, body, times), newest_first)


def _expected(name: str, body: list[str], times: tuple[int, ...]) -> Expected:
    ordered, groups, lines = False, dict[object, list[Point]](), len(times) == 2
    for line in body:
        if match := re.fullmatch(r"expect fail(?:\s+(msg|regex):\s*(.*))?", line):
            return Expected("error", text=match[2] or "", is_pattern=match[1] == "regex")
        if line == "expect empty":
            return Expected("empty")
        if line == "expect ordered":
            ordered = True
        elif line.startswith(("skip ", "expect values-toleration")):
            continue
        elif lines:
            labels, point = _line(line)
            groups.setdefault(labels, []).append(point)
        else:
            labels, points = _series(line, times)
            groups[labels] = points
    assert groups, f"{name} expects nothing"
    kind = "lines" if lines else "scalar" if None in groups else "series"
    found: tuple[Group, ...] = tuple((labels, tuple(points)) for labels, points in groups.items())
    return Expected(kind, found, ordered=ordered, by_category=lines)


def _line(line: str) -> tuple[object, Point]:
    match = _LOAD.fullmatch(line)
    assert match, f"not an expected line: {line}"
    text = match["raw"] if match["raw"] is not None else match["quoted"]
    metadata, parsed = (Labels.keeping_empty(_pairs(match[kind] or "")) for kind in ("metadata", "parsed"))
    return Labels(_pairs(match["labels"])), (go_duration_ns(match["at"]), (text, metadata, parsed))


def _series(line: str, times: tuple[int, ...]) -> tuple[object, list[Point]]:
    labels: object = None
    if line.startswith("{"):
        end = _end_of_labels(line)
        labels, line = Labels.keeping_empty(_pairs(line[:end])), line[end:]
    values = [value for item in line.split() for value in _values(item)]
    start, step = (times[0], times[2]) if len(times) == 3 else (0, 0)
    return labels, [(start + at * step, value) for at, value in enumerate(values) if value is not None]


def _end_of_labels(line: str) -> int:
    blank = _QUOTED_OR_COMMENT.sub(lambda found: "_" * len(found[0]), line)
    return blank.index("}") + 1


def _values(item: str) -> Iterator[float | None]:
    """One item of a row: `6`, `_`, or `1+2x3` for 1 3 5 7."""
    if match := _EXPANDED.fullmatch(item):
        for at in range(int(match[3]) + 1):
            yield None if match[1] == "_" else float(match[1]) + at * float(match[2] or 0)
    else:
        yield None if item == "_" else float(item)
