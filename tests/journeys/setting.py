"""The config that most journeys start from: one page, scraped five times a second, and rules on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.journeys.daemon import replace
from tests.journeys.receivers import GaugePage, Receivers


def rule(name: str, expr: str) -> dict[str, Any]:
    """An alerting rule."""
    return {"alert": name, "expr": expr, "labels": {"severity": "critical"}}


def write_rules(folder: Path, *rules: dict[str, Any]) -> None:
    """`rules.yaml`, with one group that is evaluated every second."""
    replace(folder / "rules.yaml", json.dumps({"groups": [{"name": "all", "interval": "1s", "rules": rules}]}))


def one_page(page: GaugePage, receivers: Receivers, **more: Any) -> dict[str, Any]:
    """Scrapes the page, knows itself, evaluates `rules.yaml` and the rules about itself, tells all three receivers."""
    return {
        "global": {"scrape_interval": "200ms", "evaluation_interval": "1s"},
        "scrape_configs": [{"job_name": "page", "static_configs": [{"targets": [page.target]}]}],
        "collectors": [{"obskit": {"every": "200ms"}}],
        "rule_packs": ["obskit"],
        "rule_files": ["rules.yaml"],
        **receivers.config(),
        **more,
    }
