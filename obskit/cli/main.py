"""The group of all commands: a table, so that `obskit --help` imports none of them."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import click

from obskit import __version__

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "watch": ("obskit.cli.watch:watch", "Run the daemon: collect, evaluate, deliver."),
    "check": ("obskit.cli.check:check", "Check config and rule files; report everything wrong in one run."),
    "schema": ("obskit.cli.check:schema", "Print the JSON Schema of obskit.yaml, for editors."),
    "status": ("obskit.cli.state:status", "What is up, how old its data is, and what waits to be delivered."),
    "alerts": ("obskit.cli.state:alerts", "List the alerts that are pending or firing."),
    "query": ("obskit.cli.query:query", "Ask the store: PromQL over metrics, LogQL over logs and events."),
    "logs": ("obskit.cli.logs:logs", "Follow and search the lines of all sources."),
    "errors": ("obskit.cli.errors:errors", "Error groups: list and show them; resolve, mute, reopen one."),
    "collectors": ("obskit.cli.collectors:collectors", "List collectors; read one once without storing."),
    "heartbeat": ("obskit.cli.heartbeat:heartbeat", "Ping for a job: run a command and tell how it ended."),
    "ack": ("obskit.cli.ack:ack", "Take alerts on: nothing of them is repeated or escalated."),
    "unack": ("obskit.cli.ack:unack", "Let go of alerts that somebody has taken on."),
    "silence": ("obskit.cli.silence:silence", "Keep alerts quiet for a while; list, change and end silences."),
    "routes": ("obskit.cli.routes:routes", "Show the routing tree; tell who would hear of an alert."),
    "outbox": ("obskit.cli.outbox:outbox", "List what waits or failed; send it again, or drop it."),
    "slack": ("obskit.cli.slack:slack", "See what Slack messages look like, without a workspace."),
    "template": ("obskit.cli.template:template", "Try out the texts of receivers."),
    "test": ("obskit.cli.rules:test", "Try out rules (unit tests) and receivers (a real message)."),
}
"""Name → (module:attribute, one line of help)."""


class LazyGroup(click.Group):
    """Commands from the table, imported when one is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else " See obskit --help."
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="obskit")
def main(**_: Any) -> None:
    """Observability and alerting for people who run a product alone or almost alone.

    \b
    Start here:
      obskit check            is my obskit.yaml right?
      obskit watch --dry-run  what would it do?
      obskit watch            do it
    """
