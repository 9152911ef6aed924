"""Templates of log lines, found online: which lines say the same with other values.

A line is masked (masks.py); equal masked lines are one template. Two templates that differ in one word stay two, until
so many words were seen in that place that it must hold a value: then they are one, and the ids of the others lead to
the oldest. So "VM started" and "VM stopped" stay apart, and "failed for alice" and "failed for bob" do not for long.
After Drain (He et al., ICWS 2017) in spirit: one pass, wildcards; but places are compared, not shares of equal words.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeVar

from obskit.grouping.masks import MESSAGES, WILDCARD, collapse, mask

K = TypeVar("K")

VERSION: Final = "t1"
"""Begins every id: other masks or rules are another version, whose ids mean something else."""

MAX_TEMPLATES: Final = 4_096
MAX_PLACES: Final = 40
"""Tokens of a line whose place may turn out to hold a value; those behind them are compared as they are."""
_MAX_KNOWN: Final = 8_192
_MAX_SPELLINGS: Final = 16

VALUES: Final = 8
"""Different words in one place that make it a value …"""
FIRST_VALUES: Final = 24
"""… in the first place of a line, where programs say what happened …"""
NAME_VALUES: Final = 3
"""… and where all are dotted names (`com.apple.cts`), or other lines have a value."""
MAX_COMMON: Final = 200
"""Lines per word beyond which few words are an enumeration (states, verbs) and no values."""
CROWD: Final = 64
"""Templates of one shape and first word that are more than somebody wrote: places of many words are values then."""
_CROWD_VALUES: Final = 16

_TOKENS: Final = re.compile(r"<_>|[A-Za-z_$@](?:[\w.$@#-]*[\w$])?|.", re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z]\w*(?:\.\w+){2,}", re.ASCII)
_FLAGS: Final = frozenset({"true", "false", "True", "False"})
_IDENTIFIER: Final = re.compile(r"\w[.@$_-]\w")
_WORD: Final = re.compile(r"[^\W\d_]{2}")


@dataclass(slots=True, eq=False)
class Template:
    """Lines that say the same. `id` is made of its first text and stays; `text` gets wildcards with time."""

    id: str
    tokens: tuple[str, ...]
    born: int = 0
    """The number of its first line."""
    count: int = 0
    places: tuple[int, ...] = ()
    """Tokens that merging made wildcards."""
    heard: int = 0
    """The number of the line that was last found to be of this template by more than its looks."""
    gone: bool = False
    """Merged into another, or forgotten."""
    spellings: list[str] = field(default_factory=list)
    """Masked lines that are known to be of this template."""

    @property
    def text(self) -> str:
        """The line with WILDCARD for values."""
        return "".join(self.tokens)


class Miner:
    """Gives each line its template. Not thread-safe.

    What it answers depends on the lines before alone: the same lines in the same order give the same ids. An id that
    was given is never given to other lines; `current` leads from it to the id of today. At `max_templates` those that
    were not heard of for longest are forgotten.
    """

    def __init__(self, max_templates: int = MAX_TEMPLATES) -> None:
        self._max_templates = max_templates
        self._lines = 0
        self.version = 0
        """Changes with the set of templates: what `dump` gives is another one then."""
        self._known: dict[str, Template] = {}  # by collapsed line: most lines end here
        self._spelled: dict[str, Template] = {}  # by masked line
        self._templates: dict[str, Template] = {}  # by id, the oldest first
        self._merged: dict[str, str] = {}  # id to id
        self._fresh: dict[str, str] = {}  # those that `merges` has not told yet
        self._neighbours: dict[int, list[Template]] = {}  # by sum with a wildcard in one place
        self._sums: dict[int, Template] = {}
        self._places: dict[str, dict[tuple[int, ...], int]] = {}  # merged places, by shape, and how many have them
        self._crowds: dict[tuple[str, str], list[Template]] = {}
        self._valueless: dict[int, list[Template]] = {}  # by sum with a wildcard in every place of a value

    def __len__(self) -> int:
        return len(self._templates)

    def __iter__(self) -> Iterator[Template]:
        return iter(list(self._templates.values()))

    def add(self, line: str) -> Template:
        """Count a line; its template as of now."""
        self._lines += 1
        collapsed = collapse(line)
        template = self._known.get(collapsed)
        if template is None or template.gone:
            template = self._recognise(collapsed)
            if len(self._known) >= _MAX_KNOWN:
                for old in list(islice(self._known, _MAX_KNOWN // 2)):
                    del self._known[old]
            self._known[collapsed] = template
        template.count += 1
        template.heard = self._lines
        return template

    def find(self, line: str) -> Template | None:
        """The template of a line, None where no line like it was counted. Changes nothing: for any thread."""
        collapsed = collapse(line)
        template = self._known.get(collapsed)
        if template is None or template.gone:
            template = self._spelled.get(mask(collapsed))
        return template

    def current(self, id_: str) -> str:
        """The id that an id leads to by now: itself unless its template was merged."""
        while (to := self._merged.get(id_)) is not None:
            id_ = to
        return id_

    def get(self, id_: str) -> Template | None:
        """The template that an id leads to, None when it was forgotten."""
        return self._templates.get(self.current(id_))

    def merges(self) -> dict[str, str]:
        """Ids that lead to others, since this was last asked."""
        found, self._fresh = self._fresh, {}
        return {old: self.current(new) for old, new in found.items()}

    def dump(self) -> list[list[Any]]:
        """What `load` needs to go on after a restart: all but the caches, and without what was merged."""
        return [[each.id, list(each.tokens), each.count, list(each.places)] for each in self._templates.values()]

    def load(self, dumped: Iterable[Sequence[Any]]) -> None:
        """Put templates of before into an empty miner; the oldest first."""
        for number, (id_, tokens, count, places) in enumerate(dumped):
            self._lines = number + 1
            template = Template(
                id_, tuple(tokens), born=number + 1, heard=number + 1, count=count, places=tuple(places)
            )
            self._index(template)

    def _recognise(self, collapsed: str) -> Template:
        masked = mask(collapsed)
        template = self._spelled.get(masked)
        if template is None:
            tokens = tuple(_TOKENS.findall(masked))
            template = self._of_pattern(tokens)
            if template is None:
                template = self._enter(Template(_id_of(masked), tokens, born=self._lines))
            self._spell(masked, template)
            if len(self._templates) > self._max_templates:
                self._forget_oldest(keep=template)
        return template

    def _of_pattern(self, tokens: tuple[str, ...]) -> Template | None:
        total = _sum_of(tokens)
        found = self._sums.get(total)
        for places in self._places.get(_shape_of(tokens), ()):
            found = found or self._sums.get(_with_wildcards(total, tokens, places))
        return found

    def _spell(self, masked: str, template: Template) -> None:
        if len(template.spellings) >= _MAX_SPELLINGS:
            self._spelled.pop(template.spellings.pop(0), None)
        template.spellings.append(masked)
        self._spelled[masked] = template

    def _enter(self, template: Template) -> Template:
        """Put a template among the others; what it is part of from now on."""
        words, sums, alike = self._index(template)
        found = (self._fitted(template, alike) if len(alike) > 1 else None) or self._joined(template, words, sums)
        return found or self._thinned(template) or template

    def _index(self, template: Template) -> tuple[list[int], list[int], list[Template]]:
        """Put a template among the others; the places of its words, its sums without each, and who is like it."""
        self._templates[template.id] = template
        self.version += 1
        total = _sum_of(template.tokens)
        self._sums[total] = template
        self._crowds.setdefault(_crowd_of(template.tokens), []).append(template)
        if template.places:
            merged = self._places.setdefault(_shape_of(template.tokens), {})
            merged[template.places] = merged.get(template.places, 0) + 1
        words = _words_of(template.tokens)
        sums = [_with_wildcards(total, template.tokens, (place,)) for place in words]
        for key in sums:
            self._neighbours.setdefault(key, []).append(template)
        alike = self._valueless.setdefault(_valueless_of(total, template.tokens, words), [])
        alike.append(template)
        return words, sums, alike

    def _joined(self, template: Template, words: Sequence[int], sums: Sequence[int]) -> Template | None:
        """Merge a new template with its neighbours, where they differ in a value."""
        for place, key in zip(words, sums, strict=True):
            others = self._neighbours[key]
            wildcard = self._sums.get(key)
            if _is_value(others, place, wildcard is not None):
                return self._merge([*others, *([wildcard] if wildcard else [])], (place,))
        spelled_out = self._neighbours.get(_sum_of(template.tokens))
        if spelled_out:
            other = spelled_out[0]
            place = next(p for p, token in enumerate(other.tokens) if token != template.tokens[p])
            if _is_value(spelled_out, place, beside_wildcard=True):
                return self._merge([*spelled_out, template], (place,))
        return None

    def _fitted(self, template: Template, alike: Sequence[Template]) -> Template | None:
        """Merge a new template with those that have a value where it has a wildcard, or the other way round.

        This finds what differs in several places at once. Two values in one place are no reason: only beside a wildcard.
        """
        found: list[Template] = []
        places: set[int] = set()
        for each in alike[:CROWD]:
            pairs = enumerate(zip(template.tokens, each.tokens, strict=True))
            apart = {place: pair for place, pair in pairs if pair[0] != pair[1]}
            if not apart or not all(WILDCARD in pair for pair in apart.values()):
                continue
            if _says_something(_wildcards_at(each.tokens, tuple(apart))):
                found.append(each)
                places.update(apart)
        return self._merge([template, *found], sorted(places)) if found else None

    def _leave(self, template: Template) -> None:
        """Take a template from among the others."""
        del self._templates[template.id]
        template.gone = True
        total = _sum_of(template.tokens)
        words = _words_of(template.tokens)
        _drop(self._valueless, _valueless_of(total, template.tokens, words), template)
        for place in words:
            _drop(self._neighbours, _with_wildcards(total, template.tokens, (place,)), template)
        _drop(self._crowds, _crowd_of(template.tokens), template)
        if self._sums.get(total) is template:
            del self._sums[total]
        if template.places:
            shape = _shape_of(template.tokens)
            merged = self._places[shape]
            merged[template.places] -= 1
            if not merged[template.places]:
                del merged[template.places]
            if not merged:
                del self._places[shape]

    def _merge(self, members: Sequence[Template], places: Sequence[int]) -> Template:
        """Make one of templates that differ in `places` only: it has the id of the oldest."""
        oldest = min(members, key=lambda member: member.born)
        tokens = _wildcards_at(oldest.tokens, places)
        already = self._sums.get(_sum_of(tokens))
        if already is not None and already not in members:
            members = [*members, already]
        all_places = tuple(sorted({*places, *(place for member in members for place in member.places)}))
        members = [*members, *self._left_over(oldest, members, tokens, all_places)]
        oldest = min(members, key=lambda member: member.born)
        whole = Template(
            oldest.id,
            tokens,
            born=oldest.born,
            count=sum(member.count for member in members),
            places=all_places,
            heard=max(member.heard for member in members),
        )
        for member in members:
            self._leave(member)
            if member.id != whole.id:
                self._merged[member.id] = self._fresh[member.id] = whole.id
            for spelling in member.spellings:
                self._spell(spelling, whole)
        return self._enter(whole)

    def _left_over(
        self, like: Template, members: Sequence[Template], tokens: tuple[str, ...], places: Sequence[int]
    ) -> list[Template]:
        """Templates of the same crowd that a merged one covers: they differ in several of its places."""
        taken = set(members)
        crowd = self._crowds.get(_crowd_of(like.tokens), ())
        return [each for each in crowd if each not in taken and _wildcards_at(each.tokens, places) == tokens]

    def _thinned(self, template: Template) -> Template | None:
        """When a template is one too many in its crowd, merge the crowd over all places that have many words."""
        crowd = self._crowds[_crowd_of(template.tokens)]
        if len(crowd) % CROWD:
            return None
        words = _words_of(template.tokens)
        places = [p for p in words[1:] if len({member.tokens[p] for member in crowd}) >= _CROWD_VALUES]
        alike: dict[tuple[str, ...], list[Template]] = {}
        for member in crowd:
            rest = _wildcards_at(member.tokens, places)
            if places and _says_something(rest):
                alike.setdefault(rest, []).append(member)
        for members in alike.values():
            if len(members) > 1 and not any(member.gone for member in members):
                self._merge(members, places)
        return self._templates[self.current(template.id)]

    def _forget_oldest(self, keep: Template) -> None:
        """Make room for an eighth: what was not heard of for longest goes."""
        by_age = sorted(self._templates.values(), key=lambda template: template.heard)
        for template in by_age[: max(1, self._max_templates // 8)]:
            if template is not keep:
                self._leave(template)
                for spelling in template.spellings:
                    if self._spelled.get(spelling) is template:
                        del self._spelled[spelling]
        self._fresh = {old: new for old, new in self._fresh.items() if self.current(new) in self._templates}
        self._merged = {old: new for old, new in self._merged.items() if self.current(new) in self._templates}


def _id_of(masked: str) -> str:
    return f"{VERSION}-{hashlib.blake2b(masked.encode('utf-8', 'surrogatepass'), digest_size=6).hexdigest()}"


def _sum_of(tokens: Sequence[str]) -> int:
    """A number for a list of tokens, from which that of a neighbour is one subtraction away."""
    return sum(_hash_at(place, token) for place, token in enumerate(tokens))


def _hash_at(place: int, token: str) -> int:
    """Of a text: hashes of tuples are nearly linear in their parts, and "a to b" would sum up as "b to a" does."""
    return hash(f"{place} {token}")


def _with_wildcards(total: int, tokens: Sequence[str], places: Sequence[int]) -> int:
    for place in places:
        total += _hash_at(place, WILDCARD) - _hash_at(place, tokens[place])
    return total


def _wildcards_at(tokens: Sequence[str], places: Sequence[int]) -> tuple[str, ...]:
    changed = list(tokens)
    for place in places:
        changed[place] = WILDCARD
    return tuple(changed)


def _words_of(tokens: Sequence[str]) -> list[int]:
    """Places of words that are no wildcards."""
    return [place for place, token in enumerate(tokens[:MAX_PLACES]) if token[0].isalpha() or token[0] in "_$@"]


def _is_assigned(tokens: Sequence[str], place: int) -> bool:
    """Flags are not: they say what happened. Neither is what a message says."""
    return place > 1 and tokens[place - 1] == "=" and tokens[place] not in _FLAGS and tokens[place - 2] not in MESSAGES


def _valueless_of(total: int, tokens: Sequence[str], words: Sequence[int]) -> int:
    """The sum without what is a value if another line has one there: identifiers, and what follows `key=`."""
    values = [p for p in words if _IDENTIFIER.search(tokens[p]) or _is_assigned(tokens, p)]
    return _with_wildcards(total, tokens, values)


def _shape_of(tokens: Sequence[str]) -> str:
    """What templates that could be merged have in common: all but the words."""
    return "".join("x" if len(token) > 1 or token.isalpha() else token for token in tokens)


def _crowd_of(tokens: Sequence[str]) -> tuple[str, str]:
    words = _words_of(tokens)
    return _shape_of(tokens), tokens[words[0]] if words else ""


def _is_value(neighbours: Sequence[Template], place: int, beside_wildcard: bool) -> bool:
    """Whether the words that templates have in a place are so many, or so little like words, that they are values."""
    first = neighbours[0]
    if len(neighbours) < NAME_VALUES and not beside_wildcard:
        return False
    wanted = FIRST_VALUES if place == 0 else VALUES
    words = [template.tokens[place] for template in neighbours]
    if beside_wildcard or all(map(_NAME.fullmatch, words)):
        wanted = NAME_VALUES
    if len(neighbours) < wanted or sum(t.count for t in neighbours) > MAX_COMMON * len(neighbours):
        return False
    return _says_something(first.tokens[:place] + first.tokens[place + 1 :])


def _says_something(tokens: Sequence[str]) -> bool:
    """Whether there is a word left."""
    return any(token != WILDCARD and _WORD.match(token) for token in tokens)


def _drop(index: dict[K, list[Template]], key: K, template: Template) -> None:
    members = index.get(key)
    if members is not None and template in members:
        members.remove(template)
        if not members:
            del index[key]
