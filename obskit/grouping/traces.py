"""Stack traces in text: which exceptions, through which functions of whose code. No line numbers, no addresses.

One reader per language, each anchored to lines and bounded, so that hostile text costs no more than its length. What an
exception means for grouping is said in fingerprints.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

MAX_TRACE: Final = 65_536
"""Characters that are read: of longer text the first and the last half of it."""
MAX_FRAMES: Final = 100
MAX_CHAIN: Final = 8


@dataclass(frozen=True, slots=True)
class Frame:
    """A call. `module` is a package or the end of a path, without what changes with a deploy."""

    module: str
    function: str
    in_app: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.function}" if self.module else self.function


@dataclass(slots=True)
class Thrown:
    """One exception of a chain; the frames in the order of the text."""

    type: str
    message: str
    frames: list[Frame] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Trace:
    """A chain of exceptions. `newest` is the one that was not caught: what a person looks at first."""

    language: str
    chain: Sequence[Thrown]
    newest: Thrown

    @property
    def culprit(self) -> str:
        """The frame of our own code that is closest to the failure, or the closest of all."""
        frames = self.newest.frames if self.language != "python" else self.newest.frames[::-1]
        return str(next((frame for frame in frames if frame.in_app), frames[0] if frames else ""))


def find_trace(text: str) -> Trace | None:
    """The first stack trace in a text, None when there is none."""
    if len(text) > MAX_TRACE:
        text = f"{text[: MAX_TRACE // 2]}\n{text[-MAX_TRACE // 2 :]}"
    for language, marks, reader in _READERS:
        if any(mark in text for mark in marks):
            chain = list(_bounded(reader(text.splitlines())))
            if chain:
                newest = chain[-1] if language in _NEWEST_LAST else chain[0]
                return Trace(language, chain, newest)
    return None


def _bounded(chain: Iterator[Thrown]) -> Iterator[Thrown]:
    for number, thrown in enumerate(chain):
        if number >= MAX_CHAIN:
            return
        del thrown.frames[MAX_FRAMES:]
        yield thrown


# -- what paths and names have in common

_FOREIGN_PATH: Final = re.compile(
    r"site-packages|dist-packages|/lib/python\d|^<|node_modules|^node:|^internal/|/vendor/|/gems/|/ruby/\d|/rustc/"
    r"|\.cargo/registry|/usr/local/go/src|/go/pkg/mod/|/toolchain@|^native$"
)
_BUILD_HASH: Final = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]*\d)[0-9A-Za-z]{8,}|[0-9]+")
_ROOT: Final = re.compile(
    r"/(?:app|workspace|code|build|repo|usr/src/app|usr/src|var/task|var/www/html|srv/[^/]+|opt/[^/]+|home/[^/]+"
    r"|Users/[^/]+|var/www/[^/]+)/(?:releases/[^/]+/)?"
)
_SUFFIX: Final = re.compile(r"\.[A-Za-z]{1,5}$")


def _of_path(path: str) -> str:
    """The last two parts of a path, without root and suffix: the same on every machine and in every release."""
    plain = _ROOT.sub("", path.partition("?")[0].removeprefix("file://").replace("\\", "/"), count=1)
    return _BUILD_HASH.sub("#", _SUFFIX.sub("", "/".join(plain.rsplit("/", 2)[-2:]).lstrip("./")))


def _head(text: str) -> tuple[str, str]:
    """Type and message of "package.Type: message"."""
    kind, _, message = text.partition(":")
    return kind.strip(), message.strip()


# -- Python

_PY_FRAME: Final = re.compile(r'[ |+]*File "([^"]*)", line \d+(?:, in (.*))?')
_PY_THROWN: Final = re.compile(r"[ |+]*([A-Za-z_][\w.]*)(?:: (.*)|:?$)")


def _python(lines: Sequence[str]) -> Iterator[Thrown]:
    """The exception comes behind its frames; causes come first."""
    frames: list[Frame] | None = None
    for line in lines:
        if "Traceback (most recent call last):" in line:
            frames = []
        elif frames is None:
            continue
        elif (found := _PY_FRAME.match(line)) is not None:
            path = found[1]
            frames.append(Frame(_of_path(path), (found[2] or "").strip(), not _FOREIGN_PATH.search(path)))
        elif (found := _PY_THROWN.match(line)) is not None and (not line.startswith("    ") or "|" in line[:8]):
            yield Thrown(found[1], found[2] or "", frames)
            frames = None


# -- JavaScript: Node, browsers, Workers

_JS_FRAME: Final = re.compile(r"\s*at (?:(async |new )?([^\s(][^(]*?) \()?([^()]+?|<anonymous>)\)?,?$")
_JS_PLACE: Final = re.compile(r"^(.*?)(?::\d+){1,2}$")
_JS_THROWN: Final = re.compile(
    r"\s*(?:\[?cause\]?: |Caused by: |Uncaught (?:\(in promise\) )?)?([A-Za-z_$][\w$.]*)(?: \[[\w-]+\])?(?:: (.*)|$)"
)
_JS_NATIVE: Final = frozenset({"<anonymous>", "native", "index 0"})


def _javascript(lines: Sequence[str]) -> Iterator[Thrown]:
    """The exception comes before its frames; causes come last."""
    head, thrown = "", None
    for line in lines:
        if line.lstrip().startswith("at ") and (found := _JS_FRAME.match(line[:2048])) is not None:
            if thrown is None:
                said = _JS_THROWN.search(head) or _JS_THROWN.match("Error")
                thrown = Thrown(said[1], (said[2] or "").strip()) if said else Thrown("Error", "")
            thrown.frames.append(_js_frame(found[2] or "", found[3]))
        else:
            if thrown is not None:
                yield thrown
                thrown, head = None, ""
            if not head or _JS_CAUSE.match(line):
                head = line[:2048]
    if thrown is not None:
        yield thrown


_JS_CAUSE: Final = re.compile(r"\s*(?:\[?cause\]?|Caused by): ")


def _js_frame(function: str, place: str) -> Frame:
    found = _JS_PLACE.match(place)
    path = found[1] if found else place
    plain = function.removeprefix("async ").removeprefix("new ").removeprefix("Object.").split(" [as ")[0]
    in_app = found is not None and path not in _JS_NATIVE and not _FOREIGN_PATH.search(path)
    return Frame(_of_path(path) if found else "", plain or "<anonymous>", in_app)


# -- Java, Kotlin, Scala

_JAVA_FRAME: Final = re.compile(r"\s*at (?:[\w.@-]+/+)*([\w.$<>-]+)\.([\w$<>-]+)\([^()]*\)")
_JAVA_THROWN: Final = re.compile(
    r'(?:.*?Exception in thread "[^"]*" |\s*Caused by: |\s*Wrapped by: )?((?:[a-zA-Z_$][\w$]*\.)*[A-Z][\w$]*)(?:: (.*)|$)'
)
_JAVA_FOREIGN: Final = re.compile(
    r"(?:java|javax|jdk|sun|com\.sun|jakarta|kotlin|kotlinx|scala|akka|groovy|clojure|org\.(?:springframework|apache"
    r"|hibernate|eclipse|junit|jboss|postgresql|mockito)|io\.(?:netty|undertow|micrometer|quarkus|vertx|ktor)|reactor"
    r"|com\.(?:zaxxer|mysql|fasterxml|google\.common))\."
)
_JAVA_MADE: Final = re.compile(r"\$\$.*|\$\d+|(?<=lambda\$)(\w+)\$\d+")


def _java(lines: Sequence[str]) -> Iterator[Thrown]:
    """As JavaScript: causes come last."""
    head, thrown = "", None
    for line in lines:
        if (found := _JAVA_FRAME.match(line[:2048])) is not None:
            if thrown is None:
                said = _JAVA_THROWN.match(head)
                thrown = Thrown(said[1], said[2] or "") if said else Thrown(*_head(head))
            in_app = not _JAVA_FOREIGN.match(found[1])
            thrown.frames.append(Frame(_JAVA_MADE.sub("", found[1]), re.sub(r"\$\d+", "", found[2]), in_app))
        elif line.lstrip().startswith(("... ", "Suppressed:")):
            continue
        else:
            if thrown is not None:
                yield thrown
                thrown, head = None, ""
            if not head or line.startswith("Caused by: ") or _JAVA_THROWN.match(line[:2048]):
                head = line[:2048]
    if thrown is not None:
        yield thrown


# -- Go

_GO_PANIC: Final = re.compile(r"(?:.*?\s)?(panic|fatal error): (.*)")
_GO_CALL: Final = re.compile(r"((?:[\w.~%-]+/)*[\w.~%-]+\.[^\s]*?)\((?:[^()]|\(\))*\)$")
_GO_MADE: Final = re.compile(r"(?:\.func\d+|\.\d+|\[\.\.\.\])+(?=\.|$)")


def _go(lines: Sequence[str]) -> Iterator[Thrown]:
    """The first goroutine after the panic; the newest call first."""
    thrown: Thrown | None = None
    inside = False
    for number, line in enumerate(lines):
        if (said := _GO_PANIC.match(line[:2048])) is not None and not inside:
            kind, message = ("runtime error", said[2][15:]) if said[2].startswith("runtime error: ") else said.groups()
            thrown = Thrown(kind, message.removesuffix(" [recovered]"))
        elif line.startswith("goroutine "):
            if inside:
                break
            thrown = thrown or Thrown("goroutine", line.partition("[")[2].rstrip("]:"))
            inside = True
        elif inside and thrown and (found := _GO_CALL.match(line[:2048])) is not None:
            path = lines[number + 1].strip() if number + 1 < len(lines) else ""
            thrown.frames.append(_go_frame(found[1], path))
    if thrown is not None and inside:
        yield thrown


def _go_frame(call: str, path: str) -> Frame:
    folder, _, rest = call.rpartition("/")
    package, _, function = rest.partition(".")
    module = f"{folder}/{package}" if folder else package
    standard = "." not in module.split("/")[0] and module != "main" and "/src/" in path and "/go" in path
    in_app = not (standard or module in {"runtime", "panic"} or _FOREIGN_PATH.search(path))
    return Frame(module, _GO_MADE.sub("", function), in_app)


# -- Ruby

_RB_FRAME: Final = re.compile(
    r"\s*(?:from |\d+: from )?([^\s:][^:]*\.\w+|\(\w+\)):\d+:in [`']([^']*)'(?:: (.*) \(([\w:]+)\))?$"
)
_RB_HEAD: Final = re.compile(r"\s*([A-Z]\w*(?:::[A-Z]\w*)*) \((.*)\):?$")
_RB_BLOCK: Final = re.compile(r"^(?:(?:block|rescue|ensure)(?: \(\d+ levels\))? in )+")


def _ruby(lines: Sequence[str]) -> Iterator[Thrown]:
    """Type and message end the first line, or stand before the frames (Rails)."""
    thrown: Thrown | None = None
    for line in lines:
        if (found := _RB_FRAME.match(line[:2048])) is not None:
            if found[4]:
                if thrown is not None and thrown.frames:
                    yield thrown
                thrown = Thrown(found[4], found[3])
            if thrown is not None:
                function = _RB_BLOCK.sub("", found[2])
                thrown.frames.append(Frame(_of_path(found[1]), function, not _FOREIGN_PATH.search(found[1])))
        elif (head := _RB_HEAD.match(line[:2048])) is not None:
            if thrown is not None and thrown.frames:
                yield thrown
            thrown = Thrown(head[1], head[2])
    if thrown is not None and thrown.frames:
        yield thrown


# -- PHP

_PHP_HEAD: Final = re.compile(
    r"(?:.*?(?:Uncaught|Next) |.*?\bexception )?([A-Z][\w\\]*)(?:: (.*?))?(?: in (/?\S+?):\d+)?$"
)
_PHP_FRAME: Final = re.compile(r"#\d+ (?:(.+?)\(\d+\)|\[internal function\]): (.+?)\(")


def _php(lines: Sequence[str]) -> Iterator[Thrown]:
    """The cause comes first, what was thrown on it after "Next". The place it was thrown at is the newest frame."""
    head, thrown = "", None
    for line in lines:
        if (found := _PHP_FRAME.match(line[:2048])) is not None and thrown is not None:
            path, function = found[1] or "", found[2].replace("->", "::")
            thrown.frames.append(Frame(_of_path(path), function, bool(path) and not _FOREIGN_PATH.search(path)))
        elif line.startswith(("Stack trace:", "[stacktrace]")):
            said = _PHP_HEAD.search(head)
            thrown = Thrown(said[1], said[2] or "") if said else Thrown(*_head(head))
            if said and said[3]:
                thrown.frames.append(Frame(_of_path(said[3]), "", not _FOREIGN_PATH.search(said[3])))
        elif line.strip() and not line.startswith("#"):
            if thrown is not None:
                yield thrown
                thrown = None
            head = line[:2048]
    if thrown is not None:
        yield thrown


# -- Rust

_RS_PANIC: Final = re.compile(r"(?:.*?)?thread '[^']*'(?: \(\d+\))? panicked at (?:'(.*)', )?([^\s:']+):\d+:\d+:?$")
_RS_CALL: Final = re.compile(r"\s*\d+: +(?:0x[0-9a-f]+ - )?(\S.*)$")
_RS_HASH: Final = re.compile(r"::h[0-9a-f]{16}$|::\{\{closure\}\}")
_RS_FOREIGN: Final = re.compile(
    r"<?(?:std|core|alloc|tokio|hyper|axum|actix\w*|tower|futures\w*|rayon\w*|test|backtrace|anyhow)::|_?_?rust_|_start"
    r"|__libc|main$|<unknown>|clone"
)


def _rust(lines: Sequence[str]) -> Iterator[Thrown]:
    """A panic, with its backtrace where RUST_BACKTRACE asked for one; else the file it happened in."""
    for number, line in enumerate(lines):
        said = _RS_PANIC.match(line[:2048])
        if said is None:
            continue
        message = said[1] if said[1] is not None else (lines[number + 1] if number + 1 < len(lines) else "")
        frames: list[Frame] = []
        for call in lines[number + 1 :]:
            if (found := _RS_CALL.match(call[:2048])) is not None and len(frames) < MAX_FRAMES:
                module, _, function = _RS_HASH.sub("", found[1]).rpartition("::")
                frames.append(Frame(module, function, not _RS_FOREIGN.match(found[1])))
        yield Thrown("panic", message.strip(), frames or [Frame(_of_path(said[2]), "", in_app=True)])
        return


_NEWEST_LAST: Final = frozenset({"python", "php"})
_READERS: Final[tuple[tuple[str, tuple[str, ...], Callable[[Sequence[str]], Iterator[Thrown]]], ...]] = (
    ("python", ("Traceback (most recent call last):",), _python),
    ("rust", (" panicked at ",), _rust),
    ("go", ("goroutine ",), _go),
    ("php", ("Stack trace:\n#", "[stacktrace]\n#"), _php),
    ("ruby", (":in `", ":in '"), _ruby),
    ("java", ("\tat ", ".java:", ".kt:"), _java),
    ("javascript", ("\n    at ", "\n  at ", "\nat ", "\n\tat ", "\n      at "), _javascript),
)
