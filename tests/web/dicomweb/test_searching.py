"""QIDO-RS: with every kind of filter, at every level."""

import datetime
import json

import pytest
import requests
from dicomtrolley.core import Query, QueryLevels
from dicomtrolley.qido_rs import HierarchicalQuery, QidoRS
from dicomtrolley.trolley import Trolley
from dicomtrolley.wado_rs import WadoRS
from pydicom.dataset import Dataset

from tests.web.dicomweb.patient import ORIGIN, Patient, numbered

FIRST, SECOND = "1.2.826.0.1.3680043.9.1.1", "1.2.826.0.1.3680043.9.1.2"
PT = "1.2.826.0.1.3680043.9.2.101"


def studies(patient, query):
    answer = patient.get(f"/studies?{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/dicom+json"
    return {dataset["0020000D"]["Value"][0].rsplit(".", 1)[1] for dataset in answer.json()}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "12"),
        (f"StudyInstanceUID={FIRST}", "1"),
        (f"0020000D={FIRST},{SECOND}", "12"),
        (f"StudyInstanceUID={FIRST}%5C{SECOND}", "12"),
        ("StudyInstanceUID=1.2.3", ""),
        ("StudyDate=20240115", "1"),
        ("StudyDate=20240101-20240201", "1"),
        ("StudyDate=20240116-", "2"),
        ("StudyDate=-20240115", "1"),
        ("StudyTime=1000-1100", "1"),
        ("StudyTime=22", "2"),
        ("StudyTime=-1015", "1"),
        ("AccessionNumber=A1", "1"),
        ("00080050=A?", "12"),
        ("PatientName=M*", "12"),
        ("PatientName=m%C3%BCller^%C3%84nne", "1"),
        ("PatientName=M?ller^*", "12"),
        ("PatientName=Muller", ""),
        ("PatientName=muller&fuzzymatching=true", "1"),
        ("PatientName=*ULLE*&fuzzymatching=true", "1"),
        ("PatientName=m?ll*&fuzzymatching=true", "12"),
        ("PatientName=*lle&fuzzymatching=true", "12"),
        ("PatientName=ann mil&fuzzymatching=true", "2"),
        ("ModalitiesInStudy=PT", "12"),
        ("ModalitiesInStudy=MR", ""),
        ("ModalitiesInStudy=MR%5CPT&multiplevaluematching=true", "12"),
        ("ModalitiesInStudy=MR,CT&multiplevaluematching=true", "12"),
        ("ModalitiesInStudy=CT%2CMR", "12"),  # as OHIF sends it
        ("ModalitiesInStudy=CT%5CMR", "12"),
        ("AccessionNumber=A1%5CA2&multiplevaluematching=true", "12"),
        ('StudyDescription=""&emptyvaluematching=true', "1"),
        ('StudyDescription=""', ""),
        ("StudyDescription=Thorax", "2"),
        ("StudyDescription=", "12"),
        ("StudyDescription=*", "12"),
        ("Modality=PT&SeriesNumber=101", "1"),
        ("SeriesNumber=201", "2"),
        ("SOPInstanceUID=1.2.826.0.1.3680043.9.3.201.2", "2"),
        ("SOPClassUID=1.2.840.10008.5.1.4.1.1.2", "12"),
        ("SliceThickness=5", "12"),
        ("SliceThickness=5.0&InstanceNumber=2&StudyDate=20240320", "2"),
        ("SliceThickness=4", ""),
        ("InstanceNumber=1%5C7&multiplevaluematching=true", "12"),
        ("StudyDate=20240114-20240116&StudyTime=1000-1020", "1"),
        ("StudyDate=20240115-20240320&StudyTime=1016-2200", "2"),  # one range of moments
        ("StudyTime=10%5C22&multiplevaluematching=true", "12"),
        ("OtherPatientIDsSequence.PatientID=ABCD1234&OtherPatientIDsSequence.TypeOfPatientID=TEXT", "12"),
        ("OtherPatientIDsSequence.PatientID=ABCD1234&OtherPatientIDsSequence.TypeOfPatientID=RFID", ""),
        ("StudyDescription=!", ""),  # a text as any other here
        ("SpecificCharacterSet=ISO_IR 100", "12"),  # is never matched
        ("NumberOfStudyRelatedInstances=6&NumberOfStudyRelatedSeries=2", "12"),
        ("NumberOfSeriesRelatedInstances=6", ""),
        ("InstanceAvailability=ONLINE", "12"),
        ('SeriesDate=""&emptyvaluematching=true', ""),
        ('RequestingPhysician=""&emptyvaluematching=true', "12"),  # what is not there has no value either
        ("GEMS_IDEN_01:0009xx01=GE_GENESIS_FF", "12"),
        ("StudyDate=20240115&AccessionNumber=A2", ""),
    ],
)
def test_studies_that_match(library, query, expected):
    assert studies(library, query) == set(expected)


@pytest.mark.parametrize(
    "query",
    [
        "NoSuchKeyword=1", "limit=x", "limit=-1", "offset=1.5", "limit=1&limit=2", "fuzzymatching=yes",
        "SeriesNumber=abc", "InstanceNumber=1..2", "SliceThickness=1%5Cx&multiplevaluematching=true",
        "StudyInstanceUID=1.2.826.*", "AccessionNumber=A1%5CA2", "SeriesInstanceUID=,",
        "StudyDate=2024", "StudyDate=-", "includefield=NoSuchKeyword", "StudyDate=" + "1" * 2000,
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_a_bad_request(library, query):
    for level in ("studies", "series", "instances"):
        answer = library.get(f"/{level}?{query}")
        assert answer.status_code == 400
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_study_says_what_the_standard_asks_for(library):
    (study,) = library.client.search_for_studies(search_filters={"StudyInstanceUID": FIRST})
    values = {tag: element.get("Value") for tag, element in study.items()}
    assert values["00201206"] == [2]
    assert values["00201208"] == [6]
    assert values["00080061"] == ["CT", "PT"]
    assert values["00080056"] == ["ONLINE"]
    assert values["00081190"] == [f"{library.root}/studies/{FIRST}"]
    assert values["00100010"] == [{"Alphabetic": "Müller^Änne"}]
    assert {"00080020", "00080030", "00080050", "00080090", "00100020", "00100030", "00100040", "00200010"} <= set(
        values
    )
    assert list(study) == sorted(study)
    # counts are of the study, not of what matched
    (study,) = library.get(f"/studies?SeriesInstanceUID={PT}").json()
    assert study["00201206"]["Value"] == [2]


def test_series_and_instances_at_every_level(library):
    assert len(library.client.search_for_series()) == 4
    series = library.client.search_for_series(FIRST, search_filters={"Modality": "PT"})
    assert [each["0020000E"]["Value"] for each in series] == [[PT]]
    assert series[0]["00201209"]["Value"] == [3]
    assert series[0]["00081190"]["Value"] == [f"{library.root}/studies/{FIRST}/series/{PT}"]
    assert "00080020" not in series[0]
    assert library.get("/series").json()[0]["00080020"]["Value"] == ["20240320"]  # with the study's where none is named
    assert len(library.client.search_for_instances()) == 12
    assert len(library.client.search_for_instances(FIRST)) == 6
    instances = library.client.search_for_instances(FIRST, PT, search_filters={"InstanceNumber": 2})
    (instance,) = instances
    assert instance["00080018"]["Value"] == ["1.2.826.0.1.3680043.9.3.101.2"]
    assert instance["00280010"]["Value"] == [128]
    assert instance["00083002"]["Value"] == ["1.2.840.10008.1.2.1"]
    assert instance["00081190"]["Value"][0].endswith(f"/series/{PT}/instances/1.2.826.0.1.3680043.9.3.101.2")
    assert library.get(instance["00081190"]["Value"][0].removeprefix(library.root)).status_code == 200
    assert library.get("/studies/1.2.3/series").json() == []


def test_fields_are_included_when_asked_for(library):
    path = f"/studies/{FIRST}/series/{PT}/instances"

    def tags(query):
        return set(library.get(f"{path}?{query}").json()[0])

    assert "00180050" not in tags("")
    assert {"00180050", "00080070"} <= tags("includefield=SliceThickness&includefield=00080070")
    assert {"00180050", "00080070"} <= tags("includefield=SliceThickness,Manufacturer")
    assert {"00091001", "00180050", "7FE00010"} <= tags("includefield=all")
    assert "00081010" in set(library.get("/series?includefield=StationName").json()[0])
    assert "00081030" in set(library.get("/studies?includefield=StudyDescription").json()[0])
    assert "00180050" in tags("SliceThickness=5")  # what is matched is returned too
    assert "00180050" in tags("SliceThickness=")
    of_series = set(library.get(f"/studies/{FIRST}/series?includefield=all").json()[0])
    assert "00200052" in of_series
    assert "00081030" not in of_series
    assert "00081030" in set(library.get(f"/studies/{FIRST}/series?includefield=StudyDescription").json()[0])
    # of the levels below a study or series has none of its own
    assert "00080070" not in set(library.get("/studies?includefield=Manufacturer").json()[0])
    assert "00180050" not in set(library.get("/series?includefield=SliceThickness").json()[0])


@pytest.mark.parametrize(
    "query",
    [
        "Modality=PT", "StudyDate=20240101-20240201", "PatientName=m*", "PatientName=ann&fuzzymatching=true",
        "InstanceNumber=2", "SliceThickness=5", "GEMS_IDEN_01:0009xx01=GE*", "StudyTime=22", "Modality=P?",
        "OtherPatientIDsSequence.PatientID=ABCD1234&OtherPatientIDsSequence.TypeOfPatientID=TEXT",
        "OtherPatientIDsSequence.PatientID=ABCD1234&OtherPatientIDsSequence.TypeOfPatientID=RFID",
        "SeriesInstanceUID=1.2.826.0.1.3680043.9.2.101,1.2.826.0.1.3680043.9.2.200",
        'StudyDescription=""&emptyvaluematching=true', "Modality=PT%5CMR&multiplevaluematching=true",
        "StudyDate=20240115-20240320&StudyTime=1016-2200", "AcquisitionNumber=1&Rows=128",
    ],
)  # fmt: skip
def test_instances_are_those_that_the_other_search_finds(library, query):
    status, _, body = library.service.request("GET", f"/patient/{library.name}/dicom?{query}", patient=library.name)
    assert status == 200
    expected = {hit["sop_instance_uid"] for hit in json.loads(body)["instances"]}
    assert {each["00080018"]["Value"][0] for each in library.get(f"/instances?{query}").json()} == expected


@pytest.mark.parametrize("level", ["studies", "series", "instances"])
def test_a_private_element_comes_with_its_creator(library, level):
    for name in ("GEMS_IDEN_01:0009xx01", "00091001"):
        found = library.get(f"/{level}?includefield={name}").json()[0]
        assert found["00091001"]["Value"] == ["GE_GENESIS_FF"]
        assert found["00090010"]["Value"] == ["GEMS_IDEN_01"]
    assert "00091001" in library.get(f"/{level}?GEMS_IDEN_01:0009xx01=GE*").json()[0]


def test_what_stands_above_is_said_with_all_series_and_all_instances(library):
    counts = {"00201206": 2, "00201208": 6, "00201209": 3}
    for path, told in (("/series", counts), ("/instances", counts), (f"/studies/{FIRST}/instances", ["00201209"])):
        found = library.get(path).json()[0]
        assert {tag: found[tag]["Value"][0] for tag in counts if tag in found} == {tag: counts[tag] for tag in told}
        assert ("00080061" in found) is (len(told) == 3)
    # of a series not only what matched
    assert library.get("/instances?InstanceNumber=2").json()[0]["00201209"]["Value"] == [3]


def test_pages_hold_every_result_once(library):
    first = library.get("/instances?limit=5")
    assert len(first.json()) == 5
    assert first.headers["Warning"].startswith("299 ")
    assert "Warning" not in library.get("/instances?limit=12").headers
    assert library.get("/instances?offset=12").json() == []
    assert library.get("/studies?limit=1&offset=1").json()[0]["0020000D"]["Value"] == [FIRST]
    remaining = library.client.search_for_instances(limit=5, get_remaining=True)
    uids = [each["00080018"]["Value"][0] for each in remaining]
    assert len(uids) == len(set(uids)) == 12


def test_conditions_that_share_a_sequence_hold_in_one_item(patient, ct):
    import pydicom

    items = []
    for step, requested in (("S1", "R1"), ("S2", "R2")):
        item = pydicom.Dataset()
        item.ScheduledProcedureStepID, item.RequestedProcedureID = step, requested
        items.append(item)
    patient.upload(numbered(ct, 1, 1, RequestAttributesSequence=items))
    both = "RequestAttributesSequence.ScheduledProcedureStepID={}&RequestAttributesSequence.00401001={}"
    assert len(patient.get(f"/series?{both.format('S1', 'R1')}").json()) == 1
    assert len(patient.get(f"/series?{both.format('S1', 'R2')}").json()) == 0


def test_what_has_no_uids_does_not_appear(patient, ct):
    import pydicom

    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(ct))
    del dataset.StudyInstanceUID
    target = pydicom.filebase.DicomBytesIO()
    dataset.save_as(target)
    patient.upload(target.getvalue())
    for level in ("studies", "series", "instances"):
        assert patient.get(f"/{level}").json() == []


def test_a_deleted_study_is_gone(patient, ct):
    ids = [patient.upload(numbered(ct, 1, number)) for number in (1, 2)]
    for left, dicom_id in ((1, ids[1]), (0, ids[0])):
        patient.service.request("DELETE", f"/patient/{patient.name}/dicom/{dicom_id}", patient=patient.name)
        found = patient.get("/studies").json()
        assert [each["00201208"]["Value"] for each in found] == ([[left]] if left else [])
    assert patient.get("/instances").json() == []


def test_dicomtrolley_finds_and_downloads_a_study(library, tmp_path):
    session = library.session
    trolley = Trolley(
        searcher=QidoRS(session=session, url=library.root),
        downloader=WadoRS(session=session, url=library.root),
    )
    found = trolley.find_studies(
        HierarchicalQuery(
            min_study_date=datetime.datetime(2024, 3, 1), max_study_date=datetime.datetime(2024, 4, 1),  # noqa: DTZ001
            query_level=QueryLevels.STUDY,
        )
    )  # fmt: skip
    assert [study.uid for study in found] == [SECOND]
    named = trolley.find_studies(Query(PatientName="Miller*", query_level=QueryLevels.INSTANCE))
    assert len(named) == 1
    assert len([instance for series in named[0].series for instance in series.instances]) == 6
    trolley.download(named[0], tmp_path)
    assert len([each for each in tmp_path.rglob("*") if each.is_file()]) == 6


def test_pages_of_a_configured_origin_may_ask_and_others_not(library):
    url = f"{library.root}/studies"
    ask = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "access-token"}
    allowed = requests.options(url, headers={"Origin": ORIGIN, **ask}, timeout=10)
    assert allowed.status_code == 204
    assert allowed.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "access-token" in allowed.headers["Access-Control-Allow-Headers"].lower()
    assert "Access-Control-Allow-Credentials" not in allowed.headers
    refused = requests.options(url, headers={"Origin": "https://other.example", **ask}, timeout=10)
    assert refused.status_code in (401, 405)
    assert "Access-Control-Allow-Origin" not in refused.headers
    answer = library.get("/studies", headers={"Origin": ORIGIN})
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Warning" in answer.headers["Access-Control-Expose-Headers"]
    assert "Origin" in answer.headers["Vary"]
    assert (
        "Access-Control-Allow-Origin"
        not in library.get("/studies", headers={"Origin": "https://other.example"}).headers
    )
    unknown = requests.get(url, headers={"Origin": ORIGIN}, timeout=10)  # a refusal can be read too
    assert unknown.status_code == 401
    assert unknown.headers["Access-Control-Allow-Origin"] == ORIGIN


def test_another_patients_token_opens_no_route(library, service, names):
    other = Patient(service, next(names))
    series = f"/studies/{FIRST}/series/{PT}"
    for path in ("/studies", "/series", "/instances", f"/studies/{FIRST}", f"{series}/metadata", f"{series}/rendered"):
        assert other.session.get(library.root + path, timeout=10).status_code == 401
    assert other.get("/studies").json() == []
    assert other.get(f"{series}/metadata").status_code == 404


def nested(content, levels):
    """Give a file with sequences within each other."""
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3"
    for _ in range(levels):
        outer = Dataset()
        outer.ReferencedImageSequence = [inner]
        inner = outer
    return numbered(content, 901, levels, ReferencedImageSequence=inner.ReferencedImageSequence)


@pytest.mark.parametrize("query", ["includefield=all", "includefield=ReferencedImageSequence"])
def test_what_was_left_in_the_original_is_left_out_of_the_answer(patient, ct, query):
    patient.upload(nested(ct, 40))
    patient.upload(nested(ct, 2))
    answer = patient.get(f"/instances?{query}")
    assert answer.status_code == 200, answer.text
    shown = {dataset["00200013"]["Value"][0]: "00081140" in dataset for dataset in answer.json()}
    assert shown == {40: False, 2: True}
