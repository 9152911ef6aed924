"""A FakeClock for tests with a real server: it stands still while an answer is awaited, however slow the machine is."""

from __future__ import annotations

from typing import Any

import pytest

from obskit.collect import VendorApi
from obskit.testing.clock import FakeClock


class PatientClock(FakeClock):
    """Jumps only when nobody waits for an answer of a VendorApi."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited = 0

    def jump(self) -> bool:
        return not self.awaited and super().jump()


def patient_clock(monkeypatch: pytest.MonkeyPatch) -> PatientClock:
    """A clock that hears of every request from now on."""
    clock, ask = PatientClock(), VendorApi.ask

    async def awaited(self: VendorApi, *args: Any) -> Any:
        clock.awaited += 1
        try:
            return await ask(self, *args)
        finally:
            clock.awaited -= 1

    monkeypatch.setattr(VendorApi, "ask", awaited)
    return clock
