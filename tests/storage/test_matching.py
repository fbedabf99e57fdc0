"""Random conditions on random trees: the filter on each backend finds what the conditions say of the trees."""

import os
import random
from datetime import UTC, datetime

import pytest
from bson import ObjectId

from service.dicom.index import index_entries
from service.dicom.matching.conditions import Options
from service.dicom.matching.index_filter import index_filter, needs_check
from service.dicom.matching.on_tree import matches
from service.dicom.matching.reading import read_conditions

SEED = int(os.environ.get("SEARCH_SEED", "7"))
ROUNDS = int(os.environ.get("SEARCH_ROUNDS", "200"))
"""Queries; with another seed and more rounds it looks further."""

WORDS = ["CT", "ct", "MR", "a.b", "axb", "Müller^Ann", "MULLER^Bo", "x*y", "5", "line\nbreak"]
VALUES = {
    "Modality": ("CS", WORDS),
    "StudyDescription": ("LO", WORDS),
    "PatientName": ("PN", [{"Alphabetic": word} for word in WORDS if "\n" not in word]),
    "SliceThickness": ("DS", [0.5, 1.0, 1.5, 2.0, 80.0]),
    "InstanceNumber": ("IS", [0, 1, 2, 5, -3]),
    "StudyDate": ("DA", ["20231231", "20240101", "20240215", "20250101"]),
    "StudyTime": ("TM", ["09", "1130", "115959.5", "12", "235959"]),
    "SOPInstanceUID": ("UI", ["1.2", "1.3", "1.4"]),
    "AcquisitionDateTime": ("DT", ["2024", "20240101120000", "20240101130000+0100", "202401011159-0001", "20240102"]),
    "RecommendedDisplayFrameRateInFloat": ("FL", [0.10000000149011612, 1.5, 30.0, float("nan")]),
    "FrameIncrementPointer": ("AT", ["00181063", "00181065"]),
    "00091027": ("SL", [5, 6]),
}
QUERIES = {
    "Modality": ["CT", "C?", "*T", "!", "!!", '""', "*", "5", "a.b", "a?b", "*x*", "CT\\M*", "CT,MR"],
    "StudyDescription": ["ct", "*", "x*y", "line*", "line", "*k", "!", '""'],
    "PatientName": ["muller*", "MÜLLER*", "*^ann", "ct", "!", "!!"],
    "SliceThickness": ["1", "..1.5", "1..2", "2..", "!", '""', '"abc"', "1.50"],
    "InstanceNumber": ["1", "-3", "..0", "0..1", "1.0"],
    "StudyDate": ["20240101", "20240101-", "-20240101", "20240101-202402", "-2024", "2024.01.01"],
    "StudyTime": ["-11", "1130-", "12", "11-12", "11\\23", "11:59", "0900-", "120000", "0900\\235959.0"],
    "SOPInstanceUID": ["1.2", "1.2,1.4", '"1.*"'],
    "AcquisitionDateTime": ["2024", "20240101120000", "20240101-", "-20240101", "2024010112-20240102", "20240101+0000"],
    "RecommendedDisplayFrameRateInFloat": ["0.1", "..0.1", "1.5..", "NaN", "0.2..30"],
    "FrameIncrementPointer": ["0018,1063", "FrameTime", "!"],
    "00091027": ["5", "..5", "!!", "!"],
    "ACME:0009xx27": ["5", "..5", "!!", "!"],
}

DEEP = "ReferencedImageSequence.PurposeOfReferenceCodeSequence."


def make_level(chance):
    level = {"00090010": {"vr": "LO", "Value": ["ACME"]}}
    for key, (vr, values) in VALUES.items():
        kind = chance.random()
        if kind < 0.15:
            level[key] = {"vr": vr}
        elif kind < 0.8:
            level[key] = {"vr": vr, "Value": chance.sample(values, chance.randint(1, 2))}
        elif kind < 0.85:
            level[key] = {"vr": vr, "raw": "abc", "problem": "not to be converted"}
    return level


def make_tree(chance):
    tree = make_level(chance)
    if chance.random() < 0.8:
        tree["ReferencedImageSequence"] = {
            "vr": "SQ",
            "Value": [make_level(chance) for _ in range(chance.randint(0, 3))],
        }
        for item in tree["ReferencedImageSequence"]["Value"]:
            if chance.random() < 0.5:
                below = [make_level(chance) for _ in range(chance.randint(0, 2))]
                item["PurposeOfReferenceCodeSequence"] = {"vr": "SQ", "Value": below} if below else {"vr": "SQ"}
    return tree


def make_query(chance):
    names = chance.choices(list(QUERIES), k=chance.randint(1, 3))
    above = chance.choice(["", "", "ReferencedImageSequence.", "ReferencedImageSequence[1].", DEEP])
    query = [(f"{above}{name}", chance.choice(QUERIES[name])) for name in names]
    if above and chance.random() < 0.3:
        query.append((above.removesuffix(".").removesuffix("[1]"), chance.choice(["!", "!!", '""', "1", "2..3"])))
    if chance.random() < 0.2:  # a range of moments
        query += [(f"{above}StudyDate", "20231231-20240215"), (f"{above}StudyTime", "1130-12")]
    return query


@pytest.mark.usefixtures("store")
async def test_the_filter_finds_what_the_conditions_say(database, backend_uri):
    chance = random.Random(SEED)
    trees = {f"{number:08x}-0000-5000-8000-000000000000": make_tree(chance) for number in range(60)}
    now = datetime(2026, 1, 1, tzinfo=UTC)
    beside = {"patient_id": "p", "received_at": now, "study_instance_uid": None, "series_instance_uid": None}
    await database.tag_index.insert_many(
        [{"_id": name, **beside, "original_id": ObjectId(), **index_entries(tree)} for name, tree in trees.items()]
    )
    found_something = 0
    for _ in range(ROUNDS):
        query = make_query(chance)
        if backend_uri is None and any(value == "NaN" for _, value in query):
            continue  # for the double it equals nothing below $elemMatch
        divided = any("\\" in value for _, value in query)
        options = Options(fuzzy=chance.random() < 0.3, multiple=divided or chance.random() < 0.3)
        conditions = read_conditions(query, options)
        hits = {
            hit["_id"]
            async for hit in database.tag_index.find({"patient_id": "p", **index_filter(conditions)}, {"_id": 1})
        }
        expected = {name for name, tree in trees.items() if matches(tree, conditions)}
        assert expected <= hits, (query, options)
        assert {name for name in hits if matches(trees[name], conditions)} == expected
        if not needs_check(conditions):
            assert hits == expected, (query, index_filter(conditions))
        found_something += bool(hits) and len(hits) < len(trees)
    assert found_something > ROUNDS / 4
