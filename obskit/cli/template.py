"""`obskit template render`: what a receiver's text becomes, before it is put into a receiver (amtool's command)."""

from __future__ import annotations

import json
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from obskit.cli.options import stop

if TYPE_CHECKING:
    from obskit.model.actions import Notice


@click.group()
def template() -> None:
    """Try out the texts of receivers."""


@template.command()
@click.option("--template.text", "text", required=True, metavar="TEXT", help="The text, as it stands in a receiver.")
@click.option("--template.glob", "pattern", metavar="GLOB", help="Files whose definitions it uses.")
@click.option(
    "--template.type",
    "kind",
    type=click.Choice(["text", "html"]),
    default="text",
    show_default=True,
    help="html: what alerts say is escaped.",
)
@click.option(
    "--template.data",
    "data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A webhook's body, in JSON; without it, two alerts of an example.",
)
def render(text: str, pattern: str | None, kind: str, data: Path | None) -> None:
    """Expand a template of Alertmanager's.

    Exit codes: 0 it could be expanded, 1 it could not, 2 wrong usage.

    \b
    Example:
      obskit template render --template.text '{{ .Status }}: {{ len .Alerts }}'
    """
    from obskit.errors import TemplateError
    from obskit.notify.definitions import alertmanagers
    from obskit.notify.templates import ORDINARY, facts
    from obskit.notify.wording import template as named

    notice = ORDINARY if data is None else _read(data)
    try:
        definitions = alertmanagers()
        for file in map(Path, sorted(glob(pattern or ""))):  # noqa: PTH207 - absolute, too
            definitions = definitions.with_file(file.name, file.read_text(encoding="utf-8"))
        click.echo(named(text, definitions, html=kind == "html").expand(facts(notice), data=notice))
    except TemplateError as error:
        stop(f"the template is wrong: {error.message}")
    except (OSError, UnicodeDecodeError) as error:
        stop(f"cannot read {pattern}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}")


def _read(path: Path) -> Notice:
    try:
        return _notice(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        stop(f"{path} is not a webhook's body: {type(error).__name__}: {error}")


def _notice(body: dict[str, Any]) -> Notice:
    """The notice that a webhook's body tells of; what is common is worked out again."""
    from obskit.clock import SystemClock
    from obskit.model.actions import Notice, NoticeReason
    from obskit.model.labels import Labels

    return Notice(
        receiver=body.get("receiver", ""),
        group_key=body.get("groupKey", ""),
        group_labels=Labels(body.get("groupLabels", {})),
        alerts=tuple(_alert(each) for each in body["alerts"]),
        reason=NoticeReason(body.get("notification_reason") or NoticeReason.FIRST),
        incident="",
        decided_ms=SystemClock().now_ms(),
        external_url=body.get("externalURL", ""),
    )


def _alert(said: dict[str, Any]) -> Any:
    from datetime import datetime

    from obskit.model.alerts import Alert
    from obskit.model.labels import Labels

    def ms(text: str) -> int:
        return round(datetime.fromisoformat(text).timestamp() * 1000)

    firing = said.get("status", "firing") == "firing"
    return Alert(
        labels=Labels(said["labels"]),
        annotations=said.get("annotations", {}),
        starts_ms=ms(said["startsAt"]) if "startsAt" in said else 0,
        ends_ms=None if firing else ms(said["endsAt"]),
        generator_url=said.get("generatorURL", ""),
    )
