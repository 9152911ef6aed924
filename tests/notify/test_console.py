from __future__ import annotations

import asyncio
import io

from rich.console import Console as Display
from rich.file_proxy import FileProxy

from obskit.model.actions import NoticeReason
from obskit.notify.console import Console, ConsoleTransport
from tests.notify.notices import alert, notice, resolved


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def printed(stream: io.StringIO, *, addressee: str = "", one=None) -> str:
    request = Console(addressee).render(one or notice(), "print", None, False)
    assert request is not None
    asyncio.run(ConsoleTransport(stream).send(request))
    return stream.getvalue()


def test_a_log_gets_plain_lines() -> None:
    lines = printed(io.StringIO()).splitlines()
    assert lines[0].startswith("FIRING critical: High5xx - 7.4 % of requests")
    assert "  Do first: Roll back the last deploy, then look at the pool's size." in lines


def test_a_dry_run_says_for_whom_it_would_have_been() -> None:
    assert printed(io.StringIO(), addressee="ops/slack[0]").startswith("[ops/slack[0]] FIRING")


def test_a_terminal_gets_the_same_facts_behind_a_bar() -> None:
    shown = printed(Terminal(), addressee="ops/slack[0]", one=resolved("a", "b"))
    assert "┃" in shown
    assert "High5xx" in shown
    assert "→ ops/slack[0]" in shown
    assert "Resolved after 6 min" in shown


def test_markup_in_an_alert_is_printed_as_it_is() -> None:
    assert "[bold]x[/bold]" in printed(Terminal(), one=notice(alert(summary="[bold]x[/bold]")))


def test_a_repeat_is_told_as_one() -> None:
    one = alert()
    told = notice(one, reason=NoticeReason.REPEAT, changed=frozenset({one.fingerprint}))
    assert "Still firing after 6 min" in printed(Terminal(), one=told)


def test_a_live_display_gets_the_message_above_itself_and_not_through_itself() -> None:
    shown, behind = io.StringIO(), Terminal()
    display = Display(file=shown, force_terminal=True)
    request = Console().render(notice(), "print", None, False)
    assert request is not None
    asyncio.run(ConsoleTransport(FileProxy(display, behind)).send(request))
    assert behind.getvalue() == ""
    assert "firing" in shown.getvalue()
