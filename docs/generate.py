"""Writes what pages of docs/ take from the code: settings, commands, metrics, rule packs.

    python docs/generate.py

A page holds blocks `<!-- generated: KIND NAME -->` … `<!-- end -->`; what stands between is replaced. A test compares.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Iterator
from enum import Enum
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import click
from pydantic import BaseModel, WithJsonSchema
from pydantic.fields import FieldInfo

import obskit
from obskit.cli.main import COMMANDS, main
from obskit.collect import BUILT_IN
from obskit.collect import find_kind as find_collector
from obskit.config.schema import WRITTEN
from obskit.config.sections import GlobalSettings, SentHeartbeats, WebSettings
from obskit.grouping.settings import GroupingSettings
from obskit.ingest.settings import IngestSettings
from obskit.model.settings import LateModel, LocalPath, Secret
from obskit.model.telemetry import REGISTRY
from obskit.notify.receivers import KINDS, ReceiverSettings
from obskit.notify.receivers import find_kind as find_receiver
from obskit.notify.webhook import HttpSettings
from obskit.routing.flaps import FlapSettings
from obskit.routing.inhibit import InhibitRuleSettings
from obskit.routing.intervals import TimeIntervalSettings
from obskit.routing.maintenance import MaintenanceSettings
from obskit.routing.match_settings import MatcherLine
from obskit.routing.tree import RouteSettings
from obskit.rules.files import load_rules
from obskit.rules.groups import AlertRule
from obskit.shipped import OPT_IN, rule_packs
from obskit.store.settings import StoreSettings

DOCS: Final = Path(__file__).resolve().parent
BLOCK: Final = re.compile(r"(<!-- generated: (\w+) ?([\w ]*) -->\n).*?(<!-- end -->)", re.DOTALL)
SECTIONS: Final[dict[str, Any]] = {
    "global": GlobalSettings,
    "store": StoreSettings,
    "web": WebSettings,
    "ingest": IngestSettings,
    "errors": GroupingSettings,
    "heartbeats": SentHeartbeats,
    "route": RouteSettings,
    "inhibit_rules": InhibitRuleSettings,
    "time_intervals": TimeIntervalSettings,
    "maintenance": MaintenanceSettings,
    "flapping": FlapSettings,
    "receivers": ReceiverSettings,
}
_PLAIN: Final = {str: "text", int: "number", float: "number", bool: "true or false"}


def pages() -> list[Path]:
    """The pages that hold blocks."""
    return [page for page in sorted(DOCS.glob("*.md")) if BLOCK.search(page.read_text(encoding="utf-8"))]


def generated(page: Path) -> str:
    """The page's text with every block as it should be."""
    return BLOCK.sub(
        lambda block: f"{block[1]}\n{KINDS_OF_BLOCK[block[2]](block[3].strip())}\n\n{block[4]}",
        page.read_text(encoding="utf-8"),
    )


# Settings


def models() -> dict[str, type[BaseModel]]:
    """Every settings model by the name its block has: `global`, `collector redis`, `receiver slack_configs`."""
    found = dict(SECTIONS)
    found |= {f"collector {name}": find_collector(name).settings for name in collector_names()}
    return found | {f"receiver {key}": find_receiver(key).settings for key in KINDS}


def collector_names() -> list[str]:
    """The built-in collectors; what else is installed here is not ours to document."""
    return sorted(BUILT_IN)


def settings(name: str) -> str:
    """A table of a model's keys, and one more for each model inside it."""
    return "\n\n".join(_tables(models()[name], "", set()))


def _tables(model: type[BaseModel], path: str, seen: set[type[BaseModel]]) -> Iterator[str]:
    seen.add(model)
    heading = f"In `{path}`:\n\n" if path else ""
    rows = ["| Key | Type | Default | Meaning |", "|---|---|---|---|"]
    inner: list[tuple[str, type[BaseModel]]] = []
    for key, field in keys_of(model):
        rows.append(f"| `{key}` | {words(field)} | {default(field)} | {cell(field.description or '')} |")
        inner += [(f"{path}.{key}" if path else key, each) for each in models_in(field.annotation)]
    yield heading + "\n".join(rows)
    for inner_path, each in inner:
        if each not in seen:
            yield from _tables(each, inner_path, seen)


def keys_of(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """The keys that can be used, as they are written, in the order of the model."""
    for name, field in model.model_fields.items():
        if not is_refused(field):
            yield field.alias or name, field


def is_refused(field: FieldInfo) -> bool:
    """Whether the key is there only to be refused with a reason: nothing is valid for it."""
    impossible = (part.json_schema for part in field.metadata if isinstance(part, WithJsonSchema))
    return field.annotation is NoneType or {"not": {}} in impossible


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a type is made of; those of receivers have pages of their own."""
    if any(isinstance(part, LateModel) for part in get_args(annotation)):
        return
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def words(field: FieldInfo) -> str:
    """The type of a field as a person says it."""
    said = _named(field.metadata) or _words(field.annotation)
    return f"{said}, or `…_file`: a path" if said == "secret" else said


def _words(type_: Any) -> str:
    if type_ == MatcherLine:
        return "matcher"
    origin, parts = get_origin(type_), get_args(type_)
    if origin is Annotated:
        return _named(parts[1:]) or _words(parts[0])
    if origin in (list, tuple):
        return f"list of {_plural(_words(parts[0]))}"
    if origin is dict:
        return "mapping of text to lists of texts" if get_origin(parts[1]) is tuple else "mapping of text to text"
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts if isinstance(part, str))
    if parts:
        return " or ".join(_words(part) for part in parts if part is not NoneType)
    if type_ is Secret:
        return "secret"
    if issubclass(type_, Enum):
        return " or ".join(f"`{member.value}`" for member in type_)
    return "mapping" if issubclass(type_, BaseModel) else _PLAIN[type_]


def _plural(noun: str) -> str:
    return noun if " " in noun else f"{noun}s"


def _named(metadata: Any) -> str:
    """A name that stands beside the type: duration, size, path."""
    for part in metadata:
        if isinstance(part, WithJsonSchema) and part.json_schema and "format" in part.json_schema:
            return str(part.json_schema["format"])
        if part in get_args(LocalPath)[1:]:
            return "path"
        if isinstance(part, LateModel):
            return "mapping"
    return ""


def default(field: FieldInfo) -> str:
    """The default as one writes it; nothing where there is none to write."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel | Secret) or value in (None, "", [], {}, ()):
        return ""
    written = WRITTEN.get(words(field))
    if written is not None:
        return f"`{written(value)}`"
    shown = value.value if isinstance(value, Enum) else str(value).lower() if isinstance(value, bool) else value
    return f"`{shown}`"


def refused(name: str) -> str:
    """The keys that are refused with a reason."""
    model = HttpSettings if name == "http_config" else models()[name]
    keys = [field.alias or key for key, field in model.model_fields.items() if is_refused(field)]
    return ", ".join(f"`{key}`" for key in sorted(keys))


def cell(text: str) -> str:
    """Text for a table's cell."""
    return text.replace("|", "\\|").replace("\n", " ")


# Commands


def commands(_: str) -> str:
    """Every command with its help."""
    found = [_help(main, "obskit")]
    for name in COMMANDS:
        found += _helps(main.get_command(click.Context(main), name), f"obskit {name}")
    return "\n\n".join(found)


def _helps(command: click.Command | None, path: str) -> Iterator[str]:
    assert command is not None
    yield _help(command, path)
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            yield from _helps(inner, f"{path} {name}")


def _help(command: click.Command, path: str) -> str:
    # As it is run: `-h` is the group's setting, and what it is called is remembered by whoever asks for it first.
    context = click.Context(command, info_name=path, terminal_width=100, max_content_width=100, **main.context_settings)
    return f"## {path}\n\n```text\n{command.get_help(context)}\n```"


# Metrics


def metrics(_: str) -> str:
    """Every metric of our own, with its labels and its help."""
    rows = ["| Metric | Type | Labels | Meaning |", "|---|---|---|---|"]
    for name, kind, labels, help_text in sorted(own_metrics()):
        shown = ", ".join(f"`{label}`" for label in labels)
        rows.append(f"| `{name}` | {kind} | {shown} | {cell(help_text)} |")
    return "\n".join(rows)


def own_metrics() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """(name, type, labels, help) of everything in our registry, once every room is imported."""
    for package, prefix in ((obskit, "obskit."), (import_module("obskit_collectors"), "obskit_collectors.")):
        for module in pkgutil.walk_packages(package.__path__, prefix):
            if not module.name.startswith("obskit.testing"):
                import_module(module.name)
    for collector in list(REGISTRY._collector_to_names):  # noqa: SLF001 - nothing else tells a metric's label names
        for family in collector.describe() if hasattr(collector, "describe") else collector.collect():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield name, family.type, tuple(getattr(collector, "_labelnames", ())), family.documentation


# Rule packs


def packs(_: str) -> str:
    """Every pack, with what its alerts say and when."""
    return "\n\n".join(_pack(name, path) for name, path in rule_packs().items())


def _pack(name: str, path: Path) -> str:
    groups = load_rules(path.read_text(encoding="utf-8"), path.name).groups
    rows = ["| Alert | Severity | For | Says |", "|---|---|---|---|"]
    for rule in (rule for group in groups for rule in group.rules):
        if isinstance(rule, AlertRule):
            link = f"[{rule.name}](runbooks/{rule.name}.md)"
            said = re.sub(r"\{\{.*?\}\}", "…", rule.annotations["summary"])
            rows.append(f"| {link} | {rule.labels['severity']} | {WRITTEN['duration'](rule.for_ms)} | {cell(said)} |")
    return f"### {name}{' (opt-in)' if name in OPT_IN else ''}\n\n" + "\n".join(rows)


KINDS_OF_BLOCK: Final[dict[str, Callable[[str], str]]] = {
    "settings": settings,
    "refused": refused,
    "commands": commands,
    "metrics": metrics,
    "packs": packs,
}


if __name__ == "__main__":
    for page in pages():
        page.write_text(generated(page), encoding="utf-8")
