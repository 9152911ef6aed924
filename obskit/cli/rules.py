"""`obskit test`, and `obskit test rules`: unit tests of rules in promtool's format, with a readable difference and JUnit output."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from obskit.cli.options import show_problems, stop
from obskit.cli.receivers import test_receiver
from obskit.cli.tables import count

if TYPE_CHECKING:
    from obskit.rules.unit_tests import TestReport


@click.group()
def test() -> None:
    """Try out rules (unit tests) and receivers (a real message)."""


test.add_command(test_receiver)


@test.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--run", metavar="RE2", help="Only tests whose name matches.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Also write a JUnit XML file.")
def rules(files: tuple[Path, ...], run: str | None, junit: Path | None) -> None:
    """Run the tests in FILES; exit code 1 when one fails.

    \b
    Example:
      obskit test rules tests/*.yaml --run queue
    """
    # Modules, rules and series are built and kept until the process ends: looking for garbage among them again and
    # again is a tenth of the time.
    gc.set_threshold(1_000_000, *gc.get_threshold()[1:])
    reports = _run_all(files, run)
    for report in reports:
        _print(report)
    if junit is not None:
        junit.write_text(_junit(reports), encoding="utf-8")
    passed = sum(case.passed for report in reports for case in report.cases)
    failed = sum(not case.passed for report in reports for case in report.cases)
    click.echo(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or len(reports) < len(files) else 0)


def _run_all(files: Sequence[Path], run: str | None) -> list[TestReport]:
    """A report of each file that could be read; the problems of the others are printed."""
    from obskit.errors import ConfigError, PatternError
    from obskit.rules.unit_tests import run_test_file

    reports = []
    for file in files:
        try:
            reports.append(run_test_file(file, run=run))
        except PatternError as error:
            stop(f"--run: {error}", code=2)
        except ConfigError as error:
            show_problems(error.problems)
    return reports


def _print(report: TestReport) -> None:
    show_problems(report.warnings)
    wrong = [case for case in report.cases if not case.passed]
    click.echo(f"{report.file}: {'FAILED' if wrong else 'ok'}, {count(len(report.cases), 'test')}")
    for case in wrong:
        click.echo(f"  {case.name}")
        for failure in case.failures:
            click.echo("\n".join(f"    {line}" for line in str(failure).splitlines()))


def _junit(reports: Sequence[TestReport]) -> str:
    """The JUnit XML that CI services read: a suite per file, a case per test."""
    from xml.sax.saxutils import escape, quoteattr

    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    for report in reports:
        failures = sum(not case.passed for case in report.cases)
        lines.append(f'  <testsuite name={quoteattr(report.file)} tests="{len(report.cases)}" failures="{failures}">')
        for case in report.cases:
            text = "\n".join(str(failure) for failure in case.failures)
            body = f"<failure>{escape(text)}</failure>" if text else ""
            lines.append(f"    <testcase name={quoteattr(case.name)}>{body}</testcase>")
        lines.append("  </testsuite>")
    return "\n".join([*lines, "</testsuites>", ""])
