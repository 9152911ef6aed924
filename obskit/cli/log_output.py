"""How log lines look: in columns and colours on a terminal, one line each in a pipe, as JSON, or as they are.

Whoever writes a log line chooses what is in it. Nothing of that reaches a terminal as a command: control characters are
shown as escapes, colours that a program put into its lines are taken out.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from obskit.cli.log_message import Message, message_of
from obskit.cli.moments import stamp

if TYPE_CHECKING:
    from obskit.clock import Clock
    from obskit.logql.engine import LogLine
    from obskit.model.labels import Labels

Form = Callable[["LogLine"], str]
"""A line as text, without the newline behind it."""

NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000
ERROR, WARNING, NAMES = 160, 166, (33, 37, 64, 125, 61, 136)
"""Of the 256 colours: those that can be read on a dark and on a light ground."""

_COLOURS: Final = re.compile(r"\x1b\[[0-9;:]*m")
_UNSAFE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but the tab; what turns the direction of text around; halves of characters."""
NAMES_OF_WHAT: Final = ("app", "service_name", "job", "container", "name", "filename")
_LEVEL_LABELS: Final = ("level", "detected_level", "severity", "severity_text")
_LEVEL_IN_LINE: Final = re.compile(
    r"\b(TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|ERR|CRIT|CRITICAL|FATAL|PANIC|ALERT|EMERG)\b"
    r"|\b(?:level|severity|lvl)\"?[=:]\s?\"?([a-zA-Z]+)"
    r"|^(trace|debug|info|warn|warning|error|critical|fatal|panic):"
)
_LOOKED_AT: Final = 160
_WORDS: Final = {
    "trace": ("trace", None),
    "debug": ("debug", None),
    "info": ("info", None),
    "notice": ("info", None),
    "warn": ("warn", WARNING),
    "warning": ("warn", WARNING),
    **dict.fromkeys(("error", "err"), ("error", ERROR)),
    **dict.fromkeys(("crit", "critical", "alert", "emerg", "fatal", "panic"), ("fatal", ERROR)),
}
WIDEST: Final = 20
_FLUSH_S: Final = 0.1
_INDENT: Final = "    "


def form_of(output: str, *, terminal: bool) -> Form:
    """The form for `lines`, `json` or `raw`."""
    if output == "json":
        return as_json
    if output == "raw":
        return _raw_on_terminal if terminal else lambda line: line.line
    return Columns(colours=not os.environ.get("NO_COLOR")) if terminal else one_line


def safe(text: str) -> str:
    """Text that a terminal only shows, on one line."""
    return _UNSAFE.sub(_escape, _COLOURS.sub("", text))


def safe_lines(text: str) -> str:
    """Text that a terminal only shows, with its line breaks."""
    return "\n".join(map(safe, text.splitlines()))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode("ascii")


def one_line(line: LogLine) -> str:
    """For pipes: time, labels and text on one line, whatever is in it."""
    return f"{stamp(line.t_ns // NS_PER_MS)}  {safe(str(line.labels))}  {safe(line.line)}"


def as_json(line: LogLine) -> str:
    """One object: `time` (RFC 3339) and `time_ns`, `labels`, `line`."""
    seconds, rest = divmod(line.t_ns, NS_PER_S)
    moment = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    found = {"time": moment, "time_ns": line.t_ns, "labels": dict(line.labels), "line": line.line}
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(found, ensure_ascii=False))


def _raw_on_terminal(line: LogLine) -> str:
    return safe_lines(line.line)


def name_of(labels: Labels) -> str:
    """Where a line comes from, in a word: `fly/api`; all labels where none of them is a name."""
    source = labels.get("source")
    what = next((labels[name] for name in NAMES_OF_WHAT if name in labels), "")
    if not what:
        return source or str(labels)
    what = what.rpartition("/")[2] or what
    both = f"{source}/{what}"
    return both if source and source != what and len(both) <= WIDEST else what


def level_of(line: LogLine) -> str:
    """What a line says of its weight; empty when it does not."""
    labels = line.labels
    said = next((labels[name] for name in _LEVEL_LABELS if labels.get(name)), "")
    if not said and (match := _LEVEL_IN_LINE.search(line.line[:_LOOKED_AT])):
        said = next(filter(None, match.groups()))
    return said.lower()


class Columns:
    """For terminals: time, name in the colour of its stream, level, text; further lines of a text are indented."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours
        self._width = 0
        self._day = ""

    def __call__(self, line: LogLine) -> str:
        """The line, with a heading before it when another day begins."""
        day, _, time = stamp(line.t_ns // NS_PER_MS).partition("T")
        name, (level, colour) = safe(name_of(line.labels)), _WORDS.get(level_of(line), ("", None))
        self._width = max(self._width, min(len(name), WIDEST))
        columns = (
            self._painted(time.removesuffix("Z"), dim=True),
            self._painted(f"{_cut(name):<{self._width}}", fg=_colour(line.stream)),
            self._painted(f"{level:<5}", fg=colour, bold=colour == ERROR, dim=colour is None),
            self._text(message_of(line.line)),
        )
        return self._heading(day) + " ".join(columns)

    def _text(self, message: Message) -> str:
        first, *others = _COLOURS.sub("", message.text).splitlines() or [""]
        beside = f"  {self._painted(safe(message.fields), dim=True)}" if message.fields else ""
        below = [*others, *_COLOURS.sub("", message.below).splitlines()]
        return "\n".join([safe(first) + beside, *(_INDENT + safe(other) for other in below)])

    def _heading(self, day: str) -> str:
        if day == self._day:
            return ""
        self._day = day
        return self._painted(f"{day} UTC", dim=True) + "\n"

    def _painted(self, text: str, *, fg: int | None = None, bold: bool = False, dim: bool = False) -> str:
        if not self._colours or not text.strip():
            return text
        return click.style(text, fg=fg, bold=bold or None, dim=dim or None)


def _cut(name: str) -> str:
    return name if len(name) <= WIDEST else f"{name[: WIDEST - 1]}…"


def _colour(stream: Labels) -> int:
    """The same for a stream in every run."""
    return NAMES[zlib.crc32(str(stream).encode(errors="replace")) % len(NAMES)]


class Printer:
    """Writes lines to stdout as they are found: at once to a terminal, ten times a second into a pipe."""

    def __init__(self, form: Form, clock: Clock, *, before: Callable[[], None] = lambda: None) -> None:
        self._form = form
        self._clock = clock
        self._before = before
        self._flushed_s = -_FLUSH_S
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")

    def show(self, lines: Iterable[LogLine]) -> int:
        """All of them; how many there were. `before` is called before each is written."""
        count = 0
        for line in lines:
            count += 1
            self._before()
            sys.stdout.write(f"{self._form(line)}\n")
            if (now_s := self._clock.monotonic()) >= self._flushed_s + _FLUSH_S:
                self._flushed_s = now_s
                sys.stdout.flush()
        return count
