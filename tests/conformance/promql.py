"""`python -m tests.conformance.promql [--plain] FILE…` runs case files (.jsonl, .test) against the PromQL engine.

Ends with `N passed, M failed`. `--plain` takes only cases that need nothing special; without it, failures are counted
by what the cases need.
"""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.conformance.cases import Case, read_json
from tests.conformance.check import problem
from tests.conformance.scripts import read_script


def read(path: Path) -> Iterator[Case]:
    """The cases of a file."""
    return read_json(path) if path.suffix == ".jsonl" else read_script(path)


def attempt(case: Case) -> str | None:
    """What is wrong with a case; a crash is wrong too."""
    try:
        return problem(case)
    except Exception:  # noqa: BLE001 - one crash must not hide the other cases
        return traceback.format_exc(limit=-3)


def say(text: str) -> None:
    """A line on standard output."""
    sys.stdout.write(text + "\n")


def main(arguments: list[str]) -> int:
    """Run the files; 1 when a case failed."""
    plain, quiet = "--plain" in arguments, "--quiet" in arguments
    passed: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for path in (Path(argument) for argument in arguments if not argument.startswith("--")):
        for case in read(path):
            if plain and case.needs:
                continue
            group = ", ".join(case.needs) or "plain"
            wrong = attempt(case)
            (passed if wrong is None else failed)[group] += 1
            if wrong is not None and not quiet:
                say(f"{case.id} [{group}] {case.query}\n    at {case.times}: {wrong[:900]}\n")
    for group in sorted(passed | failed):
        say(f"{group}: {passed[group]} passed, {failed[group]} failed")
    say(f"{passed.total()} passed, {failed.total()} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
