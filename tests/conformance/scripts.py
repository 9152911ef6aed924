"""`.test` scripts: `load`, `clear`, `eval instant at`, `eval range from … to … step …`, `expect …` (promqltest)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from obskit.model.durations import parse_duration
from obskit.model.histograms import NativeHistogram
from obskit.model.labels import Labels
from obskit.promql.literals import parse_number, unquote
from obskit.promql.notation import parse_labels, parse_series, parse_values
from tests.conformance.cases import Case, Expectation, Series

_INSTANT = re.compile(r"eval(?:_(fail|warn|info|ordered))? instant at (\S+)\s+(.+)")
_RANGE = re.compile(r"eval(?:_(fail|warn|info))? range from (\S+) to (\S+) step (\S+)\s+(.+)")
_STARTS = re.compile(r"(.+?)@st\s+(.+)")
_START = re.compile(r"(@)?(_|-?(?:\d+[a-z]+)+|0)(?:([-+])((?:\d+[a-z]+)+))?(?:x(\d+))?")
_EXPECT = re.compile(r"expect (fail|warn|info|no_warn|no_info|ordered|string)\b\s*(?:(msg|regex):)?\s*(.*)")


def read_script(path: Path) -> Iterator[Case]:
    """The cases of a script."""
    series: list[Series] = []
    for number, lines in _blocks(path.read_text()):
        if lines[0] == "clear":
            series = []
        elif lines[0].startswith(("load ", "load_with_nhcb ")):
            loaded = list(_loaded(lines[1:], parse_duration(lines[0].split()[1])))
            series = series + loaded + (list(with_custom_bounds(loaded)) if "nhcb" in lines[0].split()[0] else [])
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


def _loaded(lines: list[str], interval_ms: int) -> Iterator[Series]:
    """The series of a load; a line `series@st offsets` gives the samples of the next line start timestamps."""
    starts: list[tuple[bool, int] | None] = []
    for line in lines:
        if match := _STARTS.fullmatch(line):
            starts = [start for item in match[2].split() for start in _start_items(item)]
            continue
        labels, values = parse_series(line)
        points = [(index * interval_ms, value) for index, value in enumerate(values) if value is not None]
        told = zip((index * interval_ms for index in range(len(values))), starts, strict=False)
        yield Series(labels, points, {t: _start_ms(t, start) for t, start in told if start is not None})
        starts = []


def _start_items(item: str) -> Iterator[tuple[bool, int] | None]:
    """One item of start timestamps: whether it is absolute (`@1m`) or from the sample on (`-30s`), and how far."""
    match = _START.fullmatch(item)
    if match is None:
        raise ValueError(f"not a start timestamp: {item}")
    absolute, first, sign, step, times = match.groups()
    if first == "_":
        yield from [None] * int(times or 1)
        return
    each = (-1 if sign == "-" else 1) * _time(step) if step else 0
    for index in range(int(times or 0) + 1):
        yield bool(absolute), _time(first) + index * each


def _start_ms(t_ms: int, start: tuple[bool, int]) -> int:
    absolute, offset = start
    return offset if absolute else t_ms + offset


def with_custom_bounds(series: list[Series]) -> Iterator[Series]:
    """The classic histograms among the series as native ones with custom bounds."""
    found: dict[Labels, dict[int, dict[str, float]]] = {}
    for one in series:
        name, _, kind = one.labels.name.rpartition("_")
        if kind not in ("bucket", "sum", "count"):
            continue
        key = f"le {one.labels.get('le')}" if kind == "bucket" else kind
        points = found.setdefault(one.labels.without("le").updated({"__name__": name}), {})
        for t_ms, value in one.points:
            if isinstance(value, float):
                points.setdefault(t_ms, {})[key] = value
    for labels, times in found.items():
        if any(key.startswith("le ") for parts in times.values() for key in parts):
            yield Series(labels, [(t_ms, _classic(parts)) for t_ms, parts in sorted(times.items())])


def _classic(parts: dict[str, float]) -> NativeHistogram:
    buckets = {float(key[3:]): value for key, value in parts.items() if key.startswith("le ")}
    return NativeHistogram.from_classic(buckets, sum=parts.get("sum", 0.0), count=parts.get("count"))


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
