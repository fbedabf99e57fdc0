"""A table of the whole store, written beside a running service and without one."""

import csv
import io
import json

import duckdb
import pytest
from pydicom import dcmread

from tests.commands.running import content, run, summary
from tests.running_service import RunningService

NAMES = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "reportsi.dcm", "nested_priv_SQ.dcm")
FIELDS = "PatientID,Modality,SliceThickness,ImageType,GEMS_IDEN_01:0009xx01"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A data directory with files of two patients, their ids and patients, and a table that was written meanwhile."""
    home = tmp_path_factory.mktemp("tables")
    with RunningService(home / "data") as service:
        ids = {}
        for number, name in enumerate(NAMES):
            patient = f"p-{number % 2}"
            ids[service.upload(content(name), patient)] = (patient, dcmread(io.BytesIO(content(name))))
        status, told = summary("export_table", home / "data", "--fields", FIELDS, str(home / "beside.parquet"))
        assert (status, told["rows"], told["failed"], told["unknown"]) == (0, len(ids), 0, 0), told
        service.stop()
    return home, ids


def test_the_table_of_a_running_store_says_what_pydicom_reads(store):
    home, ids = store
    relation = duckdb.sql(f"select * from '{home / 'beside.parquet'}'")
    types = dict(zip(relation.columns, map(str, relation.types), strict=True))
    assert list(types)[:2] == ["dicom_id", "patient_id"]
    assert (types["SliceThickness"], types["ImageType"]) == ("DOUBLE", "VARCHAR[]")
    rows = [dict(zip(types, row, strict=True)) for row in relation.fetchall()]
    assert {row["dicom_id"]: row["patient_id"] for row in rows} == {each: patient for each, (patient, _) in ids.items()}
    for row in rows:
        dataset = ids[row["dicom_id"]][1]
        assert row["PatientID"] == (dataset.get("PatientID") or None)
        assert row["Modality"] == dataset.get("Modality")
        thickness = dataset.get("SliceThickness")
        assert row["SliceThickness"] == (None if thickness is None else float(thickness))
        assert row["ImageType"] == (list(dataset.ImageType) if "ImageType" in dataset else None)
    assert "GE_GENESIS_FF" in [row["GEMS_IDEN_01:0009xx01"] for row in rows]


def test_conditions_and_patients_narrow_it_down(store, tmp_path):
    home, ids = store
    target = tmp_path / "t.csv"
    status, told = summary("export_table", home / "data", "--fields", "Modality", "--where", "Modality=CT", str(target))
    assert (status, told["rows"]) == (0, 1)
    lines = list(csv.reader(io.StringIO(target.read_text("utf-8"), newline="")))
    assert lines[0] == ["dicom_id", "patient_id", "Modality"]
    assert lines[1][1:] == ["p-0", "CT"]
    assert target.stat().st_mode & 0o777 == 0o600
    status, out, _ = run(
        "export_table", home / "data", "--quiet", "--fields", "Modality", "--patients", "p-1", "--format", "ndjson", "-"
    )
    found = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert {row["dicom_id"] for row in found} == {each for each, (patient, _) in ids.items() if patient == "p-1"}


def test_what_nobody_can_say_is_told(store, tmp_path):
    status, told = summary(
        "export_table", store[0] / "data", "--fields", "Modality", "--where", "PixelData=x", str(tmp_path / "t.csv")
    )
    assert status == 0
    assert told["rows"] == 0
    assert told["unknown"] >= 2


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("t.csv",), "--fields"),
        (("--fields", "Nothing", "t.csv"), "keyword"),
        (("--fields", ",", "t.csv"), "names no element"),
        (("--fields", "Modality", "t.xlsx"), "say the format"),
        (("--fields", "Modality", "--where", "Modality", "t.csv"), "equals sign"),
        (("--fields", "Modality", "--where", "SliceThickness=thin", "t.csv"), "SliceThickness"),
        (("--fields", "Modality", "--patients", ",", "t.csv"), "nobody"),
    ],
)
def test_wrong_usage_is_refused_in_a_sentence(tmp_path, flags, sentence):
    status, out, err = run("export_table", tmp_path, *flags)
    assert (status, out) == (2, "")
    assert sentence in err


def test_a_file_that_cannot_be_written_is_left_as_it_was(store, tmp_path):
    status, _, err = run("export_table", store[0] / "data", "--fields", "Rows", str(tmp_path / "nowhere" / "t.csv"))
    assert status == 1
    assert "No such file" in err
