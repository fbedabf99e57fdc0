"""Who asked for whose data, and what became of it: every private route leaves an entry, and no entry holds a value."""

import time

import aiohttp
import pytest

from service.auth.tokens import Claims
from service.errors import Unavailable
from service.usecases.audit import ROOM, STRANGERS_A_MINUTE
from service.web.app_keys import AUDIT, AUTHENTICATOR

pytestmark = pytest.mark.asyncio(loop_scope="session")

MARK = "MARK7KRAM"
FIELDS = {
    "_id",
    "at",
    "action",
    "outcome",
    "status",
    "method",
    "route",
    "request_id",
    "patient_id",
    "subject",
    "token_id",
    "dicom_ids",
}


@pytest.fixture
def patient(service):
    """A patient whom nobody else's test has tried to read."""
    return f"audited-{next(service.patients)}"


async def entries(service, patient):
    """What the audit says of a patient, in order."""
    await service.app[AUDIT].write()
    return await service.store._database["audit"].find({"patient_id": patient}).sort("_id", 1).to_list(None)


def stow(content):
    with aiohttp.MultipartWriter("related") as body:
        body.append(content, {"Content-Type": "application/dicom"})
    return body


async def test_each_kind_of_request_leaves_one_entry(service, patient, ct):
    uploaded = await service.upload(patient, ct, name=f"{MARK}.dcm")
    path, dicom_id = uploaded.headers["Location"], uploaded.json()
    web = f"/patient/{patient}/dicomweb"
    sent = await service.ask(
        "POST", f"{web}/studies", patient=patient, data=ct, headers={"Content-Type": "application/dicom"}
    )
    assert sent.status == 200
    study = (await service.ask("GET", f"{web}/studies", patient=patient)).json()[0]["0020000D"]["Value"][0]
    listed = (await service.ask("GET", f"{web}/instances", patient=patient)).json()[0]
    series, instance = listed["0020000E"]["Value"][0], listed["00080018"]["Value"][0]
    one = f"{web}/studies/{study}/series/{series}/instances/{instance}"
    asked = [
        ("GET", path, {"Accept": "application/dicom"}, "read_original", 200),
        ("GET", path, {"Accept": "image/png"}, "read_picture", 200),
        ("GET", path, {"Accept": "application/json"}, "read_instance", 200),
        ("HEAD", path, {}, "read_original", 200),
        ("GET", f"{path}/tag/PatientName", {}, "read_tag", 200),
        ("GET", f"{path}/tag/{MARK}", {}, "read_tag", 422),
        ("GET", f"{path}/tags", {}, "read_tags", 200),
        ("GET", f"{path}/bulkdata/PixelData", {}, "read_bulk_data", 200),
        ("GET", f"{web}/studies/{study}", {}, "read_original", 200),
        ("GET", one, {}, "read_original", 200),
        ("GET", f"{one}/metadata", {}, "read_tags", 200),
        ("GET", f"{one}/frames/1", {}, "read_frames", 200),
        ("GET", f"{one}/rendered", {}, "read_picture", 200),
        ("GET", f"{web}/studies/{study}/thumbnail", {}, "read_picture", 200),
    ]
    about_all = [
        ("GET", f"/patient/{patient}/dicom", {}, "search", 200),
        ("GET", f"/patient/{patient}/dicom?PatientName={MARK}", {}, "search", 200),
        ("GET", f"/patient/{patient}/tags", {}, "read_catalogue", 200),
        ("GET", f"{path[:-1]}x/tags", {}, "read_tags", 404),
    ]
    before = len(await entries(service, patient))
    answers = [
        await service.ask(method, target, patient=patient, headers=headers)
        for method, target, headers, *_ in asked + about_all
    ]
    found = (await entries(service, patient))[before:]
    assert [answer.status for answer in answers] == [status for *_, status in asked + about_all]
    assert [(each["action"], each["status"]) for each in found] == [tuple(row[3:]) for row in asked + about_all]
    assert [each["dicom_ids"] for each in found] == [[dicom_id]] * len(asked) + [[]] * len(about_all)
    assert [each["request_id"] for each in found] == [answer.headers["X-Request-ID"] for answer in answers]
    for each in await entries(service, patient):
        assert set(each) == FIELDS
        assert each["outcome"] == ("done" if each["status"] < 400 else "failed")
        assert each["route"].startswith("/patient/{patient_id}/")
        assert MARK not in str(each)
        assert "Compressed" not in str(each)  # the patient's name in that file
        assert instance not in str(each)
    assert [each["dicom_ids"] for each in (await entries(service, patient))[:2]] == [[dicom_id], [dicom_id]]


async def test_a_delete_is_written_down_before_it_is_done(service, patient, ct):
    path = (await service.upload(patient, ct)).headers["Location"]
    assert (await service.ask("DELETE", path, patient=patient)).status == 204
    assert (await service.ask("DELETE", path, patient=patient)).status == 404
    deletes = [each for each in await entries(service, patient) if each["action"] == "delete"]
    assert [(each["outcome"], each["status"]) for each in deletes] == [
        ("intended", None),
        ("done", 204),
        ("intended", None),
        ("failed", 404),
    ]
    assert deletes[0]["request_id"] == deletes[1]["request_id"]
    assert len({tuple(each["dicom_ids"]) for each in deletes}) == 1


@pytest.mark.parametrize("refusal", ["cannot be written", "is refused"])
async def test_a_delete_that_cannot_be_written_down_is_not_done(service, patient, ct, monkeypatch, refusal):
    path = (await service.upload(patient, ct)).headers["Location"]

    async def append(_trail, entries):
        if refusal == "is refused":
            return len(entries)
        raise Unavailable("The audit cannot be written.")

    with monkeypatch.context() as patch:
        patch.setattr(type(service.store.audit), "append", append)
        answer = await service.ask("DELETE", path, patient=patient)
        assert answer.status == 503
    assert (await service.ask("GET", path, patient=patient)).status == 200


async def test_a_token_for_another_patient_is_written_down_with_its_id(service, patient):
    token = service.token("p-other")
    answer = await service.ask("GET", f"/patient/{patient}/dicom?PatientName={MARK}", headers={"access-token": token})
    assert answer.status == 401
    (found,) = await entries(service, patient)
    assert (found["outcome"], found["status"], found["action"]) == ("denied", 401, "search")
    assert found["token_id"]
    assert token not in str(found)


async def test_a_token_whose_scope_is_not_enough_is_written_down(service, patient, ct):
    path = (await service.upload(patient, ct)).headers["Location"]
    headers = {"access-token": service.token(patient, scope="dicom:read")}
    assert (await service.ask("DELETE", path, headers=headers)).status == 403
    found = (await entries(service, patient))[-1]
    assert (found["action"], found["outcome"], found["status"]) == ("delete", "denied", 403)
    assert found["token_id"]


async def test_a_claim_that_no_database_takes_costs_no_entry(service, patient, monkeypatch):
    claims = Claims(patient, expires_at=time.time() + 60, subject="clinic \ud800" + "x" * 9999, token_id=None)

    async def admit(*_):
        return claims

    with monkeypatch.context() as patch:
        patch.setattr(service.app[AUTHENTICATOR], "admit", admit)
        assert (await service.ask("GET", f"/patient/{patient}/dicom", patient=patient)).status == 200
    (found,) = await entries(service, patient)
    assert found["subject"].startswith("clinic ?xxx")
    assert len(found["subject"]) == 256


async def test_a_fault_in_writing_loses_what_it_struck_and_nothing_else(service, patient, monkeypatch, caplog):
    async def broken(_trail, _entries):
        raise ValueError(MARK)

    with monkeypatch.context() as patch:
        patch.setattr(type(service.store.audit), "append", broken)
        await service.ask("GET", f"/patient/{patient}/dicom", patient=patient)
        await service.app[AUDIT].write()
    await service.ask("GET", f"/patient/{patient}/tags", patient=patient)
    assert [each["action"] for each in await entries(service, patient)] == ["read_catalogue"]
    assert "are lost" in caplog.text
    assert MARK not in caplog.text


async def test_tokens_that_are_not_valid_are_written_down_so_many_a_minute_and_none_without_one(start):
    service = await start()
    for _ in range(5):
        await service.ask("GET", "/patient/p-1/dicom")
    assert await entries(service, "p-1") == []
    service.app[AUDIT]._monotonic = lambda: 0.0  # the minute must not turn in the middle
    for number in range(STRANGERS_A_MINUTE + 20):
        await service.ask("GET", "/patient/p-1/dicom", headers={"access-token": f"{MARK}.{number}"})
    found = await entries(service, "p-1")
    assert len(found) == STRANGERS_A_MINUTE
    assert {(each["outcome"], each["subject"], each["token_id"]) for each in found} == {("denied", None, None)}
    assert MARK not in str(found)


async def test_where_the_audit_cannot_be_written_for_long_nobody_reads(start, monkeypatch, ct):
    service = await start()
    path = (await service.upload("p-1", ct)).headers["Location"]
    audit = service.app[AUDIT]

    async def away(_trail, _entries):
        raise Unavailable("away")

    monkeypatch.setattr("service.usecases.audit.ROOM", 20)
    with monkeypatch.context() as patch:
        patch.setattr(type(service.store.audit), "append", away)
        statuses = [(await service.ask("GET", path, patient="p-1")).status for _ in range(30)]
        assert statuses[:5] == [200] * 5
        assert statuses[-5:] == [503] * 5
        assert (await service.ask("GET", "/healthz")).status == 200
        for _ in range(60):
            audit.note(next(iter(audit._waiting)))
        assert audit._weight <= 2 * 20 + 2  # memory is bounded all the same
    await audit.write()
    assert (await service.ask("GET", path, patient="p-1")).status == 200
    assert ROOM > 20


async def test_a_request_about_many_instances_has_several_entries(service, patient, monkeypatch, ct):
    monkeypatch.setattr("service.usecases.audit.IDS_AN_ENTRY", 2)
    uid = b"5962.1.1.1.1.1.20040119072730.1232"
    for number in range(5):
        await service.upload(patient, ct.replace(uid + b"2", b"%s%d" % (uid, number)))
    study = (await service.ask("GET", f"/patient/{patient}/dicomweb/studies", patient=patient)).json()[0]
    path = f"/patient/{patient}/dicomweb/studies/{study['0020000D']['Value'][0]}/metadata"
    seen = len(await entries(service, patient))
    answer = await service.ask("GET", path, patient=patient, headers={"Accept-Encoding": "identity"})
    found = (await entries(service, patient))[seen:]
    named = [each for entry in found for each in entry["dicom_ids"]]
    assert len(set(named)) == len(named) == len(answer.json()) == 5
    assert all(len(entry["dicom_ids"]) <= 2 for entry in found)
    assert {entry["request_id"] for entry in found} == {answer.headers["X-Request-ID"]}
