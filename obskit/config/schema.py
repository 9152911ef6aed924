"""The JSON Schema of obskit.yaml, put together from every room's own model."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from obskit.collect import find_kind, kind_names
from obskit.config.alertmanager import LOGIN, SECRETS, SPREAD
from obskit.config.models import WRITTEN
from obskit.config.sections import GlobalSettings, SentHeartbeats, WebSettings
from obskit.errors import CollectorError
from obskit.grouping.settings import GroupingSettings
from obskit.ingest.settings import IngestSettings
from obskit.notify import ReceiverSettings
from obskit.routing.flaps import FlapSettings
from obskit.routing.inhibit import InhibitRuleSettings
from obskit.routing.intervals import TimeIntervalSettings
from obskit.routing.maintenance import MaintenanceSettings
from obskit.routing.tree import RouteSettings
from obskit.shipped import rule_packs
from obskit.store.settings import StoreSettings


def json_schema() -> dict[str, Any]:
    """Draft 2020-12. `${NAME}` may stand for any scalar, so every scalar may be a string too."""
    definitions: dict[str, Any] = {}
    sections = {
        "global": _with_alertmanagers(_of(GlobalSettings, definitions, "global")),
        "include": {"type": ["array", "string"], "description": "more files, as paths or globs"},
        "store": _of(StoreSettings, definitions, "store"),
        "web": _of(WebSettings, definitions, "web"),
        "ingest": _of(IngestSettings, definitions, "ingest"),
        "errors": _of(GroupingSettings, definitions, "errors"),
        "heartbeats": _of(SentHeartbeats, definitions, "heartbeats"),
        "collectors": {"type": "array", "items": {"oneOf": [*_collectors(definitions)]}},
        "scrape_configs": {"type": "array", "items": _of(find_kind("prometheus").settings, definitions, "prometheus")},
        "rule_packs": {"type": "array", "items": {"enum": list(rule_packs())}},
        "rule_files": {"type": "array", "items": {"type": "string"}},
        "route": _of(RouteSettings, definitions, "route"),
        "inhibit_rules": {"type": "array", "items": _of(InhibitRuleSettings, definitions, "inhibit_rules")},
        "time_intervals": {"type": "array", "items": _of(TimeIntervalSettings, definitions, "time_intervals")},
        "mute_time_intervals": {
            "type": "array",
            "description": "Alertmanager's old name of time_intervals",
            "items": _of(TimeIntervalSettings, definitions, "time_intervals"),
        },
        "maintenance": {"type": "array", "items": _of(MaintenanceSettings, definitions, "maintenance")},
        "flapping": _of(FlapSettings, definitions, "flapping"),
        "alertmanager_config": {"type": "string", "description": "an alertmanager.yml to route and deliver by"},
        "templates": {
            "type": "array",
            "description": "files that define templates for the texts of receivers: paths or globs",
            "items": {"type": "string"},
        },
        "receivers": {"type": "array", "items": _of(ReceiverSettings, definitions, "receivers")},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "obskit.yaml",
        "type": "object",
        "additionalProperties": False,
        "properties": sections,
        "$defs": definitions,
    }


def _with_alertmanagers(section: dict[str, Any]) -> dict[str, Any]:
    """`global` with the keys that are the defaults of receivers."""
    for key, (kind, name) in SPREAD.items():
        section["properties"][key] = {"type": ["string", "boolean"], "description": f"default of {name} in {kind}"}
        if key in SECRETS:
            section["properties"][f"{key}_file"] = {"type": "string", "description": f"a file that holds {key}"}
    section["properties"][LOGIN] = {"type": "object", "description": f"default of {LOGIN} in every receiver"}
    return section


def _collectors(definitions: dict[str, Any]) -> list[dict[str, Any]]:
    choices: list[dict[str, Any]] = [{"enum": kind_names()}]
    for name in kind_names():
        try:
            settings = _of(find_kind(name).settings, definitions, name)
        except CollectorError:
            continue  # its package is not installed here: it cannot be configured here either
        choices.append(
            {"type": "object", "properties": {name: settings}, "required": [name], "additionalProperties": False}
        )
    return choices


def _of(type_: Any, definitions: dict[str, Any], room: str) -> dict[str, Any]:
    """The schema of one room's type. Its definitions carry the room's name: two rooms may each have an HttpSettings."""
    reference = f"#/$defs/{room}.{{model}}"
    schema: dict[str, Any] = TypeAdapter(type_).json_schema(mode="validation", ref_template=reference)
    definitions.update((f"{room}.{name}", _also_text(part)) for name, part in schema.pop("$defs", {}).items())
    changed: dict[str, Any] = _also_text(schema)
    return changed


def _also_text(schema: Any) -> Any:
    """Numbers and booleans may be written as `${NAME}`; defaults of durations and sizes are shown as one writes them."""
    if isinstance(schema, list):
        return [_also_text(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: _also_text(value) for key, value in schema.items()}
    if changed.get("type") in ("integer", "number", "boolean"):
        changed["type"] = [changed["type"], "string"]
    default = changed.get("default")
    if isinstance(default, dict):
        del changed["default"]  # of a whole section: each of its keys tells its own
    if isinstance(default, int) and changed.get("format") in WRITTEN:
        changed["default"] = WRITTEN[changed["format"]](default)
    return changed
