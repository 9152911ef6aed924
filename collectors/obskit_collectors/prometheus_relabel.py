"""Prometheus relabelling (prometheus model/relabel/relabel.go): one rule as settings, and `relabel` to apply a list."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, Self

from pydantic import Field, model_validator

from obskit.errors import PatternError
from obskit.model.patterns import anchored
from obskit.model.settings import Settings

_DEFAULT_REGEX: Final = "(.*)"
_DEFAULT_REPLACEMENT: Final = "$1"
_REFERENCE: Final = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


class Action(StrEnum):
    """What a rule does."""

    REPLACE = "replace"
    KEEP = "keep"
    DROP = "drop"
    KEEPEQUAL = "keepequal"
    DROPEQUAL = "dropequal"
    HASHMOD = "hashmod"
    LABELMAP = "labelmap"
    LABELDROP = "labeldrop"
    LABELKEEP = "labelkeep"
    LOWERCASE = "lowercase"
    UPPERCASE = "uppercase"


_NEED_TARGET: Final = frozenset(
    {Action.REPLACE, Action.HASHMOD, Action.LOWERCASE, Action.UPPERCASE, Action.KEEPEQUAL, Action.DROPEQUAL}
)
_ALONE: Final = {
    Action.LABELDROP: {"regex"},
    Action.LABELKEEP: {"regex"},
    Action.KEEPEQUAL: {"source_labels", "target_label", "separator"},
    Action.DROPEQUAL: {"source_labels", "target_label", "separator"},
}
"""The only keys beside `action` that these take; Prometheus refuses others too."""


class RelabelRule(Settings):
    """One item of `relabel_configs` or `metric_relabel_configs`."""

    source_labels: tuple[str, ...] = Field((), description="labels whose values are joined")
    separator: str = Field(";", description="what they are joined with")
    regex: str = Field(_DEFAULT_REGEX, description="RE2 pattern that the joined value must match as a whole")
    modulus: int = Field(default=0, ge=0, description="for hashmod")
    target_label: str = Field("", description="the label that is set")
    replacement: str = Field(_DEFAULT_REPLACEMENT, description="its new value; `$1` is the first group")
    action: Action = Field(Action.REPLACE, description="what to do")

    @model_validator(mode="before")
    @classmethod
    def _any_case(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("action"), str):
            return {**data, "action": data["action"].lower()}
        return data

    @model_validator(mode="after")
    def _usable(self) -> Self:
        try:
            anchored(self.regex)
        except PatternError as error:
            raise ValueError(f"regex: {error}") from None
        if self.action in _NEED_TARGET and not self.target_label:
            raise ValueError(f"action {self.action.value} needs target_label")
        if self.action is Action.HASHMOD and not self.modulus:
            raise ValueError("action hashmod needs modulus")
        allowed = _ALONE.get(self.action)
        if allowed is not None and (extra := self.model_fields_set - allowed - {"action"}):
            raise ValueError(f"action {self.action.value} takes no {', '.join(sorted(extra))}")
        return self


def relabel(labels: dict[str, str], rules: Sequence[RelabelRule]) -> dict[str, str] | None:
    """The labels after every rule in order, or None when a rule drops them. The argument is not changed."""
    current = dict(labels)
    for rule in rules:
        if not _apply(rule, current):
            return None
    return {name: value for name, value in current.items() if value}


def expand(template: str, match: Any) -> str:
    """Go's Regexp.Expand: `$1`, `$name`, `${1}` and `$$`; a group that is not there is empty.

    As in Go, `$1x` means the group named `1x`: write `${1}x`.
    """

    def value(reference: re.Match[str]) -> str:
        if reference.group(1):
            return "$"
        name = reference.group(2) or reference.group(3)
        try:
            return match.group(int(name) if name.isdigit() else name) or ""
        except (IndexError, OverflowError):
            return ""

    return _REFERENCE.sub(value, template)


def _apply(rule: RelabelRule, labels: dict[str, str]) -> bool:
    """Change `labels` as the rule says; False when it drops them."""
    value = rule.separator.join(labels.get(name, "") for name in rule.source_labels)
    pattern = anchored(rule.regex)
    match rule.action:
        case Action.KEEP:
            return pattern.match(value) is not None
        case Action.DROP:
            return pattern.match(value) is None
        case Action.KEEPEQUAL:
            return labels.get(rule.target_label, "") == value
        case Action.DROPEQUAL:
            return labels.get(rule.target_label, "") != value
        case Action.REPLACE:
            _replace(rule, labels, pattern.match(value))
        case Action.LOWERCASE:
            labels[rule.target_label] = value.lower()
        case Action.UPPERCASE:
            labels[rule.target_label] = value.upper()
        case Action.HASHMOD:
            # md5 as relabel.go does, so that shards agree with a Prometheus beside us
            digest = hashlib.md5(value.encode(), usedforsecurity=False).digest()
            labels[rule.target_label] = str(int.from_bytes(digest[8:], "big") % rule.modulus)
        case _:
            _change_names(rule, labels, pattern)
    return True


def _replace(rule: RelabelRule, labels: dict[str, str], found: Any) -> None:
    if found is None:
        return
    target = expand(rule.target_label, found)
    if not target:
        return
    result = expand(rule.replacement, found)
    if result:
        labels[target] = result
    else:
        labels.pop(target, None)


def _change_names(rule: RelabelRule, labels: dict[str, str], pattern: Any) -> None:
    for name, value in list(labels.items()):
        found = pattern.match(name)
        if rule.action is Action.LABELMAP:
            if found is not None:
                labels[expand(rule.replacement, found)] = value
        elif (found is None) == (rule.action is Action.LABELKEEP):
            del labels[name]
