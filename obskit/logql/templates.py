"""`line_format` and `label_format`: Go templates over the labels of a line, with Loki's functions."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final

from obskit.errors import PatternError, TemplateError
from obskit.gotemplate.nodes import Dot, Output, Text
from obskit.gotemplate.template import Dialect, Template
from obskit.gotemplate.values import StringMap
from obskit.logql.entries import Entry, Step
from obskit.logql.log_nodes import ERROR_LABEL, FormatStage, LineFormatStage
from obskit.logql.pattern_errors import in_go_words as pattern_in_go_words
from obskit.logql.template_functions import LOKI_FUNCTIONS, MAX_TEXT, LineData

TEMPLATE_ERROR: Final = "TemplateFormatErr"

_ARGUMENTS: Final = re.compile(
    r"(\S+) wants (at least )?(\d+) arguments?, not (\d+)|(\S+) wants at least (\d+), not (\d+)"
)
_CALL: Final = re.compile(r"(\w+): (.*)", re.DOTALL)
_NO_MEMBER: Final = re.compile(r"there is no (\w+) in a (\S+)")
_COMMAND: Final = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|`[^`]*`|\([^()]*\)|[^|)}"`])*""")
_NODE: Final = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|`[^`]*`|[^\s|)}"`])*""")


def _failed_in_go(name: str, text: str, start: int, problem: str) -> str:
    """What Go's text/template says of a template called `name` that failed at a place, as far as it is known."""
    line = text.count("\n", 0, start)
    column = len(text[text.rfind("\n", 0, start) + 1 : start].encode(errors="surrogatepass"))
    form, words = _NODE, problem
    if match := _ARGUMENTS.fullmatch(problem):
        function, least, wanted, got = (
            match[1] or match[5],
            match[2] or match[5],
            match[3] or match[6],
            match[4] or match[7],
        )
        words = f"wrong number of args for {function}: want {'at least ' if least else ''}{wanted} got {got}"
    elif match := _NO_MEMBER.fullmatch(problem):
        words = f"can't evaluate field {match[1]} in type {match[2]}"
    elif match := _CALL.fullmatch(problem):
        form, words = _COMMAND, f"error calling {match[1]}: {pattern_in_go_words(PatternError(match[2]))}"
    node = form.match(text, start)
    assert node is not None, "it matches nothing, too"
    return f'template: {name}:{line + 1}:{column}: executing "{name}" at <{node[0].strip()}>: {words}'


_LINE: Final = "line"
_LABEL: Final = "label"
_DIALECTS: Final = {
    name: Dialect(LOKI_FUNCTIONS, MAX_TEXT, worded=partial(_failed_in_go, name)) for name in (_LINE, _LABEL)
}
_GO_WORDS: Final = (
    (re.compile(r"this \{\{ has no \}\}"), "unclosed action"),
    (re.compile(r"there is no function (\S+).*"), r'function "\1" not defined'),
    (re.compile(r"there is no variable (\S+)"), r'undefined variable "\1"'),
    (re.compile(r"(\{\{ \w+ \}\}) without an .*"), r"unexpected \1"),
    (re.compile(r"this \w+ has no \{\{ end \}\}"), "unexpected EOF"),
    (re.compile(r"this string has no end"), "unterminated quoted string"),
    (re.compile(r"unexpected character '(.)' between braces"), r'unexpected "\1" in operand'),
    (re.compile(r"a value or a function is missing here"), "missing value for command"),
)


@lru_cache(maxsize=512)
def compile_format(text: str, name: str = _LABEL) -> Template:
    """A template of a format stage, called as Loki calls it; TemplateError when it is none."""
    return _DIALECTS[name].compile(text)


def in_go_words(error: TemplateError) -> str:
    """The message of a template that cannot be read, as Go has it where it is known."""
    for ours, theirs in _GO_WORDS:
        if ours.search(error.message):
            return ours.sub(theirs, error.message).replace("{{ ", "{{").replace(" }}", "}}")
    return error.message


def labels_in(text: str) -> frozenset[str] | None:
    """The labels that a template reads; None when it may read any."""
    tree = compile_format(text).tree
    return None if tree.reads_all else frozenset(tree.reads)


Render = Callable[[StringMap, LineData], str]


def _renderer(text: str, called: str) -> Render:
    """How a template is expanded. One of labels and text alone needs no evaluator."""
    template = compile_format(text, called)
    parts: list[tuple[str, str]] = []  # (text, "") or ("", label)
    for statement in template.tree.body:
        match statement:
            case Text():
                parts.append((statement.text, ""))
                continue
            case Output(pipe=pipe) if len(pipe.commands) == 1 and not pipe.names:
                head = pipe.commands[0].head
                if isinstance(head, Dot) and len(head.members) == 1 and not pipe.commands[0].arguments:
                    parts.append(("", head.members[0]))
                    continue
        return lambda labels, data: template.expand(labels, data=data)
    return lambda labels, _: "".join([labels[name] if name else literal for literal, name in parts])


def line_format_step(stage: LineFormatStage, now_ns: int) -> Step:
    """The line becomes what the template says. On an error it stays as it was."""
    render = _renderer(stage.template, _LINE)

    def step(entry: Entry) -> bool:
        try:
            entry.line = render(StringMap(entry.labels), LineData(entry.line, entry.t_ns, now_ns))
        except TemplateError as error:
            entry.fail(TEMPLATE_ERROR, error.message)
        return True

    return step


def label_format_step(stage: FormatStage, now_ns: int) -> Step:
    """Labels are renamed, or become what a template says of the labels as the first template found them."""
    formats = [
        (one.label, one.source, _renderer(one.source, _LABEL) if one.is_template else None) for one in stage.formats
    ]

    def step(entry: Entry) -> bool:
        seen: StringMap | None = None
        for label, source, render in formats:
            if render is None:
                _rename(entry, label, source)
                continue
            if seen is None:
                seen = StringMap(entry.labels)
            try:
                entry.set(label, render(seen, LineData(entry.line, entry.t_ns, now_ns)))
            except TemplateError as error:
                entry.fail(TEMPLATE_ERROR, error.message)
        return True

    return step


def _rename(entry: Entry, label: str, source: str) -> None:
    value = entry.labels.get(source)
    if value is not None:
        del entry.labels[source]
        entry.parsed.discard(source)
        entry.set(label, value)


def wrong_with_line_format(stage: LineFormatStage) -> str:
    """What is wrong with a line_format, as Loki says it; empty when nothing is."""
    try:
        compile_format(stage.template, _LINE)
    except TemplateError as error:
        return f"invalid line template: template: line:1: {in_go_words(error)}"
    return ""


def wrong_with_formats(stage: FormatStage) -> str:
    """What is wrong with a label_format, as Loki says it; empty when nothing is."""
    seen: set[str] = set()
    for one in stage.formats:
        if one.label == ERROR_LABEL:
            return f"{ERROR_LABEL} cannot be formatted"
        if one.label in seen:
            return f"multiple label name '{one.label}' not allowed in a single format operation"
        seen.add(one.label)
    for one in stage.formats:
        try:
            if one.is_template:
                compile_format(one.source)
        except TemplateError as error:
            return f"invalid template for label '{one.label}': template: label:1: {in_go_words(error)}"
    return ""
