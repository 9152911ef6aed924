"""`.test` scripts: `load`, `clear`, `eval instant at`, `eval range from … to … step …`, `expect …` (promqltest)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from obskit.model.durations import parse_duration
from obskit.promql.literals import parse_number, unquote
from obskit.promql.notation import parse_labels, parse_series, parse_values
from tests.conformance.cases import Case, Expectation, Series

_INSTANT = re.compile(r"eval(?:_(fail|warn|info|ordered))? instant at (\S+)\s+(.+)")
_RANGE = re.compile(r"eval(?:_(fail|warn|info))? range from (\S+) to (\S+) step (\S+)\s+(.+)")
_EXPECT = re.compile(r"expect (fail|warn|info|no_warn|no_info|ordered|string)\b\s*(?:(msg|regex):)?\s*(.*)")


def read_script(path: Path) -> Iterator[Case]:
    """The cases of a script."""
    series: list[Series] = []
    for number, lines in _blocks(path.read_text()):
        if lines[0] == "clear":
            series = []
        elif lines[0].startswith("load "):
            interval = parse_duration(lines[0].split()[1])
            series = series + [_load(line, interval) for line in lines[1:]]
        else:
            yield _case(f"{path.name}:{number}", lines, tuple(series))


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    block: list[str] = []
    first = 0
    for number, raw in enumerate([*text.splitlines(), ""], 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            if block:
                yield first, block
            block = []
        elif block:
            block.append(line)
        else:
            block, first = [line], number


def _load(line: str, interval_ms: int) -> Series:
    labels, values = parse_series(line)
    return Series(labels, [(index * interval_ms, value) for index, value in enumerate(values) if value is not None])


def _time(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    text = text.lstrip("-")
    return sign * (parse_duration(text) if not text.replace(".", "").isdigit() else round(float(text) * 1000))


def _case(name: str, lines: list[str], series: tuple[Series, ...]) -> Case:
    if match := _INSTANT.fullmatch(lines[0]):
        flag, at, query = match.groups()
        times: tuple[int, ...] = (_time(at),)
    elif match := _RANGE.fullmatch(lines[0]):
        flag, start, end, step, query = match.groups()
        times = (_time(start), _time(end), _time(step))
    else:
        raise ValueError(f"{name}: not a command: {lines[0]}")
    return Case(name, query, times, _expect(lines[1:], flag, times), series, range_check=True)


def _expect(lines: list[str], flag: str | None, times: tuple[int, ...]) -> Expectation:
    notes: dict[str, list[dict[str, str]]] = {flag: [{}]} if flag in ("fail", "warn", "info") else {}
    fields: dict[str, Any] = {"kind": "empty", "ordered": flag == "ordered", "notes": notes}
    absent, series = set(), {}
    for line in lines:
        if match := _EXPECT.fullmatch(line):
            what, how, text = match.groups()
            if what in ("no_warn", "no_info"):
                absent.add(what[3:])
            elif what == "ordered":
                fields["ordered"] = True
            elif what == "string":
                fields |= {"kind": "string", "string": unquote(text)}
            else:
                notes.setdefault(what, []).append({how: text.strip()} if how else {})
        elif re.fullmatch(r"[-+]?[\w.]+(?:[-+]\d+)?", line) and not re.match(
            r"[a-zA-Z_:]+(?<!inf)(?<!nan)$", line, re.IGNORECASE
        ):
            sign = -1 if line.startswith("-") else 1
            fields |= {"kind": "scalar", "scalar": sign * parse_number(line.lstrip("+-"))}
        else:
            labels, end = parse_labels(line)
            values = parse_values(line[end:])
            step = times[2] if len(times) == 3 else 0
            series[labels] = [(times[0] + i * step, value) for i, value in enumerate(values) if value is not None]
    if "fail" in notes:
        fields["kind"] = "error"
    elif series:
        fields["kind"] = "matrix" if len(times) == 3 else "vector"
    return Expectation(**fields, series=series, absent_notes=frozenset(absent))
