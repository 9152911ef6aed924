"""Texts of receivers that Alertmanager would evaluate: its data and functions on our Go templates.

A text that cannot be expanded for some notice is left out, so that what obskit says by itself stands there: a message
that says it differently is better than none. What goes into HTML is escaped before a template sees it.
(prometheus/alertmanager template/template.go; docs/notifications.md)
"""

from __future__ import annotations

import base64
import html
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar, Final, Generic, TypeVar
from urllib.parse import unquote_plus

from obskit.errors import TemplateError
from obskit.gotemplate.functions import GO_FUNCTIONS, Function
from obskit.gotemplate.printing import format_value
from obskit.gotemplate.problems import ValueProblem
from obskit.gotemplate.template import Dialect, Template
from obskit.gotemplate.text import replace_all, title, to_lower, to_upper
from obskit.gotemplate.times import Instant
from obskit.gotemplate.values import Span, StringMap, Struct, Subject, type_name
from obskit.model.actions import Notice, NoticeReason, Outcome
from obskit.model.alerts import Alert
from obskit.model.labels import Labels
from obskit.model.patterns import compile_pattern
from obskit.model.settings import Settings
from obskit.notify.base import Notifier, Request, Response, Step
from obskit.rules.humanize import humanize_duration

log = logging.getLogger(__name__)

MAX_TEXT: Final = 64 * 1024
_NEVER: Final = Instant(-62_135_596_800 * 10**9)  # Go's zero time
_QUOTED: Final = {ord(char): f"\\{char}" for char in r"\.+*?()|[]{}^$"}
Quote = Callable[[str], str]
S = TypeVar("S", bound=Settings)


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


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


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
    "match": Function(lambda pattern, text: compile_pattern(pattern).search(text) is not None, "ss"),
    "reReplaceAll": Function(lambda pattern, by, text: replace_all(pattern, by, text, room=MAX_TEXT), "sss"),
    "safeHtml": Function(html.unescape, "s"),
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


@lru_cache(maxsize=256)
def compile_text(text: str) -> Template:
    """A receiver's text; TemplateError when it is wrong."""
    return _DIALECT.compile(text)


def with_definitions(template: Template, files: Sequence[str]) -> Template:
    """The template with what other texts define; what they say outside of definitions is said nowhere."""
    defined: dict[str, Any] = {}
    for text in files:
        defined |= compile_text(text).tree.defined
    return replace(template, tree=replace(template.tree, defined={**defined, **template.tree.defined}))


def check_text(text: str) -> str:
    """The text; ValueError when it is wrong, or could not even be expanded for an ordinary notice."""
    try:
        compile_text(text).expand(facts(ORDINARY), data=ORDINARY)
    except TemplateError as error:
        raise ValueError(f"the template is wrong: {error.message}") from None
    return text


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


def filled(settings: S, notice: Notice, quote: Quote = str) -> S:
    """The settings with every template in them expanded for the notice; what fails is left empty."""
    dot = facts(notice, quote)
    expanded: S = _filled(settings, lambda text: _expanded(text, dot, notice))
    return expanded


def holds_template(value: Any) -> bool:
    """Whether there is anything to expand."""
    if isinstance(value, str):
        return "{{" in value
    if isinstance(value, Settings):
        return any(holds_template(getattr(value, name)) for name in type(value).model_fields)
    if isinstance(value, Mapping):
        return any(map(holds_template, value.values()))
    return isinstance(value, list) and any(map(holds_template, value))


def _filled(value: Any, expand: Callable[[str], str]) -> Any:
    if not holds_template(value):
        return value
    if isinstance(value, str):
        return expand(value)
    if isinstance(value, Settings):
        fields = {name: _filled(getattr(value, name), expand) for name in type(value).model_fields}
        return value.model_copy(update=fields)
    if isinstance(value, Mapping):
        return {key: _filled(each, expand) for key, each in value.items()}
    return [_filled(each, expand) for each in value]


def _expanded(text: str, dot: Struct, notice: Notice) -> str:
    try:
        return compile_text(text).expand(dot, data=notice)
    except TemplateError as error:
        log.warning("a receiver's template fails: receiver=%s reason=%s", notice.receiver, error.message)
        return ""


class Worded(Generic[S]):
    """A Notifier whose settings hold templates: made anew for each notice, with its texts."""

    def __init__(self, settings: S, make: Callable[[S], Notifier], quote: Quote) -> None:
        self._settings = settings
        self._make = make
        self._quote = quote
        self._plain = make(settings)
        self.min_interval_s = self._plain.min_interval_s
        self.edits = getattr(self._plain, "edits", False)

    def steps(self, notice: Notice) -> Sequence[Step]:
        """As without templates."""
        return self._plain.steps(notice)

    def render(self, notice: Notice, step: str, handle: Mapping[str, str] | None, degraded: bool) -> Request | None:
        """With the texts of this notice."""
        return self._make(filled(self._settings, notice, self._quote)).render(notice, step, handle, degraded)

    def classify(self, response: Response, step: str) -> Outcome:
        """As without templates."""
        return self._plain.classify(response, step)


def worded(settings: S, make: Callable[[S], Notifier], quote: Quote = str) -> Notifier:
    """The notifier of these settings, which need templates or do not."""
    return Worded(settings, make, quote) if holds_template(settings) else make(settings)


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
