"""What a room above adds to Go's templates, and what a template reads of its data."""

from __future__ import annotations

import pytest

from obskit.errors import TemplateError
from obskit.gotemplate.functions import GO_FUNCTIONS, Function
from obskit.gotemplate.template import Dialect
from obskit.gotemplate.values import StringMap, Struct

SMALL = Dialect({**GO_FUNCTIONS, "twice": Function(lambda text: text * 2, "s")}, 100, variables=("x",))


def test_a_dialect_brings_functions_and_variables() -> None:
    assert SMALL.compile("{{ twice .a }}{{ $x }}").expand(Struct(a="b"), [1]) == "bb1"
    with pytest.raises(TemplateError, match="there is no function thrice"):
        SMALL.compile("{{ thrice .a }}")
    with pytest.raises(TemplateError, match="there is no variable"):
        SMALL.compile("{{ $y }}")


def test_a_map_of_strings_has_an_empty_text_for_what_is_not_there() -> None:
    assert SMALL.compile("[{{ .no }}{{ index . `no` }}]").expand(StringMap(a="b"), [1]) == "[]"
    assert SMALL.compile("{{ with .no }}x{{ else }}none{{ end }}").expand(StringMap(), [1]) == "none"


def test_a_text_is_as_long_as_the_dialect_lets_it_be() -> None:
    with pytest.raises(TemplateError, match="longer than 100"):
        SMALL.compile("{{ range 60 }}ab{{ end }}").expand(StringMap(), [1])


@pytest.mark.parametrize(
    ("text", "reads", "reads_all"),
    [
        ("plain", set(), False),
        ("{{ .a }} {{ $.b.c }} {{ $x }}", {"a", "b", "$x"}, False),
        ("{{ range .list }}{{ .inner }}{{ end }}", {"list"}, False),
        ("{{ with .a }}{{ $.b }}{{ end }}", {"a", "b"}, False),
        ("{{ . }}", set(), True),
        ("{{ range $k, $v := . }}{{ $k }}{{ end }}", {"$k"}, True),
        ('{{ define "t" }}{{ .z }}{{ end }}{{ template "t" . }}', set(), True),
    ],
)
def test_what_a_template_reads_is_known(text: str, reads: set[str], reads_all: bool) -> None:
    tree = SMALL.compile(text).tree
    assert (tree.reads, tree.reads_all) == (reads, reads_all)
