"""The part of LogQL's syntax tree that is about lines: a LogQuery and its stages.

`str` of a node is its canonical text, which parses to an equal node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from obskit.model.labels import quote
from obskit.model.matchers import Matcher

ERROR_LABEL: Final = "__error__"
ERROR_DETAILS_LABEL: Final = "__error_details__"
PRESERVE_LABEL: Final = "__preserve_error__"
"""On a sample whose query filters by `__error__`: such an error does not fail the query."""


class LineOp(StrEnum):
    """What a line filter does with its operand."""

    CONTAINS = "|="
    CONTAINS_NOT = "!="
    MATCHES = "|~"
    MATCHES_NOT = "!~"
    PATTERN = "|>"
    PATTERN_NOT = "!>"

    @property
    def negative(self) -> bool:
        """Whether the filter drops what it finds."""
        return self.value[0] == "!"


class CompareOp(StrEnum):
    """Comparison, of label values and of samples."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    GREATER = ">"
    GREATER_EQUAL = ">="
    LESS = "<"
    LESS_EQUAL = "<="


@dataclass(frozen=True, slots=True)
class Text:
    """A line filter's operand: text to find, or the source of a pattern."""

    text: str

    def __str__(self) -> str:
        return quote(self.text)


@dataclass(frozen=True, slots=True)
class IpRange:
    """`ip("10.0.0.0/8")`: an address, a CIDR block, or `first-last`."""

    text: str

    def __str__(self) -> str:
        return f"ip({quote(self.text)})"


@dataclass(frozen=True, slots=True)
class LineFilter:
    """Keep or drop lines by their text; any operand will do."""

    op: LineOp
    operands: tuple[Text | IpRange, ...]

    def __str__(self) -> str:
        return f"{self.op.value} " + " or ".join(str(operand) for operand in self.operands)


@dataclass(frozen=True, slots=True)
class Extraction:
    """`label="path"` of json and logfmt."""

    label: str
    path: str

    def __str__(self) -> str:
        return f"{self.label}={quote(self.path)}"


@dataclass(frozen=True, slots=True)
class JsonStage:
    """`| json`: all fields, or only the named ones."""

    extractions: tuple[Extraction, ...] = ()

    def __str__(self) -> str:
        return " ".join(["| json", *_list(self.extractions)])


@dataclass(frozen=True, slots=True)
class LogfmtStage:
    """`| logfmt`."""

    extractions: tuple[Extraction, ...] = ()
    strict: bool = False
    keep_empty: bool = False

    def __str__(self) -> str:
        flags = ["--strict"] * self.strict + ["--keep-empty"] * self.keep_empty
        return " ".join(["| logfmt", *flags, *_list(self.extractions)])


@dataclass(frozen=True, slots=True)
class RegexpStage:
    """`| regexp "(?P<name>...)"`."""

    pattern: str

    def __str__(self) -> str:
        return f"| regexp {quote(self.pattern)}"


@dataclass(frozen=True, slots=True)
class PatternStage:
    """`| pattern "<ip> - <_>"`."""

    pattern: str

    def __str__(self) -> str:
        return f"| pattern {quote(self.pattern)}"


@dataclass(frozen=True, slots=True)
class UnpackStage:
    """`| unpack`: the labels and the line that promtail's pack stage put into JSON."""

    def __str__(self) -> str:
        return "| unpack"


@dataclass(frozen=True, slots=True)
class DecolorizeStage:
    """`| decolorize`: without ANSI colour codes."""

    def __str__(self) -> str:
        return "| decolorize"


@dataclass(frozen=True, slots=True)
class DropStage:
    """`| drop a, b="x"`: without these labels."""

    names: tuple[str | Matcher, ...]

    def __str__(self) -> str:
        return " ".join(["| drop", *_list(self.names)])


@dataclass(frozen=True, slots=True)
class KeepStage:
    """`| keep a, b="x"`: only these labels, and the errors."""

    names: tuple[str | Matcher, ...]

    def __str__(self) -> str:
        return " ".join(["| keep", *_list(self.names)])


@dataclass(frozen=True, slots=True)
class LineFormatStage:
    """`| line_format "{{.level}}: {{.msg}}"`: the line becomes what a template says."""

    template: str

    def __str__(self) -> str:
        return f"| line_format {quote(self.template)}"


@dataclass(frozen=True, slots=True)
class LabelFormat:
    """`new=old`, a rename, or `new="{{.old}}"`, a template."""

    label: str
    source: str
    is_template: bool = False

    def __str__(self) -> str:
        return f"{self.label}={quote(self.source) if self.is_template else self.source}"


@dataclass(frozen=True, slots=True)
class FormatStage:
    """`| label_format new=old, x="{{.y}}"`: in the order written."""

    formats: tuple[LabelFormat, ...]

    @property
    def reads_line(self) -> bool:
        """Whether a template looks at the line itself."""
        return any(one.is_template and "__line__" in one.source for one in self.formats)

    def __str__(self) -> str:
        return " ".join(["| label_format", *_list(self.formats)])


@dataclass(frozen=True, slots=True)
class Compare:
    """A label compared as a number, a duration (`limit` in seconds) or a size; `literal` is the limit as written."""

    label: str
    op: CompareOp
    kind: str
    limit: float
    literal: str

    def __str__(self) -> str:
        return f"{self.label}{self.op.value}{self.literal}"


@dataclass(frozen=True, slots=True)
class CompareIp:
    """A label that is an address in a range, or is not."""

    label: str
    negative: bool
    range: IpRange

    def __str__(self) -> str:
        return f"{self.label}{'!=' if self.negative else '='}{self.range}"


@dataclass(frozen=True, slots=True)
class Both:
    """`a and b`: both sides are always asked, since asking may set `__error__`."""

    left: Condition
    right: Condition

    def __str__(self) -> str:
        return " and ".join(
            f"({side})" if isinstance(side, Both | Either) else str(side) for side in _chain(self, Both)
        )


@dataclass(frozen=True, slots=True)
class Either:
    """`a or b`: the right side is asked only when the left is false."""

    left: Condition
    right: Condition

    def __str__(self) -> str:
        return " or ".join(f"({side})" if isinstance(side, Either) else str(side) for side in _chain(self, Either))


Condition: TypeAlias = Matcher | Compare | CompareIp | Both | Either


@dataclass(frozen=True, slots=True)
class LabelFilter:
    """`| status>=500 and method="GET"`."""

    condition: Condition

    def __str__(self) -> str:
        return f"| {self.condition}"


Stage: TypeAlias = (
    LineFilter
    | JsonStage
    | LogfmtStage
    | RegexpStage
    | PatternStage
    | UnpackStage
    | DecolorizeStage
    | DropStage
    | KeepStage
    | LineFormatStage
    | FormatStage
    | LabelFilter
)


LINE_READERS: Final = (LineFilter, JsonStage, LogfmtStage, RegexpStage, PatternStage, UnpackStage, LineFormatStage)
"""Stages that look at the line."""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Lines: which streams, and what is done with each line."""

    matchers: tuple[Matcher, ...]
    stages: tuple[Stage, ...] = ()

    def __str__(self) -> str:
        return " ".join(["{" + ", ".join(str(matcher) for matcher in self.matchers) + "}", *map(str, self.stages)])


def _list(items: Iterable[object]) -> list[str]:
    text = ", ".join(str(item) for item in items)
    return [text] if text else []


def _chain(condition: Condition, kind: type[Both | Either]) -> list[Condition]:
    """The sides of `a and b and c`, which is a tree that leans to the left."""
    sides = []
    while isinstance(condition, kind):
        sides.append(condition.right)
        condition = condition.left
    return [condition, *reversed(sides)]
