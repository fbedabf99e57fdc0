"""Broken files through a real service: none gives a 5xx, takes long or much memory, or stops it from answering."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.dicom.mutations import mutated
from tests.running_service import RunningService

MAX_SECONDS = 20
MAX_BYTES = 1 << 30


def upload_and_ask(service: RunningService, seed: int) -> bool:
    """Upload the broken file of a seed, and ask for all of its tags, one of them and its picture."""
    content = mutated(seed)
    started = time.monotonic()
    status, _, body = service.request("POST", "/patient/p-1/dicom", content, **{"Content-Type": "application/dicom"})
    assert status in {200, 413, 422}, (seed, status, body[:300])
    if status != 200:
        assert json.loads(body)["status"] == status
        return False
    path = f"/patient/p-1/dicom/{json.loads(body)}"
    status, _, body = service.request("GET", f"{path}/tags")
    assert status == 200, (seed, status, body[:300])
    tags = json.loads(body)
    for tag in tags[:: max(1, len(tags) // 3)]:
        status, _, body = service.request("GET", f"{path}/tag/{tag['tag']}")
        assert status == 200, (seed, tag["tag"], status, body[:300])
        assert json.loads(body) == tag
    status, _, body = service.request("GET", path, Accept="image/png")
    assert status in {200, 422}, (seed, status, body[:300])
    assert time.monotonic() - started < MAX_SECONDS, seed
    return True


def hold(data_dir: Path, seeds: range) -> None:
    with RunningService(data_dir) as service:
        before = service.memory()
        stored = sum(upload_and_ask(service, seed) for seed in seeds)
        assert service.memory() - before < MAX_BYTES
        assert 0 < stored < len(seeds)
        assert service.request("GET", "/readyz")[0] == 200
        print(f"{len(seeds)} broken files: {stored} stored, {len(seeds) - stored} refused")


def test_fifty_broken_files_are_answered(tmp_path: Path) -> None:
    hold(tmp_path, range(50, 100))


@pytest.mark.long
def test_two_thousand_broken_files_are_answered(tmp_path: Path) -> None:
    hold(tmp_path, range(2000))
