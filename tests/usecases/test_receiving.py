"""Uploads on their way in: memory or spool file, hashed, looked at, bounded."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.errors import NotDicom, Overloaded, TooLarge
from service.usecases import spool
from service.usecases.receiving import MEMORY_BYTES, STEP_BYTES, receive
from tests.usecases.uploads import CT


async def pieces(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def test_a_small_upload_stays_in_memory(tmp_path: Path) -> None:
    async with receive(pieces(CT), tmp_path, 1 << 30) as received:
        assert received.source == CT
        assert received.sha256 == hashlib.sha256(CT).hexdigest()
        assert received.size == len(CT)
    assert list(tmp_path.iterdir()) == []


async def test_a_large_upload_goes_to_a_file_that_is_gone_afterwards(tmp_path: Path) -> None:
    data = CT + os.urandom(MEMORY_BYTES + 2 * STEP_BYTES + 17)
    for size in (1009, 100_003, STEP_BYTES + 1):
        async with receive(pieces(data, size), tmp_path, 1 << 30) as received:
            assert isinstance(received.source, Path)
            assert received.source.read_bytes() == data
            assert received.sha256 == hashlib.sha256(data).hexdigest()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, 100, 4095, 4096, 5000])
async def test_what_does_not_begin_like_dicom_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(NotDicom):
        async with receive(pieces(b"x" * size), tmp_path, 1 << 30):
            pass


async def test_a_refusal_comes_before_the_rest_has_been_read(tmp_path: Path) -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield b"not dicom at all" * 4096

    with pytest.raises(NotDicom):
        async with receive(endless(), tmp_path, 1 << 40):
            pass
    assert given == 1


async def test_one_byte_too_many_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    data = CT + bytes(2 * MEMORY_BYTES)
    with pytest.raises(TooLarge):
        async with receive(pieces(data), tmp_path, len(data) - 1):
            pass
    assert list(tmp_path.iterdir()) == []
    async with receive(pieces(data), tmp_path, len(data)) as received:
        assert received.size == len(data)


async def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_file = spool.open_file

    class Full:
        def __init__(self, file: object) -> None:
            self.file = file

        def write(self, _: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            self.file.close()  # type: ignore[attr-defined]

    def opened(directory: Path) -> tuple[object, Path]:
        file, path = open_file(directory)
        return Full(file), path

    monkeypatch.setattr(spool, "open_file", opened)
    with pytest.raises(Overloaded) as refused:
        async with receive(pieces(CT + bytes(2 * MEMORY_BYTES)), tmp_path, 1 << 30):
            pass
    assert refused.value.retry_after > 1
    assert list(tmp_path.iterdir()) == []


def test_spool_files_of_processes_that_are_gone_are_swept(tmp_path: Path) -> None:
    (tmp_path / "spool-999999999-abc").write_bytes(b"left")
    (tmp_path / f"spool-{os.getpid()}-abc").write_bytes(b"left by a namesake")
    (tmp_path / f"spool-{os.getppid()}-abc").write_bytes(b"in use")
    (tmp_path / "something else").write_bytes(b"not ours")
    assert spool.sweep(tmp_path) == 2
    assert {path.name for path in tmp_path.iterdir()} == {f"spool-{os.getppid()}-abc", "something else"}


def test_the_spool_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    spool.sweep(tmp_path / "new" / "spool")
    assert (tmp_path / "new" / "spool").stat().st_mode & 0o777 == 0o700
