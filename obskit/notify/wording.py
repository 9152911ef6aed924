"""The texts that a receiver's settings hold: tried when they are read, expanded for each notice.

A text that cannot be expanded for some notice is left out, so that what obskit says by itself stands there: a message
that says it differently is better than none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Generic, TypeVar

from obskit.errors import TemplateError
from obskit.gotemplate.template import Template
from obskit.gotemplate.values import Struct
from obskit.model.actions import Notice, Outcome
from obskit.model.settings import Settings
from obskit.notify.base import Notifier, Request, Response, Step
from obskit.notify.definitions import Definitions, alertmanagers
from obskit.notify.settings import NotifierSettings
from obskit.notify.templates import ORDINARY, Quote, compile_text, facts

log = logging.getLogger(__name__)

S = TypeVar("S", bound=NotifierSettings)


def template(text: str, definitions: Definitions | None, *, html: bool = False) -> Template:
    """The text with all it may refer to by name; TemplateError when it is wrong."""
    compiled = compile_text(text, html=html)
    return compiled.knowing((definitions or alertmanagers()).known) if "template" in text else compiled


def check_text(text: str, definitions: Definitions | None) -> str:
    """The text; ValueError when it is wrong, or could not even be expanded for an ordinary notice."""
    try:
        template(text, definitions).expand(facts(ORDINARY), data=ORDINARY)
    except TemplateError as error:
        raise ValueError(f"the template is wrong: {error.message}") from None
    return text


def filled(settings: S, notice: Notice, quote: Quote = str, html: Collection[str] = ()) -> S:
    """The settings with every template in them expanded for the notice; what fails is left empty.

    `quote` makes harmless what alerts say; the fields named by `html` are HTML, where values are escaped.
    """
    if not holds_template(settings):
        return settings
    dot, definitions = facts(notice, quote), settings.definitions

    def expand(text: str, *, html: bool = False) -> str:
        return _expanded(text, definitions, dot, notice, html=html)

    fields = {
        name: _filled(getattr(settings, name), expand) for name in type(settings).model_fields if name not in html
    }
    fields |= {name: expand(getattr(settings, name), html=True) for name in html}
    return settings.model_copy(update=fields)


def holds_template(value: Any) -> bool:
    """Whether there is anything to expand."""
    if isinstance(value, str):
        return "{{" in value
    if isinstance(value, Settings):
        return any(holds_template(getattr(value, name)) for name in type(value).model_fields)
    if isinstance(value, Mapping):
        return any(map(holds_template, value.values()))
    return isinstance(value, list) and any(map(holds_template, value))


def _filled(value: Any, expand: Callable[[str], str]) -> Any:
    if not holds_template(value):
        return value
    if isinstance(value, str):
        return expand(value)
    if isinstance(value, Settings):
        fields = {name: _filled(getattr(value, name), expand) for name in type(value).model_fields}
        return value.model_copy(update=fields)
    if isinstance(value, Mapping):
        return {key: _filled(each, expand) for key, each in value.items()}
    return [_filled(each, expand) for each in value]


def _expanded(text: str, definitions: Definitions | None, dot: Struct, notice: Notice, *, html: bool) -> str:
    try:
        return template(text, definitions, html=html).expand(dot, data=notice)
    except TemplateError as error:
        log.warning("a receiver's template fails: receiver=%s reason=%s", notice.receiver, error.message)
        return ""


class Worded(Generic[S]):
    """A Notifier whose settings hold templates: made anew for each notice, with its texts."""

    def __init__(self, settings: S, make: Callable[[S], Notifier], html: Collection[str]) -> None:
        self._settings = settings
        self._make = make
        self._html = html
        self._plain = make(settings)
        self.min_interval_s = self._plain.min_interval_s
        self.edits = getattr(self._plain, "edits", False)

    def steps(self, notice: Notice) -> Sequence[Step]:
        """As without templates."""
        return self._plain.steps(notice)

    def render(self, notice: Notice, step: str, handle: Mapping[str, str] | None, degraded: bool) -> Request | None:
        """With the texts of this notice."""
        return self._make(filled(self._settings, notice, html=self._html)).render(notice, step, handle, degraded)

    def classify(self, response: Response, step: str) -> Outcome:
        """As without templates."""
        return self._plain.classify(response, step)


def worded(settings: S, make: Callable[[S], Notifier], html: Collection[str] = ()) -> Notifier:
    """The notifier of these settings, which need templates or do not; the fields named by `html` are HTML."""
    return Worded(settings, make, html) if holds_template(settings) else make(settings)
