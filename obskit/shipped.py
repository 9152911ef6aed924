"""Finds the data that ships with obskit (rule packs, dashboards), in a wheel or in a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_PACKAGE = Path(__file__).resolve().parent


def shipped_path(name: str) -> Path:
    """The folder `alert_rules` or `dashboards`; raises FileNotFoundError when neither place has it."""
    for base in (_PACKAGE, _PACKAGE.parent):
        folder = base / name
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"obskit was installed without its {name}: reinstall obskit-toolkit")


OPT_IN: Final = frozenset({"orders", "sqs-empty", "vendors", "watchdog"})
"""Packs that are of use only together with something else in the config, or as an example."""


def pack_files() -> dict[Path, str]:
    """The file of each shipped rule pack, and how it is named everywhere, wherever it is installed."""
    return {path: f"obskit/{path.name}" for path in rule_packs().values()}


def rule_packs() -> dict[str, Path]:
    """Name of each shipped rule pack (`queues`, `host`, …) and its file."""
    folder = shipped_path("alert_rules")
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
