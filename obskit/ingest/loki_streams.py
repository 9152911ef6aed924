"""The labels of pushed streams: from JSON or from Loki's text form to Labels, each remembered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from obskit.model.labels import Labels, is_label_name
from obskit.promql.literals import unquote

_KEPT: Final = 10_000
_SHOWN: Final = 200
_PAIR: Final = r'([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*("(?:[^"\\\n]|\\.)*"|`[^`]*`)'
_LABEL: Final = re.compile(_PAIR)
_LABELS: Final = re.compile(rf"\s*\{{\s*((?:{_PAIR}\s*(?:,\s*|(?=\}})))*)\}}\s*")


class BadStreamError(ValueError):
    """Labels that are none."""


class Streams:
    """Remembers what senders repeat in every push. The store finds a stream by the identity of its Labels first."""

    def __init__(self) -> None:
        self._of_text: dict[str, Labels] = {}
        self._known: dict[Labels, Labels] = {}

    def of_text(self, text: str) -> Labels:
        """The labels of `{app="shop", region="fra"}`. BadStreamError says what is wrong."""
        labels = self._of_text.get(text)
        if labels is None:
            if len(self._of_text) >= _KEPT:
                self._of_text.clear()
            labels = self._of_text[text] = self._same(_parsed(text))
        return labels

    def of_object(self, stream: Any) -> Labels:
        """The labels of `{"app": "shop"}`. BadStreamError says what is wrong."""
        if not isinstance(stream, Mapping):
            raise BadStreamError("a stream needs an object of labels")
        for name, value in stream.items():
            if not is_label_name(name):
                raise BadStreamError(f"invalid label name: {name[:_SHOWN]!r}")
            if not isinstance(value, str):
                raise BadStreamError(f"the value of label {name[:_SHOWN]} is not a string")
        return self._same(Labels(stream))

    def _same(self, labels: Labels) -> Labels:
        if len(self._known) >= _KEPT:
            self._known.clear()
        return self._known.setdefault(labels, labels)


def _parsed(text: str) -> Labels:
    whole = _LABELS.fullmatch(text)
    if whole is None:
        raise BadStreamError(f'error parsing labels {text[:_SHOWN]!r}: they look like {{app="shop"}}')
    try:
        return Labels((name, unquote(value)) for name, value in _LABEL.findall(whole[1]))
    except ValueError as error:
        raise BadStreamError(f"error parsing labels {text[:_SHOWN]!r}: {error}") from None
