"""From pydantic's errors to Problems: the place in the file, the nearest valid key, words a person understands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from obskit.config.files import ConfigTree
from obskit.config.models import holds_secret, models_of
from obskit.model.documents import Path as KeyPath
from obskit.model.problems import Problem, did_you_mean

T = TypeVar("T")

_WORDS: Final = {
    "bool_parsing": "must be true or false",
    "dict_type": "must be a mapping (key: value)",
    "float_parsing": "must be a number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "list_type": "must be a list (- item)",
    "mapping_type": "must be a mapping (key: value)",
    "model_attributes_type": "must be a mapping (key: value)",
    "model_type": "must be a mapping (key: value)",
    "string_type": "must be text",
    "tuple_type": "must be a list (- item)",
}


def validate(type_: Any, data: Any, tree: ConfigTree, path: KeyPath) -> T | None:
    """`data`, which stands at `path` of the tree, as `type_`; None after its problems were added to the tree."""
    try:
        value: T = TypeAdapter(type_).validate_python(data, context={"folder": tree.folder(path)})
    except ValidationError as error:
        found = [_problem(dict(item), type_, data, tree, path) for item in error.errors(include_url=False)]
        # A wrong value in a union is told once for each member: the first telling is enough.
        seen: dict[tuple[str, str], Problem] = {
            (str(problem.place), problem.id): problem for problem in reversed(found)
        }
        tree.problems.extend(problem for problem in found if seen.get((str(problem.place), problem.id)) is problem)
        return None
    return value


def _problem(error: dict[str, Any], type_: Any, data: Any, tree: ConfigTree, path: KeyPath) -> Problem:
    location = (*path, *_steps_in(data, error["loc"]))
    kind = error["type"]
    last = str(error["loc"][-1]) if error["loc"] else ""
    if kind == "extra_forbidden":
        near = did_you_mean(last, _keys_at(type_, error["loc"][:-1]))
        message = f'{_where(location[:-1])}"{last}" is not a key here{near}'
        return tree.problem(location, "unknown-key", message, at_key=True)
    if kind == "missing":
        return tree.problem(location, "missing-key", f'{_where(location)}"{last}" is required', at_key=bool(location))
    text = _WORDS.get(kind) or error["msg"].removeprefix("Value error, ")
    return tree.problem(location, "bad-value", f"{_where(location)}{text}")


def _steps_in(data: Any, location: tuple[str | int, ...]) -> Iterator[str | int]:
    """The steps of a pydantic location that exist in the data: it also names union members and validators."""
    for position, step in enumerate(location):
        in_mapping = isinstance(data, dict) and step in data
        in_list = isinstance(data, list) and isinstance(step, int) and step < len(data)
        if in_mapping or in_list:
            data = data[step]
        elif position == len(location) - 1:
            return
        else:
            continue
        yield step


def _where(path: KeyPath) -> str:
    """`receivers[0].slack_configs[1]: ` as a person would point at it."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return f"{text}: " if text else ""


def _keys_at(type_: Any, location: tuple[str | int, ...]) -> set[str]:
    """The keys that are valid at a location inside a type."""
    models = set(models_of(type_))
    for step in location:
        if isinstance(step, int):
            continue
        nested = {
            inner
            for model in models
            for name, field in model.model_fields.items()
            if step in (name, field.alias)
            for inner in models_of(field.annotation)
        }
        models = nested or models
    keys = set()
    for model in models:
        for name, field in model.model_fields.items():
            keys.add(field.alias or name)
            if holds_secret(field.annotation):
                keys.add(f"{field.alias or name}_file")
    return keys
