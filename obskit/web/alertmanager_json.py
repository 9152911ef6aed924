"""The shapes of Alertmanager's API v2 (api/v2/openapi.yaml): what is posted, read as it reads it, and what it answers.

A body that is wrong is refused with the status, code and words of the real one (delivery.md §4.8); only what its JSON
decoder says of Go's types is said in our words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final
from urllib.parse import urlsplit

from obskit.errors import PatternError
from obskit.model.alert_matchers import AlertMatcher
from obskit.model.labels import Labels
from obskit.model.matchers import MatchOp
from obskit.routing.intake import Posted
from obskit.routing.silences import Silence
from obskit.routing.views import AlertView

_OPS: Final = {(False, True): "=", (False, False): "!=", (True, True): "=~", (True, False): "!~"}
"""By (isRegex, isEqual)."""
_EPOCH: Final = "1970-01-01T00:00:00Z"
"""What an empty time reads as."""


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """What is answered instead of doing it: a status, and JSON (None: nothing)."""

    def __init__(self, status: int, payload: Any = None) -> None:
        super().__init__(payload)
        self.status = status
        self.payload = payload

    @classmethod
    def coded(cls, status: int, code: int, message: str) -> Refusal:
        """`{"code": …, "message": …}`, as the framework of the real one says it."""
        return cls(status, {"code": code, "message": message})

    @classmethod
    def missing(cls, where: str) -> Refusal:
        """Something required is not there."""
        return cls.coded(422, 602, f"{where} in body is required")


# Reading


def parse_body(body: bytes, what: str) -> Any:
    """The JSON of a request; `what` is what should have been there."""
    if not body.strip():
        raise Refusal.missing(what)
    try:
        return json.loads(body)
    except ValueError as error:
        raise _unparsable(what, str(error)) from None
    except RecursionError:
        raise _unparsable(what, "it is nested too deep") from None


def read_alerts(body: bytes) -> tuple[list[Posted], list[str]]:
    """The good alerts of a POST, and what is wrong with each of the others."""
    data = parse_body(body, "alerts")
    if data is None:
        return [], []
    if not isinstance(data, list):
        raise _unparsable("alerts", "it is not a list")
    read = [_alert(item, index) for index, item in enumerate(data)]
    wrong = [_wrong(each) for each in read]
    return [each for each, problem in zip(read, wrong, strict=True) if not problem], [each for each in wrong if each]


def _alert(item: Any, index: int) -> Posted:
    if not isinstance(item, dict):
        raise _unparsable("alerts", f"item {index} is not an object")
    if item.get("labels") is None:
        raise Refusal.missing(f"{index}.labels")
    url = _text(item.get("generatorURL"), "alerts", "generatorURL")
    if url and not _is_uri(url):
        raise Refusal.coded(422, 601, f'{index}.generatorURL in body must be of type uri: "{url}"')
    return Posted(
        labels=Labels(_texts(item["labels"], "alerts", "labels")),
        annotations=_texts(item.get("annotations") or {}, "alerts", "annotations"),
        starts_ms=_time(item.get("startsAt"), "alerts"),
        ends_ms=_time(item.get("endsAt"), "alerts"),
        generator_url=url,
    )


def _wrong(alert: Posted) -> str:
    """Why the alert is none, in the words of the real one."""
    if alert.starts_ms is not None and alert.ends_ms is not None and alert.ends_ms < alert.starts_ms:
        return "start time must be before end time"
    if not alert.labels:
        return "at least one label pair required"
    if "" in alert.labels:
        return 'invalid label set: invalid name ""'
    return 'invalid annotations: invalid name ""' if "" in alert.annotations else ""


def read_silence(body: bytes) -> Silence:
    """The silence of a POST; what is missing is told in the order of the alphabet, as the real one does."""
    data = parse_body(body, "silence")
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise _unparsable("silence", "it is not an object")
    its_id = _text(data.get("id"), "silence", "id")
    times = {key: _time(data.get(key), "silence") for key in ("startsAt", "endsAt")}
    listed = data.get("matchers")
    if listed is not None and not isinstance(listed, list):
        raise _unparsable("silence", "matchers is not a list")
    for key in ("comment", "createdBy", "endsAt", "matchers", "startsAt"):
        if data.get(key) is None:
            raise Refusal.missing(key)
    if not listed:
        raise Refusal.coded(422, 612, "matchers in body should have at least 1 items")
    starts_ms, ends_ms = times["startsAt"], times["endsAt"]
    assert starts_ms is not None
    assert ends_ms is not None
    return Silence(
        matchers=tuple(_matcher(item, index) for index, item in enumerate(listed)),
        starts_ms=starts_ms,
        ends_ms=ends_ms,
        created_by=_text(data["createdBy"], "silence", "createdBy"),
        comment=_text(data["comment"], "silence", "comment"),
        annotations=_texts(data.get("annotations") or {}, "silence", "annotations"),
        id=its_id,
    )


def _matcher(item: Any, index: int) -> AlertMatcher:
    if not isinstance(item, dict):
        raise _unparsable("silence", f"matcher {index} is not an object")
    for key in ("isRegex", "name", "value"):
        if item.get(key) is None:
            raise Refusal.missing(f"matchers.{index}.{key}")
    is_regex, is_equal = item["isRegex"], item.get("isEqual")
    is_equal = True if is_equal is None else is_equal
    if not isinstance(is_regex, bool) or not isinstance(is_equal, bool):
        raise _unparsable("silence", f"isRegex and isEqual of matcher {index} must be true or false")
    name, value = (_text(item[key], "silence", key) for key in ("name", "value"))
    try:
        return AlertMatcher(name, MatchOp(_OPS[is_regex, is_equal]), value)
    except PatternError as error:
        message = f'silence invalid: invalid label matcher {index}: invalid regular expression "{value}": {error}'
        raise Refusal(400, message) from None


def _unparsable(what: str, reason: str) -> Refusal:
    return Refusal.coded(400, 400, f'parsing {what} body from "" failed, because {reason}')


def _text(value: Any, what: str, key: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _unparsable(what, f"{key} is not a string")
    if not value.isprintable() and not _is_utf8(value):
        raise _unparsable(what, f"{key} is not Unicode")
    return value


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold and no text
        return False
    return True


def _texts(value: Any, what: str, key: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _unparsable(what, f"{key} is not an object")
    try:
        if "".join(chain(value, value.values())).isprintable():
            return value  # as almost all are; one look at all of it takes a quarter of the time
    except TypeError:
        pass
    return {_text(name, what, key): _text(each, what, key) for name, each in value.items()}


def _time(value: Any, what: str) -> int | None:
    """Unix milliseconds of a time; one without a zone is UTC, Go's zero time is none."""
    text = _text(value, what, "a time")
    if value is None:
        return None
    text = text or _EPOCH
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _unparsable(what, f'"{text}" is not a time such as 2026-01-02T15:04:05Z') from None
    if len(text) <= len("2026-01-02"):
        raise _unparsable(what, f'"{text}" is a day, not a time such as 2026-01-02T15:04:05Z')
    if moment.year == 1:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000) // 1_000


def _is_uri(text: str) -> bool:
    """Go's url.ParseRequestURI: it begins with a scheme or a slash, and holds no space."""
    try:
        return " " not in text and (text.startswith("/") or bool(urlsplit(text).scheme))
    except ValueError:
        return False


# Writing


def time_text(ms: int) -> str:
    """`2026-11-20T11:46:51.025Z`."""
    seconds, rest = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def alert_json(view: AlertView, receivers: Iterable[str], muted_by: Sequence[str], ends_ms: int) -> dict[str, Any]:
    """A gettable alert; `ends_ms` is for one that nobody gave an end."""
    alert = view.alert
    found: dict[str, Any] = {
        "annotations": dict(sorted(alert.annotations.items())),
        "endsAt": time_text(alert.expires_ms or ends_ms),
        "fingerprint": alert.fingerprint,
        "receivers": [{"name": name} for name in receivers],
        "startsAt": time_text(alert.starts_ms),
        "status": {
            "inhibitedBy": list(view.inhibited_by),
            "mutedBy": list(muted_by),
            "silencedBy": list(view.silenced_by),
            "state": "suppressed" if view.suppressed or muted_by else "active",
        },
        "updatedAt": time_text(view.updated_ms),
    }
    if alert.generator_url:
        found["generatorURL"] = alert.generator_url
    return {**found, "labels": dict(alert.labels)}


def silence_json(silence: Silence, now_ms: int) -> dict[str, Any]:
    """A gettable silence."""
    found: dict[str, Any] = {
        "id": silence.id,
        "status": {"state": silence.state(now_ms).value},
        "updatedAt": time_text(silence.updated_ms),
    }
    if silence.annotations:
        found["annotations"] = dict(silence.annotations)
    return {
        **found,
        "comment": silence.comment,
        "createdBy": silence.created_by,
        "endsAt": time_text(silence.ends_ms),
        "matchers": [_matcher_json(matcher) for matcher in silence.matchers],
        "startsAt": time_text(silence.starts_ms),
    }


def _matcher_json(matcher: AlertMatcher) -> Mapping[str, Any]:
    return {
        "isEqual": not matcher.op.negative,
        "isRegex": matcher.op in (MatchOp.REGEX, MatchOp.NOT_REGEX),
        "name": matcher.name,
        "value": matcher.value,
    }
