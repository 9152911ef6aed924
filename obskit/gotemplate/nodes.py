"""The syntax tree of a template, after Go's text/template/parse. Every node knows where it starts in the text.

Nodes are told apart by their class and never compared. As named tuples they are made in a sixth of the time that
dataclasses need, and every command that reads a rule file makes all these classes.
"""

from __future__ import annotations

from typing import NamedTuple


class Literal(NamedTuple):
    """A bool, an int, a float or a string; None is `nil`."""

    start: int
    value: bool | int | float | str | None


class Dot(NamedTuple):
    """`.`, then the members asked of it: `.Labels.job` is `("Labels", "job")`."""

    start: int
    members: tuple[str, ...]


class Variable(NamedTuple):
    """`$name`, then members. The name of `$` itself is empty."""

    start: int
    name: str
    members: tuple[str, ...]


class Call(NamedTuple):
    """A function by name. Its arguments are the operands after it."""

    start: int
    name: str


class Group(NamedTuple):
    """`(pipeline)`, then members."""

    start: int
    pipe: Pipe
    members: tuple[str, ...]


class Doomed(NamedTuple):
    """What Go takes for a template and then fails on, whenever it comes to it."""

    start: int
    why: str


Operand = Literal | Dot | Variable | Call | Group | Doomed


class Command(NamedTuple):
    """What does something, and its arguments."""

    start: int
    head: Operand
    arguments: tuple[Operand, ...]


class Pipe(NamedTuple):
    """Commands, each with the value of the one before as its last argument; then the variables that take the value."""

    start: int
    commands: tuple[Command, ...]
    names: tuple[str, ...] = ()
    declares: bool = False


class Text(NamedTuple):
    """Text outside of braces."""

    start: int
    text: str


class Output(NamedTuple):
    """`{{ pipeline }}`: prints unless it only sets variables."""

    start: int
    pipe: Pipe


class If(NamedTuple):
    """`{{ if }}`."""

    start: int
    pipe: Pipe
    body: Block
    otherwise: Block


class With(NamedTuple):
    """`{{ with }}`: as if, with the dot set."""

    start: int
    pipe: Pipe
    body: Block
    otherwise: Block


class Range(NamedTuple):
    """`{{ range }}`: the body for each element, or else the other."""

    start: int
    pipe: Pipe
    body: Block
    otherwise: Block


class Jump(NamedTuple):
    """`{{ break }}` or `{{ continue }}`."""

    start: int
    leaves: bool


class Include(NamedTuple):
    """`{{ template "name" pipeline }}`; without a pipeline the dot is nil."""

    start: int
    name: str
    pipe: Pipe | None


Statement = Text | Output | If | With | Range | Jump | Include
Block = tuple[Statement, ...]
