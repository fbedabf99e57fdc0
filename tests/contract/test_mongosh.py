"""The queries of README and docs/analysis.md, run by mongosh on the database of a service, and judged by pydicom."""

import json
import os
import re
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pydicom
import pytest
from pydicom.data import get_charset_files, get_testdata_file

from tests.running_service import ROOT
from tests.storage.plans import indexes, scans_a_collection

README, ANALYSIS = [(ROOT / page).read_text("utf-8") for page in ("README.md", "docs/analysis.md")]
QUESTION = re.compile(r"((?:^[^\n]+\n)+)\n```js\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIRST_OF_README = "Questions across all patients"
FILES = (
    *("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "examples_rgb_color.dcm", "JPEG2000.dcm", "waveform_ecg.dcm"),
    *("liver_1frame.dcm", "chrH31.dcm"),
)
PATIENT = "p-17"


def questions(page):
    """The sentences before the queries of a page, and the queries."""
    return {" ".join(said.split()): query.strip() for said, query in QUESTION.findall(page)}


def section(heading):
    """One section of docs/analysis.md."""
    return ANALYSIS.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


@dataclass
class Stored:
    """What the database has, as pydicom reads it."""

    uri: str
    datasets: dict
    ids: dict

    def named(self, rows):
        """The files that rows with an `_id` are about."""
        names = {dicom_id: name for name, dicom_id in self.ids.items()}
        return sorted(names[row["_id"]] for row in rows)

    def where(self, holds):
        """The files of which a condition holds."""
        return sorted(name for name, dataset in self.datasets.items() if holds(dataset))


def path_of(name):
    """The file of a name, in pydicom's wheel."""
    charset = get_charset_files(name)
    return Path(charset[0] if charset else str(get_testdata_file(name, download=False)))


@pytest.fixture(scope="module")
def stored(service):
    ids = {}
    for name in FILES:
        shown = f'attachment; filename="{name}"'
        ids[name] = service.upload(path_of(name).read_bytes(), PATIENT, content_disposition=shown)
    wanted = {"studies": [str(pydicom.dcmread(path_of("CT_small.dcm")).StudyInstanceUID)], "expires_in": 604_800}
    body, path = json.dumps(wanted | {"label": "for Dr Lang"}), f"/patient/{PATIENT}/shares"
    status, _, made = service.request("POST", path, body, PATIENT, content_type="application/json")
    assert status == 201
    body = json.dumps({"secret": json.loads(made)["link"].partition("#")[2]})
    assert service.request("POST", "/shares/session", body, content_type="application/json")[0] == 200
    gone = service.upload(path_of("MR_small_RLE.dcm").read_bytes(), PATIENT)
    assert service.request("DELETE", f"/patient/{PATIENT}/dicom/{gone}", patient=PATIENT)[0] == 204
    picture = f"/patient/{PATIENT}/dicom/{ids['CT_small.dcm']}"
    assert service.request("GET", picture, patient=PATIENT, accept="image/png")[0] == 200
    time.sleep(1)  # the audit is written soon after the answer
    datasets = {name: pydicom.dcmread(path_of(name)) for name in FILES}
    return Stored(address(service), datasets, ids)


def address(service):
    """What people give to mongosh: what the service prints, of a local database."""
    uri = urlsplit(service.database_uri())
    made = uri._replace(path=f"/{service.database_name}").geturl()
    if service.uri is None:
        made = made.partition("?")[0]
        assert re.findall(r'mongosh "(.*)"', service.log.read_text()) == [made]
    return made


def evaluate(mongosh, uri, scripts, home):
    """What mongosh answers to each of some expressions, or `{"error": …}`."""
    wrapped = [
        f"try {{ const r = ({script}\n); print(EJSON.stringify(r && r.toArray ? r.toArray() : r)) }}"
        " catch (error) { print(JSON.stringify({error: error.message})) }"
        for script in scripts
    ]
    file = home / "asked.js"
    file.write_text("\n".join(wrapped))
    done = subprocess.run(
        [mongosh, "--quiet", "--norc", uri, "--file", str(file)],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        capture_output=True,
        timeout=120,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(scripts), done.stdout
    return answers


@pytest.fixture(scope="module")
def answers(mongosh, stored, tmp_path_factory):
    asked = questions(README) | questions(ANALYSIS)
    return dict(
        zip(asked, evaluate(mongosh, stored.uri, asked.values(), tmp_path_factory.mktemp("mongosh")), strict=True)
    )


# --- what pydicom says to each question ------------------------------------------------------------------------------


def thin(dataset):
    return dataset.get("Modality") == "CT" and (dataset.get("SliceThickness") or 6) < 6


def positions(dataset):
    return [float(value) for value in dataset.ImagePositionPatient]


def all_paths(dataset, above=""):
    """The paths of a file's public elements."""
    for element in dataset:
        if not element.tag.is_private and element.keyword:
            yield above + element.keyword
            for item in element.value if element.VR == "SQ" else ():
                yield from all_paths(item, f"{above}{element.keyword}/")


def thin_slices(rows, stored):
    assert stored.named(rows) == stored.where(thin) != []
    for name, row in ((stored.named([row])[0], row) for row in rows):
        assert row["patient_id"] == PATIENT
        assert row["tags"]["SliceThickness"] == [stored.datasets[name].SliceThickness]


def thin_slices_with_names(rows, stored):
    assert [row["instance"]["file_name"] for row in rows] == stored.named(rows) == stored.where(thin)
    for row in rows:
        dataset = stored.datasets[row["instance"]["file_name"]]
        assert row["instance"]["dataset"]["PatientName"]["Value"] == [{"Alphabetic": str(dataset.PatientName)}]


def private(rows, stored):
    def holds(dataset):
        try:
            value = dataset.private_block(0x0009, "GEMS_IDEN_01")[0x01].value
        except KeyError:
            return False
        return value == "GE_GENESIS_FF" and 1 <= dataset.SliceThickness < 10

    assert stored.named(rows) == stored.where(holds) != []


def energies(rows, stored):
    def holds(dataset):
        points = [point for beam in dataset.get("BeamSequence", ()) for point in beam.ControlPointSequence]
        return any(point.get("NominalBeamEnergy", 0) >= 6 for point in points)

    assert stored.named(rows) == stored.where(holds) != []
    assert rows[0]["tags"] == {"BeamSequence/BeamName": [beam_names(stored)[0]]}


def beam_names(stored):
    return [beam.BeamName for beam in stored.datasets["rtplan.dcm"].BeamSequence]


def words(rows, stored):
    assert stored.named(rows) == stored.where(lambda dataset: "yamada" in str(dataset.PatientName).lower())
    assert rows[0]["tags"]["PatientName"] == str(stored.datasets["chrH31.dcm"].PatientName).split("=")


def with_birth_date(count, stored):
    assert count == len(stored.where(lambda dataset: "PatientBirthDate" in dataset)) > 0


def with_empty_birth_date(count, stored):
    assert count == len(stored.where(lambda dataset: dataset.get("PatientBirthDate") == "")) > 0


def newest(rows, _):
    assert [row["file_name"] for row in rows] == list(reversed(FILES))[:3]


def series(rows, stored):
    def of(dataset):
        return dataset.get("StudyInstanceUID"), dataset.get("SeriesInstanceUID"), dataset.get("Modality")

    whole = {of(dataset) for dataset in stored.datasets.values() if all(of(dataset))}
    told = [
        (row["study_instance_uid"], row["series_instance_uid"], row["attributes"]["Modality"]["Value"][0])
        for row in rows
    ]
    assert len(told) == len(set(told))
    assert set(told) == whole


def bytes_of_a_patient(rows, _):
    sizes = [path_of(name).stat().st_size for name in FILES]
    assert rows == [{"_id": None, "files": len(sizes), "bytes": sum(sizes)}]


def counts(rows):
    assert [row["count"] for row in rows] == sorted((row["count"] for row in rows), reverse=True)
    return {row["_id"]: row["count"] for row in rows}


def series_of_modalities(rows, stored):
    known = {
        (dataset.SeriesInstanceUID, dataset.Modality)
        for dataset in stored.datasets.values()
        if dataset.get("SeriesInstanceUID") and dataset.get("StudyInstanceUID")
    }
    assert counts(rows) == Counter(modality for _, modality in known)


def spacings(rows, stored):
    told = Counter()
    for dataset in stored.datasets.values():
        told.update({float(value) for value in dataset.get("PixelSpacing", ())})
    assert counts(rows) == told
    assert told


def tags(rows, stored):
    told = Counter(path for dataset in stored.datasets.values() for path in set(all_paths(dataset)))
    assert len(rows) == 20
    assert rows[0]["files"] == len(FILES) == max(told.values())
    assert all(row["files"] == told[row["_id"]] for row in rows if row["_id"] in told)
    assert sum(row["_id"] in told for row in rows) > 10


def cut(count, stored):
    assert count == len(stored.where(lambda dataset: (0x0043, 0x1028) in dataset)) > 0


def all_names(values, stored):
    told = {group for dataset in stored.datasets.values() for group in str(dataset.PatientName).split("=")}
    assert set(values) == told
    assert len(values) == len(told)


def all_beams(values, stored):
    assert values == sorted(set(beam_names(stored)))


def files_of_names(rows, stored):
    assert counts(rows) == Counter(dataset.PatientName.alphabetic for dataset in stored.datasets.values())


def names_and_sizes(rows, stored):
    told = sorted(
        (name, path_of(name).stat().st_size, dataset.PatientName.alphabetic)
        for name, dataset in stored.datasets.items()
    )
    assert sorted((row["file_name"], row["size"], row["name"]) for row in rows) == told


def other_ids(stored):
    items = [item for dataset in stored.datasets.values() for item in dataset.get("OtherPatientIDsSequence", ())]
    assert len(items) >= 2
    return [{"id": item.PatientID, "type": item.TypeOfPatientID} for item in items]


def items(rows, stored):
    def order(row):
        return row["id"]

    assert sorted(rows, key=order) == sorted(other_ids(stored), key=order)


def items_below_items(rows, stored):
    points = [
        {"beam": beam.BeamName, "point": point.ControlPointIndex, "weight": float(point.CumulativeMetersetWeight)}
        for beam in stored.datasets["rtplan.dcm"].BeamSequence
        for point in beam.ControlPointSequence
    ]
    assert rows == points
    assert len(points) > 1


def values_of_items(rows, stored):
    assert counts(rows) == Counter(item["type"] for item in other_ids(stored))


def one_item(rows, stored):
    def holds(dataset):
        return any(
            (item.PatientID, item.TypeOfPatientID) == ("ABCD1234", "TEXT")
            for item in dataset.get("OtherPatientIDsSequence", ())
        )

    assert stored.named(rows) == stored.where(holds) != []


def slices(rows, stored):
    told = [
        {
            "patient_id": PATIENT,
            "modality": dataset.Modality,
            **dict(zip("xyz", positions(dataset), strict=True)),
            **dict(zip(("rows", "columns"), map(float, dataset.PixelSpacing), strict=True)),
        }
        for dataset in stored.datasets.values()
        if "ImagePositionPatient" in dataset
    ]
    assert rows == sorted(told, key=lambda row: row["z"])
    assert any(row["rows"] == row["columns"] for row in rows), "values that are equal tell whether each has its place"


def frames(rows, stored):
    told = [
        {"number": number, "position": positions(frame.PlanePositionSequence[0])}
        for number, frame in enumerate(stored.datasets["liver_1frame.dcm"].PerFrameFunctionalGroupsSequence)
    ]
    assert rows == told
    assert len(told) > 1


def of_an_instance(rows, _):
    assert {row["action"] for row in rows} >= {"upload"}
    assert {row["outcome"] for row in rows} == {"done"}


def of_a_token(rows, _):
    assert len({row["token_id"] for row in rows}) == 1
    assert len(rows) == len(FILES) + 5, "all uploads, the share, the delete before and after, and the picture"


def of_a_share(rows, _):
    assert [(row["action"], row["outcome"]) for row in rows] == [("share", "done"), ("open_share", "done")]
    assert rows[1]["subject"].startswith("share:")


def open_shares(rows, _):
    assert [(row["patient_id"], row["kind"], row["opens"]) for row in rows] == [(PATIENT, "view", 1)]


def deletes(rows, _):
    assert [row["outcome"] for row in rows] == ["done", "intended"]


EXPECTED = {
    FIRST_OF_README: thin_slices,
    "Thin CT slices:": thin_slices,
    "The same with file names": thin_slices_with_names,
    "A private element by its creator": private,
    "What stands in the items of a sequence": energies,
    "Names by a word": words,
    "Files that have an element": with_birth_date,
    "Files in which it is empty": with_empty_birth_date,
    "The newest files of a patient": newest,
    "The series of a patient's studies": series,
    "How many files and bytes a patient has": bytes_of_a_patient,
    "How many series of each modality": series_of_modalities,
    "In how many files each pixel spacing stands": spacings,
    "Which tags there are": tags,
    "Files of which the index lacks something": cut,
    "All names": all_names,
    "All values in the items of a sequence": all_beams,
    "In how many files each name stands": files_of_names,
    "A list of names and sizes": names_and_sizes,
    "The items of a sequence, a row each": items,
    "The items of a sequence in a sequence": items_below_items,
    "In how many items of it each value stands": values_of_items,
    "Files of which one item meets two conditions": one_item,
    "Where each slice lies": slices,
    "In multi-frame files": frames,
    "Who had to do with an instance": of_an_instance,
    "What a token was used for": of_a_token,
    "All deletes of the last week": deletes,
    "What was done by a share's link": of_a_share,
    "Shares that are open now": open_shares,
}
"""What is expected of each query, by how the sentence before it begins."""


def test_what_is_expected_is_known_of_every_query_and_nothing_else():
    said = [*questions(README), *questions(ANALYSIS)]
    assert len(said) == len(re.findall(r"^```js$", README + ANALYSIS, re.MULTILINE))
    begun = [[beginning for beginning in EXPECTED if sentence.startswith(beginning)] for sentence in said]
    assert sorted(begun) == sorted([beginning] for beginning in EXPECTED)


@pytest.mark.parametrize("beginning", EXPECTED)
def test_a_query_answers_what_pydicom_reads(beginning, answers, stored):
    (answer,) = (answer for said, answer in answers.items() if said.startswith(beginning))
    assert not (isinstance(answer, dict) and "error" in answer), answer
    EXPECTED[beginning](answer, stored)


# --- what the page says of indexes, of the local database and of the documents ---------------------------------------


def explained(query):
    """The same query, explained instead of answered."""
    query = query.replace(".countDocuments(", ".find(")
    return (
        query.replace(".aggregate(", ".explain().aggregate(", 1) if ".aggregate(" in query else f"({query}).explain()"
    )


def test_an_index_answers_what_the_page_says_that_it_does(mongosh, stored, tmp_path):
    asked = questions(section("Questions that an index answers")) | questions(section("Who saw what"))
    asked |= {"README": next(iter(questions(README).values()))}
    plans = evaluate(mongosh, stored.uri, [explained(query) for query in asked.values()], tmp_path)
    scanned = {said for said, plan in zip(asked, plans, strict=True) if scans_a_collection(plan)}
    without = is_secantus(mongosh, stored, tmp_path)
    not_there = {said for said, query in asked.items() if re.search("db.tag_index|dicom_ids|share_id", query)}
    assert scanned == (not_there if without else set())
    of_audit = [indexes(plan) for query, plan in zip(asked.values(), plans, strict=True) if "db.audit" in query]
    if without:
        assert of_audit == [set(), {"of_token"}, {"of_action"}, set()]
    else:  # the entries of this test are all of one patient and one token, so the index of times is as good
        for used, made in zip(of_audit, ("of_patient", "of_token", "of_action", "of_share"), strict=True):
            assert used in ({made}, {"newest"})


def is_secantus(mongosh, stored, home):
    (plan,) = evaluate(mongosh, stored.uri, ["db.meta.find().explain()"], home)
    return plan.get("serverInfo", {}).get("host") == "secantus"


def test_the_local_database_answers_wrongly_where_the_page_says_so_and_nothing_else_is_said(mongosh, stored, tmp_path):
    if not is_secantus(mongosh, stored, tmp_path):
        pytest.skip("this is not SecantusDB: the wrong answers that the page warns of are its own")
    path = "dataset.PatientName.Value.Alphabetic"
    table = section("Names and sequences")
    assert table.count(path) >= 4
    distinct, grouped, shown, first = evaluate(
        mongosh,
        stored.uri,
        [
            f'db.instances.distinct("{path}")',
            f'db.instances.aggregate([{{$group: {{_id: "${path}"}}}}])',
            f'db.instances.aggregate([{{$project: {{_id: 0, name: "${path}"}}}}])',
            f'db.instances.aggregate([{{$group: {{_id: "${path.replace("Value", "Value.0")}"}}}}])',
        ],
        tmp_path,
    )
    assert (distinct, grouped) == ([], [{"_id": None}])
    assert shown == [{}] * len(FILES)
    assert {row["_id"] for row in first} == {dataset.PatientName.alphabetic for dataset in stored.datasets.values()}


SHOWN = re.findall(r"^```javascript\n// db\.([a-z_.]+)\n(.*?)^```$", ANALYSIS, re.MULTILINE | re.DOTALL)
OWN = {"_id", "dicom_id", "original_id", "filename", "namespace", "request_id", "token_id", "dicom_ids", "version"}
"""Fields that differ from database to database."""


def test_a_document_of_every_collection_is_shown():
    named = [name for name, _ in SHOWN]
    assert named == [
        "instances",
        "tag_index",
        "series",
        "originals.files",
        "rendered.files",
        "audit",
        "shares_view",
        "meta",
    ]


@pytest.mark.parametrize(("collection", "text"), SHOWN, ids=[name for name, _ in SHOWN])
def test_a_document_that_is_shown_is_a_part_of_one_that_is_there(collection, text, mongosh, stored, tmp_path):
    ct = stored.ids["CT_small.dcm"]
    wanted = {
        "originals.files": {"filename": ct},
        "rendered.files": {"metadata.dicom_id": ct},
        "series": {"series_instance_uid": str(stored.datasets["CT_small.dcm"].SeriesInstanceUID)},
        "audit": {"dicom_ids": ct, "action": "upload"},
        "shares_view": {"label": "for Dr Lang"},
        "meta": {},
    }.get(collection, {"_id": ct})
    find = f"db.getCollection({json.dumps(collection)}).findOne({json.dumps(wanted)})"
    shown, there = evaluate(mongosh, stored.uri, [text, find], tmp_path)
    if collection != "meta":  # its counters come and go
        assert set(shown) == set(there)
    assert_part(shown, there, collection)


def assert_part(shown, there, place):
    if isinstance(shown, dict):
        for name, value in shown.items():
            assert name in there, f"{place}.{name}"
            if name in OWN or name.startswith("$"):
                assert type(value) is type(there[name]), f"{place}.{name}"
            else:
                assert_part(value, there[name], f"{place}.{name}")
    elif isinstance(shown, list) and place.endswith("truncated"):
        assert set(shown) <= set(there), place
    elif isinstance(shown, list):
        assert len(shown) == len(there), place
        for one, other in zip(shown, there, strict=True):
            assert_part(one, other, place)
    else:
        assert shown == there, place


# --- the catalogue ---------------------------------------------------------------------------------------------------


def catalogue(mongosh, stored, home, options):
    done = subprocess.run(
        [mongosh, "--quiet", "--norc", stored.uri, "--eval", f"var options = {options}", "scripts/catalogue.js"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        capture_output=True,
        timeout=60,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {row["path"]: row for row in map(json.loads, done.stdout.splitlines())}, done.stderr


def test_the_catalogue_of_all_patients_says_what_that_of_each_says(mongosh, stored, service, tmp_path):
    status, _, body = service.request("GET", f"/patient/{PATIENT}/tags?limit=1000", patient=PATIENT)
    assert status == 200
    expected = {row["path"].replace(".", "/"): row for row in json.loads(body)["tags"]}
    rows, progress = catalogue(mongosh, stored, tmp_path, "{}")
    assert set(rows) == set(expected)
    assert list(rows) == sorted(rows)
    assert f"{len(FILES)} files" in progress
    for path, row in rows.items():
        there = expected[path]
        assert set(row["vrs"]) <= set(there["vrs"])
        for name in ("files", "more_values", "min", "max"):
            assert row[name] == there[name], path
        if not row["more_values"]:
            assert sorted(row["values"], key=str) == sorted(there["values"], key=str)


def test_the_catalogue_is_narrowed_by_options(mongosh, stored, tmp_path):
    rows, _ = catalogue(mongosh, stored, tmp_path, f'{{patient: "{PATIENT}", prefix: "M", limit: 2}}')
    assert rows["Modality"]["files"] == 2
    assert all(path.startswith("M") for path in rows)
