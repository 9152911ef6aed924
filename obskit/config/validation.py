"""From pydantic's errors to Problems: the place in the file, the nearest valid key, words a person understands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from obskit.config.files import ConfigTree
from obskit.config.models import WRITTEN, fields_at, format_of, holds_secret
from obskit.model.documents import Path as KeyPath
from obskit.model.problems import Problem, did_you_mean, nearest

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


_LIMITS: Final = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
"""Pydantic's name of each limit: in our words, and where the number is."""


def validate(type_: Any, data: Any, tree: ConfigTree, path: KeyPath) -> T | None:
    """`data`, which stands at `path` of the tree, as `type_`; None after its problems were added to the tree."""
    context = {"folder": tree.folder(path), "templates": tree.definitions}
    try:
        value: T = TypeAdapter(type_).validate_python(data, context=context)
    except ValidationError as error:
        errors: list[Any] = error.errors(include_url=False)
        reader = _Reader(type_, data, tree, path)
        misspelt = reader.misspelt(errors)
        found = [reader.problem(each) for each in errors if each["type"] != "missing" or each["loc"] not in misspelt]
        tree.problems.extend(_told_once(found))
        return None
    return value


def _told_once(problems: Iterable[Problem]) -> Iterable[Problem]:
    """A wrong value in a union is told once for each member: the first telling is enough."""
    places: set[str] = set()
    for problem in problems:
        if problem.id != "bad-value" or str(problem.place) not in places:
            yield problem
        if problem.id == "bad-value":
            places.add(str(problem.place))


@dataclass(frozen=True, slots=True)
class _Reader:
    """What a problem of the validation needs to know of its surroundings."""

    type: Any
    data: Any
    tree: ConfigTree
    path: KeyPath

    def misspelt(self, errors: Iterable[Any]) -> set[KeyPath]:
        """Where a key was meant that is there under a wrong name: that it is missing too would be a second telling."""
        unknown = [each["loc"] for each in errors if each["type"] == "extra_forbidden"]
        return {(*where[:-1], nearest(str(where[-1]), self.keys_at(where[:-1]))) for where in unknown}

    def problem(self, error: Any) -> Problem:
        kind, where = error["type"], error["loc"]
        location = (*self.path, *_steps_in(self.data, where))
        last = str(where[-1]) if where else ""
        if kind == "extra_forbidden":
            near = did_you_mean(last, self.keys_at(where[:-1]))
            message = f'{_where(location[:-1])}"{last}" is not a key here{near}'
            return self.tree.problem(location, "unknown-key", message, at_key=True)
        if kind == "missing":
            message = f'{_where(location)}"{last}" is required'
            return self.tree.problem(location, "missing-key", message, at_key=bool(location))
        text = self.limit(error) if kind in _LIMITS else _WORDS.get(kind) or error["msg"].removeprefix("Value error, ")
        return self.tree.problem(location, "bad-value", f"{_where(location)}{text}")

    def limit(self, error: Any) -> str:
        """`must be at least 5m`: the limit as a person would write it."""
        words, key = _LIMITS[error["type"]]
        names = [step for step in error["loc"] if isinstance(step, str)]
        field = fields_at(self.type, names[:-1]).get(names[-1]) if names else None
        written = WRITTEN.get(format_of(field), str) if field else str
        return f"must be {words} {written(error['ctx'][key])}"

    def keys_at(self, where: KeyPath) -> set[str]:
        """The keys that are valid at a place; a secret may also be given as a file."""
        fields = fields_at(self.type, where)
        return {*fields, *(f"{name}_file" for name, field in fields.items() if holds_secret(field.annotation))}


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
