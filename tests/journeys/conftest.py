"""What every journey starts from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.daemon import Watch
from tests.journeys.receivers import GaugePage, Receivers


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    """A webhook, a Slack and a PagerDuty."""
    with Receivers() as receivers:
        yield receivers


@pytest.fixture
def page() -> Iterator[GaugePage]:
    """A page to scrape."""
    with GaugePage() as page:
        yield page


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """`obskit watch`, not configured and not started; it does not outlive the test."""
    with Watch(tmp_path) as watch:
        yield watch
