"""The `obskit` command. This file alone is imported by the console script, so that a base install can say what is missing."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys


def run() -> None:
    """Entry point of the console script."""
    if importlib.util.find_spec("click") is None or importlib.util.find_spec("yaml") is None:
        sys.stderr.write("obskit: the command needs the daemon's packages: install obskit-toolkit[watch]\n")
        raise SystemExit(1)
    # One thread of linear algebra is more than we use; each further one takes memory, and 10 ms until it stands ready.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from obskit.cli.main import main

    try:
        main(prog_name="obskit")
    finally:
        # Python looks for garbage among all that is left before it ends: 25 ms after a thousand rules.
        gc.freeze()
