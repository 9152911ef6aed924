"""What of a log line is a value: numbers, ids, addresses, paths, quoted values. Two passes, both linear in the line.

`collapse` is cheap and run for every line: what it makes equal is looked up, not parsed again. `mask` does the rest, on
collapsed text alone, so that a template is a function of it.
"""

from __future__ import annotations

import re
from typing import Final

WILDCARD: Final = "<_>"
"""Stands for a value, as in LogQL's pattern filter (`|> "took <_> ms"`)."""

MAX_LINE: Final = 2_048
"""Characters of a line that say what it is; the rest is not looked at."""

_UUID: Final = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_COLONS: Final = r"(?:[0-9a-fA-F]{1,4}:){3,15}:?[0-9a-fA-F]{1,4}"  # MAC and IPv6 addresses, long times
# Else numbers, hexadecimal ones where they stand alone, but not those of IPv4 and IPv6, which are names. Look-behinds
# and possessive quantifiers keep it linear; a look-behind behind its digit lets the engine skip what is none.
_HEX: Final = r"(?:0[xX])?[a-fA-F]*+[0-9][0-9a-fA-F]*+(?![A-Za-z])"
_DIGITS: Final = re.compile(rf"(?<![0-9A-Za-z])(?:{_UUID}|{_COLONS}|{_HEX})|[0-9](?<!\b[iI][pP][vV][0-9])[0-9]*+")

_UNITS: Final = (
    r"(?:[kKMGTP]i?[bB]?(?:ps|/s)?|[bB](?:ytes?)?|bytes|[nuµm]?s|secs?|seconds?|msecs?|millis(?:econds)?|mins?|minutes?"
    r"|hours?|hrs?|days?|[hd]|[kMG]?Hz|%|°?C)(?![\w-])"
)
_NUMBER: Final = r"0(?:(?:::|[.,:/_-])?0)*+"
_MONTH: Final = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}"
_WEEKDAY: Final = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6}"
_ZONE: Final = r"(?:UTC|GMT|Z\b|E[DS]T|P[DS]T|CES?T)"
_CLOCK: Final = rf"{_NUMBER}(?:[ T]{_NUMBER})*+(?: [+-]{_NUMBER})?(?: ?{_ZONE})?(?: {_NUMBER})?"
# Endings of host names. Those that are endings of files as well (py, rs, sh, pl, md, so, ps, cc) are not here.
_TOP_LEVEL: Final = (
    r"(?:com|net|org|edu|gov|mil|info|biz|io|dev|app|cloud|internal|local|localdomain|arpa|ai|co|me|tv|xyz|tech|site"
    r"|us|uk|de|fr|nl|it|es|eu|se|no|fi|dk|ch|at|be|pt|ru|ua|cz|hu|ro|gr|tr|il|cn|hk|tw|jp|kr|in|sg|th|vn|id|my|au|nz"
    r"|br|mx|ar|cl|pe|ve|za|ca)"
)
_NO_NAME: Final = (
    r"(?:is|was|are|has|had|not|and|or|with|from|in|on|at|to|by|name|id|agent|input|unknown|the|a|an|your|this"
    r"|null|None|nil)\b"
)
# Where a user is named: behind words, and behind a key.
_ASKED: Final = (
    r"(?<=r )(?:(?<=\b[fF]or user )|(?<=\b[bB]y user )|(?<=\b[iI]nvalid user )|(?<=\b[uU]nknown user )"
    r"|(?:(?<=\bpassword for )|(?<=\bpublickey for ))(?!(?:invalid |unknown )?user ))"
)
_USER: Final = rf"(?:(?<=\buser=)|(?<=\busername=))(?!{_NO_NAME})[\w.-]++"
_NAME: Final = r"[A-Za-z_][\w-]*+(?:[./@:$]++[\w-]++)++"
_OBJECT: Final = r"[A-Za-z]\w*+(?:\{0\}|\[0\]|\(0\))"  # as classes print: Source{0}
MESSAGES: Final = ("msg", "message", "error", "err", "event", "reason", "detail", "title", "exception")
"""Keys of what a line says, which no value is."""

_MASKS: Final = re.compile(
    "|".join(
        (
            # times with words in them: "Fri Jul  1 07:57:30 2005", "01/Nov/2026:10:00:00 +0000"
            rf"\b(?:{_WEEKDAY},? +)?(?:0[ /-])?{_MONTH}[ /-]+{_CLOCK}",
            # addresses of the web
            r"\b[a-zA-Z][a-zA-Z+]{1,15}://[^\s\"'<>()\[\]{},;]*+",
            # short quoted values; not the keys of JSON
            r"(?<!\w)'[^'\s]{1,128}+'(?!\w)|(?<!\w)\"[^\"\s]{1,128}+\"(?!\w| ?:)",
            # values that are names or more than one word, by their key, and users; what a message says stays
            rf"(?<==)(?:{_NAME}|{_OBJECT}|{_USER}|(?<!{')(?<!'.join(k + '=' for k in MESSAGES)})\"[^\"]{{0,256}}+\")",
            # mail addresses
            r"(?<![\w.+-])[\w.+-]{1,64}+@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}",
            # hosts, with a port
            rf"(?<![\w./@$-])[a-zA-Z0](?:[\w-]{{0,62}}\.){{1,8}}{_TOP_LEVEL}(?![\w(-]|\.\w)(?::0)?",
            # compound keys: "0|com.example|17|null"
            r"(?<![\w|.-])(?=[\w.:|-]*0)[\w.-]++(?:\|[\w.:-]++){2,}+",
            # where in the code: "com.example.Shop.buy:0"
            r"(?<![\w.$@-])[A-Za-z][\w$]*+(?:\.[\w$]++){2,}+:0",
            # what lies under a dotted name: "example.com/a", "com.example.app/.Main"
            r"(?<![\w.$@-])[A-Za-z][\w-]*+(?:\.[\w-]++)++/[\w./$@:-]*+",
            # paths, of Windows too
            r"(?<![\w<>/.~)])(?:~|[A-Za-z]:|\.{1,2})?[/\\][\w.@%+~:#?&=$*!\\/-]*+",
            # a bound such as "<1 sec"
            rf"(?<!\w)[<>≤≥~] ?{_NUMBER}(?: ?{_UNITS})?",
            # quantities, said twice perhaps: "19904 bytes (19.4 KB)"
            rf"(?<![\w.])[+-]?{_NUMBER} ?{_UNITS}(?: ?\({_NUMBER} ?{_UNITS}\))?",
            # numbers, times, IP addresses with ports; not the beginning of a name (0.0.0.0.dsl.example.net, 0.log)
            rf"(?<![\w.])[+-]?{_NUMBER}(?!\w|\.[a-z])",
            # identifiers with a number somewhere (blk_0, node-D0), but no plain word with one behind it (en0, alt0),
            # and not what stands before leader dots (depth....0)
            r"(?<![\w$#@])(?![A-Za-z]++0(?![\w.$#@-]*\w))(?:[A-Za-z_$#@~-]|\.(?!\.))*+0[\w.$#@~-]*+",
            # a name where one is asked for
            rf"{_ASKED}(?!{_NO_NAME})[\w.-]++",
            # an absent value
            r"(?<=[ ,:])\( ?\)",
        )
    )
)
_LISTS: Final = re.compile(r"<_>(?:(?:::|[.,:;/_|+-] ?| )<_>)++")


def collapse(line: str) -> str:
    """The line with every number, hexadecimal number and UUID as `0`: cheap, and enough to know most lines again."""
    return _DIGITS.sub("0", line[:MAX_LINE])


def mask(collapsed: str) -> str:
    """Collapsed text with its values as wildcards; runs of values are one, and so are runs of spaces."""
    return _LISTS.sub(WILDCARD, " ".join(_MASKS.sub(_value, collapsed).split()))


def _value(found: re.Match[str]) -> str:
    return "(<_>)" if found[0][0] == "(" else WILDCARD
