"""YAML files that people write, with the place of every value: YAML 1.2 scalars over libyaml's parser.

A scalar is its text: `22:30`, `on`, `0777` and `2024-01-01` stay what was written, and the field that reads them
decides what they mean. Only a plain `null`, `~` or nothing is None. Everything wrong is collected, not raised.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import yaml

from obskit.model.problems import Place, Problem, Severity
from obskit.model.yaml_nodes import Entry, Node, ScalarAlignment, end_of, ending, line_starts, span_of, start_of

Path = tuple[str | int, ...]
MAX_DEPTH: Final = 64
MAX_NODES: Final = 200_000
MAX_BYTES: Final = 8 * 1024 * 1024
VERBATIM: Final = "sql"
"""The key whose text is taken as it is: what a variable brings into a query would be an injection."""
_VARIABLE: Final = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})")


class Document:
    """One parsed file. `data` is what it says; `problems` everything that is wrong with it as YAML."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.text = text.removeprefix("\ufeff")
        self.problems: list[Problem] = []
        self.root: Node | None = None
        self.data: Any = None
        self.has_anchors = False

    @cached_property
    def lines(self) -> list[str]:
        """The text line by line, once somebody asks for one."""
        return self.text.splitlines()

    def place(self, path: Path) -> Place:
        """Where the value at `path` stands; its nearest ancestor's place when it is not there."""
        node = self._walk(path)[1]
        return self.place_of(None if node is None else node.span)

    def key_place(self, path: Path) -> Place:
        """Where the key of the last step of `path` stands; as `place` when that step is no key."""
        key = self._walk(path)[0]
        return self.place(path) if key is None else self.place_of(key)

    def offset_place(self, path: Path, offset: int, length: int = 1) -> Place:
        """Where character `offset` of the scalar at `path` stands in the file, whatever way it was quoted or folded."""
        node = self._walk(path)[1]
        if node is None or node.text is None:
            return self.place(path)
        # What is missing at the end is shown at the last character, not behind a block scalar's newline.
        offset = min(offset, max(0, len(node.text.rstrip()) - 1))
        starts = line_starts(self.text)
        index = ScalarAlignment(self.text, starts, node).source_index(offset)
        line = bisect_right(starts, index)
        room = len(self.source_line(line)) - (index - starts[line - 1])
        return Place(self.file, line, index - starts[line - 1] + 1, max(1, min(length, room)))

    def forget(self, path: Path) -> None:
        """The value at `path`, an item of a list, was read: from now on only its place is known."""
        node = self._walk(path)[1]
        if node is None or self.has_anchors:  # what has a name may be asked for under another path
            return
        node.content = ""
        holder = self.data
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = None

    def source_line(self, line: int) -> str:
        """The text of a one-based line, or nothing."""
        return self.lines[line - 1] if 0 < line <= len(self.lines) else ""

    def problem(
        self, path: Path, id: str, message: str, *, severity: Severity = Severity.ERROR, at_key: bool = False
    ) -> Problem:
        """A problem at the value (or the key) of `path`, with its source line."""
        return self.problem_at(self.key_place(path) if at_key else self.place(path), id, message, severity=severity)

    def problem_at(self, place: Place, id: str, message: str, *, severity: Severity = Severity.ERROR) -> Problem:
        """A problem at a place of this file, with its source line."""
        return Problem(place, id, message, severity, self.source_line(place.line))

    def place_of(self, span: int | None) -> Place:
        """A span of the text as a place: of several lines the first."""
        if span is None:
            return Place(self.file)
        (line, column), (last, end) = start_of(span), end_of(span)
        if last != line:
            end = len(self.source_line(line + 1))
        return Place(self.file, line + 1, column + 1, max(1, end - column))

    def _walk(self, path: Path) -> tuple[int | None, Node | None]:
        """The span of the key (if any) and the value's node of `path`, or of its nearest ancestor that exists."""
        key, node = None, self.root
        for step in path:
            if node is None:
                break
            content = node.content
            if isinstance(content, dict) and str(step) in content:
                key, node = content[str(step)]
            elif isinstance(content, list) and isinstance(step, int) and step < len(content):
                key, node = None, content[step]
            else:
                break
        return key, node


def parse_document(text: str, file: str, *, environment: Mapping[str, str] | None = None) -> Document:
    """Parse one YAML file. With an `environment`, `${NAME}`, `${NAME:-default}` and `$$` in values are replaced, but for
    values of the key `sql`.

    Refused with a problem each: bad YAML, duplicate keys, a second document, tags, aliases that multiply, nesting
    deeper than 64. `data` is None when nothing could be read.
    """
    document = Document(text, file)
    if len(text) > MAX_BYTES:
        document.problems.append(
            Problem(Place(file), "yaml-too-large", f"the file is larger than {MAX_BYTES >> 20} MB")
        )
        return document
    try:
        document.root = _Composer(document).compose()
    except yaml.MarkedYAMLError as error:
        document.problems.append(_syntax_problem(document, error))
    except yaml.reader.ReaderError as error:
        document.problems.append(_character_problem(document, error))
    except _TooMuchError as error:
        document.problems.append(document.problem_at(error.place, "yaml-too-large", str(error)))
    else:
        _Builder(document, environment).build()
    return document


class _TooMuchError(Exception):
    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place


def _syntax_problem(document: Document, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    while line > 1 and not document.source_line(line).strip():
        # The text ended too early: show its last words, not the emptiness behind them.
        line -= 1
        column = max(1, len(document.source_line(line)))
    message = ": ".join(part for part in (error.context, error.problem) if part)
    if "\t" in document.source_line(line)[: column + 1]:
        message += " (YAML is indented with spaces, never with tabs)"
    elif "${" in document.source_line(line)[: column + 1]:
        message += ' (inside { } and [ ], a variable stands in quotes: "${NAME}")'
    return document.problem_at(Place(document.file, line, column), "yaml-syntax", message)


def _character_problem(document: Document, error: yaml.reader.ReaderError) -> Problem:
    before = document.text[: error.position]
    line = before.count("\n") + 1
    column = error.position - (before.rfind("\n") + 1) + 1
    character = error.character if isinstance(error.character, int) else ord(str(error.character)[:1] or "?")
    message = f"character U+{character:04X} is not allowed in YAML"
    return document.problem_at(Place(document.file, line, column), "yaml-syntax", message)


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come. `key`: where the key of the next value stands, and its text if it has one."""

    node: Node
    key: tuple[int, str | None] | None = None


@dataclass(slots=True)
class _Composer:
    """Events to nodes, without recursion: a hostile file costs a list, not the stack."""

    document: Document
    stack: list[_Open] = field(default_factory=lambda: [_Open(Node(0, []))])
    """Outermost a list of the documents."""
    anchors: dict[str, Node] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    """Each text once: most of a file's keys and many of its values are repeated."""

    def compose(self) -> Node | None:
        events: Iterator[Any] = iter(yaml.CSafeLoader(self.document.text).get_event, None)
        documents = self.stack[0].node.items
        for event in events:
            # Scalars first: nearly all are. Events are of exactly these classes.
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._scalar(event)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._open(event, sequence=kind is yaml.SequenceStartEvent)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                node = self.stack.pop().node
                node.span = ending(node.span, _span(event))
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentStartEvent and documents:
                self._second(event)
                break
        return documents[0] if documents else None

    def _scalar(self, event: Any) -> None:
        text, top = self.texts.setdefault(event.value, event.value), self.stack[-1]
        if event.anchor or event.tag:
            node = Node(_span(event), text, event.style or None)
            self._note(event, node)
            self._attach(node)
        elif top.key is None and type(top.node.content) is dict:
            top.key = _span(event), text  # a key needs no node: there are as many of them as of values
        else:
            self._attach(Node(_span(event), text, event.style or None))

    def _second(self, event: Any) -> None:
        message = "one document per file: a second one begins here"
        self.document.problems.append(self.document.problem_at(self._place(event), "yaml-syntax", message))

    def _open(self, event: Any, *, sequence: bool) -> None:
        node = Node(_span(event), [] if sequence else {})
        self._note(event, node)
        self._attach(node)
        self.stack.append(_Open(node))
        if len(self.stack) > MAX_DEPTH + 1:
            raise _TooMuchError(self._place(event), f"nested deeper than {MAX_DEPTH} levels")

    def _alias(self, event: yaml.AliasEvent) -> None:
        target = self.anchors.get(event.anchor or "")
        if target is None or any(entry.node is target for entry in self.stack):
            message = f"alias *{event.anchor} names no anchor before it"
            self.document.problems.append(self.document.problem_at(self._place(event), "yaml-alias", message))
            target = Node(_span(event), "")
        self._attach(target)

    def _note(self, event: Any, node: Node) -> None:
        """What else is written before a node."""
        if event.anchor:
            self.anchors[event.anchor] = node
            self.document.has_anchors = True
        if event.tag and event.tag not in ("!", "tag:yaml.org,2002:str"):
            message = f"tags are not used here: {event.tag.replace('tag:yaml.org,2002:', '!!')}"
            self.document.problems.append(self.document.problem_at(self._place(event), "yaml-tag", message))

    def _attach(self, node: Node) -> None:
        parent = self.stack[-1]
        content, key = parent.node.content, parent.key
        if isinstance(content, list):
            content.append(node)
        elif key is None:
            parent.key = node.span, node.text
        else:
            assert isinstance(content, dict)
            self._enter(content, key, node)
            parent.key = None

    def _enter(self, entries: dict[str, Entry], key: tuple[int, str | None], value: Node) -> None:
        span, text = key
        if text is None:
            self._complain(key, "yaml-key", "a key must be text")
        elif text in entries and text != "<<":
            first = start_of(entries[text][0])[0] + 1
            self._complain(key, "duplicate-key", f'"{text}" is already given in line {first}')
        else:
            entries[text] = (span, value)

    def _complain(self, key: tuple[int, str | None], id: str, message: str) -> None:
        line, column = start_of(key[0])
        place = Place(self.document.file, line + 1, column + 1, len(key[1] or " "))
        self.document.problems.append(self.document.problem_at(place, id, message))

    def _place(self, event: Any) -> Place:
        return Place(self.document.file, event.start_mark.line + 1, event.start_mark.column + 1)


def _span(event: Any) -> int:
    begin, end = event.start_mark, event.end_mark
    return span_of(begin.line, begin.column, end.line, end.column)


class _Builder:
    """Nodes to plain data: merge keys applied, variables replaced, aliases counted so that they cannot multiply."""

    def __init__(self, document: Document, environment: Mapping[str, str] | None) -> None:
        self._document = document
        self._environment = environment
        self._built = 0

    def build(self) -> None:
        document = self._document
        if document.root is None:
            return
        try:
            document.data = self._value(document.root, 0)
        except _TooMuchError as error:
            document.problems.append(document.problem_at(error.place, "yaml-too-large", str(error)))

    def _value(self, node: Node, depth: int) -> Any:
        self._built += 1
        if self._built > MAX_NODES or depth > MAX_DEPTH:
            line, column = node.start
            place = Place(self._document.file, line + 1, column + 1)
            raise _TooMuchError(place, f"aliases make this more than {MAX_NODES} values")
        content = node.content
        if isinstance(content, str):  # nearly all are
            return None if node.is_null else self._expand(content, node)
        if isinstance(content, list):
            return [self._value(item, depth + 1) for item in content]
        self._merge(node)
        return {key: self._entry(key, value, depth + 1) for key, (_, value) in content.items()}

    def _entry(self, key: str, node: Node, depth: int) -> Any:
        content = node.content
        if key == VERBATIM and isinstance(content, str) and not node.is_null:
            self._built += 1
            return content
        return self._value(node, depth)

    def _merge(self, node: Node) -> None:
        """`<<: *base` or `<<: [*a, *b]`: the mapping's own keys win, then the first of the list (YAML merge keys)."""
        entries = node.entries
        if entries is None or "<<" not in entries:
            return
        key, merged = entries.pop("<<")
        for source in merged.items if merged.items is not None else [merged]:
            if source.entries is None:
                line, column = start_of(key)
                place = Place(self._document.file, line + 1, column + 1, 2)
                self._document.problems.append(
                    self._document.problem_at(place, "yaml-merge", "<< merges a mapping or a list of mappings")
                )
                continue
            self._merge(source)
            for name, entry in source.entries.items():
                entries.setdefault(name, entry)

    def _expand(self, text: str, node: Node) -> str:
        if self._environment is None or "$" not in text:
            return text
        return _VARIABLE.sub(self._replacement(node, self._environment), text)

    def _replacement(self, node: Node, environment: Mapping[str, str]) -> Callable[[re.Match[str]], str]:
        def replace(match: re.Match[str]) -> str:
            name, default = match.groups()
            if name is None:
                return "$"
            # As in a shell, `:-` also covers a variable that is set but empty.
            value = environment.get(name) or default
            if value is not None:
                return value
            if name in environment:
                return ""
            self._unset(node, name)
            return ""

        return replace

    def _unset(self, node: Node, name: str) -> None:
        place = self._document.place_of(node.span)
        message = f"the environment variable {name} is not set: set it, or write ${{{name}:-default}}"
        self._document.problems.append(self._document.problem_at(place, "unset-variable", message))
