"""The functions that Prometheus gives its templates (docs/configuration/template_reference.md), beside Go's own.

Each takes and gives plain values; `tmpl` is the evaluator's, because it writes a template.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from obskit.gotemplate.functions import GO_FUNCTIONS, Function, query_escape
from obskit.gotemplate.problems import ValueProblem
from obskit.gotemplate.text import replace_all, title, to_lower, to_upper
from obskit.gotemplate.values import MAX_INT64
from obskit.model.durations import parse_duration
from obskit.model.histograms import NativeHistogram
from obskit.model.labels import EMPTY
from obskit.model.patterns import compile_pattern
from obskit.model.results import Element
from obskit.rules.humanize import (
    humanize,
    humanize1024,
    humanize_duration,
    humanize_percentage,
    humanize_timestamp,
    to_span,
    to_time,
)

MAX_TEXT: Final = 64 * 1024
"""The longest text a template, or a value in it, may become."""


def no_query(expr: str) -> Sequence[Element]:
    """The answer where there is nothing to ask."""
    raise ValueProblem(f"query cannot be answered here: {expr}")


@dataclass(frozen=True, slots=True)
class TemplateData:
    """What a template sees. `query` runs an instant query at the time of the evaluation, `now_ms`."""

    labels: Mapping[str, str] = EMPTY
    value: float | NativeHistogram = float("nan")
    external_labels: Mapping[str, str] = EMPTY
    external_url: str = ""
    query: Callable[[str], Sequence[Element]] = no_query
    now_ms: int = 0


def _query(data: TemplateData, expr: str) -> list[Element]:
    return list(data.query(expr))


def _first(vector: list[Element]) -> Element:
    if not vector:
        raise ValueProblem("the query's result is empty")
    return vector[0]


def _sort_by_label(label: str, vector: list[Element]) -> list[Element]:
    return sorted(vector, key=lambda element: element.labels.get(label))


def _split_port(host_port: str) -> tuple[str, str] | None:
    """Host and port as Go's net.SplitHostPort has them, or None."""
    if match := re.fullmatch(r"\[([^\[\]]*)\]:([^:\[\]]*)|([^:\[\]]*):([^:\[\]]*)", host_port):
        bracketed, port, host, other_port = match.groups()
        return (bracketed, port) if bracketed is not None else (host, other_port)
    return None


def _strip_port(host_port: str) -> str:
    split = _split_port(host_port)
    return split[0] if split else host_port


def _strip_domain(host_port: str) -> str:
    host, port = _split_port(host_port) or (host_port, "")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        short = host.split(".")[0]
        return f"{short}:{port}" if port else short
    return host_port


def _seconds(duration: str) -> float:
    ms = parse_duration(duration) if len(duration) < 64 else MAX_INT64
    if ms * 1_000_000 > MAX_INT64:
        raise ValueProblem("the duration is out of range")
    return ms / 1000


def _link(tab: int, expr: str) -> str:
    return f"/graph?g0.expr={query_escape(expr)}&g0.tab={tab}"


FUNCTIONS: Final[Mapping[str, Function]] = {
    **GO_FUNCTIONS,
    # what asks the engine, and takes its answers apart
    "query": Function(_query, "s", asks=True),
    "first": Function(_first, "v"),
    "label": Function(lambda name, element: element.labels.get(name), "se"),
    "value": Function(lambda element: element.value, "e"),
    "strvalue": Function(lambda element: element.labels.get("__value__"), "e"),
    "sortByLabel": Function(_sort_by_label, "sv"),
    # numbers and times for people
    "humanize": Function(humanize, "n"),
    "humanize1024": Function(humanize1024, "n"),
    "humanizeDuration": Function(humanize_duration, "n"),
    "humanizePercentage": Function(humanize_percentage, "n"),
    "humanizeTimestamp": Function(humanize_timestamp, "n"),
    "toTime": Function(to_time, "n"),
    "toDuration": Function(to_span, "n"),
    "parseDuration": Function(_seconds, "s"),
    "now": Function(lambda data: data.now_ms / 1000, "", asks=True),
    # text and addresses
    "title": Function(title, "s"),
    "toUpper": Function(to_upper, "s"),
    "toLower": Function(to_lower, "s"),
    "match": Function(lambda pattern, text: compile_pattern(pattern).search(text) is not None, "ss"),
    "reReplaceAll": Function(partial(replace_all, room=MAX_TEXT), "sss"),
    "stripPort": Function(_strip_port, "s"),
    "stripDomain": Function(_strip_domain, "s"),
    "safeHtml": Function(lambda text: text, "s"),
    "urlQueryEscape": Function(query_escape, "s"),
    # links into the web pages, and maps for a defined template
    "graphLink": Function(partial(_link, 0), "s"),
    "tableLink": Function(partial(_link, 1), "s"),
    "externalURL": Function(lambda data: data.external_url, "", asks=True),
    "pathPrefix": Function(lambda data: urlsplit(data.external_url).path, "", asks=True),
    "args": Function(lambda *values: {f"arg{at}": value for at, value in enumerate(values)}, "a*"),
}
