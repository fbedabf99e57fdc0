"""Broken files through a real service: none gives a 5xx, takes long or much memory, or stops it from answering."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.dicom.mutations import mutated
from tests.running_service import RunningService

MAX_SECONDS = 60
MAX_BYTES = 1 << 30
MAX_TRIES = 3
"""How often a request is sent that is answered by 503: a machine may be busy with other things."""

DELETED_OF = 5
FILES_OF_A_PATIENT = 4
"""Broken files of one origin share a series, and each asks for the pictures of all of it: few have to do."""


def upload_and_ask(service: RunningService, seed: int) -> bool:
    """Upload the broken file of a seed, and ask for all of its tags, one of them and its picture."""
    # What is deleted lies apart: two seeds may give the same bytes, which are one instance of a patient.
    name = f"d-{seed}" if seed % DELETED_OF == 0 else f"p-{seed // FILES_OF_A_PATIENT}"
    patient, connection = f"/patient/{name}", service.connect()
    ask = partial(_ask, service, patient=name, connection=connection)
    try:
        return _upload_and_ask(ask, seed, patient)
    finally:
        connection.close()


def _ask(service: RunningService, *request: Any, **options: Any) -> tuple[int, Any, bytes]:
    """Send a request, and again where the service asks for that, as a client does."""
    for _ in range(MAX_TRIES):
        status, headers, body = service.request(*request, **options)
        if status != 503:
            break
        time.sleep(float(headers["Retry-After"]))
    return status, headers, body


def _upload_and_ask(ask: Callable[..., Any], seed: int, patient: str) -> bool:
    content = mutated(seed)
    started = time.monotonic()
    status, _, body = ask("POST", f"{patient}/dicom", content, **{"Content-Type": "application/dicom"})
    assert status in {200, 413, 422}, (seed, status, body[:300])
    if status != 200:
        assert json.loads(body)["status"] == status
        return False
    path = f"{patient}/dicom/{json.loads(body)}"
    status, _, body = ask("GET", f"{path}/tags")
    assert status == 200, (seed, status, body[:300])
    tags = json.loads(body)
    for tag in tags[:: max(1, len(tags) // 3)]:
        status, _, body = ask("GET", f"{path}/tag/{tag['tag']}")
        assert status == 200, (seed, tag["tag"], status, body[:300])
        assert json.loads(body) == tag
    status, _, body = ask("GET", path, Accept="image/png")
    assert status in {200, 422}, (seed, status, body[:300])
    ask_every_route(ask, seed, patient, path)
    assert time.monotonic() - started < MAX_SECONDS, seed
    return True


def ask_every_route(ask: Callable[..., Any], seed: int, patient: str, path: str) -> None:
    """Ask for a stored file in every way there is, searches and DICOMweb included, and delete every fifth one."""
    instance = json.loads(ask("GET", path, Accept="application/json")[2])
    root = f"{patient}/dicomweb"
    asked = [
        ("GET", path, {"Range": "bytes=100-200"}),
        ("GET", f"{path}/tags", {"Accept": "application/dicom+json"}),
        ("GET", f"{path}/bulkdata/PixelData", {}),
        ("GET", f"{patient}/dicom?limit=3&fields=PatientName,SliceThickness", {}),
        ("GET", f"{patient}/tags?limit=5", {}),
        ("GET", f"{patient}/dicom?SOPInstanceUID={quote(instance['sop_instance_uid'] or '1.2.3')}", {}),
    ]
    uids = [instance[f"{level}_instance_uid"] for level in ("study", "series", "sop")]
    if all(uids):
        study, series, sop = (quote(uid, safe="") for uid in uids)
        below = f"{root}/studies/{study}/series/{series}/instances/{sop}"
        asked += [
            ("GET", f"{root}/studies?StudyInstanceUID={study}", {}),
            ("GET", f"{root}/studies/{study}/series/{series}/instances?includefield=all", {}),
            ("GET", f"{below}/metadata", {}),
            ("GET", below, {"Accept": "application/dicom; transfer-syntax=*"}),
            ("GET", below, {"Accept": "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"}),
            ("GET", f"{below}/frames/1", {}),
            (
                "GET",
                f"{below}/frames/1",
                {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'},
            ),
            ("GET", f"{below}/rendered", {"Accept": "image/jpeg"}),
            ("GET", f"{below}/thumbnail", {}),
            ("GET", f"{root}/studies/{study}/series/{series}/rendered", {}),
        ]
    if seed % DELETED_OF == 0:
        asked.append(("DELETE", path, {}))
    for method, target, headers in asked:
        status, _, body = ask(method, target, **headers)
        assert status < 500, (seed, method, target, status, body[:300])


def hold(data_dir: Path, seeds: range, callers: int = 1) -> None:
    with RunningService(data_dir) as service, ThreadPoolExecutor(callers) as threads:
        before = service.memory()
        stored = sum(threads.map(lambda seed: upload_and_ask(service, seed), seeds))
        assert service.memory() - before < MAX_BYTES
        assert 0 < stored < len(seeds)
        assert service.request("GET", "/readyz")[0] == 200
        print(f"{len(seeds)} broken files: {stored} stored, {len(seeds) - stored} refused")


def test_fifty_broken_files_are_answered(tmp_path: Path) -> None:
    hold(tmp_path, range(50, 100))


@pytest.mark.long
def test_twenty_thousand_broken_files_are_answered_on_every_route(tmp_path: Path) -> None:
    hold(tmp_path, range(20_000), callers=4)
