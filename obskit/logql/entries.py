"""One log line on its way through the stages, with the labels it has gathered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeAlias

from obskit.logql.log_nodes import ERROR_DETAILS_LABEL, ERROR_LABEL, PRESERVE_LABEL
from obskit.model.labels import Labels
from obskit.model.records import whole_text

EXTRACTED: Final = "_extracted"
ERRORS: Final = frozenset({ERROR_LABEL, ERROR_DETAILS_LABEL, PRESERVE_LABEL})


class Entry:
    """A line that stages change in place.

    `own` are the names of stream and metadata: a parsed label of the same name becomes `<name>_extracted`. `parsed` are
    the names whose values came of a stage.
    """

    __slots__ = ("labels", "line", "own", "parsed", "stream", "t_ns")

    def __init__(self, t_ns: int, line: str, labels: dict[str, str], own: Collection[str], stream: Labels) -> None:
        self.t_ns = t_ns
        self.line = line
        self.labels = labels
        self.own = own
        self.stream = stream
        self.parsed: set[str] = set()

    def add(self, name: str, value: str) -> None:
        """A parsed label; of a name that was parsed before, the first value stays."""
        if name in self.own:
            name += EXTRACTED
        if name and name not in self.parsed:
            self.parsed.add(name)
            self.labels[name] = whole_text(value)

    def put(self, name: str, value: str) -> None:
        """A label asked for by its name: it replaces what was parsed before."""
        if name in self.own:
            name += EXTRACTED
        self.parsed.add(name)
        self.labels[name] = whole_text(value)

    def set(self, name: str, value: str) -> None:
        """A label under this very name, whoever had it."""
        self.parsed.add(name)
        self.labels[name] = whole_text(value)

    def fill(self, name: str) -> None:
        """An empty label for what was asked for and is not there, unless somebody has the name."""
        if name not in self.labels:
            self.parsed.add(name)
            self.labels[name] = ""

    def fail(self, error: str, details: str = "") -> None:
        """Note that a stage could not do its work; the line goes on."""
        self.labels[ERROR_LABEL] = error
        if details:
            self.labels[ERROR_DETAILS_LABEL] = whole_text(details)
        else:
            self.labels.pop(ERROR_DETAILS_LABEL, None)

    def fail_parser(self, error: str, details: str, *, preserve: bool) -> None:
        """Note that a parser could not read the line. A query that filters by error wants to see such samples."""
        self.fail(error, details)
        if preserve:
            self.labels[PRESERVE_LABEL] = "true"
        else:
            self.labels.pop(PRESERVE_LABEL, None)

    @property
    def categories(self) -> tuple[Labels, Labels, Labels]:
        """The labels by where they come from: the stream, the line's metadata, the stages."""
        stream: dict[str, str] = {}
        metadata: dict[str, str] = {}
        parsed: dict[str, str] = {}
        for name, value in self.labels.items():
            if name in self.parsed or name in ERRORS:
                parsed[name] = value
            elif self.stream.get(name) == value and name in self.stream:
                stream[name] = value
            else:
                metadata[name] = value
        return Labels(stream), Labels.keeping_empty(metadata), Labels.keeping_empty(parsed)

    @property
    def failed(self) -> bool:
        """Whether a stage before could not do its work."""
        return ERROR_LABEL in self.labels


Step: TypeAlias = Callable[[Entry], bool]
"""What a stage does with an entry: change it, and say whether it is kept."""


def own_labels(stream: Labels, metadata: Mapping[str, str]) -> tuple[dict[str, str], Collection[str]]:
    """The labels a line starts with, and the names that parsed labels must not take.

    The stream's label wins over metadata of the same name, which becomes `<name>_extracted`.
    """
    labels = dict(stream.pairs)
    if not metadata:
        return labels, stream
    for name, value in metadata.items():
        labels[name + EXTRACTED if name in stream else name] = whole_text(value)
    return labels, frozenset([*stream, *metadata])
