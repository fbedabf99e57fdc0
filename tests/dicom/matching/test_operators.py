"""Each operator as a filter of the index, exactly; and conditions that share a sequence, on trees."""

import pytest

from service.dicom.index import index_entries
from service.dicom.matching.conditions import Options
from service.dicom.matching.index_filter import index_filter, needs_check
from service.dicom.matching.on_tree import matches
from service.dicom.matching.reading import read_conditions
from service.errors import Invalid

ANY, END = r"[\s\S]", r"(?![\s\S])"
NESTED = "ReferencedImageSequence/ReferencedSOPInstanceUID"


def filter_of(*query, **options):
    return index_filter(read_conditions(query, Options(**options)))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("Modality", "", {}),
        ("Modality", "*", {}),
        ("Modality", "!", {"tags.Modality": {"$exists": False}}),
        ("Modality", "!!", {"tags.Modality": {"$exists": True}}),
        ("Modality", '""', {"tags.Modality": [], "truncated": {"$nin": ["Modality"]}}),
        (
            "ReferencedImageSequence",
            '""',
            {"tags.ReferencedImageSequence": [0], "truncated": {"$nin": ["ReferencedImageSequence"]}},
        ),
        ("00080060", "CT", {"tags.Modality": "CT"}),
        ("Modality", "C?", {"tags.Modality": {"$regex": f"^C{ANY}{END}"}}),
        ("StudyDescription", "a*b*", {"tags.StudyDescription": {"$regex": f"^a(?>{ANY}*?b)"}}),
        ("StudyDescription", "a.b", {"tags.StudyDescription": "a.b"}),
        ("PatientName", "Mill*", {"tags.PatientName": {"$regex": "^Mill", "$options": "i"}}),
        ("SOPInstanceUID", "1.2,1.3", {"tags.SOPInstanceUID": {"$in": ["1.2", "1.3"]}}),
        ("SOPInstanceUID", "1.2\\1.3", {"tags.SOPInstanceUID": {"$in": ["1.2", "1.3"]}}),
        ("SliceThickness", "5.0", {"tags.SliceThickness": 5.0}),
        ("SliceThickness", "..1.5", {"tags.SliceThickness": {"$lte": 1.5}}),
        ("EchoTime", "80..100", {"tags.EchoTime": {"$elemMatch": {"$gte": 80, "$lte": 100}}}),
        ("RealWorldValueSlope", "0.1", {"tags.RealWorldValueSlope": 0.1}),
        (
            "RecommendedDisplayFrameRateInFloat",
            "0.1",
            {"tags.RecommendedDisplayFrameRateInFloat": {"$in": [0.1, 0.10000000149011612]}},
        ),
        ("GEMS_IDEN_01:0009xx27", "5", {"tags.GEMS_IDEN_01:0009xx27": {"$in": ["5", 5]}}),
        ("StudyDate", "2024.01.05", {"tags.StudyDate": "20240105"}),
        ("StudyDate", "20240101-", {"tags.StudyDate": {"$elemMatch": {"$gte": "20240101", "$lt": ":"}}}),
        ("StudyTime", "-11", {"tags.StudyTime": {"$elemMatch": {"$gte": "0", "$lt": "11:"}}}),
        (
            "AcquisitionDateTime",
            "20240101-0500",
            {"tags.AcquisitionDateTime": {"$elemMatch": {"$gte": "2024010105", "$lt": "202401020500"}}},
        ),
        ("StudyTime", "10:15", {"tags.StudyTime": {"$elemMatch": {"$gte": "1015", "$lt": "1015:"}}}),
        (
            "AcquisitionDateTime",
            "-202401+0100",
            {"tags.AcquisitionDateTime": {"$elemMatch": {"$gte": "0", "$lt": "202401312300"}}},
        ),
        ("ReferencedImageSequence.00081155", "1.2", {f"tags.{NESTED}": "1.2"}),
        ("FrameIncrementPointer", "0018,1063", {"tags.FrameIncrementPointer": "00181063"}),
    ],
)
def test_an_operator_is_this_filter(name, value, expected):
    assert filter_of((name, value)) == expected


def test_two_conditions_on_one_path_stand_side_by_side():
    assert filter_of(("ImageType", "AXIAL"), ("ImageType", "ORI*")) == {
        "tags.ImageType": {"$all": [{"$elemMatch": {"$eq": "AXIAL"}}, {"$elemMatch": {"$regex": "^ORI"}}]}
    }
    assert filter_of(("ImageType", "AXIAL"), ("ImageType", "!")) == {"tags.ImageType": {"$in": []}}


def test_fuzzy_matching_has_one_condition_for_each_word():
    last = "\U0010ffff"
    assert filter_of(("PatientName", "MÜL Ann"), fuzzy=True) == {
        "names.PatientName": {
            "$all": [
                {"$elemMatch": {"$gte": "mul", "$lt": f"mul{last}"}},
                {"$elemMatch": {"$gte": "ann", "$lt": f"ann{last}"}},
            ]
        }
    }


def test_several_values_are_one_of_them_where_that_is_asked():
    assert filter_of(("Modality", "CT\\MR"), multiple=True) == {"tags.Modality": {"$in": ["CT", "MR"]}}
    assert filter_of(("Modality", "CT,MR"), multiple=True) == {"tags.Modality": {"$in": ["CT", "MR"]}}
    assert filter_of(("StudyTime", "10\\22"), multiple=True) == {"tags.StudyTime": {"$regex": "^(?:10|22)"}}
    assert (
        filter_of(("Modality", "CT\\MR"))
        == filter_of(("Modality", "CT,MR"))
        == {"tags.Modality": {"$in": ["CT", "MR"]}}
    )
    with pytest.raises(Invalid, match="multiplevaluematching"):
        filter_of(("StudyDescription", "A\\B"))


def test_the_standard_alone_has_fewer_operators_and_refuses_what_a_vr_cannot_have():
    assert filter_of(("StudyDescription", "!"), standard=True) == {"tags.StudyDescription": "!"}
    assert filter_of(("StudyDate", "20240101-"), standard=True) == filter_of(("StudyDate", "20240101-"))
    for name, value in (("SliceThickness", "1..2"), ("SliceThickness", "!"), ("StudyDate", "2024"), ("StudyDate", "-")):
        with pytest.raises(Invalid):
            filter_of((name, value), standard=True)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Modallity", "Unknown parameter or DICOM keyword: `Modallity`. Did you mean `Modality`?"),
        ("limits", "Unknown parameter or DICOM keyword."),
        ("ReferencedImageSequence[0].Uidd", "Unknown parameter or DICOM keyword."),
        ("ReferencedImageSequence.Miller^Anna", "The parameter ReferencedImageSequence.… is"),
        ("0008", "A parameter is"),
        ("00080000000", "A parameter is"),
        ("$where", "A parameter is"),
        ("Miller^Anna", "A parameter is"),
        ("ReferencedImageSequence[0]", "The parameter ReferencedImageSequence[0] is"),
    ],
)
def test_what_is_no_path_is_refused_and_only_words_and_hex_of_it_are_repeated(name, told):
    with pytest.raises(Invalid) as caught:
        read_conditions([(name, "x")], Options())
    assert caught.value.detail.startswith(told)


def item(uid, frame):
    return {
        "ReferencedSOPInstanceUID": {"vr": "UI", "Value": [uid]},
        "ReferencedFrameNumber": {"vr": "IS", "Value": [frame]},
    }


TREE = {"ReferencedImageSequence": {"vr": "SQ", "Value": [item("1.1", 1), item("1.2", 2)]}}
UID, FRAME = "ReferencedImageSequence.ReferencedSOPInstanceUID", "ReferencedImageSequence.ReferencedFrameNumber"


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ([(UID, "1.1"), (FRAME, "1")], True),
        ([(UID, "1.1"), (FRAME, "2")], False),
        ([(UID, "1.1"), ("ReferencedImageSequence.PurposeOfReferenceCodeSequence", "!")], True),
        ([(UID, "1.1"), ("ReferencedImageSequence.ReferencedFrameNumber", "!")], False),
        ([("ReferencedImageSequence.ReferencedFrameNumber", "!")], False),
    ],
)
def test_conditions_that_share_a_sequence_hold_in_one_item(query, holds):
    conditions = read_conditions(query, Options())
    assert matches(TREE, conditions) is holds
    assert needs_check(conditions) is (len(query) > 1)


@pytest.mark.parametrize(
    ("date", "time", "holds"),
    [
        ("20060705", "0959", False),
        ("20060705", "1000", True),
        ("20060706", "2300", True),
        ("20060707", "1830", True),
        ("20060707", "19", False),
    ],
)
def test_ranges_of_a_date_and_its_time_are_one_range_of_moments(date, time, holds):
    conditions = read_conditions([("StudyDate", "20060705-20060707"), ("StudyTime", "1000-18")], Options())
    tree = {"StudyDate": {"vr": "DA", "Value": [date]}, "StudyTime": {"vr": "TM", "Value": [time]}}
    assert index_entries(tree)["tags"]["StudyDate"] == [date]
    assert matches(tree, conditions) is holds
