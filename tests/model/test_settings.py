from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from obskit.model.settings import LocalPath, Secret, Settings


class Section(Settings):
    """A section with a path and a secret."""

    paths: list[LocalPath] = []
    token: Secret | None = None


@pytest.mark.parametrize(
    ("path", "folder", "found"),
    [
        ("targets/*.json", "/etc/obskit", "/etc/obskit/targets/*.json"),
        ("/srv/*.json", "/etc/obskit", "/srv/*.json"),
        ("targets/*.json", None, "targets/*.json"),
    ],
)
def test_a_relative_path_starts_beside_the_config_file(path: str, folder: str | None, found: str) -> None:
    context = {"folder": Path(folder)} if folder else None
    assert Section.model_validate({"paths": [path]}, context=context).paths == [found]


def test_a_secret_may_come_from_a_file_beside_the_config_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    section = Section.model_validate({"token_file": "token"}, context={"folder": tmp_path})
    assert section.token == Secret("s3cret")


def test_a_secret_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"cannot read .*nowhere: No such file"):
        Section.model_validate({"token_file": "nowhere"}, context={"folder": tmp_path})


def test_a_secret_is_given_once() -> None:
    with pytest.raises(ValidationError, match="give either token or token_file"):
        Section.model_validate({"token": "x", "token_file": "y"})
