"""The functions a template may call: Prometheus' own (docs/configuration/template_reference.md) and Go's built-ins.

Each takes and gives plain values; `and`, `or` and `tmpl` are the evaluator's, because they decide what is evaluated.
"""

from __future__ import annotations

import html
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import quote_plus, urlsplit

from obskit.errors import ObskitError
from obskit.model.durations import parse_duration
from obskit.model.histograms import NativeHistogram
from obskit.model.labels import EMPTY
from obskit.model.patterns import compile_pattern
from obskit.model.results import Element
from obskit.rules.go_format import check_printable, format_value, go_sprint, go_sprintf
from obskit.rules.go_values import MAX_INT64, ValueProblem, is_true, to_float, type_name
from obskit.rules.humanize import (
    humanize,
    humanize1024,
    humanize_duration,
    humanize_percentage,
    humanize_timestamp,
    to_span,
    to_time,
)

MAX_TEXT: Final = 64 * 1024
"""The longest text a template, or a value in it, may become."""


def no_query(expr: str) -> Sequence[Element]:
    """The answer where there is nothing to ask."""
    raise ValueProblem(f"query cannot be answered here: {expr}")


@dataclass(frozen=True, slots=True)
class TemplateData:
    """What a template sees. `query` runs an instant query at the time of the evaluation, `now_ms`."""

    labels: Mapping[str, str] = EMPTY
    value: float | NativeHistogram = float("nan")
    external_labels: Mapping[str, str] = EMPTY
    external_url: str = ""
    query: Callable[[str], Sequence[Element]] = no_query
    now_ms: int = 0


@dataclass(frozen=True, slots=True)
class Function:
    """A function and its parameters, one letter each.

    `s` string, `i` integer, `n` anything that holds a number, `e` a query's element, `v` a query's result,
    `t` anything, to be printed, `a` anything; a last `*` repeats the letter before it, any number of times. `asks` wants the data first.
    """

    call: Callable[..., Any]
    parameters: str
    asks: bool = False


def call_function(name: str, arguments: Sequence[Any], data: TemplateData) -> Any:
    """The value of a function of the table; ValueProblem when the arguments are wrong or it fails."""
    function = FUNCTIONS[name]
    letters = function.parameters.rstrip("*")
    if function.parameters.endswith("*"):
        letters = letters[:-1] + letters[-1] * (len(arguments) - len(letters) + 1)
        if len(arguments) < len(letters):
            raise ValueProblem(f"{name} wants at least {_count(letters)}, not {len(arguments)}")
    if len(arguments) != len(letters):
        raise ValueProblem(f"{name} wants {_count(letters)}, not {len(arguments)}")
    try:
        if "t" in letters:
            check_printable(arguments, MAX_TEXT)
        checked = [_CHECKS[letter](argument) for letter, argument in zip(letters, arguments, strict=True)]
        result = function.call(data, *checked) if function.asks else function.call(*checked)
    except (ObskitError, ValueProblem, ValueError) as error:
        raise ValueProblem(f"{name}: {error}") from None
    if isinstance(result, str) and len(result) > MAX_TEXT:
        raise ValueProblem(f"{name}: the text is longer than {MAX_TEXT} characters")
    return result


def _count(letters: str) -> str:
    return "1 argument" if len(letters) == 1 else f"{len(letters)} arguments"


def _a(*kinds: type, what: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ValueProblem(f"{what} is wanted here, not a {type_name(value)}")
        return value

    return check


_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "s": _a(str, what="a string"),
    "i": _a(int, what="a whole number"),
    "n": to_float,
    "e": _a(Element, what="an element of a query's result"),
    "v": _a(list, what="a query's result"),
    "t": lambda value: value,
    "a": lambda value: value,
}

# Prometheus


def _query(data: TemplateData, expr: str) -> list[Element]:
    return list(data.query(expr))


def _first(vector: list[Element]) -> Element:
    if not vector:
        raise ValueProblem("the query's result is empty")
    return vector[0]


def _sort_by_label(label: str, vector: list[Element]) -> list[Element]:
    return sorted(vector, key=lambda element: element.labels.get(label))


def _re_replace_all(pattern: str, replacement: str, text: str) -> str:
    """Go's ReplaceAllString: `$1`, `$name`, `${name}` and `$$` in the replacement. Never longer than MAX_TEXT."""
    compiled, at, size = compile_pattern(pattern), 0, 0
    parts: list[str] = []
    for match in compiled.finditer(text):
        if parts and match.start() == match.end() == at:
            continue  # Go allows no empty match right behind another one
        piece = text[at : match.start()] + _GROUP.sub(partial(_group, match), replacement)
        parts.append(piece)
        at, size = match.end(), size + len(piece)
        if size > MAX_TEXT:
            raise ValueProblem(f"the text is longer than {MAX_TEXT} characters")
    return "".join(parts) + text[at:]


_GROUP: Final = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})")


def _group(match: Any, reference: re.Match[str]) -> str:
    dollar, bare, braced = reference.groups()
    if dollar:
        return "$"
    name = bare or braced
    try:
        return match.group(int(name) if name.isdecimal() else name) or ""
    except (IndexError, KeyError, OverflowError):
        return ""


def _split_port(host_port: str) -> tuple[str, str] | None:
    """Host and port as Go's net.SplitHostPort has them, or None."""
    if match := re.fullmatch(r"\[([^\[\]]*)\]:([^:\[\]]*)|([^:\[\]]*):([^:\[\]]*)", host_port):
        bracketed, port, host, other_port = match.groups()
        return (bracketed, port) if bracketed is not None else (host, other_port)
    return None


def _strip_port(host_port: str) -> str:
    split = _split_port(host_port)
    return split[0] if split else host_port


def _strip_domain(host_port: str) -> str:
    host, port = _split_port(host_port) or (host_port, "")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        short = host.split(".")[0]
        return f"{short}:{port}" if port else short
    return host_port


def _title(text: str) -> str:
    return re.sub(r"(?<!\w)\w", lambda first: first.group().title(), text)


def _to_upper(text: str) -> str:
    """Character by character, as Go does: a sharp s stays one."""
    return "".join(char.upper() if len(char.upper()) == 1 else char for char in text)


def _seconds(duration: str) -> float:
    ms = parse_duration(duration) if len(duration) < 64 else MAX_INT64
    if ms * 1_000_000 > MAX_INT64:
        raise ValueProblem("the duration is out of range")
    return ms / 1000


def _link(tab: int, expr: str) -> str:
    return f"/graph?g0.expr={_query_escape(expr)}&g0.tab={tab}"


def _query_escape(text: str) -> str:
    return quote_plus(text, safe="", errors="replace").replace("%7E", "~")


# Go

_JS: Final = str.maketrans(
    {
        "\\": "\\\\",
        "'": "\\'",
        '"': '\\"',
        "<": "\\u003C",
        ">": "\\u003E",
        "&": "\\u0026",
        "=": "\\u003D",
        **{chr(code): f"\\u{code:04X}" for code in range(32)},
    }
)


def _html(*values: Any) -> str:
    escaped = html.escape(go_sprint(values), quote=True)
    return escaped.replace("&quot;", "&#34;").replace("&#x27;", "&#39;").replace("\0", "\ufffd")


def _comparable(left: Any, right: Any) -> None:
    """Go refuses to compare an int with a float, and so do we: the rule would fail in Prometheus."""
    for value in (left, right):
        if not isinstance(value, bool | int | float | str):
            raise ValueProblem(f"a {type_name(value)} cannot be compared")
    if type(left) is not type(right):
        numbers = {type(left), type(right)} == {int, float}
        hint = " (write the whole number with a point: 100.0)" if numbers else ""
        raise ValueProblem(f"a {type_name(left)} cannot be compared with a {type_name(right)}{hint}")


def _eq(first: Any, *others: Any) -> bool:
    if not others:
        raise ValueProblem("two values are wanted")
    for other in others:
        if first is None or other is None:
            if first is other:
                return True
            continue
        _comparable(first, other)
        if first == other:
            return True
    return False


def _lt(left: Any, right: Any) -> bool:
    _comparable(left, right)
    if isinstance(left, bool):
        raise ValueProblem("bools have no order")
    return bool(left < right)


def _le(left: Any, right: Any) -> bool:
    return _lt(left, right) or _eq(left, right)


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, Mapping | list):
        return len(value)
    raise ValueProblem(f"a {type_name(value)} has no length")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, Mapping):
            if not isinstance(key, str):
                raise ValueProblem(f"a map's key is a string, not a {type_name(key)}")
            value = value.get(key)
            continue
        sequence = _sequence(value)
        _within(key, len(sequence) - 1)
        value = sequence[key]
    return value


def _slice(value: Any, *bounds: Any) -> Any:
    if len(bounds) > 2:
        raise ValueProblem("at most two bounds are wanted")
    sequence = _sequence(value)
    start = bounds[0] if bounds else 0
    end = bounds[1] if len(bounds) > 1 else len(sequence)
    _within(start, len(sequence))
    _within(end, len(sequence))
    if start > end:
        raise ValueProblem(f"the start {start} is behind the end {end}")
    part = sequence[start:end]
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else part


def _sequence(value: Any) -> bytes | list[Any]:
    """What Go indexes by number: a list, or the bytes of a string."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    if isinstance(value, list):
        return value
    raise ValueProblem(f"a {type_name(value)} has no index")


def _within(index: Any, last: int) -> None:
    if not isinstance(index, int) or isinstance(index, bool):
        raise ValueProblem(f"an index is a whole number, not a {type_name(index)}")
    if not 0 <= index <= last:
        raise ValueProblem(f"the index {index} is out of range")


FUNCTIONS: Final[Mapping[str, Function]] = {
    # From Prometheus: what asks the engine, and takes its answers apart
    "query": Function(_query, "s", asks=True),
    "first": Function(_first, "v"),
    "label": Function(lambda name, element: element.labels.get(name), "se"),
    "value": Function(lambda element: element.value, "e"),
    "strvalue": Function(lambda element: element.labels.get("__value__"), "e"),
    "sortByLabel": Function(_sort_by_label, "sv"),
    # From Prometheus: numbers and times for people
    "humanize": Function(humanize, "n"),
    "humanize1024": Function(humanize1024, "n"),
    "humanizeDuration": Function(humanize_duration, "n"),
    "humanizePercentage": Function(humanize_percentage, "n"),
    "humanizeTimestamp": Function(humanize_timestamp, "n"),
    "toTime": Function(to_time, "n"),
    "toDuration": Function(to_span, "n"),
    "parseDuration": Function(_seconds, "s"),
    "now": Function(lambda data: data.now_ms / 1000, "", asks=True),
    # From Prometheus: text and addresses
    "title": Function(_title, "s"),
    "toUpper": Function(_to_upper, "s"),
    "toLower": Function(lambda text: "".join(char.lower()[0] for char in text), "s"),
    "match": Function(lambda pattern, text: compile_pattern(pattern).search(text) is not None, "ss"),
    "reReplaceAll": Function(_re_replace_all, "sss"),
    "stripPort": Function(_strip_port, "s"),
    "stripDomain": Function(_strip_domain, "s"),
    "safeHtml": Function(lambda text: text, "s"),
    "urlQueryEscape": Function(_query_escape, "s"),
    # From Prometheus: links into the web pages, and maps for a defined template
    "graphLink": Function(partial(_link, 0), "s"),
    "tableLink": Function(partial(_link, 1), "s"),
    "externalURL": Function(lambda data: data.external_url, "", asks=True),
    "pathPrefix": Function(lambda data: urlsplit(data.external_url).path, "", asks=True),
    "args": Function(lambda *values: {f"arg{at}": value for at, value in enumerate(values)}, "a*"),
    # From Go
    "print": Function(lambda *values: go_sprint(values), "t*"),
    "println": Function(lambda *values: " ".join(map(format_value, values)) + "\n", "t*"),
    "printf": Function(lambda template, *values: go_sprintf(template, values), "st*"),
    "html": Function(_html, "t*"),
    "js": Function(lambda *values: go_sprint(values).translate(_JS), "t*"),
    "urlquery": Function(lambda *values: _query_escape(go_sprint(values)), "t*"),
    "eq": Function(_eq, "aa*"),
    "ne": Function(lambda left, right: not _eq(left, right), "aa"),
    "lt": Function(_lt, "aa"),
    "le": Function(_le, "aa"),
    "gt": Function(lambda left, right: not _le(left, right), "aa"),
    "ge": Function(lambda left, right: not _lt(left, right), "aa"),
    "not": Function(lambda value: not is_true(value), "a"),
    "len": Function(_len, "a"),
    "index": Function(_index, "aa*"),
    "slice": Function(_slice, "aa*"),
}
