"""A file to upload, and a clock that a test turns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydicom.data import get_testdata_file

CT = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()


@dataclass
class Clock:
    time: datetime = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time


async def once(content: bytes) -> AsyncIterator[bytes]:
    yield content
