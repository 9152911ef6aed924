"""Tokens to the lines half of the tree: stream selectors, line filters, stages, label filters, ranges."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypeVar

from obskit.logql.captures import capturing_pattern, filtering_pattern
from obskit.logql.condition_parser import MATCH_SIGNS, MAX_NESTING, ConditionParser, checked, ip_range
from obskit.logql.json_paths import parse_path
from obskit.logql.lexer import Kind, Token, Tokens
from obskit.logql.log_nodes import (
    DecolorizeStage,
    DropStage,
    Extraction,
    FormatStage,
    IpRange,
    JsonStage,
    KeepStage,
    LabelFilter,
    LabelFormat,
    LineFilter,
    LineFormatStage,
    LineOp,
    LogfmtStage,
    LogQuery,
    PatternStage,
    RegexpStage,
    Stage,
    Text,
    UnpackStage,
)
from obskit.logql.metric_nodes import LogRange, Unwrap
from obskit.logql.templates import wrong_with_formats, wrong_with_line_format
from obskit.model.matchers import Matcher, MatchOp
from obskit.model.patterns import compile_pattern

T = TypeVar("T")

_LINE_SIGNS: Final = tuple(op.value for op in LineOp)
_GROUP_NAME: Final = re.compile(r"\(\?P?<(\w+)>")
_NO_SELECTOR: Final = (
    "queries require at least one regexp or equality matcher that does not have an empty-compatible value. "
    'For instance, app=~".*" does not meet this requirement, but app=~".+" will'
)
_CONVERSIONS: Final = ("bytes", "duration", "duration_seconds")


@dataclass(slots=True)
class _RangeParts:
    """A range while it is read: its parts come in several orders."""

    matchers: tuple[Matcher, ...]
    stages: list[Stage] = field(default_factory=list)
    unwrap: Unwrap | None = None
    range_ns: int = 0
    offset_ns: int = 0


class LogParser:
    """Reads what stands around log lines. One per query, sharing its tokens with the metric parser."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._depth = 0
        self._conditions = ConditionParser(tokens)
        self._line_formats: dict[LineFormatStage, Token] = {}

    def query(self) -> LogQuery:
        """A selector with its stages, maybe in parentheses."""
        tokens = self._tokens
        if tokens.accept_sign("("):
            query = self._nested(self.query)
            tokens.expect_sign(")")
            return query
        matchers = self._selector()
        stages: list[Stage] = []
        while self._at_stage():
            if self._at_unwrap():
                tokens.take()
                tokens.unexpected()
            stages.append(self._stage())
        self.check_formats(stages)
        return LogQuery(matchers, tuple(stages))

    def check_formats(self, stages: Iterable[Stage]) -> None:
        """Refuse a line_format whose template is wrong. Not at once: a count has no use for some, nor for their errors."""
        for stage in stages:
            if isinstance(stage, LineFormatStage) and (reason := wrong_with_line_format(stage)):
                self._tokens.fail(f"stage '{stage}' : {reason}", self._line_formats[stage])

    def range(self) -> LogRange:
        """Lines with a range behind the selector or behind the stages, an unwrap and an offset."""
        parts = self._range_parts()
        if not parts.range_ns:
            self._tokens.unexpected()
        query = LogQuery(parts.matchers, tuple(parts.stages))
        return LogRange(query, parts.range_ns, parts.offset_ns, parts.unwrap)

    def _range_parts(self) -> _RangeParts:
        tokens = self._tokens
        if tokens.accept_sign("("):
            parts = self._nested(self._range_parts)
            tokens.expect_sign(")")
        else:
            parts = _RangeParts(self._selector())
        while True:
            if tokens.here.kind is Kind.RANGE and not parts.range_ns:
                self._range_of(parts)
            elif self._at_stage():
                self._stage_of_range(parts)
            else:
                return parts

    def _nested(self, read: Callable[[], T]) -> T:
        self._depth += 1
        if self._depth > MAX_NESTING:
            self._tokens.fail("too many parentheses", self._tokens.last)
        result = read()
        self._depth -= 1
        return result

    def _range_of(self, parts: _RangeParts) -> None:
        tokens = self._tokens
        token = tokens.take()
        parts.range_ns = int(token.value)
        if not parts.range_ns:
            tokens.fail("a range must be longer than 0", token)
        if tokens.accept_word("offset"):
            sign = -1 if tokens.accept_sign("-") else 1
            parts.offset_ns = sign * int(tokens.expect(Kind.DURATION).value)

    def _stage_of_range(self, parts: _RangeParts) -> None:
        tokens = self._tokens
        unwrapping = self._at_unwrap()
        if unwrapping and parts.unwrap is None:
            parts.unwrap = self._unwrap()
        elif parts.unwrap is not None:
            before = tokens.here
            if unwrapping:
                tokens.take()
                tokens.unexpected()
            stage = self._stage()
            if not isinstance(stage, LabelFilter):
                tokens.fail("only label filters may follow unwrap", before, tokens.last)
            parts.unwrap = Unwrap(parts.unwrap.label, parts.unwrap.conversion, (*parts.unwrap.filters, stage.condition))
        else:
            parts.stages.append(self._stage())

    def _unwrap(self) -> Unwrap:
        tokens = self._tokens
        tokens.take()
        tokens.take()
        word = tokens.expect(Kind.WORD)
        if not tokens.at_sign("("):
            return Unwrap(word.text)
        if word.text.lower() not in _CONVERSIONS:
            tokens.unexpected()
        tokens.take()
        label = tokens.expect(Kind.WORD)
        tokens.expect_sign(")")
        return Unwrap(label.text, word.text.lower())

    def _selector(self) -> tuple[Matcher, ...]:
        tokens = self._tokens
        if not tokens.at_sign("{"):
            tokens.unexpected("{ or (")
        start = tokens.take()
        matchers: list[Matcher] = []
        while not tokens.at_sign("}"):
            matchers.append(self._matcher())
            if not tokens.accept_sign(",") and not tokens.at_sign("}"):
                tokens.unexpected("} or ,")
        if matchers and tokens.last.text == ",":
            tokens.unexpected(Kind.WORD.value)
        end = tokens.take()
        if all(matcher.matches_empty for matcher in matchers):
            tokens.fail(_NO_SELECTOR, start, end)
        return tuple(matchers)

    def _matcher(self) -> Matcher:
        tokens = self._tokens
        name = tokens.expect(Kind.WORD)
        if not tokens.at_sign(*MATCH_SIGNS):
            tokens.unexpected("= or =~ or !~ or !=")
        op = MatchOp(tokens.take().text)
        value = tokens.expect(Kind.STRING)
        return checked(tokens, lambda text: Matcher(name.text, op, text), value)

    def _at_stage(self) -> bool:
        return self._tokens.at_sign("|", *_LINE_SIGNS)

    def _at_unwrap(self) -> bool:
        return self._tokens.at_sign("|") and self._tokens.ahead().text.lower() == "unwrap"

    def _stage(self) -> Stage:
        tokens = self._tokens
        if tokens.at_sign(*_LINE_SIGNS):
            return self._line_filter()
        tokens.take()
        read = self._STAGES.get(tokens.here.text.lower()) if tokens.here.kind is Kind.WORD else None
        if read is not None:
            tokens.take()
            return read(self)
        return LabelFilter(self._conditions.read())

    def _line_filter(self) -> LineFilter:
        op = LineOp(self._tokens.take().text)
        operands = [self._line_operand(op)]
        while self._tokens.accept_word("or"):
            operands.append(self._line_operand(op))
        return LineFilter(op, tuple(operands))

    def _line_operand(self, op: LineOp) -> Text | IpRange:
        tokens = self._tokens
        if tokens.at_word("ip"):
            if op not in (LineOp.CONTAINS, LineOp.CONTAINS_NOT):
                tokens.fail(f"ip filter is not supported with {op.value}", tokens.here)
            return ip_range(tokens)
        token = tokens.expect(Kind.STRING, "ip")
        if op in (LineOp.MATCHES, LineOp.MATCHES_NOT):
            checked(tokens, compile_pattern, token)
        elif op in (LineOp.PATTERN, LineOp.PATTERN_NOT):
            checked(tokens, filtering_pattern, token)
        return Text(str(token.value))

    def _json(self) -> Stage:
        return JsonStage(self._extractions(parse_path))

    def _logfmt(self) -> Stage:
        tokens = self._tokens
        flags = set()
        while tokens.here.kind is Kind.FLAG:
            flags.add(tokens.take().text)
        return LogfmtStage(self._extractions(_logfmt_key), "--strict" in flags, "--keep-empty" in flags)

    def _extractions(self, check: Callable[[str], object]) -> tuple[Extraction, ...]:
        tokens = self._tokens
        name = tokens.last.text.lower()
        found: list[Extraction] = []
        while tokens.here.kind is Kind.WORD:
            label = tokens.take()
            path = label
            if tokens.accept_sign("="):
                path = tokens.expect(Kind.STRING)
            written = f"{label.text}={path.text}" if path is not label else label.text
            checked(tokens, check, path, f"stage '| {name} {written}' : ")
            found.append(Extraction(label.text, str(path.value)))
            if not tokens.accept_sign(","):
                return tuple(found)
        if found:
            tokens.unexpected(Kind.WORD.value)
        return ()

    def _regexp(self) -> Stage:
        token = self._tokens.expect(Kind.STRING)
        checked(self._tokens, _named_groups, token, "invalid regexp parser: ")
        return RegexpStage(str(token.value))

    def _pattern(self) -> Stage:
        token = self._tokens.expect(Kind.STRING)
        checked(self._tokens, capturing_pattern, token, "invalid pattern parser: ")
        return PatternStage(str(token.value))

    def _unpack(self) -> Stage:
        return UnpackStage()

    def _decolorize(self) -> Stage:
        return DecolorizeStage()

    def _drop(self) -> Stage:
        return DropStage(self._names())

    def _keep(self) -> Stage:
        return KeepStage(self._names())

    def _names(self) -> tuple[str | Matcher, ...]:
        tokens = self._tokens
        names: list[str | Matcher] = []
        while True:
            # A line filter may follow a bare name only behind a pipe, so a sign and a string make a matcher.
            is_matcher = tokens.ahead().text in MATCH_SIGNS and tokens.ahead(2).kind is Kind.STRING
            names.append(self._matcher() if is_matcher else tokens.expect(Kind.WORD).text)
            if not tokens.accept_sign(","):
                return tuple(names)

    def _line_format(self) -> Stage:
        token = self._tokens.expect(Kind.STRING)
        stage = LineFormatStage(str(token.value))
        self._line_formats[stage] = token
        return stage

    def _label_format(self) -> Stage:
        tokens = self._tokens
        start = tokens.last
        formats: list[LabelFormat] = []
        while True:
            target = tokens.expect(Kind.WORD)
            tokens.expect_sign("=")
            if tokens.here.kind is Kind.STRING:
                formats.append(LabelFormat(target.text, str(tokens.take().value), is_template=True))
            else:
                formats.append(LabelFormat(target.text, tokens.expect(Kind.WORD, "STRING").text))
            if not tokens.accept_sign(","):
                break
        stage = FormatStage(tuple(formats))
        if reason := wrong_with_formats(stage):
            written = ",".join(str(one) for one in formats)
            tokens.fail(f"stage '| label_format {written}' : {reason}", start, tokens.last)
        return stage

    _STAGES: ClassVar[dict[str, Callable[[LogParser], Stage]]] = {
        "json": _json,
        "logfmt": _logfmt,
        "regexp": _regexp,
        "pattern": _pattern,
        "unpack": _unpack,
        "line_format": _line_format,
        "label_format": _label_format,
        "decolorize": _decolorize,
        "drop": _drop,
        "keep": _keep,
    }


def _logfmt_key(text: str) -> str:
    """A key of logfmt, as Loki's own small grammar has it: a bare word, or one in quotes."""
    if not text:
        raise ValueError("cannot parse expression []: syntax error: unexpected $end, expecting STRING or KEY")
    for char in text.strip('"'):
        if char in '.[]="' or ord(char) < ord(" "):
            raise ValueError(f"cannot parse expression [{text}]: unexpected char {char}")
    if " " in text.strip() and text[0] != '"':
        raise ValueError(f"cannot parse expression [{text}]: syntax error: unexpected KEY")
    return text


def _named_groups(pattern: str) -> object:
    """A pattern for `| regexp`: ValueError unless it names groups, each once."""
    names = _GROUP_NAME.findall(pattern)
    foreign = next((name for name in names if not name.isascii()), None)
    if foreign is not None:  # Go's RE2 takes ASCII alone
        raise ValueError(f"error parsing regexp: invalid named capture: `(?P<{foreign}>`")
    digit = next((name for name in names if name[0].isdigit()), None)
    if digit is not None:
        raise ValueError(f"invalid extracted label name '{digit}'")
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise ValueError(f"duplicate extracted label name '{twice}'")
    compiled = compile_pattern(pattern)
    if not compiled.groupindex:
        raise ValueError("at least one named capture must be supplied")
    return compiled
