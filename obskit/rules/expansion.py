"""What an element of a rule's result becomes: the labels and annotations of its alert, templates expanded.

Pure. Whether the alert begins, goes on or ends is state.py's to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_plus

from obskit.model.histograms import NativeHistogram
from obskit.model.labels import EMPTY, NAME, Labels
from obskit.model.results import Element
from obskit.rules.groups import AlertRule
from obskit.rules.template import TemplateData, TemplateError
from obskit.rules.template_functions import no_query

ALERTNAME: Final = "alertname"
REASON: Final = "reason"
NO_DATA: Final = "no data"

Sampled = float | NativeHistogram
Elements = Sequence[tuple[Labels, Sampled]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What templates and links see beside the element itself. `query` answers at the evaluation's time."""

    external_labels: Labels = EMPTY
    external_url: str = ""
    query: Callable[[str], Sequence[Element]] = no_query


@dataclass(frozen=True, slots=True)
class Expansion:
    """Expands one rule's texts at one time."""

    rule: AlertRule
    around: Surroundings
    now_ms: int

    def by_labels(self, vector: Elements) -> dict[Labels, tuple[Labels, Sampled]] | None:
        """The elements by the labels of their alerts; None when two have the same."""
        seen: dict[Labels, tuple[Labels, Sampled]] = {}
        for element in vector:
            labels = {name: text for name, text in element[0].pairs if name != NAME}
            for name, text in self.rule.labels.items():
                labels[name] = self.text(text, element)
            labels[ALERTNAME] = self.rule.name
            seen[Labels(labels)] = element
        return seen if len(seen) == len(vector) else None

    def annotations(self, element: tuple[Labels, Sampled]) -> dict[str, str]:
        """The annotations of an element's alert."""
        return {name: self.text(text, element) for name, text in self.rule.annotations.items()}

    def summary(self, labels: Labels, value: float) -> str:
        """The summary as it would read with another value; empty when it has no template."""
        text = self.rule.annotations.get("summary", "")
        return self.text(text, (labels, value)) if text in self.rule.templates else ""

    def no_data_labels(self) -> Labels:
        """The labels of the alert that the whole rule has no data; a template has nothing to say there."""
        own = {name: text for name, text in self.rule.labels.items() if text not in self.rule.templates}
        return Labels({**own, ALERTNAME: self.rule.name, REASON: NO_DATA})

    def no_data_annotations(self, labels: Labels) -> dict[str, str]:
        """The annotations of an alert about missing data: what the rule says of a value would be untrue."""
        kept = {name: text for name, text in self.rule.annotations.items() if text not in self.rule.templates}
        where = " ".join(f"{name} {text}" for name, text in series_labels(self.rule, labels).pairs)
        said = f"No data{' for ' + where if where else ''}: {self.rule.name} cannot tell how it stands"
        return {**kept, "summary": said, "description": f"Nothing is found by {self.rule.expr}"}

    def text(self, text: str, element: tuple[Labels, Sampled]) -> str:
        """One text; a template that fails tells its error in its place."""
        template = self.rule.templates.get(text)
        if template is None:
            return text
        data = TemplateData(
            labels=element[0],
            value=element[1],
            external_labels=self.around.external_labels,
            external_url=self.around.external_url,
            query=self.around.query,
            now_ms=self.now_ms,
        )
        try:
            return template.expand(data)
        except TemplateError as error:
            return f"<error expanding template: {error}>"


def series_labels(rule: AlertRule, labels: Labels) -> Labels:
    """Of an alert's labels, or an element's, those that are the series' own: neither the rule's nor the name's."""
    return Labels(
        {
            name: text
            for name, text in labels.pairs
            if name not in rule.labels and name not in (NAME, ALERTNAME) and (name, text) != (REASON, NO_DATA)
        }
    )


def generator_url(external_url: str, expr: str) -> str:
    """The link to an expression's table, as Prometheus writes it (util/strutil); nothing without an external URL."""
    return f"{external_url.rstrip('/')}/graph?g0.expr={quote_plus(expr)}&g0.tab=1" if external_url else ""
