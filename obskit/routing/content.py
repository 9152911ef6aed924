"""What a message says of its alerts, so coarsely that only what matters to a reader is a change; pure.

Numbers count with two digits: `7.41 %` and `7.44 %` are the same, `7.4 %` and `8.1 %` are not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from hashlib import blake2b
from itertools import islice
from typing import Final

from obskit.model.alerts import LOG_LINES, Alert

LOOKED_AT: Final = 20
"""Alerts of a group: more than any message shows."""
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
_LONGEST: Final = 2_000


def content_of(alerts: Iterable[Alert]) -> str:
    """A short text that is another one when what is said of the firing alerts has changed."""
    digest = blake2b(digest_size=8)
    for alert in islice((alert for alert in alerts if alert.firing), LOOKED_AT):
        digest.update(f"{alert.fingerprint}\n{_said(alert)}\n".encode())
    return digest.hexdigest()


def _said(alert: Alert) -> str:
    """Its annotations; its value where they do not say it. Log lines are others each time, and are in the thread."""
    said = [f"{name}={text[:_LONGEST]}" for name, text in sorted(alert.annotations.items()) if name != LOG_LINES]
    if not {"summary", "description"} & alert.annotations.keys() and math.isfinite(alert.value):
        said.append(f"{alert.value:.2g}")
    return "\n".join(_NUMBER.sub(lambda match: f"{float(match[0]):.2g}", each) for each in said)
