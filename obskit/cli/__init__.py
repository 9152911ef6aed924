"""The `obskit` command. This file alone is imported by the console script, so that a base install can say what is missing."""

from __future__ import annotations

import importlib.util
import sys


def run() -> None:
    """Entry point of the console script."""
    if importlib.util.find_spec("click") is None or importlib.util.find_spec("yaml") is None:
        sys.stderr.write("obskit: the command needs the daemon's packages: install obskit-toolkit[watch]\n")
        raise SystemExit(1)
    from obskit.cli.main import main

    main(prog_name="obskit")
