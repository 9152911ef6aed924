"""What goes under a new root, in its thread: how the value went (a chart), the last log lines, the last deploys.

One message, best effort. Where a workspace does not draw charts yet, a sparkline stands in. Limits of the chart:
docs.slack.dev/reference/block-kit/blocks/data-visualization-block.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from obskit.model.context import Context, Deploy
from obskit.notify.figures import figure, sparkline, thinned
from obskit.notify.slack_message import SIZE_LIMIT, TEXT_LIMIT, Message, escape, local, section, utc
from obskit.notify.text import Card, clip

CHART_TYPE: Final = "data_visualization"
DEPLOYS: Final = 3
_CATEGORIES: Final = 20
_TITLE: Final = 50
_LABEL: Final = 20
_LINE: Final = 220
_LOG_LIMIT: Final = 2_900


def has_context(shown: Card, known: Context) -> bool:
    """Whether there is anything to show."""
    return bool(shown.sparkline or shown.samples or known.deploys)


def context_message(shown: Card, known: Context, *, charts: bool) -> Message:
    """`text` and `blocks`; without `charts` the value's course is a line of text."""
    for card, smaller in _smaller(shown, known):
        blocks = _blocks(card, smaller, charts=charts)
        if len(json.dumps(blocks, ensure_ascii=False)) <= SIZE_LIMIT:
            break
    return {"text": _plain(shown, known), "blocks": blocks, "attachments": []}


def plain_context(shown: Card, known: Context) -> Message:
    """The same as text only."""
    rows = [_plain(shown, known), *(escape(clip(line, _LINE), _LINE * 2) for line in shown.samples)]
    rows += [f"{utc(deploy.t_ms)}: {escape(clip(deploy.what, _LINE), _LINE * 2)}" for deploy in known.deploys[:DEPLOYS]]
    return {"text": "\n".join(rows)[:TEXT_LIMIT], "blocks": [], "attachments": []}


def _smaller(shown: Card, known: Context) -> Iterator[tuple[Card, Context]]:
    """Less and less of it: the chart goes first, then the log lines, the deploys stay."""
    yield shown, known
    yield shown, replace(known, readings=())
    yield replace(shown, samples=()), replace(known, readings=())


def _blocks(shown: Card, known: Context, *, charts: bool) -> list[Message]:
    found = [
        _chart(shown, known) if charts else _course(shown, known),
        _log(shown.samples),
        _deploys(known.deploys[:DEPLOYS]),
    ]
    # What is over the limit must not end as a message without blocks.
    return [block for block in found if block] or [section(_plain(shown, known))]


def _chart(shown: Card, known: Context) -> Message | None:
    points = [(t_ms, value) for t_ms, value in known.readings if math.isfinite(value)]
    if len(points) < 3:
        return None
    values = thinned([value for _, value in points], _CATEGORIES)
    # The last of each stretch names it; a category may be there once only.
    stamps = [points[round((number + 1) * len(points) / len(values)) - 1][0] for number in range(len(values))]
    labels = _categories(stamps)
    series = [_series("value", labels, values)]
    if known.limit is not None and math.isfinite(known.limit.value):
        series.append(
            _series(f"limit {known.limit.op} {figure(known.limit.value)}", labels, [known.limit.value] * len(labels))
        )
    axis: dict[str, Any] = {"categories": labels, "x_label": "UTC"}
    if known.unit:
        axis["y_label"] = known.unit[:_LABEL]
    return {
        "type": CHART_TYPE,
        "title": clip(shown.title, _TITLE) or "value",
        "chart": {"type": "line", "series": series, "axis_config": axis},
    }


def _series(name: str, labels: Sequence[str], values: Sequence[float]) -> Message:
    data = [{"label": label, "value": _finite(value)} for label, value in zip(labels, values, strict=True)]
    return {"name": name[:_LABEL], "data": data}


def _finite(value: float) -> float:
    return float(f"{value:.6g}")


def _categories(stamps: Sequence[int]) -> list[str]:
    for form in ("%H:%M", "%H:%M:%S", "%d %H:%M:%S"):
        labels = [datetime.fromtimestamp(t_ms / 1000, UTC).strftime(form) for t_ms in stamps]
        if len(set(labels)) == len(labels):
            return labels
    return [str(number + 1) for number in range(len(stamps))]


def _course(shown: Card, known: Context) -> Message | None:
    return section(_plain(shown, known)) if sparkline([value for _, value in known.readings]) else None


def _plain(shown: Card, known: Context) -> str:
    """One line: what it is about, and how the value went."""
    values = [value for _, value in known.readings if math.isfinite(value)]
    course = sparkline(values)
    span = f"{figure(values[0], known.unit)} → {figure(values[-1], known.unit)}" if course else ""
    limit = f"limit {known.limit.op} {figure(known.limit.value, known.unit)}" if course and known.limit else ""
    what = ("the last log lines" if shown.samples else "the last deploys") if not course else ""
    rest = " · ".join(part for part in (course, span, limit, what) if part)
    return escape(f"{clip(shown.title, 300)}: {rest}", TEXT_LIMIT)


def _log(lines: Sequence[str]) -> Message | None:
    if not lines:
        return None
    # A run of backticks in a line would end the block around it.
    rows = [escape(clip(line, _LINE).replace("```", "'''"), _LINE * 2) for line in lines]
    while len(rows) > 1 and sum(map(len, rows)) + len(rows) > _LOG_LIMIT:
        rows.pop(0)
    return section("```" + "\n".join(rows) + "```")


def _deploys(deploys: Sequence[Deploy]) -> Message | None:
    if not deploys:
        return None
    rows = [_deploy(deploy) for deploy in deploys]
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": row} for row in rows]}


def _deploy(deploy: Deploy) -> str:
    by = f" by {deploy.by}" if deploy.by else ""
    version = f" ({deploy.version})" if deploy.version else ""
    return f"📦 {local(deploy.t_ms, day=True)} {escape(clip(deploy.what + by + version, _LINE), _LINE * 2)}"
