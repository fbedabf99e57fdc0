"""Whole studies on a real service and its local database: a ZIP in, a medium out, a study deleted."""

from __future__ import annotations

import io
import zipfile

from tests.web.dicomweb.patient import numbered

STUDY = "1.2.826.0.1.3680043.9.1.0"


def test_a_zip_goes_in_and_comes_out_as_a_medium_and_is_deleted(patient, ct):
    files = {numbered(ct, 1, number) for number in range(1, 31)}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(files):
            archive.writestr(f"DICOM/IM{number:06}", content)
    files_url = patient.root.removesuffix("web")
    sent = patient.session.post(
        files_url, data=packed.getvalue(), headers={"Content-Type": "application/zip"}, timeout=60
    )
    assert b'"stored":30' in sent.content.splitlines()[-1]
    medium = patient.session.get(
        f"{patient.root}/studies/{STUDY}", headers={"Accept": "application/zip; media=dicomdir"}, timeout=60
    )
    with zipfile.ZipFile(io.BytesIO(medium.content)) as archive:
        assert {archive.read(name) for name in archive.namelist() if name.startswith("DICOM/")} == files
        assert "DICOMDIR" in archive.namelist()
    assert len(patient.client.search_for_instances()) == 30
    assert patient.session.delete(f"{patient.root}/studies/{STUDY}", timeout=60).status_code == 204
    assert patient.client.search_for_instances() == []
    assert patient.session.delete(f"{patient.root}/studies/{STUDY}", timeout=60).status_code == 404
    assert patient.session.get(files_url, timeout=60).json()["instances"] == []
