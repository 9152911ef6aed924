"""Looks into the settings models: which models a type holds, and which fields are secrets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import BaseModel

from obskit.model.settings import LateModel, Secret


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


def holds_secret(annotation: Any) -> bool:
    """Whether a field of this type holds a secret itself, not one inside a model of its own."""
    return any(part is Secret for part in _parts(annotation))


def _parts(type_: Any) -> Iterator[Any]:
    yield type_
    for part in get_args(type_):
        yield from _parts(part)
