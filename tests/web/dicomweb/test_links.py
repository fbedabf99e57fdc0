"""Every link that an answer gives answers."""

import pydicom
import pytest

from tests.web.dicomweb.patient import numbered

UNREADABLE = {"SeriesNumber": b"3\xb5", "PatientSize": b"1\xb58 "}


def links(element, path=""):
    """Every BulkDataURI below an object of the DICOM JSON Model, with where it stands."""
    for tag, value in element.items():
        if "BulkDataURI" in value:
            yield f"{path}{tag}", value["BulkDataURI"]
        for item in value.get("Value", ()):
            if value["vr"] == "SQ":
                yield from links(item, f"{path}{tag}.")


def spoilt(content):
    """Make numbers of the study and the series such that no text of JSON holds them."""
    placed = numbered(content, 700, 1, PatientSize="1.68", SeriesNumber=12)
    for value, keyword in ((b"IS\x02\x0012", "SeriesNumber"), (b"DS\x04\x001.68", "PatientSize")):
        assert placed.count(value) == 1
        placed = placed.replace(value, value[:4] + UNREADABLE[keyword])
    return placed


@pytest.mark.parametrize("order", ["spoilt first", "spoilt last"])
def test_every_link_of_a_search_answers_with_what_the_file_has(patient, ct, order):
    files = [spoilt(ct), numbered(ct, 700, 2, PatientSize="1.68")]
    for content in files if order == "spoilt first" else files[::-1]:
        patient.upload(content)
    study = patient.get("/studies").json()[0]["0020000D"]["Value"][0]
    series = patient.get(f"/studies/{study}/series").json()[0]["0020000E"]["Value"][0]
    inside = f"/studies/{study}/series/{series}"
    followed = []
    for path in ("/studies", "/series", f"/studies/{study}/series", "/instances", f"{inside}/instances"):
        for query in ("", "?includefield=all", "?includefield=PatientSize,SeriesNumber"):
            answer = patient.get(path + query)
            assert answer.status_code == 200
            for found in answer.json():
                assert list(found) == sorted(found)
                for tag, uri in links(found):
                    value = patient.session.get(uri, timeout=60)
                    assert value.status_code == 200, (path, query, uri)
                    followed.append((tag, value.content))
    spoilt_values = {(tag, content) for tag, content in followed if tag in ("00200011", "00101020")}
    unreadable = {("00200011", UNREADABLE["SeriesNumber"]), ("00101020", UNREADABLE["PatientSize"].rstrip())}
    if order == "spoilt last":
        assert {tag for tag, _ in spoilt_values} == {tag for tag, _ in unreadable}
    for tag, content in spoilt_values:
        assert content.rstrip() == dict(unreadable)[tag]


@pytest.mark.parametrize(("written", "shown"), [("3,0", "3,0"), ("1A", "1A")])
def test_a_number_that_is_none_is_its_text_at_every_level(patient, ct, written, shown):
    placed = numbered(ct, 701, 1, SeriesNumber=123).replace(
        b"IS\x04\x00123 ", b"IS\x04\x00" + written.ljust(4).encode()
    )
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(placed))
    patient.upload(placed)
    inside = f"/studies/{dataset.StudyInstanceUID}/series"
    for path in ("/series", inside, "/instances", f"{inside}/{dataset.SeriesInstanceUID}/metadata"):
        assert patient.get(path).json()[0]["00200011"] == {"vr": "IS", "Value": [shown]}
