"""Looks into the settings models: which models a type holds, which fields are secrets, how their numbers are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, get_args

from pydantic import BaseModel, WithJsonSchema
from pydantic.fields import FieldInfo

from obskit.model.durations import format_duration
from obskit.model.settings import LateModel, Secret


def _format_size(size: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("KiB", 1024), ("KB", 1000)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


WRITTEN: Final[dict[str, Callable[[int], str]]] = {"duration": format_duration, "size": _format_size}
"""How a person writes a number of each format."""


def models_of(type_: Any) -> Iterator[type[BaseModel]]:
    """The models that a value of the type may be an instance of, or a list or mapping of."""
    for part in _parts(type_):
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield part
        elif isinstance(part, LateModel):
            yield part.model()


def all_models(types: Iterable[Any]) -> set[type[BaseModel]]:
    """Every model in the types, and in the fields of those."""
    found: set[type[BaseModel]] = set()
    waiting = [model for type_ in types for model in models_of(type_)]
    while waiting:
        model = waiting.pop()
        if model not in found:
            found.add(model)
            waiting += [inner for field in model.model_fields.values() for inner in models_of(field.annotation)]
    return found


def fields_at(type_: Any, location: Iterable[str | int]) -> dict[str, FieldInfo]:
    """The fields, by the key a person writes, of the models at a pydantic location inside a type."""
    models = set(models_of(type_))
    for step in location:
        if isinstance(step, int):
            continue
        fields = [
            field for model in models for name, field in model.model_fields.items() if step in (name, field.alias)
        ]
        models = {inner for field in fields for inner in models_of(field.annotation)} or models
    return {field.alias or name: field for model in models for name, field in model.model_fields.items()}


def format_of(field: FieldInfo) -> str:
    """`duration` or `size` where the field's numbers are written so, else nothing."""
    for part in (*_parts(field.annotation), *field.metadata):
        if isinstance(part, WithJsonSchema) and part.json_schema is not None:
            return str(part.json_schema.get("format", ""))
    return ""


def holds_secret(annotation: Any) -> bool:
    """Whether a field of this type holds a secret itself, not one inside a model of its own."""
    return any(part is Secret for part in _parts(annotation))


def _parts(type_: Any) -> Iterator[Any]:
    yield type_
    for part in get_args(type_):
        yield from _parts(part)
