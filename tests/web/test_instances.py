"""GET, HEAD and DELETE of an instance: the original, its picture, what the store knows; its tags and long values."""

import gzip
import hashlib
import io
import uuid
from pathlib import Path

import aiohttp
import numpy as np
import pytest
import pytest_asyncio
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file

from schemas.http import InstanceSchema, Tag
from service.errors import DatabaseUnavailable
from service.storage.visible import Visible
from service.web.instances import content_disposition

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENT = "documents"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def path(service, ct):
    return (await service.upload(PATIENT, ct, name="CT small.dcm")).headers["Location"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def frames(service, multiframe):
    return (await service.upload(PATIENT, multiframe, name="us.dcm")).headers["Location"]


@pytest.fixture
def get(service):
    async def go(path, *, method="GET", **headers):
        return await service.ask(
            method, path, patient=PATIENT, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    return go


# --- the original --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers", [{}, {"content_type": "application/dicom"}, {"accept": "application/dicom"}, {"accept": "*/*"}]
)
async def test_the_original_comes_back_byte_for_byte(get, path, ct, headers):
    answer = await get(path, **headers)
    assert (answer.status, answer.body) == (200, ct)
    assert answer.headers["Content-Type"] == "application/dicom"
    assert answer.headers["ETag"] == f'"{hashlib.sha256(ct).hexdigest()}"'
    assert answer.headers["Content-Length"] == str(len(ct))
    assert answer.headers["Content-Disposition"] == 'attachment; filename="CT small.dcm"'
    assert answer.headers["Cache-Control"].startswith("private")
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert "Accept" in answer.headers["Vary"]


async def test_head_says_what_get_would(get, path):
    whole, head = await get(path), await get(path, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Length", "Content-Type", "ETag", "Last-Modified", "Content-Disposition"):
        assert head.headers[name] == whole.headers[name]


async def test_who_has_it_already_gets_304(get, path):
    first = await get(path)
    again = await get(path, if_none_match=first.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert (await get(path, if_modified_since=first.headers["Last-Modified"])).status == 304
    assert (await get(path, if_none_match='"other"')).status == 200
    assert (await get(path, method="HEAD", if_none_match="*")).status == 304


async def test_what_is_meant_for_another_version_is_not_done(service, get, ct):
    path = (await service.upload(PATIENT, ct + b"\0\0")).headers["Location"]
    etag = (await get(path)).headers["ETag"]
    for other in (
        {"If_Match": '"abc"'},
        {"If_Match": f"W/{etag}"},
        {"If_Unmodified_Since": "Sun, 01 Jan 2006 00:00:00 GMT"},
    ):
        for method in ("GET", "DELETE"):
            answer = await get(path, method=method, **other)
            assert (answer.status, answer.json()["code"]) == (412, "precondition-failed")
    assert (await get(path, If_Match=f'"abc", {etag}')).status == 200
    assert (await get(path, method="DELETE", If_Match=etag)).status == 204
    assert (await get(path, method="DELETE", If_Match="*")).status == 404


@pytest.mark.parametrize(
    ("header", "part"), [("0-9", slice(0, 10)), ("1000-", slice(1000, None)), ("-5", slice(-5, None))]
)
async def test_a_range_is_that_part(get, path, ct, header, part):
    answer = await get(path, range=f"bytes={header}")
    assert (answer.status, answer.body) == (206, ct[part])
    start, stop, _ = part.indices(len(ct))
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(ct)}"


async def test_a_range_behind_the_end_is_416(get, path, ct):
    answer = await get(path, range=f"bytes={len(ct)}-")
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(ct)}"


async def test_other_ranges_give_the_whole(get, path, ct):
    for header in ("bytes=0-1,4-5", "items=0-1", "bytes=5-1"):
        answer = await get(path, range=header)
        assert (answer.status, answer.body) == (200, ct)
    answer = await get(path, range="bytes=0-1", if_range='"other"')
    assert (answer.status, len(answer.body)) == (200, len(ct))
    assert (await get(path, method="HEAD", range="bytes=0-1")).status == 200


async def test_a_large_original_streams_in_ranges_across_chunks(service, get, ct):
    content = ct + bytes(range(256)) * 10_000
    path = (await service.upload(PATIENT, content)).headers["Location"]
    answer = await get(path)
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(content).digest()
    answer = await get(path, range="bytes=1048570-2097160")
    assert answer.body == content[1048570:2097161]


async def test_another_content_type_is_422_and_an_accept_that_cannot_be_met_406(get, path):
    assert (await get(path, content_type="text/plain")).status == 422
    answer = await get(path, accept="text/html")
    assert answer.status == 406
    assert "image/png" in answer.detail


# --- the description -----------------------------------------------------------------------------------------------


async def test_what_the_store_knows_of_it(get, path, ct):
    answer = await get(path, accept="application/json")
    assert answer.status == 200
    known = answer.json()
    assert InstanceSchema().validate(known) == {}
    assert known["dicom_id"] == path.rpartition("/")[2]
    assert known["sha256"] == hashlib.sha256(ct).hexdigest()
    assert known["size"] == len(ct)
    assert known["sop_class_uid"] == "1.2.840.10008.5.1.4.1.1.2"
    assert known["extraction"]["state"] == "done"


# --- the picture ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{"content_type": "image/png"}, {"accept": "image/png"}, {"accept": "image/*"}])
async def test_the_picture(get, path, ct, headers):
    answer = await get(path, **headers)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Dicom-Frame"] == "1"
    assert answer.headers["Dicom-Frames"] == "1"
    assert answer.headers["Dicom-Window-Source"] == "min-max"
    picture = Image.open(io.BytesIO(answer.body))
    dataset = dcmread(io.BytesIO(ct))
    assert picture.size == (dataset.Columns, dataset.Rows)


async def test_a_window_of_the_callers(get, path, ct):
    answer = await get(f"{path}?window=40,400", accept="image/png")
    assert answer.headers["Dicom-Window"] == "40,400"
    assert answer.headers["Dicom-Window-Source"] == "request"
    pixels = np.asarray(Image.open(io.BytesIO(answer.body)))
    dataset = dcmread(io.BytesIO(ct))
    values = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    expected = np.clip(((values - 39.5) / 399 + 0.5) * 255, 0, 255)  # PS3.3 C.11.2.1.2.1
    assert np.abs(pixels.astype(float) - expected).max() <= 1


async def test_frames_count_from_one(get, frames, multiframe):
    count = int(dcmread(io.BytesIO(multiframe), stop_before_pixels=True).get("NumberOfFrames", 1))
    last = await get(f"{frames}?frame={count}", accept="image/png")
    assert last.status == 200
    assert last.headers["Dicom-Frame"] == last.headers["Dicom-Frames"] == str(count)
    assert (await get(f"{frames}?frame={count + 1}", accept="image/png")).status == 422


async def test_a_smaller_picture(get, path):
    answer = await get(f"{path}?size=32", accept="image/png")
    assert max(Image.open(io.BytesIO(answer.body)).size) == 32


async def test_the_second_answer_is_the_same_and_who_has_it_gets_304(get, path):
    first, second = await get(path, accept="image/png"), await get(path, accept="image/png")
    assert second.body == first.body
    assert {**second.headers, "X-Request-ID": "", "Date": ""} == {**first.headers, "X-Request-ID": "", "Date": ""}
    again = await get(path, accept="image/png", if_none_match=first.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    other = await get(f"{path}?window=40,400", accept="image/png", if_none_match=first.headers["ETag"])
    assert other.status == 200
    head = await get(path, method="HEAD", accept="image/png")
    assert (head.body, head.headers["Content-Length"]) == (b"", str(len(first.body)))


@pytest.mark.parametrize(
    "query",
    [
        "frame=0",
        "frame=-1",
        "frame=one",
        "frame=1.0",
        "frame=",
        "frame=%2B1",
        "frame=1_0",
        "frame=\u0661".encode().decode("latin-1").replace("Ù", "%D9").replace("¡", "%A1"),
        "frame=99999999999999999999",
        "frame=2",
        "frame=1&frame=1",
        "window=",
        "window=40",
        "window=40,400,1",
        "window=40,0",
        "window=40,-1",
        "window=nan,1",
        "window=1,inf",
        "window=a,b",
        "window=1_0,40",
        "window=%D9%A4,40",
        "window=1e999,40",
        "size=0",
        "size=9999999",
        "size=big",
        "voi=0",
        "voi=7000",
        "voi=1&window=1,2",
        "quality=1",
        "access_token=abc",
        "%ff=%fe",
    ],
)
async def test_absurd_parameters_are_refused(get, path, query):
    answer = await get(f"{path}?{query}", accept="image/png")
    assert answer.status == 422
    assert "abc" not in answer.detail


async def test_an_original_takes_no_parameters(get, path):
    assert (await get(f"{path}?frame=1")).status == 422


async def test_an_object_without_pixels_has_no_picture_and_says_so(service, get):
    content = Path(str(get_testdata_file("rtplan.dcm"))).read_bytes()
    path = (await service.upload(PATIENT, content)).headers["Location"]
    answer = await get(path, content_type="image/png")
    assert answer.status == 422
    assert answer.json()["code"] == "not-renderable"


# --- tags ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["00080060", "0008,0060", "(0008,0060)", "Modality", "%28%30%30%308%2C0060%29"])
async def test_a_tag_by_each_of_its_names(get, path, tag):
    answer = await get(f"{path}/tag/{tag}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    found = answer.json()
    assert Tag().validate(found) == {}
    assert (found["tag"], found["group_id"], found["element_id"]) == ("00080060", "0008", "0060")
    assert (found["keyword"], found["vr"], found["vm"], found["value"]) == ("Modality", "CS", 1, "CT")


async def test_a_private_tag_and_one_within_a_sequence(get, path):
    private = (await get(f"{path}/tag/GEMS_IDEN_01:0009xx04")).json()
    assert (private["tag"], private["value"]) == ("00091004", "HiSpeed CT/i")
    inner = (await get(f"{path}/tag/OtherPatientIDsSequence[1].PatientID")).json()
    assert inner["value"] == "1234ABCD"
    assert (await get(f"{path}/tag/00101002%5B1%5D.00100020")).json() == inner
    sequence = (await get(f"{path}/tag/00101002")).json()
    assert Tag().validate(sequence) == {}
    assert len(sequence["value"]) == 2


@pytest.mark.parametrize(
    "tag", ["0008", "nonsense", "0008006", "00080060x", "Modality[", "[0]", "%20", "a%2Fb", "%00", "..."]
)
async def test_a_word_that_is_no_tag_is_422(get, path, tag):
    assert (await get(f"{path}/tag/{tag}")).status == 422


@pytest.mark.parametrize("tag", ["00100010[0].00080060", "00189999", "PatientAddress", "NOBODY:0009xx04"])
async def test_a_tag_that_the_file_has_not_is_404(get, path, tag):
    assert (await get(f"{path}/tag/{tag}")).status == 404


async def test_all_tags_simplified(get, path):
    answer = await get(f"{path}/tags")
    assert answer.status == 200
    found = answer.json()
    assert Tag(many=True).validate(found) == {}
    assert [each["tag"] for each in found] == sorted(each["tag"] for each in found)
    assert {"00020010", "00080060", "7FE00010"} <= {each["tag"] for each in found}


@pytest.mark.parametrize("form", ["application/json", "application/dicom+json"])
async def test_large_lists_of_tags_are_compressed_for_who_takes_that(get, path, monkeypatch, form):
    plain = await get(f"{path}/tags", accept=form, accept_encoding="identity")
    small = await get(f"{path}/tags", accept=form, accept_encoding="gzip")
    monkeypatch.setattr("service.web.tags.GZIP_BYTES", len(plain.body))
    packed = await get(f"{path}/tags", accept=form, accept_encoding="br, gzip;q=0.5")
    refused = await get(f"{path}/tags", accept=form, accept_encoding="gzip;q=0")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) < len(plain.body) // 2
    for answer in (plain, small, refused):
        assert "Content-Encoding" not in answer.headers
        assert "Accept-Encoding" in answer.headers["Vary"]
    assert gzip.decompress(packed.body) == plain.body == small.body == refused.body


async def test_all_tags_as_dicom_json_whose_bulk_data_can_be_fetched(get, path, ct, service):
    answer = await get(f"{path}/tags", accept="application/dicom+json")
    assert answer.headers["Content-Type"] == "application/dicom+json"
    (dataset,) = answer.json()
    assert dataset["00080060"] == {"vr": "CS", "Value": ["CT"]}
    assert "00020010" not in dataset
    uri = dataset["7FE00010"]["BulkDataURI"]
    assert uri.startswith(service.url)
    bulk = await get(uri.removeprefix(service.url))
    assert (bulk.status, bulk.headers["Content-Type"]) == (200, "application/octet-stream")
    assert bulk.body == dcmread(io.BytesIO(ct)).PixelData
    head = await get(uri.removeprefix(service.url), method="HEAD")
    assert (head.body, head.headers["Content-Length"]) == (b"", str(len(bulk.body)))


async def test_links_behind_a_proxy_that_speaks_tls_are_https(get, path, service):
    headers = {"X-Forwarded-Proto": "https"}
    (dataset,) = (await get(f"{path}/tags", accept="application/dicom+json", **headers)).json()
    assert dataset["7FE00010"]["BulkDataURI"].startswith(service.url.replace("http:", "https:"))


async def test_bulk_data_that_is_none(get, path):
    assert (await get(f"{path}/bulkdata/Modality")).status == 404
    assert (await get(f"{path}/bulkdata/PatientAddress")).status == 404
    assert (await get(f"{path}/bulkdata/nonsense")).status == 422


async def test_tags_in_another_type_are_406(get, path):
    assert (await get(f"{path}/tags", accept="text/html")).status == 406
    assert (await get(f"{path}/tag/Modality", accept="image/png")).status == 406


@pytest.mark.parametrize("suffix", ["/tags", "/tag/Modality", "/bulkdata/PixelData"])
async def test_tags_take_no_parameters(get, path, suffix):
    assert (await get(f"{path}{suffix}?x=1")).status == 422


# --- what is not there ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", "/tags", "/tag/Modality", "/bulkdata/PixelData"])
async def test_an_unknown_id_and_another_patients_are_alike(service, path, suffix):
    known = path.rpartition("/")[2]
    other = str(next(service.patients))
    details = set()
    for dicom_id in (known, str(uuid.uuid4()), "x", "%00", known.upper()):
        answer = await service.ask("GET", f"/patient/{other}/dicom/{dicom_id}{suffix}", patient=other)
        assert answer.status == 404
        details.add(answer.detail)
    assert len(details) == 1


async def test_a_delete_leaves_nothing_and_is_404_the_second_time(service, patient, ct):
    path = (await service.upload(patient, ct)).headers["Location"]
    await service.ask("GET", path, patient=patient, headers={"Accept": "image/png"})
    answer = await service.ask("DELETE", path, patient=patient)
    assert (answer.status, answer.body) == (204, b"")
    assert (await service.ask("DELETE", path, patient=patient)).status == 404
    for suffix in ("", "/tags", "/tag/Modality"):
        assert (await service.ask("GET", path + suffix, patient=patient)).status == 404
    assert (await service.upload(patient, ct)).headers["Location"] == path


async def test_another_patients_delete_deletes_nothing(service, get, path, ct):
    other = str(next(service.patients))
    answer = await service.ask("DELETE", f"/patient/{other}/dicom/{path.rpartition('/')[2]}", patient=other)
    assert answer.status == 404
    assert (await get(path)).body == ct


async def test_a_file_that_an_import_brought_without_a_name_is_saved_under_its_id(service, patient, ct):
    path = (await service.upload(patient, ct)).headers["Location"]
    dicom_id = path.rpartition("/")[2]
    await service.store._database["instances"].update_one({"_id": dicom_id}, {"$set": {"file_name": None}})
    described = await service.ask("GET", path, patient=patient, headers={"Accept": "application/json"})
    assert InstanceSchema().validate(described.json()) == {}
    answer = await service.ask("GET", path, patient=patient, headers={"Accept": "application/dicom"})
    assert (answer.status, answer.body) == (200, ct)
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{dicom_id}.dcm"'


# --- when the database is away -------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["application/dicom", "application/json", "image/png"])
async def test_a_database_that_is_away_is_503(service, get, path, monkeypatch, accept):
    async def away(*_):
        raise DatabaseUnavailable("The database does not answer.", retry_after=3)

    monkeypatch.setattr(type(service.store.instances), "find", away)
    monkeypatch.setattr(type(service.store.renditions), "find", away)
    answer = await get(path, accept=accept)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "3")


async def test_a_database_that_goes_away_within_an_answer_cuts_it(service, path, ct, monkeypatch):
    """What arrived must not pass for the whole file."""
    original = await service.store.originals.open(
        Visible(PATIENT), (await service.store.instances.find(Visible(PATIENT), path.rpartition("/")[2]))["original_id"]
    )

    async def broken(*_):
        yield ct[:100]
        raise DatabaseUnavailable("gone")

    async def not_near(_):
        return None

    monkeypatch.setattr(service.context.near, "open", not_near)

    monkeypatch.setattr(type(original), "iter_range", broken)
    with pytest.raises(aiohttp.ClientPayloadError):
        await service.ask("GET", path, patient=PATIENT)


# --- file names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CT.dcm", 'attachment; filename="CT.dcm"'),
        ('a".dcm\r\nX: y', "attachment; filename=\"a_.dcm__X_ y\"; filename*=UTF-8''a%22.dcm%0D%0AX%3A%20y"),
        ("é;/\\.dcm", "attachment; filename=\"____.dcm\"; filename*=UTF-8''%C3%A9%3B%2F%5C.dcm"),
    ],
)
async def test_no_file_name_breaks_out_of_its_header(name, expected):
    assert content_disposition("attachment", name) == expected
