"""Pages agree with the generator and with each other, and their examples are valid."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

from obskit.config import check_files
from obskit.model.problems import Severity
from tests.docs.pages import DOCS, PAGES, Fence, fences, generator, relative

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_VARIABLE = re.compile(r"\$\{(\w+)")
VARIABLES = {"REDIS_URL": "redis://127.0.0.1:6379/0", "DEADMAN_URL": "https://hc.example/uuid"}
EXAMPLES = [
    pytest.param(page, fence, id=f"{relative(page)}:{fence.line}")
    for page in PAGES
    for fence in fences(page)
    if fence.language == "yaml"
]


@pytest.mark.parametrize("page", generator.pages(), ids=relative)
def test_what_is_generated_is_what_the_generator_gives(page: Path) -> None:
    text = generator.generated(page)
    if os.environ.get("OBSKIT_GOLDEN"):
        page.write_text(text, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == text, "run make golden, and read the diff"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(page.read_text()))
    return {word.replace(" ", "-") for word in words}


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize(("page", "fence"), EXAMPLES)
def test_an_example_of_yaml_is_accepted_by_obskit_check(page: Path, fence: Fence, tmp_path: Path) -> None:
    example = tmp_path / "obskit.yaml"
    text = fence.text
    if isinstance(yaml.safe_load(text), dict) and "receivers" in yaml.safe_load(text) and "route:" not in text:
        text += "route: { receiver: " + yaml.safe_load(text)["receivers"][0]["name"] + " }\n"
    example.write_text(text)
    environment = {name: VARIABLES.get(name, "s3cret-s3cret") for name in _VARIABLE.findall(text)}
    checked = check_files([example], environment)
    assert [str(problem) for problem in checked.problems if problem.severity is Severity.ERROR] == []
    assert checked.files == [example]


def test_the_docs_name_no_registry() -> None:
    for page in [*PAGES, DOCS.parent / "Dockerfile"]:
        assert not re.search(r"pypi\.org|ghcr\.io|docker\.io|quay\.io", page.read_text()), page
