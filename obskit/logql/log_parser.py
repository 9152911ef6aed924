"""Tokens to the lines half of the tree: stream selectors, line filters, stages, label filters, ranges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypeVar

from obskit.errors import PatternError
from obskit.logql.addresses import parse_range
from obskit.logql.captures import capturing_pattern, filtering_pattern
from obskit.logql.json_fields import parse_path
from obskit.logql.lexer import Kind, Token, Tokens
from obskit.logql.nodes import (
    Both,
    Compare,
    CompareIp,
    CompareOp,
    Condition,
    DecolorizeStage,
    DropStage,
    Either,
    Extraction,
    IpRange,
    JsonStage,
    KeepStage,
    LabelFilter,
    LineFilter,
    LineOp,
    LogfmtStage,
    LogQuery,
    LogRange,
    PatternStage,
    RegexpStage,
    RenameStage,
    Stage,
    Text,
    UnpackStage,
    Unwrap,
)
from obskit.logql.units import NS_PER_MS
from obskit.model.durations import parse_duration
from obskit.model.matchers import Matcher, MatchOp
from obskit.model.patterns import compile_pattern

T = TypeVar("T")

_MATCH_SIGNS: Final = ("=", "!=", "=~", "!~")
_COMPARE_SIGNS: Final = ("==", "=", "!=", ">", ">=", "<", "<=")
_LABEL_SIGNS: Final = (*_COMPARE_SIGNS, "=~", "!~")
_LINE_SIGNS: Final = tuple(op.value for op in LineOp)
_MAX_NESTING: Final = 100
_MAX_CONDITIONS: Final = 250
"""A chain of conditions is a tree as deep as it is long, and trees are walked by recursion."""
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
        self._conditions = 0

    def query(self) -> LogQuery:
        """A selector with its stages, maybe in parentheses."""
        tokens = self._tokens
        if tokens.accept_sign("("):
            query = self._nested(self.query)
            tokens.expect_sign(")", "the query")
            return query
        matchers = self._selector()
        stages: list[Stage] = []
        while self._at_stage():
            if self._at_unwrap():
                tokens.fail(
                    "unwrap makes samples: it stands only in a range, as in sum_over_time(... [5m])", tokens.ahead()
                )
            stages.append(self._stage())
        return LogQuery(matchers, tuple(stages))

    def range(self) -> LogRange:
        """Lines with a range behind the selector or behind the stages, an unwrap and an offset."""
        parts = self._range_parts()
        if not parts.range_ns:
            self._tokens.unexpected("a range such as [5m]")
        query = LogQuery(parts.matchers, tuple(parts.stages))
        return LogRange(query, parts.range_ns, parts.offset_ns, parts.unwrap)

    def _range_parts(self) -> _RangeParts:
        tokens = self._tokens
        if tokens.accept_sign("("):
            parts = self._nested(self._range_parts)
            tokens.expect_sign(")", "the range")
        else:
            parts = _RangeParts(self._selector())
        while True:
            if tokens.at_sign("[") and not parts.range_ns:
                self._range_of(parts)
            elif self._at_stage():
                self._stage_of_range(parts)
            else:
                return parts

    def _nested(self, read: Callable[[], T]) -> T:
        self._depth += 1
        if self._depth > _MAX_NESTING:
            self._tokens.fail("too many parentheses", self._tokens.last)
        result = read()
        self._depth -= 1
        return result

    def _range_of(self, parts: _RangeParts) -> None:
        tokens = self._tokens
        tokens.take()
        token = tokens.here
        try:
            parts.range_ns = parse_duration(token.text) * NS_PER_MS
        except ValueError:
            tokens.unexpected("a duration such as 5m")
        if not parts.range_ns:
            tokens.fail("a range must be longer than 0", token)
        tokens.take()
        tokens.expect_sign("]", "the range")
        if tokens.accept_word("offset"):
            sign = -1 if tokens.accept_sign("-") else 1
            parts.offset_ns = sign * int(tokens.expect(Kind.DURATION, "a duration after offset").value)

    def _stage_of_range(self, parts: _RangeParts) -> None:
        tokens = self._tokens
        unwrapping = self._at_unwrap()
        if unwrapping and parts.unwrap is None:
            parts.unwrap = self._unwrap()
        elif parts.unwrap is not None:
            start = tokens.here
            stage = None if unwrapping else self._stage()
            if not isinstance(stage, LabelFilter):
                tokens.fail("only label filters may follow unwrap", start, tokens.last)
            parts.unwrap = Unwrap(parts.unwrap.label, parts.unwrap.conversion, (*parts.unwrap.filters, stage.condition))
        else:
            parts.stages.append(self._stage())

    def _unwrap(self) -> Unwrap:
        tokens = self._tokens
        tokens.take()
        tokens.take()
        word = tokens.expect(Kind.WORD, "a label after unwrap")
        if not tokens.at_sign("("):
            return Unwrap(word.text)
        if word.text.lower() not in _CONVERSIONS:
            tokens.fail("unwrap converts with bytes(), duration() or duration_seconds()", word)
        tokens.take()
        label = tokens.expect(Kind.WORD, "a label")
        tokens.expect_sign(")", "the label")
        return Unwrap(label.text, word.text.lower())

    def _selector(self) -> tuple[Matcher, ...]:
        tokens = self._tokens
        if not tokens.at_sign("{"):
            tokens.unexpected('a selector such as {app="api"}')
        start = tokens.take()
        matchers: list[Matcher] = []
        while not tokens.at_sign("}"):
            matchers.append(self._matcher())
            if not tokens.accept_sign(",") and not tokens.at_sign("}"):
                tokens.unexpected("} or ,")
        if matchers and tokens.last.text == ",":
            tokens.unexpected("another matcher after the comma")
        end = tokens.take()
        if all(matcher.matches_empty for matcher in matchers):
            tokens.fail(_NO_SELECTOR, start, end)
        return tuple(matchers)

    def _matcher(self) -> Matcher:
        tokens = self._tokens
        name = tokens.expect(Kind.WORD, "a label name")
        if not tokens.at_sign(*_MATCH_SIGNS):
            tokens.unexpected("= or != or =~ or !~")
        op = MatchOp(tokens.take().text)
        value = tokens.expect(Kind.STRING, "a string")
        return self._checked(lambda text: Matcher(name.text, op, text), value)

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
        return LabelFilter(self._either())

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
                tokens.fail("ip() goes only with |= and !=", tokens.here)
            return self._ip()
        token = tokens.expect(Kind.STRING, "a string")
        if op in (LineOp.MATCHES, LineOp.MATCHES_NOT):
            self._checked(compile_pattern, token)
        elif op in (LineOp.PATTERN, LineOp.PATTERN_NOT):
            self._checked(filtering_pattern, token)
        return Text(str(token.value))

    def _ip(self) -> IpRange:
        tokens = self._tokens
        tokens.take()
        tokens.expect_sign("(", "ip")
        token = tokens.expect(Kind.STRING, "an address or a range of addresses as a string")
        self._checked(parse_range, token)
        tokens.expect_sign(")", "the address")
        return IpRange(str(token.value))

    def _checked(self, read: Callable[[str], T], token: Token) -> T:
        """What `read` makes of the token's value; its ValueError or PatternError becomes one with a place."""
        try:
            return read(str(token.value))
        except (ValueError, PatternError) as error:
            self._tokens.fail(str(error), token)

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
        found: list[Extraction] = []
        while tokens.here.kind is Kind.WORD:
            label = tokens.take()
            path = label
            if tokens.accept_sign("="):
                path = tokens.expect(Kind.STRING, "a string")
            self._checked(check, path)
            found.append(Extraction(label.text, str(path.value)))
            if not tokens.accept_sign(","):
                return tuple(found)
        if found:
            tokens.unexpected("another label after the comma")
        return ()

    def _regexp(self) -> Stage:
        token = self._tokens.expect(Kind.STRING, "a regular expression as a string")
        compiled = self._checked(compile_pattern, token)
        if not compiled.groupindex:
            self._tokens.fail("the expression needs at least one named group such as (?P<status>...)", token)
        return RegexpStage(str(token.value))

    def _pattern(self) -> Stage:
        token = self._tokens.expect(Kind.STRING, "a pattern as a string")
        self._checked(capturing_pattern, token)
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
            is_matcher = tokens.ahead().text in _MATCH_SIGNS and tokens.ahead(2).kind is Kind.STRING
            names.append(self._matcher() if is_matcher else tokens.expect(Kind.WORD, "a label name").text)
            if not tokens.accept_sign(","):
                return tuple(names)

    def _line_format(self) -> Stage:
        self._tokens.fail("line_format is not part of obskit's LogQL", self._tokens.last)

    def _label_format(self) -> Stage:
        tokens = self._tokens
        renames: list[tuple[str, str]] = []
        while True:
            target = tokens.expect(Kind.WORD, "a label name")
            tokens.expect_sign("=", "the label name")
            if tokens.here.kind is Kind.STRING:
                tokens.fail(
                    "label_format only renames here (new=old): templates are not part of obskit's LogQL", tokens.here
                )
            renames.append((target.text, tokens.expect(Kind.WORD, "a label name").text))
            if any(target.text == earlier for earlier, _ in renames[:-1]):
                tokens.fail(f"multiple label name '{target.text}' not allowed in a single format operation", target)
            if not tokens.accept_sign(","):
                return RenameStage(tuple(renames))

    def _either(self) -> Condition:
        left = self._both()
        while self._tokens.accept_word("or"):
            left = Either(left, self._both())
        return left

    def _both(self) -> Condition:
        tokens = self._tokens
        left = self._condition()
        while tokens.accept_word("and") or tokens.accept_sign(",") or self._at_condition():
            left = Both(left, self._condition())
        return left

    def _at_condition(self) -> bool:
        """Whether a condition stands here without `and` before it."""
        token, following = self._tokens.here, self._tokens.ahead()
        if token.kind is Kind.WORD:
            return following.kind is Kind.SIGN and following.text in _LABEL_SIGNS
        return self._tokens.at_sign("(")

    def _condition(self) -> Condition:
        tokens = self._tokens
        self._conditions += 1
        if self._conditions > _MAX_CONDITIONS:
            tokens.fail(f"more than {_MAX_CONDITIONS} label filters in one query", tokens.here)
        if tokens.accept_sign("("):
            condition = self._nested(self._either)
            tokens.expect_sign(")", "the label filter")
            return condition
        label = tokens.expect(Kind.WORD, "a stage or a label filter")
        if not tokens.at_sign(*_LABEL_SIGNS):
            tokens.unexpected(f"a comparison after {label.text!r} (there is no stage of this name)")
        sign = tokens.take()
        if tokens.here.kind is Kind.STRING and sign.text in _MATCH_SIGNS:
            value = tokens.take()
            return self._checked(lambda text: Matcher(label.text, MatchOp(sign.text), text), value)
        if tokens.at_word("ip") and sign.text in ("=", "!="):
            return CompareIp(label.text, sign.text == "!=", self._ip())
        return self._compare(label, sign)

    def _compare(self, label: Token, sign: Token) -> Condition:
        tokens = self._tokens
        if sign.text not in _COMPARE_SIGNS:
            tokens.unexpected("a string")
        minus = tokens.accept_sign("-")
        literal = tokens.here
        if literal.kind not in (Kind.NUMBER, Kind.DURATION, Kind.BYTES):
            tokens.unexpected("a string, a number, a duration or a size in bytes")
        tokens.take()
        limit = float(literal.value) / (1e9 if literal.kind is Kind.DURATION else 1)
        kind = {Kind.NUMBER: "number", Kind.DURATION: "duration", Kind.BYTES: "bytes"}[literal.kind]
        op = CompareOp("==" if sign.text == "=" else sign.text)
        return Compare(label.text, op, kind, -limit if minus else limit, f"-{literal.text}" if minus else literal.text)

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
    if not text or any(char in ' ="' or char.isspace() for char in text):
        raise ValueError(f"not a key of logfmt: {text!r}")
    return text
