"""On MongoDB no search reads a whole collection: what the service asks, and what people type in mongosh."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from pydicom.data import get_testdata_file
from pymongo import MongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent

from service.app import create_app
from service.auth.tokens import mint_token
from service.resources import now
from service.settings import Settings
from service.storage.connection import open_database
from service.storage.store import Store
from service.web.server import DiscreetRunner, listen
from tests.storage.plans import COMMANDS, indexes, scans_a_collection, stages

FILES = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "examples_rgb_color.dcm")
SECRET = "a secret of the tests, with more than 32 bytes"
NESTED = "ReferencedImageSequence.ReferencedSOPInstanceUID"

# --- the walker ------------------------------------------------------------------------------------------------------

IXSCAN = {"stage": "IXSCAN", "keyPattern": {"patient_id": 1}, "indexName": "newest", "isMultiKey": False}
FETCH = {"stage": "FETCH", "filter": {"tags.Modality": {"$eq": "CT"}}, "inputStage": IXSCAN}
COLLSCAN = {"stage": "COLLSCAN", "filter": {"a": {"$eq": 1}}, "direction": "forward"}


def planner(winning: Any, *rejected: Any) -> dict[str, Any]:
    return {
        "queryPlanner": {"namespace": "dicom.x", "winningPlan": winning, "rejectedPlans": list(rejected)},
        "ok": 1.0,
    }


SHAPES = {
    "classic": lambda plan: planner({"stage": "SORT", "inputStage": plan}),
    "projection": lambda plan: planner({"stage": "LIMIT", "inputStage": {"stage": "SKIP", "inputStage": plan}}),
    "or": lambda plan: planner({"stage": "FETCH", "inputStage": {"stage": "OR", "inputStages": [FETCH, plan]}}),
    "subplan": lambda plan: planner({"stage": "SUBPLAN", "inputStage": plan}),
    "slot-based": lambda plan: planner(
        {"isCached": False, "queryPlan": plan, "slotBasedPlan": {"slots": "", "stages": "[1] scan s1"}}
    ),
    "sharded": lambda plan: {
        "queryPlanner": {
            "winningPlan": {
                "stage": "SHARD_MERGE",
                "shards": [
                    {"shardName": "a", "winningPlan": FETCH, "rejectedPlans": []},
                    {"shardName": "b", "winningPlan": {"queryPlan": plan, "slotBasedPlan": {}}, "rejectedPlans": []},
                ],
            }
        }
    },
    "aggregation": lambda plan: {"stages": [{"$cursor": planner(plan)}, {"$group": {"_id": "$a"}}], "ok": 1.0},
    "aggregation of shards": lambda plan: {
        "mergeType": "mongos",
        "shards": {"a": {"stages": [{"$cursor": planner(FETCH)}]}, "b": planner(plan)},
    },
    "joined": lambda plan: planner({"stage": "EQ_LOOKUP", "inputStages": [IXSCAN, plan]}),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a_scan_is_seen_wherever_the_plan_has_it(shape: str) -> None:
    make = SHAPES[shape]
    assert scans_a_collection(make(COLLSCAN))
    assert not scans_a_collection(make(FETCH))
    assert indexes(make(FETCH)) == {"newest"}


def test_what_lost_or_is_only_reported_is_no_scan() -> None:
    assert not scans_a_collection(planner(FETCH, {"stage": "COLLSCAN"}))
    reported = {**planner(FETCH), "executionStats": {"executionStages": COLLSCAN}, "command": {"winningPlan": COLLSCAN}}
    assert not scans_a_collection(reported)


@pytest.mark.parametrize("explained", [{}, {"ok": 1.0}, planner({}), planner({"queryPlan": {}})])
def test_a_plan_that_cannot_be_read_is_not_taken_for_a_good_one(explained: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="plan"):
        stages(explained)


# --- what the service asks -------------------------------------------------------------------------------------------

SEARCHES = {
    "equality": "Modality=CT",
    "number": "SliceThickness=5",
    "range of numbers": "SliceThickness=1..6",
    "open range": "SliceThickness=..6",
    "range of dates": "StudyDate=19970101-20200101",
    "range of moments": "StudyDate=19970101-20200101&StudyTime=00-23",
    "wildcard": "StudyDescription=e*",
    "wildcard in front": "StudyDescription=*a",
    "name": "PatientName=compressed*",
    "fuzzy": "PatientName=compressed sam&fuzzymatching=true",
    "several values": "Modality=CT%5CMR&multiplevaluematching=true",
    "UID list": "SOPInstanceUID=1.2,1.3",
    "sequence": f"{NESTED}=1.2.3",
    "one item of a sequence": "OtherPatientIDsSequence.PatientID=ABCD1234&OtherPatientIDsSequence.TypeOfPatientID=TEXT",
    "private": f"{quote('GEMS_IDEN_01:0009xx01')}=GE_GENESIS_FF",
    "present": "BeamSequence=!!",
    "absent": "BeamSequence=!",
    "empty": 'PatientBirthDate=""',
    "empty sequence": 'ReferencedStudySequence=""',
    "absent beside present": "Modality=CT&BeamSequence=!",
    "impossible": "Modality=CT&Modality=!",
    "ordered": "Modality=!!&orderby=-SliceThickness",
    "fields": "fields=Modality",
    "a later page": "Modality=!!&limit=1&offset=2",
}
LISTS = {"newest": "dicom", "a later page of the newest": "dicom?limit=1&offset=2", "catalogue": "tags"}
QIDO = {
    f"{level} by {query or 'nothing'}": f"dicomweb/{level}?{query}"
    for level in ("studies", "series", "instances")
    for query in (
        "",
        "limit=1&offset=1",
        "StudyInstanceUID=1.3.6.1.4.1.5962.1.2.1.20040119072730.12322",
        "ModalitiesInStudy=CT",
        "PatientName=comp*&fuzzymatching=true",
        "SliceThickness=5",
        "RequestAttributesSequence.ScheduledProcedureStepID=1",
        "includefield=all",
    )
}
QUESTIONS = {**{name: f"dicom?{query}" for name, query in SEARCHES.items()}, **LISTS, **QIDO}

Ask = Callable[[str], Awaitable[list[dict[str, Any]]]]


class Commands(CommandListener):
    """Keeps the commands that read, as they were sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name in COMMANDS:
            self.sent.append(dict(event.command))

    def succeeded(self, event: Any) -> None: ...

    def failed(self, event: Any) -> None: ...


@pytest.fixture
def wire_uri(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_uri"))


@pytest.fixture
async def ask(wire_uri: str, tmp_path: Path) -> AsyncIterator[Ask]:
    """A service with some files of two patients; gives the commands that one request sends to the database."""
    from motor.motor_asyncio import AsyncIOMotorClient

    commands = Commands()
    client: Any = AsyncIOMotorClient(wire_uri, tz_aware=True, event_listeners=[commands])
    database = open_database(client, f"test_{tmp_path.name[:40]}")
    store = Store(database, now)
    await store.prepare()
    settings = Settings(
        data_dir=tmp_path,
        spool_dir=tmp_path / "spool",
        jwt_secret=SECRET,
        pool_processes=1,
        recovery_interval=3600.0,  # what it asks belongs to no request
    )
    runner = DiscreetRunner(create_app(settings, store=store))
    await runner.setup()
    listener = listen("127.0.0.1", 0)
    await web.SockSite(runner, listener).start()
    root = f"http://127.0.0.1:{listener.getsockname()[1]}/patient"
    async with aiohttp.ClientSession() as session:

        async def send(method: str, patient: str, path: str, **options: Any) -> None:
            headers = {"access-token": mint_token(SECRET, patient, lifetime=600), **options.pop("headers", {})}
            async with session.request(method, f"{root}/{patient}/{path}", headers=headers, **options) as response:
                assert response.status == 200, await response.text()
                await response.read()

        async def go(path: str) -> list[dict[str, Any]]:
            commands.sent.clear()
            await send("GET", "p-1", path)
            return list(commands.sent)

        for patient in ("p-1", "p-2"):
            for name in FILES:
                content = await asyncio.to_thread(Path(str(get_testdata_file(name, download=False))).read_bytes)
                await send("POST", patient, "dicom", data=content, headers={"Content-Type": "application/dicom"})
        try:
            yield go
        finally:
            await runner.cleanup()
            store.close()
            await client.drop_database(database.name)
            client.close()


OF_NO_PATIENT = [
    ("usage", {"_id": "p-1"}),  # a patient's counter has its id
    ("meta", {"_id": "store"}),
]


@pytest.mark.parametrize("wire_uri", ["local", "mongodb"], indirect=True)
async def test_no_request_has_a_collection_scanned(ask: Ask, wire_uri: str, request: pytest.FixtureRequest) -> None:
    scanned, names = {}, set()
    for name, path in QUESTIONS.items():
        sent = await ask(path)
        assert sent, name
        for command in sent:
            # Each names the patient, or ids that came from a command that did.
            wanted = command.get("filter") or command["pipeline"][0]["$match"]
            patients = {"patient_id", "metadata.patient_id"} & set(wanted)
            assert patients or (command.get("find"), wanted) in OF_NO_PATIENT, (name, command)
            names.add(command["find"] if "find" in command else command["aggregate"])
            if "mongodb" in request.node.name and scans_a_collection(explain(wire_uri, command)):
                scanned[name] = command
    assert scanned == {}
    assert names >= {"tag_index", "instances", "series", "originals.files"}


def explain(uri: str, command: dict[str, Any]) -> dict[str, Any]:
    """Have a command explained instead of answered."""
    own = {
        key: value for key, value in command.items() if key not in {"lsid", "$db", "$clusterTime", "$readPreference"}
    }
    own = {key: value for key, value in own.items() if key != "maxTimeMS"}
    if "aggregate" in own:
        own.setdefault("cursor", {})
    with MongoClient(uri) as client:
        return dict(client[command["$db"]].command("explain", own, verbosity="queryPlanner"))


# --- what people type ------------------------------------------------------------------------------------------------

TYPED = {
    "equality": {"tags.Modality": "CT"},
    "number": {"tags.SliceThickness": 5.0},
    "nested": {"tags.ReferencedImageSequence/ReferencedSOPInstanceUID": "1.2.3"},
    "private": {"tags.GEMS_IDEN_01:0009xx01": "GE_GENESIS_FF"},
    "one of": {"tags.Modality": {"$in": ["CT", "MR"]}},
    "range": {"tags.SliceThickness": {"$elemMatch": {"$gte": 1, "$lt": 6}}},
    "open range": {"tags.SliceThickness": {"$gt": 1}},
    "prefix": {"tags.StudyDescription": {"$regex": "^e"}},
    "prefix as a regular expression": {"tags.PatientID": re.compile("^1CT")},
    "there": {"tags.BeamSequence": {"$exists": True}},
    "empty": {"tags.PatientBirthDate": []},
    "two conditions": {"tags.Modality": "CT", "tags.SliceThickness": {"$elemMatch": {"$gte": 1, "$lt": 6}}},
    "words of names": {"names.PatientName": "compressedsamples"},
}


@pytest.mark.usefixtures("ask")
@pytest.mark.parametrize("wire_uri", ["mongodb"], indirect=True)
async def test_no_question_across_patients_has_the_index_scanned(wire_uri: str, tmp_path: Path) -> None:
    for name, wanted in TYPED.items():
        command = {"find": "tag_index", "filter": wanted, "$db": f"test_{tmp_path.name[:40]}"}
        explained = explain(wire_uri, command)
        assert not scans_a_collection(explained), name
        assert indexes(explained) == {"paths"}, name
