from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from obskit.cli.slack import stories_of_an_incident
from obskit.cli.slack_html import markup, page
from obskit.testing.slack_limits import refuse_message
from tests.cli.conftest import Obskit

STATES = [title for title, _ in stories_of_an_incident()]


def test_it_prints_what_slack_would_take(obskit: Obskit) -> None:
    result = obskit("slack", "preview")
    assert result.exit_code == 0
    shown = [json.loads(line) for line in result.stdout.splitlines()]
    assert list(dict.fromkeys(one.pop("state") for one in shown)) == STATES
    assert [refuse_message(one, update=False) for one in shown] == [("", [])] * len(shown)


def test_the_page_shows_each_state_at_both_widths(obskit: Obskit, tmp_path: Path) -> None:
    file = tmp_path / "slack.html"
    result = obskit("slack", "preview", "--html", str(file))
    assert result.exit_code == 0
    text = file.read_text(encoding="utf-8")
    assert text.count("class='pane phone'") == text.count("class='pane desktop'") == len(STATES)
    assert "https://fonts" not in text  # nothing is fetched
    HTMLParser().feed(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("*a* `b` &lt;!channel&gt; &amp; c", "<b>a</b> <code>b</code> &lt;!channel&gt; &amp; c"),
        ("<https://x.example/?a=1&amp;b=2|name>", "<a href='https://x.example/?a=1&amp;b=2'>name</a>"),
        ("since <!date^1700000000^{time}|then>", "since 22:13"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("```a\n*b*```", "<pre>a\n*b*</pre>"),
        ("*<https://x.example|it>*", "<b><a href='https://x.example'>it</a></b>"),
    ],
)
def test_markup_is_drawn_and_everything_else_escaped(text: str, shown: str) -> None:
    assert markup(text) == shown


def test_a_block_that_is_not_known_is_named() -> None:
    assert "[table]" in page([("x", [{"text": "t", "blocks": [{"type": "table"}]}])])
