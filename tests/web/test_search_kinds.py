"""What both searches find in files made for it: kinds of values, levels and spellings that are easily missed."""

import io
from pathlib import Path
from urllib.parse import quote

import pydicom
import pytest
import pytest_asyncio
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from schemas.http import HitList, InstanceList

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT = "1.2.826.0.1.3680043.9.88"


def item(**values):
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def written(name, *, study=1, series=1, private=(), raw=None, without=(), **values):
    """A small file that is named by its SOP Instance UID."""
    known = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "SOPInstanceUID": f"{ROOT}.3.{name}",
        "StudyInstanceUID": f"{ROOT}.1.{study}",
        "SeriesInstanceUID": f"{ROOT}.2.{study}.{series}",
        "Modality": "CT",
        "PatientName": "Example^Made",
        "SpecificCharacterSet": "ISO_IR 192",
    }
    dataset = item(**{**known, **values})
    for group, block, creator, elements in private:
        dataset.add_new((group, block), "LO", creator)
        for low, vr, value in elements:
            dataset.add_new((group, block << 8 | low), vr, value)
    for keyword in without:
        del dataset[keyword]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.3.{name}"
    target = io.BytesIO()
    pydicom.dcmwrite(target, dataset, enforce_file_format=True)
    content = target.getvalue()
    for old, new in (raw or {}).items():
        assert content.count(old) == 1
        content = content.replace(old, new)
    return content


@pytest_asyncio.fixture(loop_scope="session")
async def patient(service):
    return Patient(service, next(service.patients))


class Patient:
    def __init__(self, service, name):
        self.service, self.name = service, name

    async def store(self, *contents):
        for content in contents:
            answer = await self.service.upload(self.name, content)
            assert answer.status == 200, answer.body

    async def ask(self, path):
        return await self.service.ask("GET", f"/patient/{self.name}/{path}", patient=self.name)

    async def plain(self, query):
        """The files that the plain search finds, by the last part of their UIDs."""
        answer = await self.ask(f"dicom?{query}")
        assert answer.status == 200, answer.body
        body = answer.json()
        assert (HitList() if "incomplete" in body else InstanceList()).validate(body) == {}
        assert ("Warning" in answer.headers) is body["incomplete"]
        return {hit["sop_instance_uid"].rsplit(".", 1)[1] for hit in body["instances"]}, body["incomplete"]

    async def qido(self, query, level="instances"):
        """What QIDO-RS finds: instances by the last part of their UIDs, studies and series by that of theirs."""
        answer = await self.ask(f"dicomweb/{level}?{query}")
        assert answer.status == 200, answer.body
        tag = {"instances": "00080018", "series": "0020000E", "studies": "0020000D"}[level]
        return {each[tag]["Value"][0].rsplit(".", 1)[1] for each in answer.json()}, "Warning" in answer.headers

    async def find(self, query):
        """What both searches find, and neither with a warning."""
        (found, incomplete), by_qido = await self.plain(query), await self.qido(query)
        assert not incomplete, query
        assert by_qido == (found, False), query
        return "".join(sorted(found))


# --- what the index left out


@pytest.fixture
def long_text():
    return "x" * 246 + " DIABETES " + "y" * 3000


async def test_a_text_longer_than_the_index_takes_is_found_at_every_level(patient, long_text):
    await patient.store(
        written(1, PatientComments=long_text), written(2, study=2, PatientComments="none"), written(3, study=3)
    )
    assert await patient.find("PatientComments=*DIABETES*") == "1"
    assert await patient.find("PatientComments=*ASTHMA*") == ""
    assert await patient.find(f"PatientComments={quote(long_text)}") == "1"
    for level in ("series", "studies"):
        assert await patient.qido("PatientComments=*DIABETES*", level) == ({"1"}, False)
        assert await patient.qido("PatientComments=non?", level) == ({"2" if level == "studies" else "1"}, False)
    assert await patient.qido('PatientComments=""&emptyvaluematching=true', "studies") == ({"3"}, False)
    assert (await patient.plain("PatientComments=!"))[0] == {"3"}


async def test_the_thousand_and_first_item_is_found(patient):
    items = [
        item(ReferencedSOPInstanceUID=f"{ROOT}.9.{number}", ReferencedFrameNumber=number) for number in range(1200)
    ]
    await patient.store(written(1, ReferencedImageSequence=items), written(2))
    uid = "ReferencedImageSequence.ReferencedSOPInstanceUID"
    assert await patient.find(f"{uid}={ROOT}.9.1100") == "1"
    assert await patient.find(f"{uid}={ROOT}.9.1200") == ""
    both = f"{uid}={ROOT}.9.1100&ReferencedImageSequence.ReferencedFrameNumber="
    assert await patient.find(f"{both}1100") == "1"
    assert await patient.find(f"{both}1101") == ""
    assert (await patient.plain("ReferencedImageSequence.ReferencedFrameNumber=1100..1300"))[0] == {"1"}


async def test_the_thousand_and_first_value_is_found(patient):
    await patient.store(written(1, GridFrameOffsetVector=[float(number) for number in range(1500)]), written(2))
    assert await patient.find("GridFrameOffsetVector=1400") == "1"
    assert await patient.find("GridFrameOffsetVector=1500") == ""


async def test_a_long_text_takes_its_place_in_pages_and_orders(patient, long_text):
    for number in range(1, 7):
        comment = long_text if number % 2 else "DIABETES"
        await patient.store(written(number, PatientComments=comment, SliceThickness=7 - number))
    query = "PatientComments=*DIABETES*"
    found = [hit["sop_instance_uid"][-1] for hit in (await patient.ask(f"dicom?{query}")).json()["instances"]]
    assert found == list("654321")
    path, pages = f"dicom?{query}&limit=2&orderby=SliceThickness&count=true", []
    while path:
        answer = await patient.ask(path)
        assert answer.json()["total"] == 6
        pages += [hit["sop_instance_uid"][-1] for hit in answer.json()["instances"]]
        link = answer.headers.get("Link")
        path = link and link.partition(">")[0].removeprefix(f"</patient/{patient.name}/")
    assert pages == list("654321")


async def test_bytes_that_cannot_be_compared_are_told_of_by_both_searches(patient):
    await patient.store(written(1, private=[(0x0009, 0x10, "ACME", [(1, "UN", b"secret ")])]), written(2))
    assert await patient.plain("ACME:0009xx01=secret") == (set(), True)
    for level in ("instances", "series", "studies"):
        assert await patient.qido("ACME:0009xx01=secret", level) == (set(), True)
    assert await patient.plain("ACME:0009xx01=!!") == ({"1"}, False)
    assert await patient.plain("ACME:0009xx01=!") == ({"2"}, False)


# --- private elements by hex


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def private(service):
    patient = Patient(service, next(service.patients))
    nested = item()
    nested.add_new((0x0009, 0x0020), "LO", "ACME")
    nested.add_new((0x0009, 0x2001), "LO", "BELOW")
    await patient.store(
        written(1, private=[(0x0009, 0x10, "ACME", [(1, "LO", "ALPHA-ONE")])]),
        written(2, private=[(0x0009, 0x11, "ACME", [(1, "LO", "ALPHA-ONE")])]),
        written(
            3, private=[(0x0009, 0x10, "OTHER", [(1, "LO", "BETA")]), (0x0009, 0x11, "ACME", [(1, "LO", "GAMMA")])]
        ),
        written(4, ReferencedImageSequence=[item(), nested]),
        written(
            5, private=[(0x0009, 0x10, "ACME", [(1, "LO", "GAMMA")]), (0x0009, 0x30, "ACME", [(1, "LO", "DELTA")])]
        ),
        written(6, raw={b"NOBODYS!": b"\0" * 8}, private=[(0x0009, 0x10, "NOBODYS!", [(1, "SL", 7)])]),
    )
    return patient


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("00091001=ALPHA-ONE", "1"),
        ("(0009,1001)=ALPHA-ONE", "1"),
        ("0009,1101=ALPHA-ONE", "2"),
        ("00091001=ALPHA*", "1"),
        ("00091001=BETA", "3"),
        ("00091101=GAMMA", "3"),
        ("00091001=GAMMA", "5"),
        ("00093001=DELTA", "5"),
        ("00091001=DELTA", ""),
        ("00091001=7", "6"),
        ("ReferencedImageSequence.00092001=BELOW", "4"),
        ("ReferencedImageSequence.00091001=BELOW", ""),
        ("ReferencedImageSequence/00092001=BELOW", "4"),
        ("ReferencedImageSequence[1].00092001=BELOW", "4"),
        ("ReferencedImageSequence[0].00092001=BELOW", ""),
        # beside its creator it is his, in whatever block of a file
        ("00090010=ACME&00091001=ALPHA-ONE", "12"),
        ("00090020=ACME&00092001=GAMMA", "35"),
        ("00090010=ACME&00091001=DELTA", "5"),
        ("00090010=OTHER&00091001=ALPHA-ONE", ""),
        ("ReferencedImageSequence.00090010=ACME&ReferencedImageSequence.00091001=BELOW", "4"),
        ("ACME:0009xx01=ALPHA-ONE", "12"),
        ("00090010=ACME", "15"),
    ],
)
async def test_a_private_element_in_hex_is_what_the_file_has_there(private, query, found):
    assert await private.find(query) == found


@pytest.mark.parametrize(("block", "absent"), [("10", "24"), ("11", "1456"), ("30", "12346"), ("40", "123456")])
async def test_a_private_element_in_hex_is_absent_where_the_tag_route_has_none(private, block, absent):
    assert await private.plain(f"0009{block}01=!") == (set(absent), False)
    assert await private.plain(f"0009{block}01=!!") == (set("123456") - set(absent), False)
    for hit in (await private.ask("dicom")).json()["instances"]:
        answer = await private.ask(f"dicom/{hit['dicom_id']}/tag/0009{block}01")
        assert (answer.status == 404) is (hit["sop_instance_uid"][-1] in absent)


async def test_a_creator_that_a_file_divides_is_found_by_hex_too(patient):
    await patient.store(written(1, private=[(0x0009, 0x10, ["AC", "ME"], [(1, "LO", "ODD")])]), written(2))
    assert await patient.find("00091001=ODD") == "1"
    assert (await patient.plain("00091001=!"))[0] == {"2"}


@pytest.mark.parametrize(
    "query", ["SliceThickness=" + "%5C".join(f"0..{number}" for number in range(51)), "SliceThickness=1..2&" * 51]
)
async def test_one_search_has_a_bound_of_alternatives(odd, query):
    answer = await odd.ask(f"dicom?multiplevaluematching=true&{query}")
    assert answer.status == 422
    assert "50 conditions" in answer.detail


async def test_a_block_has_no_order_that_is_the_same_in_all_files(private):
    assert (await private.ask("dicom?orderby=00091001")).status == 422
    assert (await private.ask("dicom?orderby=ACME:0009xx01&ACME:0009xx01=!!")).status == 200


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**60])
@pytest.mark.parametrize("path", ["ACME:0009xx01", "00091001", "00091234", "SelectorUVValue", "SelectorDSValue"])
async def test_no_number_is_too_large_to_be_searched_or_refused(patient, path, number):
    creator = (0x0009, 0x10, "ACME", [(1, "UV", 2**64 - 1)])
    await patient.store(written(1, private=[creator], SelectorUVValue=2**64 - 1))
    for search in ("dicom", "dicomweb/instances"):
        answer = await patient.ask(f"{search}?{path}={number}")
        assert answer.status in {200, 400, 422}
        if answer.status == 200:
            found = answer.json()["instances"] if search == "dicom" else answer.json()
            hit = number == 2**64 - 1 and path in {"ACME:0009xx01", "00091001", "SelectorUVValue"}
            # as a double 2**64 is the same number
            assert len(found) == hit or (number == 2**64 and len(found) < 2)


# --- instances by themselves


async def test_instances_match_by_what_they_say_themselves(patient):
    await patient.store(
        written(1, Modality="CT"),
        written(2, ContrastBolusAgent="GADOBUTROL", PatientPosition="HFS"),
        written(3, ContrastBolusAgent="IOHEXOL", PatientPosition="FFS", SeriesDescription="late"),
    )
    assert await patient.find("ContrastBolusAgent=IOHEXOL") == "3"
    assert await patient.find("ContrastBolusAgent=GADOBUTROL") == "2"
    assert await patient.find("ContrastBolusAgent=*O*") == "23"
    assert await patient.find("SeriesDescription=late") == "3"
    assert await patient.find("PatientPosition=HFS") == "2"
    for level in ("series", "studies"):
        for agent in ("IOHEXOL", "GADOBUTROL"):
            assert await patient.qido(f"ContrastBolusAgent={agent}", level) == ({"1"}, False)
        assert await patient.qido("ContrastBolusAgent=WATER", level) == (set(), False)
    assert await patient.qido("SOPClassUID=1.2.840.10008.5.1.4.1.1.2&ContrastBolusAgent=IOHEXOL") == ({"3"}, False)


async def test_nested_paths_that_no_series_document_has_are_found_at_every_level(patient):
    code = item(CodeValue="PROT1", CodingSchemeDesignator="99X", CodeMeaning="m")
    requests = [item(ScheduledProcedureStepID="S1", ScheduledProtocolCodeSequence=[code])]
    await patient.store(
        written(1, RequestAttributesSequence=requests, ProcedureCodeSequence=[code]),
        written(2, study=2, RequestAttributesSequence=[item(ScheduledProcedureStepID="S1")]),
    )
    nested = "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue=PROT1"
    for query in (nested, f"{nested}&RequestAttributesSequence.ScheduledProcedureStepID=S1", nested.replace(".", "/")):
        assert await patient.find(query) == "1"
        assert await patient.qido(query, "studies") == ({"1"}, False)
        assert await patient.qido(query, "series") == ({"1"}, False)
    assert await patient.qido("ProcedureCodeSequence.CodeMeaning=m", "studies") == ({"1"}, False)
    assert await patient.qido("RequestAttributesSequence.ScheduledProcedureStepID=S1", "studies") == ({"1", "2"}, False)


async def test_an_instance_whose_uid_only_its_file_meta_has_is_found(patient):
    await patient.store(written(1, without=["SOPInstanceUID", "SOPClassUID"]))
    for level in ("instances", "series", "studies"):
        assert await patient.qido("", level) == ({"1"}, False)
        assert await patient.qido(f"SOPInstanceUID={ROOT}.3.1", level) == ({"1"}, False)


# --- times


TIMES = {"1": "00", "2": "10", "3": "1000", "4": "23", "5": "101530", "6": "101530.5", "7": "235959.999999"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def times(service):
    patient = Patient(service, next(service.patients))
    for number, time in TIMES.items():
        at = f"20210115{time}"
        below = [item(ReferencedDateTime=at), item()]
        await patient.store(
            written(
                number,
                study=number,
                StudyDate="20210115",
                StudyTime=time,
                ContentTime=time,
                AcquisitionDateTime=at,
                ReferencedStudySequence=[item(StudyTime=time)],
                ReferencedImageSequence=below,
            )
        )
    await patient.store(
        written(8, study=8, StudyDate="20210115", AcquisitionDateTime="20210115"),
        written(9, study=9, StudyDate="20210201", AcquisitionDateTime="2021"),
    )
    return patient


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("0000-2359", "1234567"),
        ("000000-235959.999999", "1234567"),
        ("00-", "1234567"),
        ("2300-", "47"),
        ("230000.000000-", "47"),
        ("-000000", "1"),
        ("1000-1015", "2356"),
        ("100000-101530", "2356"),
        ("101530.000000-101530.999999", "56"),
        ("1015-1045", "56"),
        ("10:15-10:45", "56"),
        ("1000", "23"),
        ("10", "2356"),
        ("101530.5", "6"),
        ("24", None),
        ("1060", None),
        ("930", None),
        ("9:30", None),
        ("noon", None),
        ("10*", None),
        ("1200-1000", None),
    ],
)
async def test_a_time_stored_less_exactly_is_the_moment_at_which_it_begins(times, asked, found):
    for path in ("ContentTime", "StudyTime", "ReferencedStudySequence.StudyTime"):
        if found is None:
            assert (await times.ask(f"dicom?{path}={asked}")).status == 422
            assert (await times.ask(f"dicomweb/instances?{path}={asked}")).status == 400
        else:
            assert await times.find(f"{path}={asked}") == found
    if found is not None:
        assert await times.qido(f"StudyTime={asked}", "studies") == (set(found), False)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("20210115000000-20210115235959", "12345678"),
        ("20210115000000.000000-20210115235959.999999", "12345678"),
        ("202101150000-", "12345678"),
        ("20210101000000-", "123456789"),
        ("202101-20210114", "9"),
        ("-2021", "123456789"),
        ("202101151000-202101151015", "2356"),
        ("2021011510", "2356"),
        ("20210115120000-20210115100000", None),
        ("202113", None),
        ("2021-1-1", None),
        ("2021-01-15T10", None),
        ("20210", None),
    ],
)
async def test_so_is_a_date_and_time(times, asked, found):
    if found is None:
        assert (await times.ask(f"dicom?AcquisitionDateTime={asked}")).status == 422
        assert (await times.ask(f"dicomweb/studies?AcquisitionDateTime={asked}")).status == 400
    else:
        assert await times.find(f"AcquisitionDateTime={asked}") == found


@pytest.mark.parametrize(
    ("dates", "clock", "found"),
    [
        ("20210115-20210115", "0000-2359", "1234567"),
        ("20210114-20210115", "2300-0000", "1"),
        ("20210115-20210116", "2300-0100", "47"),
        ("20210115-20210116", "230000.0-000000", "47"),
        ("20210115-", "101530.000000-", "4567"),
        ("20210115-20210115", "1200-1000", None),
    ],
)
async def test_so_is_a_date_with_the_time_beside_it(times, dates, clock, found):
    query = f"StudyDate={dates}&StudyTime={clock}"
    if found is None:
        assert (await times.ask(f"dicom?{query}")).status == 422
    else:
        assert await times.find(query) == found
        assert await times.qido(query, "studies") == (set(found), False)


# --- impossible values, and what a file has instead


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def odd(service):
    patient = Patient(service, next(service.patients))
    await patient.store(
        written(
            1, SliceThickness="5.0", Rows=128, StudyDate="20240115", PatientAge="030Y", ImageType=["ORIGINAL", "AXIAL"]
        ),
        written(2, SliceThickness="9999", Rows=256, StudyDate="20240220", raw={b"9999": b"thin"}, ImageType="ORIGINAL"),
        written(3, Modality="MR", StudyDate="20240313", raw={b"20240313": b"yester  "}, ImageType=["DERIVED", "AXIAL"]),
        written(
            4,
            study=2,
            Modality="PT",
            InstanceNumber="7777",
            raw={b"7777": b"1A  ", b"030Y": b"old "},
            PatientAge="030Y",
        ),
    )
    return patient


@pytest.mark.parametrize(
    ("query", "would_do"),
    [
        ("SliceThickness=<5", "..5"),
        ("SliceThickness=thin", "0.5"),
        ("SliceThickness=5*", "0.5"),
        ("SliceThickness=1e999", "0.5"),
        ("SliceThickness=5,0", "0.5"),
        ("SliceThickness=1..x", "1..5"),
        ("SliceThickness=NaN", "0.5"),
        ("SliceThickness=5..1", "smaller"),
        ("InstanceNumber=one", "5"),
        ("Rows=128.5", "from 0 to 65535"),
        ("Rows=70000", "from 0 to 65535"),
        ("Rows=-1", "from 0 to 65535"),
        ("SmallestImagePixelValue=-40000", "from -32768 to 65535"),
        ("StudyDate=yesterday", "20240131"),
        ("StudyDate=2020*", "20240131"),
        ("StudyDate=20241301", "20240131"),
        ("StudyDate=2024010", "20240131"),
        ("StudyDate=20240201-20240101", "earlier"),
        ("StudyDate=-", "20240131"),
        ("StudyTime=noon", "22:30:15"),
        ("PatientAge=30", "030Y"),
        ("PatientAge=*Y", "030Y"),
        ("SOPInstanceUID=1.2.*", "commas"),
        ("FrameIncrementPointer=time", "FrameTime"),
        ("ReferencedImageSequence=CT", "items"),
        ("ReferencedImageSequence.ReferencedFrameNumber=x", "5"),
        ("StudyDescription=A%5CB", "multiplevaluematching"),
        ("Modality=,", "no value"),
    ],
)
async def test_a_value_that_no_file_can_have_is_refused_with_one_that_would_do(odd, query, would_do):
    name, _, value = query.partition("=")
    for path, status in (("dicom", 422), ("dicomweb/instances", 400), ("dicomweb/studies", 400)):
        answer = await odd.ask(f"{path}?{query}")
        assert answer.status == status, query
        assert name in answer.detail
        assert value not in {"thin", "yesterday", "noon"} or value not in answer.detail
        ranges = path != "dicom" and ".." in value + would_do  # of numbers: DICOMweb has none
        assert would_do in answer.detail or ranges


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('SliceThickness="thin"', "2"),
        ('SliceThickness="5.0"', "1"),
        ('StudyDate="yester"', "3"),
        ('StudyDate="20240115"', "1"),
        ('InstanceNumber="1A"', "4"),
        ('PatientAge="old"', "4"),
        ('SOPInstanceUID="1.*"', ""),
        ('Rows="128"', "1"),
        ("SliceThickness=5", "1"),
        ("Rows=128.0", "1"),
        ("PatientAge=030Y", "1"),
        ("StudyDate=20240101-", "12"),
        ("Modality=CT,MR", "123"),
        ("Modality=CT%2CMR", "123"),
        ("Modality=M*,P?", "34"),
        ("Modality=CT&Modality=MR", "123"),
        ("SliceThickness=5&SliceThickness=6", "1"),
        ("StudyDate=20240115&StudyDate=20240220-", "12"),
        ("StudyDate=20240115-20240116&StudyDate=20240219-20240221&Modality=CT", "12"),
        (f"SOPInstanceUID={ROOT}.3.1,{ROOT}.3.4", "14"),
        (f"SOPInstanceUID={ROOT}.3.1&SOPInstanceUID={ROOT}.3.4", "14"),
        ("ImageType=ORIGINAL&ImageType=AXIAL", "1"),  # which has several, and so may have both
        ("ImageType=ORIGINAL,DERIVED", "123"),
        ("PatientName=Exam*&PatientName=Nobody", "1234"),
    ],
)
async def test_what_can_be_is_found(odd, query, found):
    assert await odd.find(query) == found


async def test_modalities_of_a_study_are_one_of_those_between_commas(odd):
    assert await odd.qido("ModalitiesInStudy=CT%2CMR", "studies") == ({"1"}, False)
    assert await odd.qido("ModalitiesInStudy=MR%2CPT", "studies") == ({"1", "2"}, False)


async def test_dates_of_the_plain_search_may_be_less_exact(odd):
    for query in ("StudyDate=2024", "StudyDate=202401-202402", "StudyDate=2024-"):
        assert await odd.plain(query) == ({"1", "2"}, False)
    assert await odd.plain("StudyDate=202401") == await odd.plain("StudyDate=2024-01-15") == ({"1"}, False)


@pytest.mark.parametrize(
    ("query", "total"),
    [
        ("", 4),
        ("limit=1", 4),
        ("Modality=CT&limit=1", 2),
        ("Modality=CT&limit=1&offset=1", 2),
        ("Modality=CT&limit=1&offset=9", 2),
        ("Modality=CT&Modality=MR&limit=1", 3),
        ("ReferencedImageSequence[0].Modality=CT&limit=1", 0),
        ("fields=Modality", 4),
        ("Modality=!", 0),
    ],
)
async def test_a_count_is_of_all_pages(odd, query, total):
    answer = await odd.ask(f"dicom?{query}&count=true")
    assert answer.json()["total"] == total
    assert "total" not in (await odd.ask(f"dicom?{query}")).json()


async def test_there_is_no_count_where_nobody_knows(patient):
    await patient.store(written(1, private=[(0x0009, 0x10, "ACME", [(1, "UN", b"secret ")])]))
    assert (await patient.ask("dicom?ACME:0009xx01=secret&count=true")).json()["total"] is None


# --- one notation


PATHS = ["ReferencedImageSequence.ReferencedSOPInstanceUID", "00081140.00081155", "(0008,1140).(0008,1155)"]
PATHS += ["0008,1140.0008,1155", "ReferencedImageSequence.00081155"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def notation(service):
    patient = Patient(service, next(service.patients))
    references = [item(ReferencedSOPInstanceUID="1.2.1", PurposeOfReferenceCodeSequence=[item(CodeValue="A")])]
    references.append(item(ReferencedSOPInstanceUID="1.2.2"))
    await patient.store(
        written(1, ReferencedImageSequence=references), written(2, ReferencedImageSequence=references[1:])
    )
    return patient


@pytest.mark.parametrize("path", PATHS)
async def test_every_spelling_of_a_path_is_taken_by_both_searches_fields_and_the_tag_route(notation, path):
    for spelt in (path, path.replace(".", "/")):
        assert await notation.find(f"{spelt}=1.2.1") == "1"
        assert await notation.find(f"{spelt}=1.2.2") == "12"
    one = path.replace(".", "[0].")
    assert await notation.find(f"{quote(one)}=1.2.2") == "2"
    for spelt in (path, path.replace(".", "/"), one):
        hits = (await notation.ask(f"dicom?fields={spelt},Modality&{path}=1.2.1")).json()["instances"]
        assert {name: len(shown) for name, shown in hits[0]["fields"].items() if name != "Modality"} == {
            spelt: 1 if "[0]" in spelt else 2
        }
        assert hits[0]["fields"]["Modality"]["value"] == "CT"
        (found,) = (
            await notation.ask(f"dicomweb/instances?includefield={spelt},Rows&SOPInstanceUID={ROOT}.3.1")
        ).json()
        assert len(found["00081140"]["Value"]) == 2
    ids = {hit["sop_instance_uid"][-1]: hit["dicom_id"] for hit in (await notation.ask("dicom")).json()["instances"]}
    assert (await notation.ask(f"dicom/{ids['1']}/tag/{one}")).json()["value"] == "1.2.1"
    assert (await notation.ask(f"dicom/{ids['2']}/tag/{path}")).json()["value"] == "1.2.2"
    several = await notation.ask(f"dicom/{ids['1']}/tag/{path}")
    assert several.status == 422
    assert "[0]" in several.detail


async def test_the_tag_route_finds_the_one_item_that_has_an_element(notation):
    ids = {hit["sop_instance_uid"][-1]: hit["dicom_id"] for hit in (await notation.ask("dicom")).json()["instances"]}
    path = "ReferencedImageSequence.PurposeOfReferenceCodeSequence.CodeValue"
    assert (await notation.ask(f"dicom/{ids['1']}/tag/{path}")).json()["value"] == "A"
    assert (await notation.ask(f"dicom/{ids['2']}/tag/{path}")).status == 404


async def test_fields_have_private_elements_in_any_block_and_a_bound(private):
    shown = {
        hit["sop_instance_uid"][-1]: (hit["fields"]["ACME:0009xx01"] or {}).get("value")
        for hit in (await private.ask("dicom?fields=ACME:0009xx01")).json()["instances"]
    }
    assert shown == {"1": "ALPHA-ONE", "2": "ALPHA-ONE", "3": "GAMMA", "4": None, "5": "GAMMA", "6": None}
    for each in (await private.ask("dicomweb/instances?includefield=ACME:0009xx01")).json():
        assert ("00091001" in each or "00091101" in each) is (each["00080018"]["Value"][0][-1] in "1235")
    many = ",".join(f"ACME:0009xx{number:02X}" for number in range(51))
    groups = ",".join(f"ACME:{2 * number + 9:04X}xx01" for number in range(11))
    for names in (many, groups):
        assert (await private.ask(f"dicom?fields={names}")).status == 422
        assert (await private.ask(f"dicomweb/instances?includefield={names}")).status == 400


async def test_a_private_element_in_a_late_block_is_shown(patient):
    await patient.store(
        written(1, private=[(0x0009, 0xE0, "ACME", [(1, "LO", "LATE")])]),
        written(2, private=[(0x0009, 0x10, "ACME", [(2, "LO", "x")]), (0x0009, 0xE0, "ACME", [(1, "LO", "LATER")])]),
    )
    hits = (await patient.ask("dicom?fields=ACME:0009xx01")).json()["instances"]
    assert [hit["fields"]["ACME:0009xx01"]["value"] for hit in hits] == ["LATER", "LATE"]


# --- parameters that are not known


@pytest.mark.parametrize("below", ["", "/metadata", "/rendered", "/thumbnail", "/frames/1", "/bulkdata/PixelData"])
async def test_a_retrieval_ignores_parameters_that_it_does_not_know(service, below):
    content = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()
    patient = Patient(service, "retrieves")
    await patient.store(content)
    found = (await patient.ask("dicomweb/instances")).json()[0]
    study, series, instance = (found[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
    path = f"dicomweb/studies/{study}/series/{series}/instances/{instance}{below}"
    plain = await patient.ask(path)
    assert plain.status == 200
    for query in ("_=1", "charset=utf-8", "_=1&_=2&Modality=CT"):
        assert (await patient.ask(f"{path}?{query}")).status == 200
    assert (await patient.ask("dicomweb/instances?charset=utf-8")).status == 200
    if below in {"/rendered", "/thumbnail"}:
        assert (await patient.ask(f"{path}?viewport=x&_=1")).status == 400


async def test_what_stands_in_the_place_of_a_time_by_another_vr_and_a_fourth_group_of_a_name_are_found(service):
    patient = Patient(service, next(service.patients))
    await patient.store(
        written(1, AcquisitionTime="123456", raw={b"TM\x06\x00123456": b"IS\x06\x0000012 "}),
        written(2, OtherPatientNames="Exam=B=CxD", AcquisitionTime="12", raw={b"=CxD": b"=C=D"}),
    )
    assert await patient.find('AcquisitionTime="12"') == "12"
    assert await patient.find("OtherPatientNames=Exam=B=C=D") == "2"
    assert await patient.find("OtherPatientNames=Exam=B=C") == ""


async def test_a_text_that_begins_with_spaces_is_found_by_it(service):
    patient = Patient(service, next(service.patients))
    await patient.store(
        written(1, LongCodeValue="  a", StudyDescription="b"), written(2, LongCodeValue="a", StudyDescription="b")
    )
    assert await patient.find("LongCodeValue=%20%20a") == "12"  # whoever pastes a value may paste spaces too
    assert await patient.find("LongCodeValue=a") == "2"
    assert await patient.find("StudyDescription=%20b%20") == "12"
