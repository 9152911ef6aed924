"""The parts of cold storage, put together for the log store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from obskit.clock import Clock
from obskit.store.cold.parts import Parts
from obskit.store.cold.reading import ColdReading
from obskit.store.cold.settings import ColdSettings
from obskit.store.database import Database
from obskit.store.day_files import DayFiles
from obskit.store.settings import StoreSettings

if TYPE_CHECKING:  # loaded where it is configured
    from obskit.store.cold.moving import Mover
    from obskit.store.cold.target import Target


class ColdStore:
    """`reading` is there always; `mover` only where there is a target and the store is not for reading alone."""

    def __init__(self, database: Database, files: DayFiles, limits: StoreSettings, clock: Clock) -> None:
        self.parts = Parts(database)
        self._target = target_of(limits.cold, clock)
        self.reading = ColdReading(self.parts, self._target)
        self.mover: Mover | None = None
        if self._target is not None and not database.readonly:
            from obskit.store.cold.moving import Mover  # noqa: PLC0415 - see above

            folder = database.folder / "cold"
            self.mover = Mover(self.parts, files, self._target, limits=limits, folder=folder, clock=clock)

    def close(self) -> None:
        """Transfers end soon, connections are closed."""
        self.reading.close()
        if self.mover is not None:
            self.mover.stop()
        if self._target is not None:
            self._target.close()


def target_of(settings: ColdSettings, clock: Clock) -> Target | None:
    """Where to; None when it is off."""
    if settings.folder is not None:
        from obskit.store.cold.folder import Folder  # noqa: PLC0415 - see above

        return Folder(Path(settings.folder))
    if settings.s3 is not None:
        from obskit.store.cold.s3 import S3  # noqa: PLC0415 - an HTTP client that nobody else needs

        return S3(settings.s3, clock)
    return None
