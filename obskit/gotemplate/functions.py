"""Functions of templates: how one is called, and those Go itself brings (pkg.go.dev/text/template).

`and` and `or` are the evaluator's, because they decide what is evaluated. Others come from a Dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus

from obskit.errors import ObskitError
from obskit.gotemplate.printf import go_sprintf
from obskit.gotemplate.printing import check_printable, go_sprint, pointed
from obskit.gotemplate.problems import ValueProblem
from obskit.gotemplate.values import is_true, to_float, type_name
from obskit.model.results import Element


@dataclass(frozen=True, slots=True)
class Function:
    """A function and its parameters, one letter each.

    `s` string, `i` integer, `n` anything that holds a number, `e` a query's element, `v` a query's result,
    `t` anything, to be printed, `a` anything; a last `*` repeats the letter before it, any number of times. `asks` wants the data first.
    """

    call: Callable[..., Any]
    parameters: str
    asks: bool = False


def call_function(name: str, function: Function, arguments: Sequence[Any], data: Any, room: int) -> Any:
    """A function's value; ValueProblem when the arguments are wrong, it fails, or its text is longer than `room`."""
    letters = function.parameters.rstrip("*")
    if function.parameters.endswith("*"):
        letters = letters[:-1] + letters[-1] * (len(arguments) - len(letters) + 1)
        if len(arguments) < len(letters):
            raise ValueProblem(f"{name} wants at least {_count(letters)}, not {len(arguments)}")
    if len(arguments) != len(letters):
        raise ValueProblem(f"{name} wants {_count(letters)}, not {len(arguments)}")
    try:
        if "t" in letters:
            check_printable(arguments, room)
        checked = [_CHECKS[letter](argument) for letter, argument in zip(letters, arguments, strict=True)]
        result = function.call(data, *checked) if function.asks else function.call(*checked)
    except (ObskitError, ValueProblem, ValueError) as error:
        raise ValueProblem(f"{name}: {error}") from None
    if isinstance(result, str) and len(result) > room:
        raise ValueProblem(f"{name}: the text is longer than {room} characters")
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


def query_escape(text: str) -> str:
    """Go's url.QueryEscape."""
    return quote_plus(text, safe="", errors="replace").replace("%7E", "~")


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


_HTML: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\0": "\ufffd"},
)


def _html(*values: Any) -> str:
    return go_sprint(values).translate(_HTML)


def _js(*values: Any) -> str:
    escaped = go_sprint(values).translate(_JS)
    return "".join(c if c.isascii() or c.isprintable() else f"\\u{ord(c):04X}" for c in escaped)


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


GO_FUNCTIONS: Final[Mapping[str, Function]] = {
    "print": Function(lambda *values: go_sprint(values, pointed), "t*"),
    "println": Function(lambda *values: " ".join(map(pointed, values)) + "\n", "t*"),
    "printf": Function(lambda template, *values: go_sprintf(template, values), "st*"),
    "html": Function(_html, "t*"),
    "js": Function(_js, "t*"),
    "urlquery": Function(lambda *values: query_escape(go_sprint(values)), "t*"),
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
