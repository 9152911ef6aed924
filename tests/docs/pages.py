"""The pages of the documentation, and the generator of what stands in their blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Fence:
    """A fenced block: its language, the words behind it, its text and its line in the page."""

    language: str
    words: tuple[str, ...]
    text: str
    line: int


def fences(page: Path) -> Iterator[Fence]:
    """Every fenced block of a page that names its language."""
    source = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(source):
        yield Fence(match[1], tuple(match[2].split()), match[3], source.count("\n", 0, match.start()) + 1)


def relative(page: Path) -> str:
    """The page as a person names it."""
    return page.relative_to(ROOT).as_posix()


def load_generator() -> ModuleType:
    """docs/generate.py as a module: docs/ is no package."""
    spec = spec_from_file_location("generate_docs", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generator = load_generator()
