"""The base of every settings model, and the types a person writes in YAML: durations, sizes, secrets.

All scalars arrive as the text of their node (see model/documents.py): the field's type decides what they mean.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from obskit.model.durations import parse_duration

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?i?B?)", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class Secret:
    """A string that cannot be printed: `str`, `repr`, formatting, JSON and pickling all hide it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself: only where it is sent."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "<secret>"

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not pickled")

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda _: "<secret>"),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return {"type": "string"}

    @classmethod
    def _validate(cls, value: Any) -> Secret:
        if isinstance(value, Secret):
            return value
        if isinstance(value, str) and value:
            return cls(value.strip())
        raise ValueError("must be text that is not empty")


def _duration(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a duration such as 30s or 5m")
    return parse_duration(value)


def _size(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise ValueError("must be a size such as 500MB or 2GiB")
    number, unit = match.groups()
    base = 1024 if "i" in unit.lower() else 1000
    return int(float(number) * base ** _POWERS[unit.lower().rstrip("b").rstrip("i")])


Duration = Annotated[int, BeforeValidator(_duration), WithJsonSchema({"type": "string", "format": "duration"})]
"""A Prometheus duration, in milliseconds once read."""
Size = Annotated[int, BeforeValidator(_size), WithJsonSchema({"type": "string", "format": "size"})]
"""A size such as `500MB` (powers of 1000) or `2GiB` (of 1024), in bytes once read."""


def _beside(path: str, info: ValidationInfo) -> str:
    return str(Path((info.context or {}).get("folder", "")) / path)


LocalPath = Annotated[str, AfterValidator(_beside)]
"""A path or glob; a relative one starts at the validation context's `folder` (the config file's), else where we run."""


class LateModel:
    """Beside a type in Annotated: its real model is imported only when somebody asks for it."""

    def model(self) -> type[BaseModel]:
        """The model that values of the type are validated by."""
        raise LookupError("no model is known")


class Settings(BaseModel):
    """A section of obskit.yaml: unknown keys are errors, values do not change after reading.

    Every Secret field `x` may be given as `x_file`: the path of a file that holds it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, dict):
            return data
        resolved = dict(data)
        for name, field in cls.model_fields.items():
            file_key = f"{field.alias or name}_file"
            if file_key not in resolved or not _holds_secret(field.annotation):
                continue
            if (field.alias or name) in resolved:
                raise ValueError(f"give either {name} or {file_key}, not both")
            resolved[field.alias or name] = _read_secret(_beside(str(resolved.pop(file_key)), info))
        return resolved


def _holds_secret(annotation: Any) -> bool:
    return annotation is Secret or any(_holds_secret(part) for part in get_args(annotation))


def _read_secret(path: str) -> Secret:
    try:
        return Secret(Path(path).read_text(encoding="utf-8").strip())
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
