"""Templates of labels and annotations: Go's text/template with what Prometheus gives its rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from obskit.errors import TemplateError
from obskit.gotemplate.nodes import Doomed
from obskit.gotemplate.template import MAX_STEPS, Dialect
from obskit.gotemplate.template import Template as GoTemplate
from obskit.gotemplate.values import Struct
from obskit.model.histograms import NativeHistogram
from obskit.model.labels import Labels
from obskit.rules.template_functions import FUNCTIONS, MAX_TEXT, TemplateData

__all__ = ["MAX_STEPS", "Template", "TemplateData", "TemplateError", "compile_template"]

_QUERY_STEPS: Final = 100
_PROMETHEUS: Final = Dialect(
    FUNCTIONS,
    MAX_TEXT,
    variables=("labels", "externalLabels", "externalURL", "value"),
    renders="tmpl",
    costs={"query": _QUERY_STEPS},
)


@lru_cache(maxsize=4096)
def compile_template(text: str) -> Template:
    """A template ready to be expanded; TemplateError with the place where the text is wrong."""
    return Template(_PROMETHEUS.compile(text))


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template. Expanding it changes nothing, so one serves all alerts of a rule."""

    _template: GoTemplate = field(repr=False)

    @property
    def text(self) -> str:
        """The template as written."""
        return self._template.text

    @property
    def uses_value(self) -> bool:
        """Whether the text depends on the rule's value: in a label that makes a new alert of every new value."""
        return not self._template.tree.reads.isdisjoint(("Value", "$value"))

    @property
    def doomed(self) -> Sequence[Doomed]:
        """The places at which every expansion fails that comes to them; Prometheus loads such a template too."""
        return self._template.tree.doomed

    def expand(self, data: TemplateData) -> str:
        """The text for these data; TemplateError when a function fails or a limit is reached."""
        labels, external_labels = _as_labels(data.labels), _as_labels(data.external_labels)
        value = data.value if isinstance(data.value, NativeHistogram) else float(data.value)
        root = Struct(Labels=labels, ExternalLabels=external_labels, ExternalURL=data.external_url, Value=value)
        return self._template.expand(root, (labels, external_labels, data.external_url, value), data)


def _as_labels(labels: Any) -> Labels:
    return labels if isinstance(labels, Labels) else Labels(labels)
