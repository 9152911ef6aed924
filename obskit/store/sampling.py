"""Sampling: of lines that are many and alike, only a part is stored; each of them says of how many it is one.

A trace stays whole: whether it is kept is decided by a hash of its id, the same in every service. Lines without one are
counted. Lines of the levels that a rule names (as it stands: errors) are always kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final
from zlib import crc32

from obskit.model.alert_matchers import parse_matchers
from obskit.model.labels import Labels
from obskit.model.matchers import match_all
from obskit.model.patterns import compile_pattern
from obskit.store.log_interface import Records
from obskit.store.settings import SamplingRule

MARK: Final = "sampled"
"""The metadata of a line that stands for others: of how many it is one."""
_LEVELS: Final = ("level", "severity", "severity_text", "detected_level", "lvl", "log.level")
_TRACES: Final = ("trace_id", "traceID", "traceId", "trace.id")
_SAME: Final[Mapping[str, str]] = {
    "err": "error", "severe": "error", "exception": "error", "crit": "critical", "emerg": "emergency", "dpanic": "panic",
    "warning": "warn",
}  # fmt: skip
_LOUD: Final = r"(?i:\b(?:error|exception|fatal|panic|critical|emergency|alert|traceback)\b)|Error\b|Exception\b"
_WHOLE: Final = 1 << 32
"""As many as there are hashes."""


class Sampling:
    """The rules of some settings: the first whose selector matches a stream decides. Used by the writer thread alone."""

    def __init__(self, rules: list[SamplingRule]) -> None:
        self._rules = [_Rule(rule) for rule in rules]

    def apply(self, records: Records, dropped: Counter[str]) -> Records:
        """The records that are kept; themselves if all are. `dropped` counts the others by source."""
        if not self._rules:
            return records
        rules = {
            key: self._rule(stream)
            for key, stream in dict(zip(map(id, records.streams), records.streams, strict=True)).items()
        }
        if not any(rules.values()):
            return records
        kept: list[int] = []
        marks: list[Mapping[str, str]] = []
        for place, stream in enumerate(records.streams):
            metadata = records.metadata[place]
            rule = rules[id(stream)]
            if rule is None or rule.keeps_always(stream, metadata, records.lines[place]):
                marks.append(metadata)
            elif rule.chosen(metadata):
                marks.append({**metadata, MARK: rule.one_of})
            else:
                dropped[stream.get("source") or "unknown"] += 1
                continue
            kept.append(place)
        taken = records.take(kept)
        taken.metadata = marks
        return taken

    def _rule(self, stream: Labels) -> _Rule | None:
        return next((rule for rule in self._rules if match_all(rule.matchers, stream)), None)


class _Rule:
    def __init__(self, settings: SamplingRule) -> None:
        self.matchers = parse_matchers(settings.match)
        self.one_of = f"{1 / settings.keep:g}"
        self._step = round(settings.keep * _WHOLE)
        self._levels = frozenset(map(_level, settings.levels_kept))
        self._loud: Callable[[bytes], object] | None = None
        if "error" in self._levels:
            self._loud = compile_pattern(_LOUD).search
        self._seen = 0

    def keeps_always(self, stream: Labels, metadata: Mapping[str, str], line: str) -> bool:
        """Whether the line's level says so. Where none is given, a line that speaks of errors is one."""
        if not self._levels:
            return False
        for name in _LEVELS:
            said = metadata.get(name) or stream.get(name)
            if said:
                return _level(said) in self._levels
        return self._loud is not None and self._loud(line.encode("utf-8", "surrogatepass")) is not None

    def chosen(self, metadata: Mapping[str, str]) -> bool:
        """Whether a line is one of those that stand for the others."""
        for name in _TRACES:
            if trace := metadata.get(name):
                return crc32(trace.encode("utf-8", "surrogatepass")) < self._step
        before = self._seen * self._step // _WHOLE
        self._seen += 1
        return self._seen * self._step // _WHOLE > before


def _level(said: str) -> str:
    level = said.strip().lower()
    return _SAME.get(level, level)
