"""Template tokens to a syntax tree. Unknown functions, variables and templates are found here, before any data.

What is accepted is what Go's text/template/parse accepts (but for `call`, complex numbers and those beyond 64 bits), so
that a text which loads in Prometheus, or in Loki, loads here. What can only fail later, such as the use of a template that nobody
defines, is accepted too, and listed as doomed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, NoReturn

from obskit.errors import TemplateError
from obskit.gotemplate.lexer import Kind, Token, tokens
from obskit.gotemplate.literals import character, number, string
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

MAX_DEPTH: Final = 100
"""How deep blocks and parentheses may nest."""

_CONSTANTS: Final[Mapping[str, bool | None]] = {"true": True, "false": False, "nil": None}
_CONTROLS: Final[Mapping[str, type[If | With | Range]]] = {"if": If, "with": With, "range": Range}
_ENDS: Final = (Kind.CLOSE, Kind.RIGHT)
_WORDS: Final = ("block", "break", "continue", "define", "else", "end", "template", *_CONTROLS)


@dataclass(slots=True)
class Tree:
    """What a text says: its statements, the templates it defines, and what of the data it reads.

    `reads` are the members asked of the whole data (`.status`, `$.status`) and, with their `$`, the variables given.
    `reads_all` says that the whole data are used as they are (`{{ . }}`), so that any member may be.
    `doomed` are the places that fail whenever an expansion comes to them.
    """

    body: Block = ()
    defined: dict[str, Block] = field(default_factory=dict)
    reads: set[str] = field(default_factory=set)
    reads_all: bool = False
    doomed: list[Doomed] = field(default_factory=list)


def parse(text: str, functions: Collection[str], variables: Sequence[str] = ()) -> Tree:
    """The tree of `text`, in which these functions may be called and these variables are given beside `$`.

    TemplateError where it is wrong.
    """
    return _Parser(text, functions, variables).parse()


class _Parser:
    def __init__(self, text: str, functions: Collection[str], variables: Sequence[str]) -> None:
        self._tokens = list(tokens(text))
        self._next = 0
        self._functions = functions
        self._tree = Tree()
        self._variables = ["", *variables]  # the empty name is `$`, the whole data
        self._includes: list[Include] = []
        self._depth = 0
        self._loops = 0
        self._dots = 0  # how many enclosing blocks have set the dot to something else

    def parse(self) -> Tree:
        body, end = self._block(())
        if end.kind is not Kind.END:
            self._fail(f"{{{{ {end.text} }}}} without an if, range, with, block or define before it", end)
        self._tree.body = body
        for include in self._includes:
            if include.name not in self._tree.defined:
                self._doom(f"there is no template {include.name!r}", include.start)
        return self._tree

    # Tokens

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        self._next += 1
        return self._tokens[self._next - 1]

    def _take_if(self, kind: Kind) -> Token | None:
        return self._take() if self._peek().kind is kind else None

    def _expect(self, kind: Kind, where: str) -> Token:
        token = self._take()
        if token.kind is not kind:
            self._fail(f"unexpected {token.text!r} {where}: {kind.value} expected", token)
        return token

    def _fail(self, message: str, token: Token) -> NoReturn:
        raise TemplateError(message, token.start)

    def _doom(self, why: str, start: int) -> Doomed:
        """What to put in the place of something that Go accepts and then fails on."""
        doomed = Doomed(start, why)
        self._tree.doomed.append(doomed)
        return doomed

    @contextmanager
    def _deeper(self, token: Token) -> Iterator[None]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"nested more than {MAX_DEPTH} deep", token)
        yield
        self._depth -= 1

    # Statements

    def _block(self, ends: Collection[str]) -> tuple[Block, Token]:
        """The statements up to one of the words in `ends` (or else or end, or the end of the text), and that word."""
        statements: list[Statement] = []
        while True:
            token = self._take()
            if token.kind is Kind.END:
                return tuple(statements), token
            if token.kind is Kind.TEXT:
                statements.append(Text(token.start, token.text))
                continue
            word = self._peek()
            if word.kind is Kind.WORD and word.text in ("end", "else"):
                self._take()
                if word.text not in ends:
                    return tuple(statements), word
                if word.text == "end":
                    self._expect(Kind.CLOSE, "after end")
                return tuple(statements), word
            if statement := self._statement(token):
                statements.append(statement)

    def _statement(self, opening: Token) -> Statement | None:
        word = self._peek()
        if word.kind is not Kind.WORD or word.text not in _WORDS:
            output = Output(opening.start, self._pipeline(Kind.CLOSE))
            self._take()
            return output
        self._take()
        match word.text:
            case "if" | "with" | "range":
                return self._control(word)
            case "break" | "continue":
                return self._jump(word)
            case "template":
                return self._include(word)
        return self._definition(word)

    def _control(self, word: Token) -> If | With | Range:
        """The rest of an if, a with or a range, through its end. Variables set in it are gone after it."""
        kind, known = _CONTROLS[word.text], len(self._variables)
        with self._deeper(word):
            pipe = self._pipeline(Kind.CLOSE, in_range=kind is Range)
            self._take()
            sets_dot, loops = kind is not If, kind is Range
            self._dots += sets_dot
            self._loops += loops
            body, end = self._block(("else", "end"))
            self._dots -= sets_dot
            self._loops -= loops
            otherwise = self._otherwise(word, end)
        del self._variables[known:]
        return kind(word.start, pipe, body, otherwise)

    def _otherwise(self, word: Token, end: Token) -> Block:
        if end.kind is Kind.END:
            self._fail(f"this {word.text} has no {{{{ end }}}}", word)
        if end.text == "end":
            return ()
        again = self._peek()
        if again.kind is Kind.WORD and again.text == word.text and word.text != "range":
            return (self._control(self._take()),)
        self._expect(Kind.CLOSE, "after else")
        body, last = self._block(("end",))
        if last.kind is Kind.END:
            self._fail(f"this {word.text} has no {{{{ end }}}}", word)
        if last.text == "else":
            self._fail(f"a second else in one {word.text}", last)
        return body

    def _jump(self, word: Token) -> Jump:
        if not self._loops:
            self._fail(f"{word.text} outside of a range", word)
        self._expect(Kind.CLOSE, f"after {word.text}")
        return Jump(word.start, leaves=word.text == "break")

    def _include(self, word: Token) -> Include:
        name = self._name(word)
        pipe = None if self._peek().kind is Kind.CLOSE else self._pipeline(Kind.CLOSE)
        self._expect(Kind.CLOSE, "after template")
        include = Include(word.start, name, pipe)
        self._includes.append(include)
        return include

    def _name(self, word: Token) -> str:
        token = self._take()
        if token.kind not in (Kind.STRING, Kind.RAW):
            self._fail(f'{word.text} wants a name in quotes: {{{{ {word.text} "name" }}}}', token)
        return string(token)

    def _definition(self, word: Token) -> Include | None:
        """A define, which prints nothing, or a block, which is a define and its use. Neither sees outer variables."""
        if word.text == "define" and self._depth:
            self._fail("define inside of another block", word)
        name = self._name(word)
        pipe = self._pipeline(Kind.CLOSE) if word.text == "block" else None
        self._expect(Kind.CLOSE, f"after {word.text}")
        outer = self._variables, self._loops
        self._variables, self._loops = [""], 0
        self._dots += 1
        with self._deeper(word):
            body, end = self._block(("end",))
        self._dots -= 1
        self._variables, self._loops = outer
        if end.text != "end":
            self._fail(f"this {word.text} has no {{{{ end }}}}", word)
        if is_empty(self._tree.defined.get(name, ())):
            self._tree.defined[name] = body
        elif not is_empty(body):
            self._fail(f"a second definition of the template {name!r}", word)
        return Include(word.start, name, pipe) if pipe else None

    # Pipelines

    def _pipeline(self, end: Kind, *, in_range: bool = False) -> Pipe:
        """A pipeline up to (and without) its end."""
        first = self._peek()
        names, declares = self._targets(in_range=in_range)
        commands = [self._command(end)]
        while self._take_if(Kind.PIPE):
            commands.append(self._command(end))
            head = commands[-1].head
            if isinstance(head, Literal):
                raise TemplateError("only a function can take the value before the |", head.start)
        if self._peek().kind is not end:
            self._fail(f"unexpected {self._peek().text!r}", self._peek())
        if declares:
            self._variables.extend(names)
        elif unknown := [name for name in names if name not in self._variables]:
            doomed = self._doom(f"there is no variable ${unknown[0]} yet: := declares one", first.start)
            return Pipe(first.start, (Command(first.start, doomed, ()),))
        return Pipe(first.start, tuple(commands), names, declares)

    def _targets(self, *, in_range: bool) -> tuple[tuple[str, ...], bool]:
        """The variables before `:=` or `=`, and whether they are new."""
        ahead = [token.kind for token in self._tokens[self._next : self._next + 4]]
        two = [Kind.VARIABLE, Kind.COMMA, Kind.VARIABLE]
        count = 2 if ahead[:3] == two else 1
        mark = ahead[3:4] if count == 2 else ahead[1:2]
        if ahead[:1] != [Kind.VARIABLE] or mark not in ([Kind.DECLARE], [Kind.ASSIGN]):
            return (), False
        if count == 2 and not in_range:
            self._fail("only range can set two variables", self._peek())
        targets = [self._take()]
        if self._take_if(Kind.COMMA):
            targets.append(self._take())
        declares = self._take().kind is Kind.DECLARE
        return tuple(token.text[1:] for token in targets), declares

    def _known(self, token: Token) -> str:
        name = token.text[1:]
        if name not in self._variables:
            self._fail(f"there is no variable {token.text}", token)
        return name

    def _command(self, end: Kind) -> Command:
        operands: list[Operand] = []
        start = self._peek()
        while self._peek().kind not in (end, Kind.PIPE):
            token = self._peek()
            if token.kind in _ENDS:
                self._fail(f"unexpected {token.text!r}", token)
            if operands and not token.spaced:
                self._fail(f"a space is missing before {token.text!r}", token)
            operands.append(self._operand())
        if not operands:
            self._fail("a value or a function is missing here", start)
        head = operands[0]
        if isinstance(head, Literal):
            if head.value is None:
                head = self._doom("nil alone is not a value to print", start.start)
            elif len(operands) > 1:
                head = self._doom(f"{start.text} is not a function, but has arguments", start.start)
        return Command(start.start, head, tuple(operands[1:]))

    def _operand(self) -> Operand:
        token = self._take()
        match token.kind:
            case Kind.DOT | Kind.FIELD:
                return self._dot(token)
            case Kind.VARIABLE:
                return self._variable(token)
            case Kind.LEFT:
                with self._deeper(token):
                    pipe = self._pipeline(Kind.RIGHT)
                self._take()
                return Group(token.start, pipe, self._members())
            case Kind.WORD if token.text not in _CONSTANTS:
                return self._call(token)
        literal = Literal(token.start, self._literal(token))
        if self._peek().kind is Kind.FIELD and not self._peek().spaced:
            self._fail(f"{token.text} has no members", self._peek())
        return literal

    def _members(self) -> tuple[str, ...]:
        """The `.a.b` that follow without a space."""
        members: list[str] = []
        while self._peek().kind is Kind.FIELD and not self._peek().spaced:
            members.append(self._take().text[1:])
        return tuple(members)

    def _dot(self, token: Token) -> Dot:
        first = () if token.kind is Kind.DOT else (token.text[1:],)
        dot = Dot(token.start, (*first, *self._members()))
        if not self._dots:
            self._read(dot.members)
        return dot

    def _variable(self, token: Token) -> Variable:
        variable = Variable(token.start, self._known(token), self._members())
        if variable.name:
            self._tree.reads.add(f"${variable.name}")
        else:
            self._read(variable.members)
        return variable

    def _read(self, members: tuple[str, ...]) -> None:
        """Note what is asked of the whole data."""
        if members:
            self._tree.reads.add(members[0])
        else:
            self._tree.reads_all = True

    def _call(self, token: Token) -> Call:
        if token.text in _WORDS:
            self._fail(f"{token.text} wants braces of its own: {{{{ {token.text} }}}}", token)
        if token.text not in self._functions:
            from difflib import get_close_matches  # noqa: PLC0415 - only a mistake needs it

            near = get_close_matches(token.text, self._functions, 1)
            self._fail(f"there is no function {token.text}" + (f" (did you mean {near[0]}?)" if near else ""), token)
        return Call(token.start, token.text)

    def _literal(self, token: Token) -> bool | int | float | str | None:
        match token.kind:
            case Kind.STRING | Kind.RAW:
                return string(token)
            case Kind.CHAR:
                return character(token)
            case Kind.NUMBER:
                return number(token)
            case Kind.WORD:
                return _CONSTANTS[token.text]
        raise TemplateError(f"unexpected {token.text!r}", token.start)


def is_empty(block: Block) -> bool:
    """Whether a definition says nothing: such a one gives way to another of its name."""
    return all(isinstance(statement, Text) and not statement.text.strip() for statement in block)
