"""Lists as tables: what they hold equals what pydicom reads, in every format, and their types are those of the VRs."""

import asyncio
import contextlib
import csv
import datetime
import io
import json
import math
import re
import threading
import warnings
from pathlib import Path

import aiohttp
import duckdb
import pandas
import pydicom
import pytest
import pytest_asyncio
from arro3.io import read_parquet
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from service.dicom.columns import Column, Kind
from service.storage.tables import Tables
from service.usecases.table_formats import iter_parquet
from service.web.app_keys import ADMISSIONS
from tests.web.service import MAX_UPLOAD_BYTES

pytestmark = pytest.mark.asyncio(loop_scope="session")

CSV = "text/csv"
NDJSON = "application/x-ndjson"
PARQUET = "application/vnd.apache.parquet"

FIELDS = {
    "PatientID": "text",
    "PatientName": "name",
    "Modality": "text",
    "ImageType": "texts",
    "StudyDate": "date",
    "StudyTime": "time",
    "AcquisitionDateTime": "timestamp",
    "SliceThickness": "double",
    "PixelSpacing": "doubles",
    "ImagePositionPatient": "doubles",
    "InstanceNumber": "integer",
    "Rows": "integer",
    "SmallestImagePixelValue": "integer",
    "SOPInstanceUID": "text",
    "StudyDescription": "text",
    "ReferencedImageSequence": "items",
}
RAW_KINDS = {"date", "time", "timestamp", "double", "doubles", "integer", "items"}


def read(path):
    """What pydicom makes of a file; it warns of much that is strange in them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path)


def readable():
    """The files of pydicom's wheel that pydicom reads."""
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").rglob("*.dcm")):
        with contextlib.suppress(pydicom.errors.InvalidDicomError, OSError, ValueError, KeyError, NotImplementedError):
            if path.stat().st_size <= MAX_UPLOAD_BYTES:
                yield path, read(path)


def table_columns():
    names = ["dicom_id"]
    for name, kind in FIELDS.items():
        names.append(name)
        if kind in RAW_KINDS:
            names.append(f"{name}_raw")
        if kind == "name":
            names += [f"{name}_{group}" for group in ("alphabetic", "ideographic", "phonetic")]
    return names


async def ask(service, patient, query, accept=None, **options):
    headers = {} if accept is None else {"Accept": accept}
    path = f"/patient/{patient}/dicom?{query}" if "?" not in query and "/" not in query else query
    return await service.ask("GET", path, patient=patient, headers=headers, **options)


def lines_of(answer):
    return [json.loads(line) for line in answer.body.splitlines()]


def cells_of(answer):
    return list(csv.reader(io.StringIO(answer.body.decode(), newline="")))


def from_parquet(answer, tmp_path, sql="select * from t"):
    path = tmp_path / "t.parquet"
    path.write_bytes(answer.body)
    return duckdb.sql(sql.replace(" t", f" '{path}'", 1))


def expected(dataset, name, kind):
    """What pydicom has, as a table shows it; `...` where pydicom cannot say, or says it in another way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            element = dataset[name] if name in dataset else None  # noqa: SIM401 - a dataset's `get` gives the value
            value = None if element is None else element.value
        except Exception:  # noqa: BLE001 - what pydicom cannot read is not compared
            return ...
    if element is None:
        return None
    if kind == "items":
        return len(value) if element.VR == "SQ" else ...
    several = isinstance(value, (list, pydicom.multival.MultiValue))
    values = list(value) if several else [] if value in (None, "") else [value]
    try:
        if kind in {"text", "name"}:
            return "\\".join(str(each).strip(" \0") for each in values) or None
        if kind == "texts":
            return [str(each).strip(" \0") or None for each in values]
        if kind in {"double", "doubles"}:
            numbers = [float(each) if each not in ("", None) else None for each in values]
            return numbers if kind == "doubles" else numbers[0] if len(numbers) == 1 else None
        if kind == "integer":
            return int(values[0]) if len(values) == 1 else None
        parse = {"date": pydicom.valuerep.DA, "time": pydicom.valuerep.TM, "timestamp": pydicom.valuerep.DT}[kind]
        if kind == "time":
            values = [each.replace(":", "") for each in values]  # ACR-NEMA's form, which pydicom does not read
        return plain(parse(values[0])) if len(values) == 1 else None
    except ValueError:
        return None


def plain(moment):
    if moment in (None, ""):
        return None
    if isinstance(moment, datetime.datetime):
        if moment.tzinfo is not None:
            moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
        return moment.isoformat()
    if isinstance(moment, datetime.time):
        return moment.isoformat()
    return moment.isoformat()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def wheel(service):
    """All files of pydicom's wheel of one patient; the datasets by their ids."""
    patient = "p-tables-wheel"
    found = {}
    for path, dataset in readable():
        answer = await service.upload(patient, path.read_bytes(), name=path.name)
        assert answer.status == 200, answer.body
        found[answer.json()] = dataset
    assert len(found) >= 70
    return patient, found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def rows(service, wheel):
    patient, _ = wheel
    answer = await ask(service, patient, f"fields={','.join(FIELDS)}", NDJSON)
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == NDJSON
    return lines_of(answer)


async def test_a_table_has_every_file_and_not_a_page(wheel, rows):
    assert {row["dicom_id"] for row in rows} == set(wheel[1])
    assert all(list(row) == table_columns() for row in rows)


async def test_every_cell_equals_what_pydicom_reads(wheel, rows):
    compared = 0
    for row in rows:
        dataset = wheel[1][row["dicom_id"]]
        for name, kind in FIELDS.items():
            wanted = expected(dataset, name, kind)
            if wanted is ...:
                continue
            compared += 1
            assert row[name] == wanted, (row["dicom_id"], name, row[name], wanted)
    assert compared > 0.95 * len(rows) * len(FIELDS)


@contextlib.contextmanager
def swept(service):
    """Let the last sweep have looked at all that is there; gives the ids whose trees were read meanwhile."""
    meta = service.store.instances.collections.meta
    before = meta.find_one({"_id": "store"}).get("swept_until")
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    meta.update_one({"_id": "store"}, {"$set": {"swept_until": later}})
    read_trees, by_trees = Tables.read, []

    async def read(self, visible, dicom_ids, *arguments, **options):
        by_trees.extend(dicom_ids)
        return await read_trees(self, visible, dicom_ids, *arguments, **options)

    Tables.read = read
    try:
        yield by_trees
    finally:
        Tables.read = read_trees
        change = {"$unset": {"swept_until": ""}} if before is None else {"$set": {"swept_until": before}}
        meta.update_one({"_id": "store"}, change)


async def test_the_index_of_what_was_swept_says_the_same_as_the_trees(service, wheel, rows):
    patient, found = wheel
    query = f"fields={','.join(FIELDS)}"
    with swept(service) as by_trees:
        assert lines_of(await ask(service, patient, query, NDJSON)) == rows
        assert len(by_trees) < 0.2 * len(found)
        for more in ("Modality=CT", "orderby=-InstanceNumber", "Modality=CT&orderby=SliceThickness", "PatientName=*^*"):
            by_trees.clear()
            quick = lines_of(await ask(service, patient, f"{query}&{more}", NDJSON))
            assert len(by_trees) < 0.2 * len(found)
            meta = service.store.instances.collections.meta
            meta.update_one({"_id": "store"}, {"$unset": {"swept_until": ""}})
            assert quick == lines_of(await ask(service, patient, f"{query}&{more}", NDJSON))
            assert len(by_trees) >= len(quick) > 0
            later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
            meta.update_one({"_id": "store"}, {"$set": {"swept_until": later}})


@contextlib.contextmanager
def indexes_read(monkeypatch):
    """Gives the ids whose index documents were read meanwhile."""
    read_entries, by_index = Tables.read_entries, []

    async def read(self, visible, listing, begin, end, entries):
        found = await read_entries(self, visible, listing, begin, end, entries)
        by_index.extend(document["_id"] for document in found.documents)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Tables, "read_entries", read)
        yield by_index


@pytest.mark.parametrize("kept", ["all", "half", "none", "of another version", "damaged"])
async def test_with_rows_and_without_them_a_table_is_the_same(service, wheel, rows, monkeypatch, kept):
    patient, found = wheel
    monkeypatch.setattr("service.usecases.tables.BATCH", 20)
    query = f"fields={','.join(FIELDS)}"
    files = service.store.instances.collections.originals.files
    before = {each["_id"]: each for each in files.find({"metadata.patient_id": patient})}
    lacking = set()
    for number, (original_id, file) in enumerate(before.items()):
        if kept == "none" or (kept == "half" and number % 2):
            files.update_one({"_id": original_id}, {"$unset": {"metadata.row": ""}})
        elif kept in {"of another version", "damaged"} and number % 3:
            row = file["metadata"]["row"]
            other = b"\x7f" + row[1:] if kept == "of another version" else row[: len(row) // 2]
            files.update_one({"_id": original_id}, {"$set": {"metadata.row": other}})
        else:
            continue
        lacking.add(file["metadata"]["dicom_id"])
    try:
        with swept(service) as by_trees, indexes_read(monkeypatch) as by_index:
            assert lines_of(await ask(service, patient, query, NDJSON)) == rows
            assert len(by_trees) < 0.2 * len(found)
            assert set(by_index) == lacking
            by_index.clear()
            some = [row for row in rows if row["Modality"] in ("CT", "MR")]
            assert lines_of(await ask(service, patient, f"{query}&Modality=CT,MR", NDJSON)) == some
            assert set(by_index) == lacking & {row["dicom_id"] for row in some}
            monkeypatch.setattr("service.storage.tables.MAX_PAGE_BYTES", 10)
            assert lines_of(await ask(service, patient, query, NDJSON)) == rows
    finally:
        for original_id, file in before.items():
            files.replace_one({"_id": original_id}, file)


async def test_private_elements_are_read_from_rows_too(service, wheel, monkeypatch):
    patient, _ = wheel
    query = "fields=GEMS_IDEN_01:0009xx01,GEMS_ACQU_01:0019xx02,00091001"
    by_tree = lines_of(await ask(service, patient, query, NDJSON))
    assert any(row["GEMS_ACQU_01:0019xx02"] is not None for row in by_tree)
    query = query.removesuffix(",00091001")  # whose block that is, only a tree tells
    with swept(service) as by_trees, indexes_read(monkeypatch) as by_index:
        quick = lines_of(await ask(service, patient, query, NDJSON))
        assert by_trees == []
        assert by_index == []
    assert quick == [{name: cell for name, cell in row.items() if name != "00091001"} for row in by_tree]


async def test_a_reindex_that_is_under_way_gives_the_row_of_one_time_or_the_other(service, patient):
    dicom_id = (await service.upload(patient, written(make(SliceThickness="1.5")))).json()
    collections = service.store.instances.collections
    # Killed between two writes: the index is new, and row and tree are as they were.
    collections.tag_index.update_one({"_id": dicom_id}, {"$set": {"tags.SliceThickness": [2.5]}})
    query = "fields=SliceThickness"
    by_tree = lines_of(await ask(service, patient, query, NDJSON))
    with swept(service):
        assert lines_of(await ask(service, patient, query, NDJSON)) == by_tree
    assert by_tree[0]["SliceThickness"] == 1.5


async def test_an_index_without_an_instance_has_no_row(service, patient):
    ids = [(await service.upload(patient, written(make(InstanceNumber=number)))).json() for number in range(5)]
    collections = service.store.instances.collections
    collections.instances.update_one({"_id": ids[1]}, {"$set": {"extraction.state": "deleting"}})
    collections.instances.update_one({"_id": ids[2]}, {"$set": {"extraction.state": "failed"}})
    with swept(service):
        table = lines_of(await ask(service, patient, "fields=InstanceNumber", NDJSON))
        assert [row["InstanceNumber"] for row in table] == [4, 3, 0]
        table = lines_of(await ask(service, patient, "fields=InstanceNumber&orderby=InstanceNumber", NDJSON))
        assert [row["InstanceNumber"] for row in table] == [0, 3, 4]
    collections.instances.delete_one({"_id": ids[3]})  # as if the service had been killed before it wrote it
    table = lines_of(await ask(service, patient, "fields=InstanceNumber", NDJSON))
    assert [row["InstanceNumber"] for row in table] == [4, 0]


async def test_files_that_came_at_the_same_time_each_have_one_row(service, patient, monkeypatch):
    monkeypatch.setattr("service.usecases.tables.BATCH", 3)
    monkeypatch.setattr("service.usecases.tables.FIRST_BATCH", 2)
    ids = [(await service.upload(patient, written(make(InstanceNumber=number)))).json() for number in range(20)]
    collections = service.store.instances.collections
    for number, each in enumerate(ids):
        at = datetime.datetime(2026, 1, 1, second=0 if number < 13 else number, tzinfo=datetime.UTC)
        collections.instances.update_one({"_id": each}, {"$set": {"received_at": at}})
        collections.tag_index.update_one({"_id": each}, {"$set": {"received_at": at}})
        collections.originals.files.update_one({"metadata.dicom_id": each}, {"$set": {"uploadDate": at}})
    wanted = [*reversed(ids[13:]), *sorted(ids[:13])]
    with swept(service) as by_trees:
        table = lines_of(await ask(service, patient, "fields=InstanceNumber", NDJSON))
        assert [row["dicom_id"] for row in table] == wanted
        assert by_trees == []
        monkeypatch.setattr("service.storage.tables.MAX_PAGE_BYTES", 10)
        assert lines_of(await ask(service, patient, "fields=InstanceNumber", NDJSON)) == table
        assert by_trees == []


async def test_the_three_formats_say_the_same(service, wheel, rows, tmp_path):
    patient, _ = wheel
    query = f"fields={','.join(FIELDS)}"
    as_csv = cells_of(await ask(service, patient, query, CSV))
    assert as_csv[0] == table_columns()
    assert len(as_csv) == len(rows) + 1
    for cells, row in zip(as_csv[1:], rows, strict=True):
        for cell, (name, value) in zip(cells, row.items(), strict=True):
            if isinstance(value, list):
                value = "\\".join("" if each is None else str(each) for each in value)
            text = "" if value is None else str(value)
            assert cell.removeprefix("'") == text.removeprefix("'"), name
    parquet = await ask(service, patient, query, PARQUET)
    assert parquet.headers["Content-Disposition"] == 'attachment; filename="instances.parquet"'
    found = from_parquet(parquet, tmp_path).fetchall()
    assert len(found) == len(rows)
    for cells, row in zip(found, rows, strict=True):
        for cell, (name, value) in zip(cells, row.items(), strict=True):
            shown = cell.isoformat() if isinstance(cell, (datetime.date, datetime.time)) else cell
            assert shown == value, name


async def test_duckdb_reads_the_types_of_the_vrs(service, wheel, tmp_path):
    answer = await ask(service, wheel[0], f"fields={','.join(FIELDS)}", PARQUET)
    relation = from_parquet(answer, tmp_path)
    types = dict(zip(relation.columns, map(str, relation.types), strict=True))
    wanted = {
        "text": "VARCHAR",
        "name": "VARCHAR",
        "texts": "VARCHAR[]",
        "date": "DATE",
        "time": "TIME",
        "timestamp": "TIMESTAMP",
        "double": "DOUBLE",
        "doubles": "DOUBLE[]",
        "integer": "BIGINT",
        "items": "BIGINT",
    }
    assert {name: types[name] for name in FIELDS} == {name: wanted[kind] for name, kind in FIELDS.items()}
    assert all(types[name] == "VARCHAR" for name in types if name.endswith("_raw") or name == "dicom_id")


async def test_pandas_reads_a_csv_without_being_told_anything(service, wheel):
    answer = await ask(service, wheel[0], "fields=SliceThickness,Rows,Modality&Rows=!!&Modality=CT,MR", CSV)
    frame = pandas.read_csv(io.BytesIO(answer.body))
    assert frame["SliceThickness"].dtype == "float64"
    assert frame["Rows"].dtype == "int64"
    assert set(frame["Modality"]) == {"CT", "MR"}


async def test_a_table_of_a_search_has_the_hits_of_the_search_in_its_order(service, wheel):
    patient, _ = wheel
    for query in ("Modality=CT", "Modality=MR&orderby=-Rows", "PatientName=*e*", "GEMS_IDEN_01:0009xx01=!!"):
        listed = (await ask(service, patient, f"{query}&limit=1000&fields=Rows")).json()["instances"]
        table = lines_of(await ask(service, patient, f"{query}&fields=Rows", NDJSON))
        assert [row["dicom_id"] for row in table] == [hit["dicom_id"] for hit in listed]
        assert table


# --- values of a file that was made for it ------------------------------------------------------------------------


def make(**elements):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in elements.items():
            setattr(dataset, name, value)
    return dataset


def written(dataset, *swaps):
    """The bytes of a file, some of them swapped for as many others: what pydicom would not write."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(out, enforce_file_format=True)
    content = out.getvalue()
    for old, new in swaps:
        assert content.count(old) == 1
        assert len(old) == len(new)
        content = content.replace(old, new)
    return content


async def row_of(service, patient, content, fields):
    answer = await service.upload(patient, content)
    assert answer.status == 200, answer.body
    answer = await ask(service, patient, f"fields={fields}", NDJSON)
    assert answer.status == 200, answer.body
    [row] = lines_of(answer)
    del row["dicom_id"]
    return row


@pytest.mark.parametrize(
    ("keyword", "good", "bad", "shown"),
    [
        ("SliceThickness", "1.25", "thin", None),
        ("InstanceNumber", "1234", "1.5x", None),
        ("StudyDate", "20240131", "20240231", None),
        ("StudyTime", "101530", "996100", None),
        ("AcquisitionDateTime", "20240131101530", "20241331101530", None),
        ("PixelSpacing", ["1.25", "0.50"], "1.25\\wide", [1.25, None]),
    ],
)
async def test_what_cannot_be_converted_is_null_and_its_text_is_beside_it(service, patient, keyword, good, bad, shown):
    text = "\\".join(good) if isinstance(good, list) else good
    content = written(make(**{keyword: good}), (text.encode(), bad.encode()))
    row = await row_of(service, patient, content, keyword)
    assert row == {keyword: shown, f"{keyword}_raw": bad}


async def test_absent_and_empty_and_each_value_of_a_name(service, patient):
    dataset = make(PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう", StudyDate="", ImageType=None)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    row = await row_of(service, patient, written(dataset), "PatientName,StudyDate,ImageType,Modality,PixelSpacing")
    assert row == {
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "PatientName_alphabetic": "Yamada^Tarou",
        "PatientName_ideographic": "山田^太郎",
        "PatientName_phonetic": "やまだ^たろう",
        "StudyDate": None,
        "StudyDate_raw": None,
        "ImageType": [],
        "Modality": None,
        "PixelSpacing": None,
        "PixelSpacing_raw": None,
    }


async def test_what_stands_in_the_items_of_a_sequence_is_a_list_with_an_entry_for_each(service, patient):
    items = [make_item(CodeValue="1"), make_item(CodeMeaning="x"), make_item(CodeValue="3", CodeMeaning="y")]
    dataset = make(ProcedureCodeSequence=items)
    fields = "ProcedureCodeSequence,ProcedureCodeSequence.CodeValue,ProcedureCodeSequence[2].CodeMeaning"
    row = await row_of(service, patient, written(dataset), f"{fields},AnatomicRegionSequence.CodeValue")
    assert row == {
        "ProcedureCodeSequence": 3,
        "ProcedureCodeSequence_raw": None,
        "ProcedureCodeSequence.CodeValue": ["1", None, "3"],
        "ProcedureCodeSequence[2].CodeMeaning": "y",
        "AnatomicRegionSequence.CodeValue": None,
    }


def make_item(**elements):
    item = Dataset()
    for name, value in elements.items():
        setattr(item, name, value)
    return item


async def test_a_moment_with_an_offset_is_in_utc(service, patient):
    row = await row_of(service, patient, written(make(AcquisitionDateTime="20240131101530.25+0200")), "0008002A")
    assert row["0008002A"] == "2024-01-31T08:15:30.250000"


async def test_bytes_are_base64_and_long_ones_their_length(service, patient):
    dataset = make(ICCProfile=b"abcd", EncapsulatedDocument=b"x" * 100_000)
    row = await row_of(service, patient, written(dataset), "ICCProfile,EncapsulatedDocument")
    assert row == {
        "ICCProfile": "YWJjZA==",
        "ICCProfile_length": 4,
        "EncapsulatedDocument": None,
        "EncapsulatedDocument_length": 100_000,
    }


async def test_numbers_that_are_none_are_named(service, patient, tmp_path):
    dataset = make(DiffusionBValue=math.inf, SelectorFDValue=[math.nan, 1.0])
    fields = "DiffusionBValue,SelectorFDValue"
    row = await row_of(service, patient, written(dataset), fields)
    assert row == {
        "DiffusionBValue": None,
        "DiffusionBValue_raw": "Infinity",
        "SelectorFDValue": [None, 1.0],
        "SelectorFDValue_raw": "NaN\\1.0",
    }
    _, cells = cells_of(await ask(service, patient, f"fields={fields}", CSV))
    assert cells[1:] == ["Infinity", "Infinity", "NaN\\1.0", "NaN\\1.0"]
    found = from_parquet(await ask(service, patient, f"fields={fields}", PARQUET), tmp_path).fetchall()[0]
    assert found[1] == math.inf
    assert math.isnan(found[3][0])


async def test_a_text_that_a_spreadsheet_would_run_is_guarded_and_a_number_is_not(service, patient):
    dataset = make(StudyDescription="=HYPERLINK(1)", PatientID='+1,"2"', SliceLocation="-5.5", StudyID="-1")
    await service.upload(patient, written(dataset))
    query = "fields=StudyDescription,PatientID,SliceLocation,StudyID,Modality"
    answer = await ask(service, patient, query, CSV)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    head, line, end = answer.body.decode().split("\r\n")
    assert head == "dicom_id,StudyDescription,PatientID,SliceLocation,SliceLocation_raw,StudyID,Modality"
    assert line.partition(",")[2] == '\'=HYPERLINK(1),"\'+1,""2""",-5.5,,\'-1,'
    assert end == ""


async def test_a_private_column_has_the_type_that_the_files_say(service, patient):
    dataset = make()
    block = dataset.private_block(0x0009, "MADE UP", create=True)
    block.add_new(0x01, "DS", ["1.5", "2.5"])
    block.add_new(0x02, "US", 7)
    block.add_new(0x03, "LO", "text")
    fields = "MADE UP:0009xx01,MADE UP:0009xx02,MADE UP:0009xx03".replace(" ", "%20")
    assert await row_of(service, patient, written(dataset), fields) == {
        "MADE UP:0009xx01": [1.5, 2.5],
        "MADE UP:0009xx01_raw": None,
        "MADE UP:0009xx02": 7,
        "MADE UP:0009xx02_raw": None,
        "MADE UP:0009xx03": "text",
    }
    other = make()
    other.private_block(0x0009, "MADE UP", create=True).add_new(0x02, "LO", "seven")
    await service.upload(patient, written(other))
    table = lines_of(await ask(service, patient, f"fields={fields}", NDJSON))
    assert {row["MADE UP:0009xx02"] for row in table} == {"7", "seven"}
    assert "MADE UP:0009xx02_raw" not in table[0]


async def test_many_rows_are_several_row_groups(service, patient, monkeypatch, tmp_path):
    monkeypatch.setattr("service.usecases.table_formats.GROUP_ROWS", 2)
    monkeypatch.setattr("service.usecases.tables.BATCH", 3)
    monkeypatch.setattr("service.usecases.tables.FIRST_BATCH", 1)
    numbers = list(range(8))
    for number in numbers:
        await service.upload(patient, written(make(InstanceNumber=number)))
    answer = await ask(service, patient, "fields=InstanceNumber&orderby=InstanceNumber", PARQUET)
    assert [row[1] for row in from_parquet(answer, tmp_path).fetchall()] == numbers
    path = tmp_path / "t.parquet"
    groups = duckdb.sql(f"select count(distinct row_group_id) from parquet_metadata('{path}')").fetchall()
    assert groups == [(4,)]
    assert sum(batch.num_rows for batch in read_parquet(path)) == 8


async def test_a_row_group_that_memory_would_not_hold_ends_the_answer_short(service, patient, monkeypatch):
    monkeypatch.setattr("service.usecases.table_formats.MAX_GROUP_BYTES", 10)
    await service.upload(patient, written(make(StudyDescription="text")))
    with pytest.raises(aiohttp.ClientPayloadError):
        await ask(service, patient, "fields=StudyDescription", PARQUET)
    assert (await ask(service, patient, "fields=StudyDescription", CSV)).status == 200


async def test_values_that_only_the_original_has_are_read_from_it(service, patient):
    numbers = [float(number) for number in range(300)]
    await service.upload(patient, written(make(SelectorFDValue=numbers, StudyDate="20240131", StudyTime="1015")))
    fields = "SelectorFDValue,StudyDate,StudyTime"
    [before] = lines_of(await ask(service, patient, f"fields={fields}", NDJSON))
    assert before["SelectorFDValue"] == numbers
    instances = service.store.instances.collections.instances
    left = {"dataset.SelectorFDValue": {"vr": "FD", "length": 2400, "spilled": True}, "spilled": True}
    instances.update_one({"_id": before["dicom_id"]}, {"$set": left})
    [after] = lines_of(await ask(service, patient, f"fields={fields}", NDJSON))
    assert after == before


async def test_a_third_table_of_a_patient_is_refused_while_two_are_written(service, patient):
    await service.upload(patient, written(make(InstanceNumber=1)))
    tables = service.app[ADMISSIONS].tables
    async with tables.admit(patient), tables.admit(patient):
        answer = await ask(service, patient, "fields=InstanceNumber", CSV)
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) > 0
    assert (await ask(service, patient, "fields=InstanceNumber", CSV)).status == 200


@pytest.mark.parametrize("path", ["/dicom?fields=InstanceNumber", "/tags"])
async def test_a_table_by_a_share_is_refused_while_another_is_written_and_the_patients_own_is_not(
    service, shares, path
):
    session = await shares.session(await shares.make(instances=[shares.dicom_id]))
    owner = {"access-token": service.token(shares.patient)}
    async with service.app[ADMISSIONS].tables.admit(shares.patient, shared=True):
        statuses = [
            (await shares.ask("GET", path, headers={**headers, "Accept": CSV})).status for headers in (session, owner)
        ]
    assert statuses == [429, 200]
    assert (await shares.ask("GET", path, headers={**session, "Accept": CSV})).status == 200


async def test_no_thread_stays_behind_where_a_caller_goes_away():
    async def read(encode):
        for _ in range(1000):
            yield await asyncio.to_thread(encode, [[1]] * 100)

    before = {thread for thread in threading.enumerate() if thread.name.startswith("parquet")}
    pieces = iter_parquet([Column("number", Kind.INTEGER)], read)
    assert await anext(pieces) == b"PAR1"
    await pieces.aclose()
    for _ in range(100):
        left = {thread for thread in threading.enumerate() if thread.name.startswith("parquet")} - before
        if not left:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(left)


async def test_a_table_without_rows_is_one(service, patient, tmp_path):
    await service.upload(patient, written(make()))
    query = "Modality=XX&fields=Rows,PatientName"
    assert (await ask(service, patient, query, NDJSON)).body == b""
    assert len(cells_of(await ask(service, patient, query, CSV))) == 1
    answer = await ask(service, patient, query, PARQUET)
    assert from_parquet(answer, tmp_path).fetchall() == []


async def test_what_nobody_can_say_is_warned_of_before_the_first_row(service, wheel):
    answer = await ask(service, wheel[0], "PixelData=x&fields=Rows", CSV)
    assert answer.headers["Warning"].startswith("299 - ")
    assert "Warning" not in (await ask(service, wheel[0], "Modality=CT&fields=Rows", CSV)).headers


# --- how it is asked for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), [("csv", "text/csv"), ("ndjson", NDJSON), ("parquet", PARQUET)])
async def test_a_browser_names_the_format_in_its_query(service, wheel, name, kind):
    for path in (f"dicom?fields=Rows&format={name}", f"tags?format={name}"):
        answer = await ask(service, wheel[0], f"/patient/{wheel[0]}/{path}", "text/html")
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith(kind)
        assert f'.{name}"' in answer.headers["Content-Disposition"]
        assert "Accept" in answer.headers["Vary"]


@pytest.mark.parametrize("path", ["dicom", "dicom?fields=Rows", "tags"])
async def test_a_type_that_is_not_offered_is_406_and_not_json(service, wheel, path):
    answer = await ask(service, wheel[0], f"/patient/{wheel[0]}/{path}", "application/xml")
    assert answer.status == 406
    assert "text/csv" in answer.detail
    answer = await ask(service, wheel[0], f"/patient/{wheel[0]}/{path}", "text/html, */*;q=0.1")
    assert answer.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("", "needs columns"),
        ("Modality=CT", "needs columns"),
        ("fields=NoSuchThing", "keyword"),
        ("fields=Rows&limit=10", "leave out limit"),
        ("fields=Rows&offset=1&count=true", "leave out count, offset"),
        ("fields=Rows&NoSuchThing=1", "keyword"),
        ("fields=Rows&SliceThickness=thin", "SliceThickness"),
        ("fields=Rows&orderby=Nothing", "orderby"),
        ("fields=Rows&format=xlsx", "json, csv, ndjson or parquet"),
        ("fields=" + ",".join(f"6002{number:04X}" for number in range(51)), "50"),
    ],
)
async def test_bad_requests_are_refused_in_a_sentence(service, wheel, query, sentence):
    answer = await ask(service, wheel[0], f"/patient/{wheel[0]}/dicom?{query}", CSV)
    assert answer.status == 422, answer.body
    assert re.search(sentence, answer.detail), answer.detail


async def test_a_head_request_gets_the_headers(service, wheel):
    answer = await service.ask(
        "HEAD", f"/patient/{wheel[0]}/dicom?fields=Rows", patient=wheel[0], headers={"Accept": PARQUET}
    )
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, PARQUET, b"")


async def test_others_files_are_in_no_table(service, wheel, patient):
    await service.upload(patient, written(make()))
    table = lines_of(await ask(service, patient, "fields=Rows", NDJSON))
    assert len(table) == 1
    assert table[0]["dicom_id"] not in wheel[1]


# --- the catalogue ------------------------------------------------------------------------------------------------


async def test_the_catalogue_is_a_table_too(service, wheel, tmp_path):
    patient, _ = wheel
    listed = []
    path = f"/patient/{patient}/tags"
    offset = 0
    while True:
        page = (await ask(service, patient, f"{path}?offset={offset}")).json()["tags"]
        listed += page
        offset += len(page)
        if not page:
            break
    table = lines_of(await ask(service, patient, path, NDJSON))
    assert [(row["path"], row["vrs"], row["files"]) for row in table] == [
        (row["path"], row["vrs"], row["files"]) for row in listed
    ]
    thickness = next(row for row in table if row["path"] == "SliceThickness")
    assert thickness["min_number"] <= thickness["max_number"]
    found = from_parquet(await ask(service, patient, path, PARQUET), tmp_path)
    assert dict(zip(found.columns, map(str, found.types), strict=True)) == {
        "path": "VARCHAR",
        "vrs": "VARCHAR[]",
        "files": "BIGINT",
        "values": "VARCHAR[]",
        "more_values": "BOOLEAN",
        "min": "VARCHAR",
        "max": "VARCHAR",
        "min_number": "DOUBLE",
        "max_number": "DOUBLE",
    }
    assert len(found.fetchall()) == len(table)
    assert len(cells_of(await ask(service, patient, f"{path}?path=Slice", CSV))) > 1
    assert (await ask(service, patient, f"{path}?limit=3", CSV)).status == 422
