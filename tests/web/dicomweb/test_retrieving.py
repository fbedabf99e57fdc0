"""WADO-RS: what was stored comes back without a difference."""

import gzip
import io
import json
import zipfile

import numpy as np
import pydicom
import pytest
from PIL import Image

from tests.web.dicomweb.patient import FILES, content_of, numbered, video
from tests.web.dicomweb.retrieved import EXPLICIT, assert_same, parts_of, path, uids

# Some of the files have UIDs that pydicom warns of.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")

LOSSY = "JPEG2000.dcm"
MULTIPART = 'multipart/related; type="application/dicom"'


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "accept",
    [
        "multipart/related; type=application/dicom; transfer-syntax=*",
        'multipart/related;type="application/dicom";transfer-syntax="*"',
        "application/dicom; transfer-syntax=*",
    ],
)
def test_an_instance_as_it_is_stored_comes_back_byte_for_byte(stored, name, accept):
    answer = stored.get(path(stored.datasets[name]), headers={"Accept": accept})
    assert answer.status_code == 200
    if accept.startswith("application/dicom"):
        assert answer.content == stored.files[name]
        assert answer.headers["Content-Type"] == "application/dicom"
    else:
        assert [content for _, content in parts_of(answer)] == [stored.files[name]]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "accept",
    [None, "*/*", 'multipart/related; type="application/dicom"', "application/dicom", "application/zip"],
)
def test_where_no_transfer_syntax_is_named_it_is_explicit_vr_little_endian_unless_it_is_lossy(stored, name, accept):
    dataset = stored.datasets[name]
    answer = stored.get(path(dataset), headers={"Accept": accept})
    assert answer.status_code == 200
    if answer.headers["Content-Type"] == "application/zip":
        archive = zipfile.ZipFile(io.BytesIO(answer.content))
        (content,) = (archive.read(entry) for entry in archive.namelist())
    elif answer.headers["Content-Type"] == "application/dicom":
        content = answer.content
    else:
        ((headers, content),) = parts_of(answer)
        syntax = dataset.file_meta.TransferSyntaxUID if name == LOSSY else EXPLICIT
        assert headers["Content-Type"] == f"application/dicom; transfer-syntax={syntax}"
    if name == LOSSY or dataset.file_meta.TransferSyntaxUID == EXPLICIT:
        assert content == stored.files[name]
    else:
        assert_same(dataset, pydicom.dcmread(io.BytesIO(content)))


@pytest.mark.parametrize("name", FILES)
def test_every_instance_is_given_in_explicit_vr_little_endian_where_that_is_named(stored, name):
    dataset = stored.datasets[name]
    for accept in (f"application/dicom; transfer-syntax={EXPLICIT}", f'{MULTIPART}; transfer-syntax="{EXPLICIT}"'):
        answer = stored.get(path(dataset), headers={"Accept": accept})
        assert answer.status_code == 200
        content = answer.content if accept.startswith("application") else parts_of(answer)[0][1]
        assert_same(dataset, pydicom.dcmread(io.BytesIO(content)))


def test_nobody_gets_implicit_vr_or_big_endian_by_its_name(stored):
    for name in ("MR_small_bigendian.dcm", "rtplan.dcm"):
        dataset = stored.datasets[name]
        accept = f"application/dicom; transfer-syntax={dataset.file_meta.TransferSyntaxUID}"
        refused = stored.get(path(dataset), headers={"Accept": accept})
        assert refused.status_code == 406
        assert EXPLICIT in refused.json()["detail"]


def test_each_form_has_its_own_entity_tag_and_ranges(stored):
    dataset = stored.datasets["SC_rgb_rle_2frame.dcm"]
    forms = {}
    for syntax in ("*", EXPLICIT):
        accept = {"Accept": f"application/dicom; transfer-syntax={syntax}"}
        whole = stored.get(path(dataset), headers=accept)
        forms[whole.headers["ETag"]] = whole.content
        assert whole.headers["Accept-Ranges"] == "bytes"
        for start, stop in ((0, 132), (1000, len(whole.content) - 7), (len(whole.content) - 5, len(whole.content))):
            part = stored.get(path(dataset), headers={**accept, "Range": f"bytes={start}-{stop - 1}"})
            assert part.status_code == 206
            assert part.content == whole.content[start:stop]
            assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(whole.content)}"
            assert part.headers["ETag"] == whole.headers["ETag"]
        same = stored.get(path(dataset), headers={**accept, "If-None-Match": whole.headers["ETag"]})
        assert (same.status_code, same.content) == (304, b"")
        beyond = stored.get(path(dataset), headers={**accept, "Range": "bytes=9999999-"})
        assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(whole.content)}")
        head = stored.session.head(f"{stored.root}{path(dataset)}", headers=accept, timeout=30)
        assert head.headers["Content-Length"] == str(len(whole.content))
    assert len(forms) == 2
    assert stored.files["SC_rgb_rle_2frame.dcm"] in forms.values()
    other = next(tag for tag, content in forms.items() if content == stored.files["SC_rgb_rle_2frame.dcm"])
    accept = f"application/dicom; transfer-syntax={EXPLICIT}"
    assert stored.get(path(dataset), headers={"Accept": accept, "If-None-Match": other}).status_code == 200


def test_the_native_route_gives_the_uploaded_bytes_whatever_their_transfer_syntax(patient):
    for name in FILES:
        content = content_of(name)
        there = f"/patient/{patient.name}/dicom/{patient.upload(content)}"
        for accept in ("application/dicom", "*/*", f"application/dicom; transfer-syntax={EXPLICIT}"):
            status, _, body = patient.service.request("GET", there, patient=patient.name, accept=accept)
            assert (status, body) == (200, content)


def test_what_cannot_be_decoded_comes_as_it_is_stored_or_is_refused_and_no_answer_is_cut(patient, ct):
    broken = pydicom.dcmread(io.BytesIO(content_of("SC_rgb_rle_2frame.dcm")))
    frames = list(pydicom.encaps.generate_frames(broken.PixelData, number_of_frames=2))
    broken.PixelData = pydicom.encaps.encapsulate([frames[0], frames[1][:70]])
    target = io.BytesIO()
    broken.save_as(target)
    good, bad = numbered(content_of("SC_rgb_rle.dcm"), 1, 1), numbered(target.getvalue(), 1, 2)
    for content in (good, bad, numbered(ct, 1, 3)):
        patient.upload(content)
    study = "/studies/1.2.826.0.1.3680043.9.1.0"
    alone = f"{study}/series/1.2.826.0.1.3680043.9.2.1/instances/1.2.826.0.1.3680043.9.3.1.2"
    for accept in (None, f'{MULTIPART}; transfer-syntax="{EXPLICIT}"'):
        parts = parts_of(patient.get(study, headers={"Accept": accept}))
        rle = "1.2.840.10008.1.2.5"
        assert [headers["Content-Type"].partition("=")[2] for headers, _ in parts] == [EXPLICIT, rle, EXPLICIT]
        assert parts[1][1] == bad
        assert parts[0][1] != good
    assert patient.get(alone, headers={"Accept": "application/dicom"}).content == bad
    refused = patient.get(alone, headers={"Accept": f"application/dicom; transfer-syntax={EXPLICIT}"})
    assert refused.status_code == 406
    assert "Frame 2" in refused.json()["detail"]


def test_what_has_no_such_form_is_left_out_and_the_rest_is_206(patient, ct):
    still = patient.upload(numbered(ct, 1, 1))
    assert still
    patient.upload(numbered(video(), 1, 2))
    series = "/studies/1.2.826.0.1.3680043.9.1.0/series/1.2.826.0.1.3680043.9.2.1"
    answer = patient.get(series, headers={"Accept": f'{MULTIPART}; transfer-syntax="{EXPLICIT}"'})
    assert answer.status_code == 206
    assert [content for _, content in parts_of(answer)] == [numbered(ct, 1, 1)]
    whole = patient.get(series)
    assert whole.status_code == 200
    assert [content for _, content in parts_of(whole)] == [numbered(ct, 1, 1), numbered(video(), 1, 2)]
    clip = patient.get(
        f"{series}/instances/1.2.826.0.1.3680043.9.3.1.2",
        headers={"Accept": f"application/dicom; transfer-syntax={EXPLICIT}"},
    )
    assert clip.status_code == 406


def test_dicomweb_client_reads_each_instance_as_pydicom_reads_the_file(stored):
    for name in FILES:
        assert_same(stored.datasets[name], stored.client.retrieve_instance(*uids(stored.datasets[name])))
        got = stored.client.retrieve_instance(*uids(stored.datasets[name]), media_types=(("application/dicom", "*"),))
        assert got == stored.datasets[name], name


def test_a_study_and_a_series_come_back_whole(library):
    for depth, expected in ((1, 6), (2, 3)):
        answer = library.get(
            "/studies/1.2.826.0.1.3680043.9.1.1" + ("/series/1.2.826.0.1.3680043.9.2.100" if depth == 2 else "")
        )
        assert len(parts_of(answer)) == expected
    study = library.client.retrieve_study("1.2.826.0.1.3680043.9.1.1")
    assert {dataset.SOPInstanceUID for dataset in study} == {
        f"1.2.826.0.1.3680043.9.3.{series}.{instance}" for series in (100, 101) for instance in (1, 2, 3)
    }
    assert len(list(library.client.iter_series("1.2.826.0.1.3680043.9.1.1", "1.2.826.0.1.3680043.9.2.100"))) == 3


def test_a_study_comes_as_a_zip_that_any_reader_opens(library):
    answer = library.get("/studies/1.2.826.0.1.3680043.9.1.2", headers={"Accept": "application/zip"})
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    assert len(archive.namelist()) == 6
    got = {pydicom.dcmread(io.BytesIO(archive.read(name))).SOPInstanceUID for name in archive.namelist()}
    assert len(got) == 6
    parts = library.get("/studies/1.2.826.0.1.3680043.9.1.2")
    assert {archive.read(name) for name in archive.namelist()} == {content for _, content in parts_of(parts)}


def test_what_cannot_be_given_is_406_with_what_there_is(stored):
    ct = stored.datasets["CT_small.dcm"]
    for accept in (
        "image/gif",
        'multipart/related; type="application/dicom+xml"',
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.90',
    ):
        answer = stored.get(path(ct), headers={"Accept": accept})
        assert answer.status_code == 406
        assert 'type="application/dicom"' in answer.json()["detail"]
    assert stored.get(path(ct, 1), headers={"Accept": "application/dicom"}).status_code == 406
    stored_syntax = f'multipart/related; type="application/dicom"; transfer-syntax={ct.file_meta.TransferSyntaxUID}'
    assert stored.get(path(ct), headers={"Accept": stored_syntax}).status_code == 200


def test_the_newest_of_several_with_the_same_uids_is_shown(patient, ct):
    first, second = (numbered(ct, 1, 1, ImageComments=text) for text in ("first", "second"))
    ids = [patient.upload(first), patient.upload(second)]
    uid = [f"1.2.826.0.1.3680043.9.{n}" for n in ("1.0", "2.1", "3.1.1")]
    assert patient.client.retrieve_instance(*uid).ImageComments == "second"
    assert len(patient.client.search_for_instances()) == 1
    status, _, body = patient.service.request("GET", f"/patient/{patient.name}/dicom/{ids[0]}", patient=patient.name)
    assert (status, body) == (200, first)
    assert patient.service.request("DELETE", f"/patient/{patient.name}/dicom/{ids[1]}", patient=patient.name)[0] == 204
    assert patient.client.retrieve_instance(*uid).ImageComments == "first"


@pytest.mark.usefixtures("library")
def test_what_is_not_there_is_404(stored):
    ct = stored.datasets["CT_small.dcm"]
    study, series, instance = uids(ct)
    for there in (
        "/studies/1.2.3",
        f"/studies/{study}/series/1.2.3",
        f"/studies/{study}/series/{series}/instances/1.2.3",
        f"/studies/1.2.3/series/{series}/instances/{instance}",
        "/studies/1.2.3/metadata",
        f"/studies/{study}/series/{series}/instances/1.2.3/frames/1",
        f"{path(ct)}/frames/2",
        f"{path(ct)}/frames/1,2",
        f"{path(ct)}/frames/1,2/rendered",
        f"{path(ct)}/bulkdata/Modality",
        f"{path(stored.datasets['rtplan.dcm'])}/frames/1",
        # of another patient
        "/studies/1.2.826.0.1.3680043.9.1.1",
    ):
        assert stored.get(there).status_code == 404, there


@pytest.mark.parametrize("name", FILES)
def test_metadata_is_what_the_file_says_and_its_bulk_data_answers(stored, name):
    dataset = stored.datasets[name]
    json_dataset = stored.client.retrieve_instance_metadata(*uids(dataset))
    got = pydicom.Dataset.from_json(json_dataset, bulk_data_uri_handler=lambda *_: b"")  # read below
    for element in dataset:
        if element.VR in ("SQ", "OB", "OW", "OB or OW", "UN", "OF", "OD") or element.tag == 0x00080005:
            continue
        assert got[element.tag].value == element.value, element.tag
    for tag, element in json_dataset.items():
        if "BulkDataURI" in element:
            answer = stored.session.get(element["BulkDataURI"], timeout=30)
            assert answer.status_code == 200
            by_client = stored.client.retrieve_bulkdata(element["BulkDataURI"])
            if tag == "7FE00010" and dataset.file_meta.TransferSyntaxUID.is_compressed:
                assert list(by_client) == [content for _, content in parts_of(answer)]
                continue
            assert list(by_client) == [answer.content]
            if tag == "7FE00010":
                pixels = dataset.PixelData
                if not dataset.file_meta.TransferSyntaxUID.is_little_endian:
                    pixels = np.frombuffer(pixels, f">u{dataset.BitsAllocated // 8}").byteswap().tobytes()
                assert answer.content == pixels


def test_metadata_of_three_levels_and_compressed_when_asked(library):
    study = "/studies/1.2.826.0.1.3680043.9.1.1"
    series = f"{study}/series/1.2.826.0.1.3680043.9.2.101"
    for there, count in ((study, 6), (series, 3), (f"{series}/instances/1.2.826.0.1.3680043.9.3.101.2", 1)):
        plain = library.get(f"{there}/metadata", headers={"Accept-Encoding": "identity"})
        assert plain.headers["Content-Type"] == "application/dicom+json"
        assert len(plain.json()) == count
        assert "Content-Encoding" not in plain.headers
        packed = library.get(f"{there}/metadata", headers={"Accept-Encoding": "gzip"}, stream=True)
        assert packed.headers["Content-Encoding"] == "gzip"
        raw = packed.raw.read()
        assert len(raw) < len(plain.content)
        assert json.loads(gzip.decompress(raw)) == plain.json()
    refused = library.get(f"{study}/metadata", headers={"Accept": 'multipart/related; type="application/dicom+xml"'})
    assert refused.status_code == 406
    assert "application/dicom+json" in refused.json()["detail"]


def test_native_frames_are_the_files_own_bytes(stored):
    ct = stored.datasets["CT_small.dcm"]
    for accept in (None, "*/*", "multipart/related; type=application/octet-stream; transfer-syntax=*"):
        ((headers, content),) = parts_of(stored.get(f"{path(ct)}/frames/1", headers={"Accept": accept}))
        assert content == ct.PixelData
        assert headers["Content-Type"] == "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
    single = stored.get(f"{path(ct)}/frames/1", headers={"Accept": "application/octet-stream"})
    assert single.content == ct.PixelData
    assert list(stored.client.retrieve_instance_frames(*uids(ct), frame_numbers=[1])) == [ct.PixelData]


@pytest.mark.parametrize("name", ["SC_rgb_rle_2frame.dcm", "JPEG2000.dcm", "rtdose_rle.dcm"])
def test_compressed_frames_come_as_they_are_stored_or_decoded(stored, name):
    dataset = stored.datasets[name]
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    count = int(dataset.get("NumberOfFrames", 1))
    fragments = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=count))
    numbers = [1, count] if count > 1 else [1]
    listed = ",".join(map(str, numbers))
    kind = "image/dicom-rle" if syntax.endswith(".5") else "image/jp2"
    for accept, expected in (
        (None, "application/octet-stream"),
        ("multipart/related; type=application/octet-stream; transfer-syntax=*", "application/octet-stream"),
        (f'multipart/related; type="{kind}"', kind),
        (f'multipart/related; type="{kind}"; transfer-syntax={syntax}', kind),
    ):
        parts = parts_of(stored.get(f"{path(dataset)}/frames/{listed}", headers={"Accept": accept}))
        assert [headers["Content-Type"] for headers, _ in parts] == [f"{expected}; transfer-syntax={syntax}"] * len(
            numbers
        )
        assert [content for _, content in parts] == [fragments[number - 1] for number in numbers]
    refused = stored.get(f"{path(dataset)}/frames/1", headers={"Accept": 'multipart/related; type="image/jls"'})
    assert refused.status_code == 406
    assert kind in refused.json()["detail"]
    by_client = stored.client.retrieve_instance_frames(*uids(dataset), frame_numbers=numbers)
    assert list(by_client) == [fragments[number - 1] for number in numbers]
    octets = (("application/octet-stream", "1.2.840.10008.1.2.1"),)
    decoded = stored.client.retrieve_instance_frames(*uids(dataset), frame_numbers=numbers, media_types=octets)
    pixels = dataset.pixel_array.reshape(count, -1)
    for number, frame in zip(numbers, decoded, strict=True):
        assert frame == pixels[number - 1].tobytes()


@pytest.mark.parametrize("name", ["SC_rgb_rle_2frame.dcm", "JPEG2000.dcm", "rtdose_rle.dcm"])
def test_compressed_pixel_data_as_bulk_data_is_its_frames(stored, name):
    dataset = stored.datasets[name]
    syntax, count = dataset.file_meta.TransferSyntaxUID, int(dataset.get("NumberOfFrames", 1))
    there = f"{path(dataset)}/bulkdata/7FE00010"
    for accept in (None, "*/*", "multipart/related; type=application/octet-stream; transfer-syntax=*"):
        parts = parts_of(stored.get(there, headers={"Accept": accept}))
        assert {headers["Content-Type"] for headers, _ in parts} == {
            f"application/octet-stream; transfer-syntax={syntax}"
        }
        assert [content for _, content in parts] == list(
            pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=count)
        )
    decoded = stored.get(there, headers={"Accept": "application/octet-stream"})
    assert decoded.headers["Content-Type"] == "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
    assert decoded.content == dataset.pixel_array.tobytes()
    parts = parts_of(stored.get(there, headers={"Accept": 'multipart/related; type="application/octet-stream"'}))
    assert b"".join(content for _, content in parts) == decoded.content
    assert stored.get(there, headers={"Accept": "image/gif"}).status_code == 406


@pytest.mark.parametrize("frames", ["0", "1,", "x", "1-2", "-1", "1,0", "1%2C1x", "%D9%A1"])
def test_a_list_that_is_none_is_a_bad_request(stored, frames):
    assert stored.get(f"{path(stored.datasets['CT_small.dcm'])}/frames/{frames}").status_code == 400


def test_pictures_of_instances_frames_and_series(stored, library):
    ct, frames = stored.datasets["CT_small.dcm"], stored.datasets["SC_rgb_rle_2frame.dcm"]
    for accept, form in ((None, "JPEG"), ("image/png", "PNG"), ("image/jpeg, image/png;q=0.5", "JPEG")):
        picture = Image.open(io.BytesIO(stored.get(f"{path(ct)}/rendered", headers={"Accept": accept}).content))
        assert (picture.format, picture.size) == (form, (128, 128))
    client = stored.client.retrieve_instance_rendered(*uids(ct), media_types=("image/png",))
    assert Image.open(io.BytesIO(client)).size == (128, 128)
    frame = stored.client.retrieve_instance_frames_rendered(
        *uids(frames), frame_numbers=[2], media_types=("image/png",)
    )
    assert Image.open(io.BytesIO(frame)).size == (frames.Columns, frames.Rows)
    several = stored.get(
        f"{path(frames)}/frames/1,2/rendered", headers={"Accept": 'multipart/related; type="image/png"'}
    )
    assert [Image.open(io.BytesIO(content)).format for _, content in parts_of(several)] == ["PNG", "PNG"]
    series = "/studies/1.2.826.0.1.3680043.9.1.1/series/1.2.826.0.1.3680043.9.2.100"
    assert Image.open(io.BytesIO(library.get(f"{series}/rendered").content)).size == (128, 128)
    for there in ("/studies/1.2.826.0.1.3680043.9.1.1", series, f"{series}/instances/1.2.826.0.1.3680043.9.3.100.1"):
        thumbnail = Image.open(io.BytesIO(library.get(f"{there}/thumbnail").content))
        assert max(thumbnail.size) <= 128
    assert stored.get(f"{path(frames)}/frames/2/thumbnail").status_code == 200
    assert stored.get(f"{path(stored.datasets['rtplan.dcm'])}/rendered").status_code == 406


def test_window_viewport_and_quality_shape_a_picture(stored):
    ct = path(stored.datasets["CT_small.dcm"])

    def ask(**parameters):
        return stored.get(f"{ct}/rendered", params=parameters, headers={"Accept": "image/png"})

    plain, narrow = ask(window="40,400,linear"), ask(window="40,40,linear")
    assert plain.status_code == narrow.status_code == 200
    assert plain.content != narrow.content
    assert ask(window="40,400,sigmoid").content != plain.content
    assert ask(window="40,400,linear-exact").status_code == 200
    assert Image.open(io.BytesIO(ask(viewport="64,32").content)).size == (32, 32)
    whole = np.asarray(Image.open(io.BytesIO(ask().content)))
    for region, part in (
        ("20,10,10,20,20,10", whole[20:30, 10:30]),
        ("20,10,10,20,-20,10", whole[20:30, 10:30][:, ::-1]),
        ("128,8,,120", whole[120:]),
        ("128,8,,120,,500", whole[120:]),
        ("128,128,-1000,0,1128,-128", whole[::-1]),
    ):
        picture = Image.open(io.BytesIO(ask(viewport=region).content))
        assert np.array_equal(np.asarray(picture), part), region
    assert Image.open(io.BytesIO(ask(viewport="50,50,10,20,20,10").content)).size == (50, 25)
    jpeg = [stored.get(f"{ct}/rendered?quality={quality}").content for quality in (5, 95)]
    assert len(jpeg[0]) < len(jpeg[1])
    for bad in (
        {"window": "40"}, {"window": "40,0,linear"}, {"window": "40,400,cubic"}, {"window": "a,b,linear"},
        {"viewport": "0,1"}, {"viewport": "1"}, {"viewport": "1,2,3,4,5,6,7"}, {"viewport": "9,9,a"},
        {"viewport": "9,9,128,0"}, {"viewport": "9,9,0,0,0,5"}, {"quality": "0"}, {"quality": "101"},
        {"quality": "x"}, {"annotation": "patient"},
    ):  # fmt: skip
        assert ask(**bad).status_code == 400, bad
    assert stored.get(f"{ct}/rendered", headers={"Accept": "image/gif"}).status_code == 406
