"""Which lines a person means: a log query, in full or in short."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from obskit.cli.log_output import NAMES_OF_WHAT
from obskit.errors import QueryError, QuerySyntaxError
from obskit.grouping.book import SOURCE
from obskit.logql.lexer import parse_error
from obskit.logql.log_nodes import LogQuery
from obskit.logql.parser import parse
from obskit.model.labels import quote
from obskit.model.matchers import Matcher, MatchOp
from obskit.store.log_interface import LogReader

DAY_NS: Final = 86_400_000_000_000
EVERYTHING: Final = (Matcher("source", MatchOp.NOT_EQUAL, SOURCE),)
"""All that somebody said: not what obskit itself notes about it, each minute."""
_WORD: Final = re.compile(r"[\w.-]+")
_SOME: Final = '{some="streams"} '
"""A query must begin with a selector."""


def parse_selection(text: str, reader: LogReader, now_ns: int) -> LogQuery:
    """A log query; stages alone are of all streams, a bare word is the name of an app or a service."""
    if _WORD.fullmatch(text):
        text = f"{{{_label_of(text, reader, now_ns)}={quote(text)}}}"
    text = "" if text.strip() == "{}" else text
    query = _stages(text) if text.strip()[:1] in ("", "|", "!") else parse(text)
    if not isinstance(query, LogQuery):
        raise QueryError("a metric query has no lines: obskit logs query evaluates it")
    return query


def _stages(text: str) -> LogQuery:
    """Stages of everything. Where they are wrong is told as if they stood alone."""
    try:
        query = parse(_SOME + text)
    except QuerySyntaxError as error:
        start, end = (max(0, at - len(_SOME)) for at in (error.start, error.end))
        raise parse_error(error.message, text, start, end) from None
    assert isinstance(query, LogQuery), "a selector with stages is one"
    return replace(query, matchers=EVERYTHING)


def _label_of(word: str, reader: LogReader, now_ns: int) -> str:
    """The label by which streams have this name."""
    for label in NAMES_OF_WHAT:
        if reader.streams([Matcher(label, MatchOp.EQUAL, word)], now_ns - DAY_NS, now_ns):
            return label
    return NAMES_OF_WHAT[0]
