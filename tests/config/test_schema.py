"""The JSON Schema that editors read: whole, and true of the example."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from obskit.collect import kind_names
from obskit.config.schema import json_schema
from obskit.config.sections import RootKeys
from obskit.model.documents import parse_document

EXAMPLE = Path(__file__).parents[2] / "examples/stack/obskit.yaml"
SCHEMA = json_schema()


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return SCHEMA["$defs"][reference.removeprefix("#/$defs/")] if reference else schema


def complaints(data: Any, schema: dict[str, Any], path: str = "") -> list[str]:
    """The part of JSON Schema that ours is written in, judged."""
    schema = resolved(schema)
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        told = [complaints(data, option, path) for option in options]
        return [] if any(not each for each in told) else [f"{path}: fits none", *min(told, key=len)]
    if "enum" in schema:
        return [] if data in schema["enum"] else [f"{path}: {data!r} is not in {schema['enum']}"]
    if "not" in schema:
        return [f"{path}: not allowed"]
    kinds = schema.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if isinstance(data, dict):
        return object_complaints(data, schema, path) if not kinds or "object" in kinds else [f"{path}: a mapping"]
    if isinstance(data, list):
        if kinds and "array" not in kinds:
            return [f"{path}: a list"]
        return [
            each
            for index, item in enumerate(data)
            for each in complaints(item, schema.get("items", {}), f"{path}[{index}]")
        ]
    wanted = "null" if data is None else "string"
    return [] if not kinds or wanted in kinds else [f"{path}: {data!r} is not {kinds}"]


def object_complaints(data: dict[str, Any], schema: dict[str, Any], path: str) -> list[str]:
    properties, further = schema.get("properties", {}), schema.get("additionalProperties", True)
    told = [f"{path}.{key}: required" for key in schema.get("required", []) if key not in data]
    for key, value in data.items():
        inner = properties.get(key, further)
        if inner is False:
            told.append(f"{path}.{key}: unknown")
        elif isinstance(inner, dict):
            told += complaints(value, inner, f"{path}.{key}")
    return told


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for each in schema.values():
            yield from parts(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from parts(each)


def test_it_is_json_and_says_which_draft() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"].endswith("2020-12/schema")


def test_every_reference_leads_somewhere() -> None:
    references = {part["$ref"] for part in parts(SCHEMA) if isinstance(part.get("$ref"), str)}
    assert references
    assert {reference.removeprefix("#/$defs/") for reference in references} <= set(SCHEMA["$defs"])


def test_it_has_every_section_and_every_collector() -> None:
    assert set(SCHEMA["properties"]) == {field.alias or name for name, field in RootKeys.model_fields.items()}
    names, *models = SCHEMA["properties"]["collectors"]["items"]["oneOf"]
    assert names["enum"] == kind_names()
    assert [next(iter(model["properties"])) for model in models] == kind_names()


def test_the_example_stack_fits_it() -> None:
    document = parse_document(EXAMPLE.read_text(), "obskit.yaml", environment={})
    assert document.problems == []
    assert complaints(document.data, SCHEMA) == []


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"colectors": []}, ".colectors: unknown"),
        ({"rule_packs": ["nope"]}, ".rule_packs[0]: 'nope' is not in"),
        ({"route": []}, ".route: a list"),
        ({"store": {"retention": {"logz": "1d"}}}, ".store.retention.logz: unknown"),
        ({"receivers": [{}]}, ".receivers[0].name: required"),
        ({"collectors": [{"redis": {}}]}, ".collectors[0]: fits none"),
        (
            {"receivers": [{"name": "a", "slack_configs": [{"chanel": "x"}]}]},
            ".receivers[0].slack_configs[0].chanel: unknown",
        ),
    ],
)
def test_what_is_wrong_does_not_fit_it(data: Any, told: str) -> None:
    assert any(each.startswith(told) for each in complaints(data, SCHEMA)), complaints(data, SCHEMA)


@pytest.mark.parametrize("value", ["5", "${N:-5}"])
def test_a_number_may_be_a_variable(value: str) -> None:
    assert complaints({"store": {"max_series": value, "max_size": value}}, SCHEMA) == []


def test_defaults_are_shown_as_one_writes_them() -> None:
    retention = SCHEMA["$defs"]["store.RetentionSettings"]["properties"]
    assert retention["logs"]["default"] == "30d"
    assert retention["cold"]["default"] == "1y"
    assert SCHEMA["properties"]["store"]["properties"]["max_size"]["default"] == "800MB"
