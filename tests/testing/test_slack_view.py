from __future__ import annotations

import io

from rich.console import Console

from obskit.testing.slack import SlackMessage
from obskit.testing.slack_view import draw_markup, print_message

LINE = {"type": "section", "text": {"type": "mrkdwn", "text": "*bold* &lt;b&gt;"}}
BUTTON = {"type": "button", "text": {"type": "plain_text", "text": "Runbook"}, "url": "http://x"}


def printed(message: SlackMessage) -> str:
    stream = io.StringIO()
    print_message(message, "ops", Console(file=stream, width=80))
    return stream.getvalue()


def test_markup_is_drawn_as_a_reader_sees_it() -> None:
    text = "<!date^1700000000^{time}|x> <!date^1700000000^{date_short} {time}|x> <http://x|*name*> `code` *b* &amp;"
    assert draw_markup(text).plain == "22:13 Nov 14 22:13 *name*  code  b &"


def test_blocks_hide_the_text_that_is_for_phones() -> None:
    shown = printed(SlackMessage("C1", "1700000000.000100", "for phones", blocks=(LINE,)))
    assert "for phones" not in shown
    assert "bold <b>" in shown
    assert "#ops" in shown
    assert "22:13" in shown


def test_an_attachment_stands_behind_its_bar() -> None:
    blocks = [LINE, {"type": "context", "elements": [LINE["text"]]}, {"type": "divider"}]
    attached = {"color": "#d1242f", "blocks": [*blocks, {"type": "actions", "elements": [BUTTON]}]}
    shown = printed(SlackMessage("C1", "1700000000.000100", "text", attachments=(attached,), edits=1))
    assert shown.count("┃") == 4
    assert "Runbook" in shown
    assert "(edited)" in shown


def test_a_reply_is_set_in() -> None:
    shown = printed(SlackMessage("C1", "2.0", "+1 new", thread_ts="1.0", broadcast=True))
    assert shown.startswith("    ↳ in a thread in #ops, also sent to the channel  +1 new")
