"""What the config says of routing, as one value: the tree, who keeps whom quiet, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from obskit.routing.flaps import FlapSettings
from obskit.routing.inhibit import InhibitRule
from obskit.routing.intervals import Interval
from obskit.routing.maintenance import Window
from obskit.routing.tree import Route

RESOLVE_TIMEOUT_MS: Final = 300_000


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything a dispatcher decides by. `resolve_timeout_ms` is for alerts that others post without an end.

    `fallbacks` has, by a receiver's name, who is told in its place when it fails.
    """

    route: Route
    inhibit_rules: Sequence[InhibitRule] = ()
    intervals: Mapping[str, Sequence[Interval]] = field(default_factory=dict)
    resolve_timeout_ms: int = RESOLVE_TIMEOUT_MS
    maintenance: Sequence[Window] = ()
    flapping: FlapSettings = field(default_factory=FlapSettings)
    fallbacks: Mapping[str, str] = field(default_factory=dict)
