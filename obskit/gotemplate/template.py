"""Templates: Go's text/template on plain values, with the functions and variables of a Dialect.

Nothing of Python can be reached from a template, and whatever it says it ends: its output, its steps and its depth
are bounded. Syntax is parser's, Go's own functions are functions', how values print is printing's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from obskit.errors import TemplateError
from obskit.gotemplate.functions import Function, call_function
from obskit.gotemplate.nodes import (
    Block,
    Call,
    Command,
    Doomed,
    Dot,
    Group,
    If,
    Include,
    Jump,
    Literal,
    Operand,
    Output,
    Pipe,
    Range,
    Statement,
    Text,
    Variable,
    With,
)
from obskit.gotemplate.parser import MAX_DEPTH, Tree, is_empty, parse
from obskit.gotemplate.printing import check_printable, format_value
from obskit.gotemplate.problems import ValueProblem
from obskit.gotemplate.values import is_true, member, type_name
from obskit.model.labels import Labels

MAX_STEPS: Final = 10_000
"""How many statements and commands one expansion may carry out."""

_NOTHING: Final = object()  # no value comes through the pipe; None is Go's nil


def _with_action(text: str, start: int, problem: str) -> str:
    """What went wrong, with the action it happened in."""
    opening = max(text.rfind("{{", 0, start + 2), 0)
    return f"{problem}, in {text[opening : text.find('}}', opening) + 2][:200]}"


@dataclass(frozen=True)
class Dialect:
    """What one language adds to Go's templates, and how long its texts may become.

    `variables` are given beside `$`. `renders` names the function that gives a defined template's text as a value.
    `costs` are the steps of functions that take more than one. `worded` makes an error's text of the template, the
    place in it and the problem. `printed` makes of the text before it and a value what is written of the value.
    """

    functions: Mapping[str, Function]
    max_text: int
    variables: tuple[str, ...] = ()
    renders: str = ""
    costs: Mapping[str, int] = field(default_factory=dict)
    worded: Callable[[str, int, str], str] = _with_action
    printed: Callable[[str, Any], str] = lambda _, value: format_value(value)

    def compile(self, text: str) -> Template:
        """A template ready to be expanded; TemplateError with the place where the text is wrong."""
        if len(text) > self.max_text:
            raise TemplateError(f"the template is longer than {self.max_text} characters", self.max_text)
        if "{{" not in text:
            return Template(text, self, Tree((Text(0, text),)))
        names = {*self.functions, "and", "or", self.renders} - {""}
        tree = parse(text, names, self.variables)
        return Template(text, self, tree, {name: Definition(text, body) for name, body in tree.defined.items()})


class Definition(NamedTuple):
    """What `{{ define }}` gave a name to, and the text it stands in."""

    text: str
    body: Block

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing: such a one replaces no other of its name."""
        return is_empty(self.body)


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template. Expanding it changes nothing, so one serves all who need it."""

    text: str
    dialect: Dialect = field(repr=False)
    tree: Tree = field(repr=False)
    defined: Mapping[str, Definition] = field(default_factory=dict, repr=False)

    def knowing(self, others: Mapping[str, Definition]) -> Template:
        """The template with definitions of other texts; its own go before them."""
        return replace(self, defined=joined(others, self.defined))

    def expand(self, dot: Any, given: Sequence[Any] = (), data: Any = None) -> str:
        """The text for `dot`, with the values of the dialect's variables; functions that ask get `data`.

        TemplateError when a function fails or a limit is reached.
        """
        if not self.tree.body:
            return ""
        if isinstance(self.tree.body[0], Text) and len(self.tree.body) == 1:
            return self.tree.body[0].text
        return _Expansion(self, dot, given, data).run()


def joined(known: Mapping[str, Definition], later: Mapping[str, Definition]) -> dict[str, Definition]:
    """All definitions; of two by one name the later one, unless it says nothing."""
    return {**known, **{name: one for name, one in later.items() if name not in known or not one.is_empty}}


class _Leave(Exception):  # noqa: N818 - a jump, not an error
    """A break or a continue, on its way to its range."""

    def __init__(self, *, loop: bool) -> None:
        self.loop = loop


class _Expansion:
    """One expansion: the output so far, the variables in reach, and what is left of the limits."""

    def __init__(self, template: Template, dot: Any, given: Sequence[Any], data: Any) -> None:
        self._text = template.text
        self._tree = template.tree
        self._defined = template.defined
        self._dialect = template.dialect
        self._data = data
        self._root = dot
        self._variables: list[tuple[str, Any]] = [("", dot), *zip(self._dialect.variables, given, strict=True)]
        self._output: list[str] = []
        self._size = 0
        self._steps = 0
        self._depth = 0

    def run(self) -> str:
        self._block(self._tree.body, self._root)
        return "".join(self._output)

    # Limits

    def _step(self, start: int, cost: int = 1) -> None:
        self._steps += cost
        if self._steps > MAX_STEPS:
            raise TemplateError(f"the template takes more than {MAX_STEPS} steps", start)

    def _write(self, text: str, start: int) -> None:
        self._size += len(text)
        if self._size > self._dialect.max_text:
            raise TemplateError(f"the text becomes longer than {self._dialect.max_text} characters", start)
        self._output.append(text)

    def _problem(self, error: ValueProblem, start: int) -> TemplateError:
        """The error as a person sees it."""
        return TemplateError(self._dialect.worded(self._text, start, str(error)), start)

    # Statements

    def _block(self, block: Block, dot: Any) -> None:
        """The statements of a block. Variables declared in it are gone after it."""
        known = len(self._variables)
        self._depth += 1
        for statement in block:
            if self._depth > MAX_DEPTH:
                raise TemplateError(f"templates nest more than {MAX_DEPTH} deep", statement.start)
            self._step(statement.start)
            self._statement(statement, dot)
        self._depth -= 1
        del self._variables[known:]

    def _statement(self, statement: Statement, dot: Any) -> None:
        match statement:
            case Text():
                self._write(statement.text, statement.start)
            case Output():
                value = self._pipe(statement.pipe, dot)
                if not statement.pipe.names:
                    self._print(value, statement.start)
            case If() | With():
                self._choice(statement, dot)
            case Range():
                self._range(statement, dot)
            case Jump():
                raise _Leave(loop=statement.leaves)
            case Include():
                self._include(statement, dot)

    def _print(self, value: Any, start: int) -> None:
        try:
            check_printable([value], self._dialect.max_text)
        except ValueProblem as error:
            raise self._problem(error, start) from None
        before = self._output[-1] if self._output else ""
        self._write(self._dialect.printed(before, "<no value>" if value is None else value), start)

    def _choice(self, statement: If | With, dot: Any) -> None:
        known = len(self._variables)
        value = self._pipe(statement.pipe, dot)
        if is_true(value):
            self._block(statement.body, value if isinstance(statement, With) else dot)
        else:
            self._block(statement.otherwise, dot)
        del self._variables[known:]

    def _range(self, statement: Range, dot: Any) -> None:
        known, depth = len(self._variables), self._depth
        names, declares = statement.pipe.names, statement.pipe.declares
        pairs = self._pairs(self._commands(statement.pipe, dot), statement.start)
        if not pairs:
            self._block(statement.otherwise, dot)
        for key, value in pairs:
            self._step(statement.start)
            for name, bound in zip(names, (key, value)[2 - len(names) :], strict=True):
                self._set(name, bound, declares=declares)
            try:
                self._block(statement.body, value)
            except _Leave as jump:
                self._depth = depth
                if jump.loop:
                    break
            finally:
                if declares:
                    del self._variables[known:]
        del self._variables[known:]

    def _pairs(self, value: Any, start: int) -> Sequence[tuple[Any, Any]]:
        """What a range walks over: a list by index, a map by sorted key, a number from 0 up."""
        match value:
            case list():
                return list(enumerate(value))
            case Labels() | dict():
                return [(key, value[key]) for key in sorted(value)]
            case int() if not isinstance(value, bool):
                return [(at, at) for at in range(min(value, MAX_STEPS + 1))]
            case None:
                return ()
        raise self._problem(ValueProblem(f"range cannot walk over a {type_name(value)}"), start)

    def _include(self, statement: Include, dot: Any) -> None:
        if statement.name not in self._defined:
            raise self._problem(ValueProblem(f"there is no template {statement.name!r}"), statement.start)
        outer = self._variables
        argument = None if statement.pipe is None else self._pipe(statement.pipe, dot)
        self._variables = [("", argument)]
        self._defined_block(statement.name, argument)
        self._variables = outer

    def _defined_block(self, name: str, dot: Any) -> None:
        outer = self._text
        self._text, body = self._defined[name]  # an error in it quotes the text it stands in
        self._block(body, dot)
        self._text = outer

    # Values

    def _set(self, name: str, value: Any, *, declares: bool) -> None:
        if declares:
            self._variables.append((name, value))
            return
        at = max(at for at, (known, _) in enumerate(self._variables) if known == name)
        self._variables[at] = (name, value)

    def _pipe(self, pipe: Pipe, dot: Any) -> Any:
        value = self._commands(pipe, dot)
        for name in pipe.names:
            self._set(name, value, declares=pipe.declares)
        return value

    def _commands(self, pipe: Pipe, dot: Any) -> Any:
        value: Any = _NOTHING
        for command in pipe.commands:
            self._step(command.start)
            value = self._command(command, dot, value)
        return value

    def _command(self, command: Command, dot: Any, last: Any) -> Any:
        head = command.head
        if isinstance(head, Call):
            return self._call(head, command.arguments, dot, last)
        arguments = [self._operand(argument, dot) for argument in command.arguments]
        if last is not _NOTHING:
            arguments.append(last)
        return self._operand(head, dot, arguments)

    def _operand(self, operand: Operand, dot: Any, arguments: Sequence[Any] = ()) -> Any:
        match operand:
            case Literal():
                return operand.value
            case Doomed():
                raise self._problem(ValueProblem(operand.why), operand.start)
            case Call():
                return self._call(operand, (), dot, _NOTHING)
            case Dot():
                value = dot
            case Variable():
                value = next(value for name, value in reversed(self._variables) if name == operand.name)
            case Group():
                value = self._pipe(operand.pipe, dot)
        return self._members(value, operand, arguments)

    def _members(self, value: Any, operand: Dot | Variable | Group, arguments: Sequence[Any]) -> Any:
        try:
            for at, name in enumerate(operand.members, 1):
                value = member(value, name, list(arguments) if at == len(operand.members) else [])
            if arguments and not operand.members:
                raise ValueProblem("only a function can take arguments")
        except ValueProblem as error:
            raise self._problem(error, operand.start) from None
        return value

    def _call(self, call: Call, operands: Sequence[Operand], dot: Any, last: Any) -> Any:
        if call.name in ("and", "or"):
            return self._short_circuit(call, operands, dot, last)
        arguments = [self._operand(operand, dot) for operand in operands]
        if last is not _NOTHING:
            arguments.append(last)
        dialect = self._dialect
        self._step(call.start, _size(arguments) // 1024 + dialect.costs.get(call.name, 0))
        try:
            if call.name == dialect.renders:
                return self._rendered(arguments)
            return call_function(call.name, dialect.functions[call.name], arguments, self._data, dialect.max_text)
        except ValueProblem as error:
            raise self._problem(error, call.start) from None

    def _short_circuit(self, call: Call, operands: Sequence[Operand], dot: Any, last: Any) -> Any:
        """The first operand that decides, or the last one; those behind it are not evaluated."""
        value: Any = _NOTHING
        for operand in operands:
            value = self._operand(operand, dot)
            if is_true(value) is (call.name == "or"):
                return value
        if last is not _NOTHING:
            return last
        if value is _NOTHING:
            raise self._problem(ValueProblem(f"{call.name} wants at least 1 argument"), call.start)
        return value

    def _rendered(self, arguments: Sequence[Any]) -> str:
        """`tmpl "name" dot`: the text of a defined template as a value."""
        if len(arguments) != 2 or arguments[0] not in self._defined:
            raise ValueProblem(f"{self._dialect.renders} wants the name of a defined template and its dot")
        outer, variables = self._output, self._variables
        self._output, self._variables = [], [("", arguments[1])]
        self._defined_block(arguments[0], arguments[1])
        text = "".join(self._output)
        self._output, self._variables = outer, variables
        return text


def _size(arguments: Sequence[Any]) -> int:
    """The characters a call reads: it takes a step for each kilobyte."""
    return sum(len(value) for value in arguments if isinstance(value, str))
