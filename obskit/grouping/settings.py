"""The `errors:` section of obskit.yaml: which records are grouped, and how long groups are known."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field

from obskit.model.alert_matchers import parse_matchers
from obskit.model.settings import Duration, Settings

_DAY_MS: Final = 86_400_000


def _selectors(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        parse_matchers(text)
    return texts


Selectors = Annotated[tuple[str, ...], AfterValidator(_selectors)]


class GroupingSettings(Settings):
    """Errors as issues: exceptions by type and functions, other error lines by what they say."""

    enabled: bool = Field(True, description="group errors; false: no groups, and none of their rules fires")
    streams: Selectors = Field(
        (), description='streams of which every line is grouped, as selectors: `{app="billing", source="stderr"}`'
    )
    ignore: Selectors = Field((), description="streams of which no line is grouped")
    app_labels: tuple[str, ...] = Field(
        ("app", "service_name", "service", "job", "container", "source"),
        description="stream labels that name the program, the first that is there; a group belongs to one program",
    )
    max_groups: int = Field(
        1_000, ge=10, le=20_000, description="groups that are known; the one not seen for longest makes room"
    )
    retention: Duration = Field(
        90 * _DAY_MS,
        ge=_DAY_MS,
        validate_default=False,
        description="how long a group is known after it was last seen; then it is new again",
    )
