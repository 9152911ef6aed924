"""Rules over lines: what makes lines an alert, and the keys that only such rules have.

A plain log query fires while there are lines, once per distinct set of labels that its pipeline gives. This is the place
where lines are told apart: labels now, groups of errors when lines carry their fingerprints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from obskit.logql.log_nodes import DropStage, LogQuery
from obskit.logql.metric_nodes import Binary, LogRange, MetricExpr, Number, RangeAggregation
from obskit.logql.parser import parse
from obskit.model.durations import format_duration
from obskit.rules.active_hours import ActiveHours, DuringSettings
from obskit.rules.fields import Fields, Path
from obskit.rules.forms import FORMS

NS_PER_MS: Final = 1_000_000
PER_LINE: Final = ("trace_id", "span_id", "traceID", "spanID", "request_id")
"""What each line has for itself tells no alerts apart."""
AT_MOST: Final = 20
EACH_WINDOW_MS: Final = 60_000
WINDOW_MS: Final = 300_000
"""How long a rule of lines fires after the last one."""


def while_lines(query: LogQuery, window_ms: int) -> MetricExpr:
    """True for each set of labels of which there was a line in the window."""
    told_apart = replace(query, stages=(*query.stages, DropStage(PER_LINE)))
    counted = RangeAggregation("count_over_time", LogRange(told_apart, window_ms * NS_PER_MS))
    return Binary(">", counted, Number(0.0))


def each_line(query: LogQuery, window_ms: int, at_most: int) -> MetricExpr:
    """True for each line by itself, the label `at` is its time; no more than `at_most` in a window."""
    window = format_duration(window_ms or EACH_WINDOW_MS)
    timed = f"{query} | label_format at=`{{{{__timestamp__ | unixEpochNanos}}}}`"
    parsed = parse(f"topk({at_most}, count_over_time({timed} [{window}])) > 0")
    assert not isinstance(parsed, LogQuery)
    return parsed


def read_lines(fields: Fields, path: Path, data: Mapping[str, Any], query: LogQuery) -> MetricExpr:
    """A plain log query as a rule: it fires while there are lines, or (`notify: each`) once for each."""
    notify = fields.text((*path, "notify"), data.get("notify"))
    if notify not in ("", "each"):
        fields.error((*path, "notify"), "unknown-notify", f'unknown notify "{notify}": `each` is all there is')
    at_most = fields.integer((*path, "at_most"), data.get("at_most")) or AT_MOST
    window_ms = fields.duration((*path, "window"), data.get("window"), 0)
    if notify == "each":
        return each_line(query, window_ms, at_most)
    return while_lines(query, window_ms or WINDOW_MS)


def read_form(fields: Fields, path: Path, data: Mapping[str, Any]) -> tuple[str, Any]:
    """The expression that a form stands for, as text and parsed; None for one that is wrong."""
    said = [name for name in ("expr", *FORMS) if name in data]
    if len(said) > 1:
        names = " and ".join(f"`{name}`" for name in said)
        fields.error((*path, said[-1]), "several-forms", f"a rule has one of {names}, not both", at_key=True)
        return "", None
    form = fields.settings((*path, said[0]), data[said[0]], FORMS[said[0]])
    return ("", None) if form is None else (form.logql(), parse(form.logql()))


def read_during(fields: Fields, path: Path, data: Mapping[str, Any]) -> ActiveHours | None:
    """The hours of a rule. One about silence waits until its whole window lies in them."""
    settings = fields.settings((*path, "during"), data["during"], DuringSettings)
    silent = next((data[name] for name in ("absence", "flatline") if name in data), None)
    within = silent.get("within", "5m") if isinstance(silent, dict) else "0s"
    lasting_ms = fields.duration((*path, "during"), within, 0)
    return None if settings is None else ActiveHours.of(settings, lasting_ms)
