"""The types a person writes in YAML; secrets and paths in files are in test_settings.py."""

from __future__ import annotations

import json
import pickle

import pytest
from pydantic import ValidationError

from obskit.model.settings import Duration, Secret, Settings, Size


class Section(Settings):
    """A section with one field of each type."""

    every: Duration = 15_000
    room: Size = 0
    token: Secret | None = None


@pytest.mark.parametrize(("text", "ms"), [("30s", 30_000), ("1h30m", 5_400_000), ("0", 0), (250, 250)])
def test_a_duration_becomes_milliseconds(text: str | int, ms: int) -> None:
    assert Section.model_validate({"every": text}).every == ms


@pytest.mark.parametrize("value", ["soon", "5", "", None, True, 1.5, ["5m"]])
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="duration"):
        Section.model_validate({"every": value})


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500MB", 500_000_000),
        ("2GiB", 2 * 1024**3),
        ("1.5 kb", 1500),
        ("10", 10),
        ("4K", 4000),
        ("4Ki", 4096),
        (7, 7),
        ("1B", 1),
    ],
)
def test_a_size_becomes_bytes(text: str | int, size: int) -> None:
    assert Section.model_validate({"room": text}).room == size


@pytest.mark.parametrize("value", ["big", "-1MB", "", "1XB", "1.MB", "MB", True])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="size"):
        Section.model_validate({"room": value})


def test_an_unknown_key_is_an_error() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Section.model_validate({"evry": "5s"})


def test_a_section_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Section().every = 5


def test_a_secret_cannot_be_printed() -> None:
    section = Section.model_validate({"token": " s3cret\n"})
    secret = section.token
    assert secret is not None
    assert secret.reveal() == "s3cret"
    for shown in (
        str(secret),
        repr(secret),
        f"{secret:>10}",
        repr(section),
        section.model_dump_json(),
        str(section.model_dump()),
    ):
        assert "s3cret" not in shown
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps({"token": secret})


@pytest.mark.parametrize("value", ["", 5, ["s3cret"], {"s3cret": 1}])
def test_a_bad_secret_is_refused_without_showing_it(value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        Section.model_validate({"token": value})
    assert "s3cret" not in str(caught.value)


def test_secrets_compare_by_what_they_hide() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a")}) == 1
    assert Secret("a")
    assert not Secret("")
    assert Secret("a") != "a"


def test_the_schema_calls_a_secret_text() -> None:
    assert {"type": "string"} in Section.model_json_schema()["properties"]["token"]["anyOf"]
