"""Slack's limits on a message, as Slack enforces them: written from its documentation, not from our renderer.

docs.slack.dev/reference/block-kit; the total size of blocks is undocumented (measured in slackapi/bolt-js#2509).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any, Final

TOTAL_BLOCKS: Final = 13_200
UPDATE_TEXT: Final = 4_000
POST_TEXT: Final = 40_000
CHARTS: Final = 2
CHART: Final = "data_visualization"

_COLOUR: Final = re.compile(r"good|warning|danger|#?[0-9a-fA-F]{6}")
_TEXT_TYPES: Final = ("mrkdwn", "plain_text")

Complaints = Iterator[tuple[str, str]]


def refuse_message(message: dict[str, Any], *, update: bool) -> tuple[str, list[str]]:
    """(error, complaints) of a message that Slack would not take; ("", []) of one that it would."""
    text, blocks, attachments = (message.get(part) or empty for part, empty in _PARTS)
    if not (text or blocks or attachments):
        return "no_text", []
    if not isinstance(blocks, list) or not isinstance(attachments, list):
        return "invalid_arguments", ["[ERROR] must be an array"]
    if update and len(text) > UPDATE_TEXT:
        return "msg_too_long", []
    if len(attachments) > 100:
        return "too_many_attachments", []
    groups = [("/blocks", blocks)]
    groups += [(f"/attachments/{i}/blocks", attached.get("blocks", [])) for i, attached in enumerate(attachments)]
    complaints = [*_each_group(groups), *_colours(attachments)]
    if complaints:
        return "invalid_blocks", [f"[ERROR] {said} [json-pointer:{place}]" for place, said in complaints]
    if sum(len(json.dumps(block, ensure_ascii=False)) for _, group in groups for block in group) > TOTAL_BLOCKS:
        return "msg_blocks_too_long", []
    return "", []


_PARTS: Final[tuple[tuple[str, Any], ...]] = (("text", ""), ("blocks", []), ("attachments", []))


def _each_group(groups: list[tuple[str, list[Any]]]) -> Complaints:
    for place, blocks in groups:
        if len(blocks) > 50:
            yield place, "no more than 50 items allowed"
        if sum(1 for block in blocks if isinstance(block, dict) and block.get("type") == CHART) > CHARTS:
            yield place, f"no more than {CHARTS} charts allowed"
        for number, block in enumerate(blocks):
            here = f"{place}/{number}"
            check = _CHECKS.get(block.get("type", "")) if isinstance(block, dict) else None
            if check is None:
                yield f"{here}/type", f"unsupported type: {block.get('type') if isinstance(block, dict) else block}"
            else:
                yield from _at_most(block.get("block_id"), 255, f"{here}/block_id")
                yield from check(block, here)


def _colours(attachments: list[Any]) -> Complaints:
    for number, attached in enumerate(attachments):
        if not _COLOUR.fullmatch(attached.get("color", "good")):
            yield f"/attachments/{number}/color", "not a colour"


def _section(block: dict[str, Any], place: str) -> Complaints:
    fields = block.get("fields", [])
    if not block.get("text") and not fields:
        yield place, "section needs text or fields"
    if block.get("text"):
        yield from _text(block["text"], 3_000, f"{place}/text")
    if len(fields) > 10:
        yield f"{place}/fields", "no more than 10 items allowed"
    for number, field in enumerate(fields):
        yield from _text(field, 2_000, f"{place}/fields/{number}")


def _header(block: dict[str, Any], place: str) -> Complaints:
    yield from _text(block.get("text"), 150, f"{place}/text", types=("plain_text",))


def _context(block: dict[str, Any], place: str) -> Complaints:
    elements = block.get("elements", [])
    if not 1 <= len(elements) <= 10:
        yield f"{place}/elements", "must have 1 to 10 items"
    for number, element in enumerate(elements):
        if element.get("type") != "image":
            yield from _text(element, 3_000, f"{place}/elements/{number}")


def _actions(block: dict[str, Any], place: str) -> Complaints:
    elements = block.get("elements", [])
    if not 1 <= len(elements) <= 25:
        yield f"{place}/elements", "must have 1 to 25 items"
    ids = [element.get("action_id") for element in elements if element.get("action_id")]
    if len(ids) != len(set(ids)):
        yield f"{place}/elements", "action_id must be unique"
    for number, element in enumerate(elements):
        yield from _button(element, f"{place}/elements/{number}")


def _button(element: dict[str, Any], place: str) -> Complaints:
    if element.get("type") != "button":
        yield f"{place}/type", f"unsupported type: {element.get('type')}"
        return
    yield from _text(element.get("text"), 75, f"{place}/text", types=("plain_text",))
    for key, limit in (("action_id", 255), ("value", 2_000), ("url", 3_000)):
        yield from _at_most(element.get(key), limit, f"{place}/{key}")
    if "url" in element and not str(element["url"]).startswith(("http://", "https://")):
        yield f"{place}/url", "must be a URL"
    if element.get("style", "primary") not in ("primary", "danger"):
        yield f"{place}/style", "must be one of primary, danger"


def _chart(block: dict[str, Any], place: str) -> Complaints:
    """docs.slack.dev/reference/block-kit/blocks/data-visualization-block; the shape of line, bar and area charts."""
    yield from _at_most(block.get("title"), 50, f"{place}/title")
    chart = block.get("chart") or {}
    series, axis = chart.get("series", []), chart.get("axis_config") or {}
    names, categories = [each.get("name") for each in series], axis.get("categories", [])
    if chart.get("type") not in ("line", "bar", "area"):
        yield f"{place}/chart/type", "must be one of line, bar, area"
    if not 1 <= len(series) <= 6 or len(names) != len(set(names)) or any(len(name) > 20 for name in names):
        yield f"{place}/chart/series", "must be 1 to 6 with unique names of at most 20 characters"
    if not 1 <= len(categories) <= 20 or len(categories) != len(set(categories)):
        yield f"{place}/chart/axis_config/categories", "must be 1 to 20, each of them once"
    for number, label in enumerate([*categories, axis.get("x_label"), axis.get("y_label")]):
        yield from _at_most(label, 20 if number < len(categories) else 50, f"{place}/chart/axis_config")
    for number, each in enumerate(series):
        points = each.get("data", [])
        if [point.get("label") for point in points] != categories:
            yield f"{place}/chart/series/{number}/data", "must have one value per category"
        if not all(isinstance(point.get("value"), int | float) and isfinite(point["value"]) for point in points):
            yield f"{place}/chart/series/{number}/data", "must be finite"


def _divider(_block: dict[str, Any], _place: str) -> Complaints:
    return iter(())


def _text(text: Any, limit: int, place: str, *, types: tuple[str, ...] = _TEXT_TYPES) -> Complaints:
    if not isinstance(text, dict) or text.get("type") not in types or not isinstance(text.get("text"), str):
        yield place, f"must be a text object of type {' or '.join(types)}"
        return
    if not text["text"]:
        yield f"{place}/text", "must be more than 0 characters"
    yield from _at_most(text["text"], limit, f"{place}/text")


def _at_most(value: Any, limit: int, place: str) -> Complaints:
    if value is not None and len(str(value)) > limit:
        yield place, f"must be less than {limit + 1} characters"


_CHECKS: Final[dict[str, Callable[[dict[str, Any], str], Complaints]]] = {
    "section": _section,
    "header": _header,
    "context": _context,
    "actions": _actions,
    "divider": _divider,
    CHART: _chart,
}
