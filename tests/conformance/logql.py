"""Runs LogQL cases: `python -m tests.conformance.logql FILE...` ends with `N passed, M failed`.

A file is a script (`.logqltest`, see log_scripts.py) or JSON lines (log_cases.py).
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from tests.conformance.log_cases import LogCase, problem, read_json
from tests.conformance.log_scripts import read_script


def cases(path: Path) -> Iterator[LogCase]:
    """The cases of a file."""
    return read_json(path) if path.suffix == ".jsonl" else read_script(path)


def attempt(case: LogCase) -> str:
    """What is wrong with a case, if anything; a crash is wrong too."""
    try:
        return problem(case)
    except Exception:  # noqa: BLE001 - one crash must not hide the other cases
        return traceback.format_exc(limit=-3)


def main(arguments: list[str]) -> int:
    """Run the cases of some files and print those that fail."""
    passed = failed = 0
    for path in map(Path, arguments):
        for case in cases(path):
            wrong = attempt(case)
            passed, failed = passed + (not wrong), failed + bool(wrong)
            if wrong:
                print(f"FAILED {case.id}  {case.query}\n     {wrong[:1500]}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
