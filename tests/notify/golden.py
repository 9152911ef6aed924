"""Payloads as files. `OBSKIT_GOLDEN=1` rewrites them; a person reads the diff."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "golden"


def check_golden(name: str, payload: Any) -> None:
    """Assert that `payload` is what golden/<name>.json holds."""
    path = FOLDER / f"{name}.json"
    text = json.dumps(payload, ensure_ascii=False, indent=1) + "\n"
    if os.environ.get("OBSKIT_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert json.loads(text) == json.loads(path.read_text(encoding="utf-8"))
