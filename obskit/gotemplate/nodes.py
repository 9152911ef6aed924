"""The syntax tree of a template, after Go's text/template/parse. Every node knows where it starts in the text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    """Anything that has a place in the text."""

    start: int


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A bool, an int, a float or a string; None is `nil`."""

    value: bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Dot(Node):
    """`.`, then the members asked of it: `.Labels.job` is `("Labels", "job")`."""

    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variable(Node):
    """`$name`, then members. The name of `$` itself is empty."""

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function by name. Its arguments are the operands after it."""

    name: str


@dataclass(frozen=True, slots=True)
class Group(Node):
    """`(pipeline)`, then members."""

    pipe: Pipe
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Doomed(Node):
    """What Go takes for a template and then fails on, whenever it comes to it."""

    why: str


Operand = Literal | Dot | Variable | Call | Group | Doomed


@dataclass(frozen=True, slots=True)
class Command(Node):
    """What does something, and its arguments."""

    head: Operand
    arguments: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Pipe(Node):
    """Commands, each with the value of the one before as its last argument; then the variables that take the value."""

    commands: tuple[Command, ...]
    names: tuple[str, ...] = ()
    declares: bool = False


@dataclass(frozen=True, slots=True)
class Text(Node):
    """Text outside of braces."""

    text: str


@dataclass(frozen=True, slots=True)
class Output(Node):
    """`{{ pipeline }}`: prints unless it only sets variables."""

    pipe: Pipe


@dataclass(frozen=True, slots=True)
class If(Node):
    """`{{ if }}`."""

    pipe: Pipe
    body: Block
    otherwise: Block


@dataclass(frozen=True, slots=True)
class With(Node):
    """`{{ with }}`: as if, with the dot set."""

    pipe: Pipe
    body: Block
    otherwise: Block


@dataclass(frozen=True, slots=True)
class Range(Node):
    """`{{ range }}`: the body for each element, or else the other."""

    pipe: Pipe
    body: Block
    otherwise: Block


@dataclass(frozen=True, slots=True)
class Jump(Node):
    """`{{ break }}` or `{{ continue }}`."""

    leaves: bool


@dataclass(frozen=True, slots=True)
class Include(Node):
    """`{{ template "name" pipeline }}`; without a pipeline the dot is nil."""

    name: str
    pipe: Pipe | None


Statement = Text | Output | If | With | Range | Jump | Include
Block = tuple[Statement, ...]
