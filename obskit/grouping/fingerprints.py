"""The key of an exception: what makes two of them one issue.

Type and in-app frames (module and function) of every exception of the chain; all frames where none is our own; the
masked message only where there is no frame. An explicit fingerprint wins. Keys carry a version: another rule, other keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from obskit.grouping.masks import collapse, mask
from obskit.grouping.traces import Thrown, Trace, find_trace

VERSION: Final = "e1"
CUSTOM: Final = "f1"
DEFAULT: Final = "{{ default }}"
"""Part of an explicit fingerprint that stands for the key we would have made, as Sentry has it."""
_MAX_TITLE: Final = 200


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The key of an issue, and how a person calls it."""

    id: str
    title: str
    culprit: str = ""


def of_exception(kind: str, message: str, stack: str) -> Fingerprint:
    """`kind` and `message` as a field says them ("" where none does); `stack` is text that may hold a trace."""
    trace = find_trace(stack) if stack else None
    if trace is None:
        return of_parts([(kind or "Error", [masked_message(message)])], _title(kind or "Error", message))
    if kind and len(trace.chain) == 1:
        # the field knows better: a minifier or a wrapper may have renamed it in the text
        trace.newest.type = kind
    return of_trace(trace, message)


def of_trace(trace: Trace, message: str = "") -> Fingerprint:
    """The key of a trace; `message` where the text has none."""
    parts = [(thrown.type, _evidence(thrown)) for thrown in trace.chain]
    newest = trace.newest
    return of_parts(parts, _title(newest.type, newest.message or message), trace.culprit)


def of_parts(parts: Sequence[tuple[str, Sequence[str]]], title: str, culprit: str = "") -> Fingerprint:
    """A key of types and what tells them apart."""
    return Fingerprint(_hashed(VERSION, parts), title, culprit)


def custom(parts: Iterable[str], default: Fingerprint) -> Fingerprint:
    """The explicit fingerprint of a record. DEFAULT in it is replaced by ours."""
    told = [default.id if part.replace(" ", "") == "{{default}}" else part for part in parts]
    return Fingerprint(_hashed(CUSTOM, told), default.title, default.culprit)


def masked_message(message: str) -> str:
    """The first line of a message with its values masked."""
    return mask(collapse(message.strip().partition("\n")[0]))


def _evidence(thrown: Thrown) -> list[str]:
    frames = [frame for frame in thrown.frames if frame.in_app] or thrown.frames
    told: list[str] = []
    for frame in map(str, frames):
        if not told or told[-1] != frame:  # a recursion is as deep as its data
            told.append(frame)
    return told or [masked_message(thrown.message)]


def _title(kind: str, message: str) -> str:
    said = message.strip().partition("\n")[0]
    return (f"{kind}: {said}" if said else kind)[:_MAX_TITLE]


def _hashed(version: str, value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return f"{version}-{hashlib.blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}"
