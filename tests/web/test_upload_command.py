"""scripts/upload.py against a running service: everything arrives once, and the exit status says whether it did."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.commands import upload
from service.errors import Overloaded
from tests.web.service import Service
from tests.web.zips import CT, dicom, member, packed

pytestmark = pytest.mark.asyncio(loop_scope="session")
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "upload.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a clinic has: folders, a ZIP, and what lies beside."""
    root = tmp_path / "disc"
    (root / "DICOM" / "S1").mkdir(parents=True)
    for number in range(5):
        (root / "DICOM" / "S1" / f"検査{number}").write_bytes(dicom(number))
    (root / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"1.2.840.10008.1.3.10")
    (root / "VIEWER.EXE").write_bytes(b"MZ" * 500)
    (root / "export.zip").write_bytes(packed(("a.dcm", dicom(5)), ("b.dcm", dicom(0)), ("setup.exe", b"MZ" * 99)))
    return root


async def run(service: Service, patient: str, capsys: Any, *flags: str, token: str | None = None) -> tuple[int, Any]:
    environ = {"TOKEN": token if token is not None else service.token(patient)}
    arguments = ["--url", service.url, "--patient", patient, "--json", "--quiet", *flags]
    status = await asyncio.to_thread(upload.main, arguments, environ)
    return status, json.loads(capsys.readouterr().out)


async def names(service: Service, patient: str) -> list[str]:
    answer = await service.ask("GET", f"/patient/{patient}/dicom", patient=patient)
    return sorted(each["file_name"] for each in answer.json()["instances"])


async def test_folders_files_and_zips_arrive_once(service, patient, folder, capsys):
    status, summary = await run(service, patient, capsys, str(folder))
    assert (status, summary["uploaded"] + summary["present"], summary["skipped"]) == (0, 7, 3)
    assert len(await names(service, patient)) == 6
    assert summary["patients"] == [{"PatientID": "1CT1", "PatientName": "CompressedSamples^CT1", "files": 2}]
    assert "検査3" in await names(service, patient)


async def test_run_again_it_sends_only_what_is_not_there(service, patient, folder, capsys, monkeypatch):
    await run(service, patient, capsys, str(folder / "DICOM"))
    (folder / "DICOM" / "new").write_bytes(CT)
    sent = []
    real = upload.Uploader._send

    def counting(self: Any, connection: Any, path: Path, headers: Any) -> Any:
        sent.append(path.name)
        return real(self, connection, path, headers)

    monkeypatch.setattr(upload.Uploader, "_send", counting)
    status, summary = await run(service, patient, capsys, str(folder / "DICOM"))
    assert (status, summary["uploaded"], summary["present"], sent) == (0, 1, 5, ["new"])


async def test_what_is_refused_is_told_and_gives_status_1(service, patient, folder, capsys):
    (folder / "broken.zip").write_bytes(member(b"x.dcm", CT, crc=1) + packed(("y.dcm", dicom(8))))
    (folder / "letter").write_bytes(b"Dear colleague, " * 999)
    status, summary = await run(service, patient, capsys, str(folder))
    assert status == 1
    assert {Path(each["path"]).name: each["reason"] for each in summary["problems"]} == {
        "broken.zip!x.dcm": "damaged",
        "letter": "not-dicom",
    }
    assert summary["uploaded"] + summary["present"] == 8


async def test_files_of_others_are_refused_where_a_patient_is_expected(service, patient, folder, capsys):
    (folder / "other.dcm").write_bytes(dicom(50, "OTHER"))
    status, summary = await run(service, patient, capsys, str(folder), "--expect-patient-id", "1CT1")
    assert (status, summary["refused"]) == (1, 1)
    assert "other.dcm" not in await names(service, patient)


async def test_a_busy_service_is_asked_again(service, patient, folder, capsys, monkeypatch):
    monkeypatch.setattr(upload, "WAIT_SECONDS", 0.01)
    uploads = type(service.context.store.uploads)
    real, calls = uploads.store, []

    async def sometimes(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) % 2:
            raise Overloaded("The service is busy.", retry_after=0)
        return await real(self, *arguments)

    monkeypatch.setattr(uploads, "store", sometimes)
    status, summary = await run(service, patient, capsys, str(folder / "DICOM"))
    assert (status, summary["uploaded"]) == (0, 5)


async def test_a_token_that_does_not_open_this_ends_it_at_once(service, patient, folder, capsys):
    status, summary = await run(service, patient, capsys, str(folder), token=service.token("p-somebody-else"))
    assert (status, summary["uploaded"], summary["complete"]) == (1, 0, False)


async def test_a_service_that_is_not_there_is_said_to_be_away(patient, folder, capsys):
    arguments = ["--url", "http://127.0.0.1:9", "--patient", patient, "--json", str(folder)]
    assert await asyncio.to_thread(upload.main, arguments, {"TOKEN": "x"}) == 1
    assert "cannot be reached" in json.loads(capsys.readouterr().out)["detail"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--url", "ftp://x"],
        ["--url", "http://127.0.0.1:99999"],
        ["--token-file", "/no/such/file"],
        ["/no/such/path"],
    ],
)
async def test_wrong_usage_is_status_2(folder, flags):
    assert upload.main(["--patient", "p", str(folder), *flags], {"TOKEN": "x"}) == 2
    assert upload.main(["--patient", "p", str(folder)], {}) == 2


async def test_it_runs_from_a_shell_and_takes_the_token_from_a_file(service, patient, folder):
    token = folder.parent / "token"
    token.write_text(service.token(patient) + "\n")
    command = [sys.executable, str(SCRIPT), "--url", service.url, "--patient", patient, "--token-file", str(token)]
    ran = await asyncio.to_thread(
        subprocess.run, [*command, str(folder)], capture_output=True, env={**os.environ, "TOKEN": ""}, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert b"0 refused, 0 failed" in ran.stdout
    assert len(await names(service, patient)) == 6
