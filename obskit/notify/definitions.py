"""Templates by name: those of Alertmanager's that people's own refer to, and what is read from files.

The names and what comes out of them are Alertmanager's (template/default.tmpl); `email.default.html` alone looks as
obskit's mails do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Final

from obskit.gotemplate.template import Definition, joined
from obskit.notify.templates import compile_text

_ALERTMANAGERS: Final = resources.files("obskit.notify") / "alertmanager.tmpl"


@dataclass(frozen=True, slots=True)
class Definitions:
    """What there is by name; `own` are the names that files of a person's give a meaning to."""

    known: Mapping[str, Definition]
    own: frozenset[str] = frozenset()

    def with_file(self, name: str, text: str) -> Definitions:
        """With what one more file defines, and the file itself by its name; TemplateError when it is wrong."""
        compiled = compile_text(text)
        read = {name: Definition(text, compiled.tree.body), **compiled.defined}
        return Definitions(joined(self.known, read), self.own | compiled.defined.keys())


@lru_cache(maxsize=1)
def alertmanagers() -> Definitions:
    """Alertmanager's alone."""
    return Definitions(compile_text(_ALERTMANAGERS.read_text(encoding="utf-8")).defined)
