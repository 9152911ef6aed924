"""`obskit logs patterns`: what lines say, each kind of line once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from obskit.cli.log_output import safe
from obskit.cli.moments import Moment, stamp
from obskit.cli.options import OUTPUTS, config_option
from obskit.cli.results import query_errors
from obskit.cli.sparklines import bars_of_counts
from obskit.cli.store import open_store
from obskit.cli.tables import age_text, count
from obskit.clock import NS_PER_MS

if TYPE_CHECKING:
    from obskit.grouping.miner import Miner, Template
    from obskit.logql.log_nodes import LogQuery
    from obskit.store.log_interface import LogReader

SLICES: Final = 16
MAX_LINES: Final = 5_000_000
_EXAMPLE: Final = 500


@dataclass(slots=True)
class Pattern:
    """What is counted of a template."""

    first_ns: int
    last_ns: int
    example: str
    counts: list[int] = field(default_factory=lambda: [0] * SLICES)

    @property
    def count(self) -> int:
        """Lines."""
        return sum(self.counts)

    def absorb(self, other: Pattern) -> None:
        """Lines of a template that was merged."""
        self.first_ns, self.last_ns = min(self.first_ns, other.first_ns), max(self.last_ns, other.last_ns)
        self.counts = [one + two for one, two in zip(self.counts, other.counts, strict=True)]


@click.command()
@click.argument("selection", default="", metavar="[LOGQL]")
@config_option
@click.option("--since", type=Moment(), default="1h", show_default=True, help="From here …")
@click.option("--until", type=Moment(), default="now", help="… to here [default: now].")
@click.option("--limit", type=click.IntRange(1), default=30, show_default=True, help="Patterns to show.")
@click.option("-o", "--output", type=OUTPUTS, default="table", show_default=True)
def patterns(*, selection: str, config_path: Path, since: int, until: int, limit: int, output: str) -> None:
    """Group lines by what they say, the most frequent first.

    LOGQL is as for `obskit logs tail`: a selector, with stages behind it if you like. In a pattern <_> stands for a
    value, as in the filter `|> "took <_> ms"`. Of lines of JSON or logfmt the message is taken.

    \b
    Examples:
      obskit logs patterns
      obskit logs patterns '{app="api"} |= "error"' --since 6h
    """
    if since >= until:
        raise click.UsageError("--since is not before --until")
    from obskit.cli.log_selection import parse_selection

    with open_store(config_path) as store, query_errors(selection):
        query = parse_selection(selection, store.logs, until * NS_PER_MS)
        rows, total = mine(store.logs, query, since * NS_PER_MS, until * NS_PER_MS)
    if output == "json":
        for template, pattern in rows[:limit]:
            click.echo(json.dumps(_as_json(template, pattern, total), ensure_ascii=False))
        return
    for template, pattern in rows[:limit]:
        _show(template, pattern, total, until)
    kinds = f", {limit} of them shown" if len(rows) > limit else ""
    click.echo(f"{count(total, 'line')} of {count(len(rows), 'pattern')}{kinds}", err=True)


def mine(reader: LogReader, query: LogQuery, start_ns: int, end_ns: int) -> tuple[list[tuple[Template, Pattern]], int]:
    """The patterns of a range, the most frequent first, and how many lines they are of."""
    from obskit.grouping.entries import what_it_says
    from obskit.grouping.miner import Miner

    miner = Miner()
    found: dict[str, Pattern] = {}
    width = max(1, (end_ns - start_ns) // SLICES)
    total = 0
    for t_ns, line in _lines(reader, query, start_ns, end_ns):
        total += 1
        id_ = miner.add(what_it_says(line)).id
        pattern = found.get(id_)
        if pattern is None:
            pattern = found[id_] = Pattern(t_ns, t_ns, line[:_EXAMPLE])
        pattern.counts[min(SLICES - 1, (t_ns - start_ns) // width)] += 1
        pattern.first_ns, pattern.last_ns = min(pattern.first_ns, t_ns), max(pattern.last_ns, t_ns)
    rows = list(_merged(miner, found))
    return sorted(rows, key=lambda row: (-row[1].count, row[0].text)), total


def _merged(miner: Miner, found: dict[str, Pattern]) -> Iterator[tuple[Template, Pattern]]:
    """Each template of today with what was counted under its older ids."""
    whole: dict[str, Pattern] = {}
    for id_, pattern in found.items():
        now = miner.current(id_)
        if now in whole:
            whole[now].absorb(pattern)
        else:
            whole[now] = pattern
    for id_, pattern in whole.items():
        template = miner.get(id_)
        if template is not None:
            yield template, pattern


def _lines(reader: LogReader, query: LogQuery, start_ns: int, end_ns: int) -> Iterator[tuple[int, str]]:
    """A bare selector is read block by block, anything else through its pipeline."""
    from obskit.logql.engine import Engine

    if query.stages:
        engine = Engine(reader, max_lines=MAX_LINES)
        for line in engine.lines(query, start_ns, end_ns, limit=MAX_LINES, newest_first=False):
            yield line.t_ns, line.line
        return
    for block in reader.blocks(query.matchers, start_ns, end_ns):
        times_ns = block.times_ns
        for at in block.chosen.tolist():
            yield int(times_ns[at]), block.line(at)


def _show(template: Template, pattern: Pattern, total: int, until_ms: int) -> None:
    last = age_text(until_ms - pattern.last_ns // NS_PER_MS)
    click.echo(
        f"{pattern.count:>9,}  {100 * pattern.count / total:5.1f} %  {bars_of_counts(pattern.counts)}  {safe(template.text)}"
    )
    click.echo(f"{'':9}  last {last} before the end  {template.id}  e.g. {safe(pattern.example.splitlines()[0][:160])}")


def _as_json(template: Template, pattern: Pattern, total: int) -> dict[str, Any]:
    return {
        "id": template.id,
        "pattern": template.text,
        "count": pattern.count,
        "share": round(pattern.count / total, 6),
        "counts": pattern.counts,
        "first": stamp(pattern.first_ns // NS_PER_MS),
        "last": stamp(pattern.last_ns // NS_PER_MS),
        "example": pattern.example,
    }
