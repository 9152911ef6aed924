"""Texts of receivers that Alertmanager would evaluate: its data and functions on our Go templates.

What has a name is definitions.py's; which texts a receiver has is wording.py's.
(prometheus/alertmanager template/template.go; docs/notifications.md)
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Final
from urllib.parse import unquote_plus

from obskit.gotemplate.functions import GO_FUNCTIONS, Function
from obskit.gotemplate.printing import format_value
from obskit.gotemplate.problems import ValueProblem
from obskit.gotemplate.template import Dialect, Template
from obskit.gotemplate.text import replace_all, title, to_lower, to_upper
from obskit.gotemplate.times import Instant
from obskit.gotemplate.values import Span, StringMap, Struct, Subject, type_name
from obskit.model.actions import Notice, NoticeReason
from obskit.model.alerts import Alert
from obskit.model.go_text import go_json
from obskit.model.labels import Labels
from obskit.model.patterns import compile_pattern
from obskit.rules.humanize import humanize_duration

MAX_TEXT: Final = 64 * 1024
_NEVER: Final = Instant(-62_135_596_800 * 10**9)  # Go's zero time
_LINK: Final = re.compile(r"""\b(?:href|src|action)\s*=\s*["']?$""", re.IGNORECASE)
_WEB: Final = re.compile(r"(?:https?|mailto):|[^:]*(?:[/?#]|$)", re.IGNORECASE)
_HTML: Final = {
    ord(char): f"&{name};" for char, name in zip("&<>\"'+", ("amp", "lt", "gt", "#34", "#39", "#43"), strict=True)
}
_QUOTED: Final = {ord(char): f"\\{char}" for char in r"\.+*?()|[]{}^$"}
Quote = Callable[[str], str]


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueProblem(f"a list is wanted here, not a {type_name(value)}")
    return value


def _without(kv: KV, names: Any) -> KV:
    return KV({name: kv[name] for name in kv if name not in _list(names)})


class KV(StringMap, Subject):
    """Names and texts, with Alertmanager's methods: `alertname` comes first, then the alphabet."""

    METHODS: ClassVar[Mapping[str, tuple[int, Callable[..., Any]]]] = {
        "SortedPairs": (0, lambda kv: Pairs(Struct(Name=name, Value=kv[name]) for name in kv.sorted_names)),
        "Names": (0, lambda kv: kv.sorted_names),
        "Values": (0, lambda kv: [kv[name] for name in kv.sorted_names]),
        "Remove": (1, _without),
    }

    @property
    def sorted_names(self) -> list[str]:
        """The order in which they are shown."""
        return sorted(self, key=lambda name: (name != "alertname", name))


class Pairs(list[Struct], Subject):
    """What SortedPairs gives."""

    METHODS: ClassVar[Mapping[str, tuple[int, Callable[..., Any]]]] = {
        "Names": (0, lambda pairs: [pair["Name"] for pair in pairs]),
        "Values": (0, lambda pairs: [pair["Value"] for pair in pairs]),
    }


class Alerts(list[Struct], Subject):
    """The alerts of a notice."""

    METHODS: ClassVar[Mapping[str, tuple[int, Callable[..., Any]]]] = {
        "Firing": (0, lambda alerts: [one for one in alerts if one["Status"] == "firing"]),
        "Resolved": (0, lambda alerts: [one for one in alerts if one["Status"] == "resolved"]),
    }


def _time(value: Any) -> Instant:
    if not isinstance(value, Instant):
        raise ValueProblem(f"a time is wanted here, not a {type_name(value)}")
    return value


def _join(between: str, texts: Any) -> str:
    return between.join(map(format_value, _list(texts)))


def _dict(*pairs: Any) -> dict[str, Any]:
    if len(pairs) % 2:
        raise ValueProblem("dict wants names and values in turn")
    return {format_value(name): value for name, value in zip(pairs[::2], pairs[1::2], strict=True)}


_JSON_NAMES: Final = {"ExternalURL": "externalURL", "GeneratorURL": "generatorURL"}


def _to_json(value: Any) -> str:
    return go_json(_in_json(value)).removesuffix("\n")


def _in_json(value: Any) -> Any:
    """The value as Go writes it: fields of notices and alerts have other names there, pairs keep theirs."""
    if isinstance(value, Instant):
        return value.format("2006-01-02T15:04:05.999999999Z07:00")
    if isinstance(value, Struct) and "Status" in value:
        return {_JSON_NAMES.get(name) or name[0].lower() + name[1:]: _in_json(each) for name, each in value.items()}
    if isinstance(value, Mapping):
        return {name: _in_json(value[name]) for name in (value if isinstance(value, Struct) else sorted(value))}
    if isinstance(value, list):
        return [_in_json(each) for each in value]
    return value.ns if isinstance(value, Span) else value


class SafeText(str):
    """What a template vouches for: it stands in HTML as it is."""

    __slots__ = ()


def _in_html(before: str, value: Any) -> str:
    """A value as it stands in HTML, as html/template would write it: escaped; no script where a link is wanted."""
    text = format_value(value)
    if isinstance(value, SafeText):
        return text
    if _LINK.search(before) and not _WEB.match(text):
        return "#ZgotmplZ"  # Go's sign for what was refused
    return text.translate(_HTML)


FUNCTIONS: Final[Mapping[str, Function]] = {
    **GO_FUNCTIONS,
    "append": Function(lambda items, *more: [*_list(items), *more], "aa*"),
    "base64decode": Function(lambda text: base64.b64decode(text).decode("utf-8", "replace"), "s"),
    "base64encode": Function(lambda text: base64.b64encode(text.encode()).decode(), "s"),
    "date": Function(lambda layout, time: _time(time).format(layout), "sa"),
    "dict": Function(_dict, "a*"),
    "humanizeDuration": Function(humanize_duration, "n"),
    "join": Function(_join, "sa"),
    "list": Function(lambda *items: list(items), "a*"),
    "now": Function(lambda data: Instant(data.decided_ms * 1_000_000), "", asks=True),
    "match": Function(lambda pattern, text: compile_pattern(pattern).search(text) is not None, "ss"),
    "reReplaceAll": Function(lambda pattern, by, text: replace_all(pattern, by, text, room=MAX_TEXT), "sss"),
    "safeHtml": Function(SafeText, "s"),
    "safeUrl": Function(str, "s"),
    "since": Function(lambda data, time: Span(data.decided_ms * 1_000_000 - _time(time).ns), "a", asks=True),
    "stringSlice": Function(lambda *texts: list(texts), "s*"),
    "title": Function(title, "s"),
    "toJson": Function(_to_json, "a"),
    "toLower": Function(to_lower, "s"),
    "toUpper": Function(to_upper, "s"),
    "trimSpace": Function(str.strip, "s"),
    "tz": Function(lambda zone, time: Instant(_time(time).ns, zone), "sa"),
    "urlUnescape": Function(unquote_plus, "s"),
}

_DIALECT: Final = Dialect(FUNCTIONS, MAX_TEXT)
_HTML_DIALECT: Final = Dialect(FUNCTIONS, MAX_TEXT, printed=_in_html)


@lru_cache(maxsize=256)
def compile_text(text: str, *, html: bool = False) -> Template:
    """A receiver's text; TemplateError when it is wrong. In HTML every value is escaped as it is printed."""
    return (_HTML_DIALECT if html else _DIALECT).compile(text)


def facts(notice: Notice, quote: Quote = str) -> Struct:
    """What a template sees as its dot."""
    return Struct(
        Receiver=notice.receiver.translate(_QUOTED),
        Status=notice.status,
        Alerts=Alerts(_alert(one, quote) for one in notice.alerts),
        GroupLabels=_texts(notice.group_labels, quote),
        CommonLabels=_texts(notice.common_labels, quote),
        CommonAnnotations=_texts(notice.common_annotations, quote),
        ExternalURL=notice.external_url,
        NotificationReason=notice.reason.value,
    )


def _alert(alert: Alert, quote: Quote) -> Struct:
    return Struct(
        Status="firing" if alert.firing else "resolved",
        Labels=_texts(alert.labels, quote),
        Annotations=_texts(alert.annotations, quote),
        StartsAt=Instant(alert.starts_ms * 1_000_000),
        EndsAt=_NEVER if alert.ends_ms is None else Instant(alert.ends_ms * 1_000_000),
        GeneratorURL=quote(alert.generator_url),
        Fingerprint=alert.fingerprint,
    )


def _texts(texts: Mapping[str, str], quote: Quote) -> KV:
    return KV({name: quote(text) for name, text in texts.items()})


def _ordinary(name: str, ends_ms: int | None) -> Alert:
    labels = {"alertname": "Example", "severity": "critical", "instance": name}
    return Alert(Labels(labels), {"summary": "an example", "description": "of an alert"}, 0, ends_ms)


ORDINARY: Final = Notice(
    receiver="example",
    group_key='{}:{alertname="Example"}',
    group_labels=Labels({"alertname": "Example"}),
    alerts=(_ordinary("a", None), _ordinary("b", 60_000)),
    reason=NoticeReason.FIRST,
    incident="example",
    decided_ms=120_000,
    external_url="https://obskit.example",
)
"""What texts are tried on: one alert fires, one is over."""
