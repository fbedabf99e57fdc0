"""Inboxes: whoever has the link puts files in and learns nothing; the patient accepts what came, or declines it."""

import asyncio
import io
import json
import uuid
import zipfile

import aiohttp
import pydicom
import pytest
import pytest_asyncio

from service.auth.tokens import DELETE, READ
from service.dicom.extract import extract, extract_packed
from service.usecases import accepting, inboxes, ingest
from tests.web.routes import all_routes, concrete
from tests.web.service import MAX_UPLOAD_BYTES
from tests.web.sharing import Sharing, secret_of
from tests.web.zips import dicom, packed

pytestmark = pytest.mark.asyncio(loop_scope="session")

ZIP = {"Content-Type": "application/zip"}
DICOM = {"Content-Type": "application/dicom"}
STRANGE = "1.2.826.0.1.3680043.8.498.90"


class Sending:
    """Whoever has the link of an inbox."""

    def __init__(self, shares, made, session):
        self.shares, self.made, self.session = shares, made, session
        self.share_id = made["share_id"]

    async def send(self, content, headers=DICOM, query=""):
        path = f"/patient/{self.shares.patient}/dicom{query}"
        return await self.shares.service.ask("POST", path, headers={**self.session, **headers}, data=content)

    async def send_form(self, content, name="one.dcm", kind="application/dicom"):
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("body", io.BytesIO(content), filename=name, content_type=kind)
        return await self.send(form, headers={})

    async def send_zip(self, *members):
        answer = await self.send(packed(*members), ZIP)
        return answer.status, [json.loads(line) for line in answer.body.splitlines()]

    async def answer(self, files="all", **more):
        return await self.shares.ask("POST", f"/shares/{self.share_id}/accept", {"files": files, **more})

    async def look(self, query=""):
        answer = await self.shares.ask("GET", f"/shares/{self.share_id}{query}")
        assert answer.status == 200, answer.body
        return answer.json()

    async def use(self):
        """Files and bytes of the inbox's room that are taken."""
        inbox = (await self.look())["inbox"]
        return inbox["files"], inbox["bytes"]

    async def reserved(self):
        document = await self.shares.service.store._database["shares"].find_one({"_id": self.share_id})
        return document["inbox"]["reserved"]


async def open_inbox(shares, **wanted):
    made = await shares.make(**{"upload": True, "max_files": 20, "max_bytes": 10 << 20, **wanted})
    return Sending(shares, made, await shares.session(made))


@pytest_asyncio.fixture(loop_scope="session")
async def inbox(shares):
    return await open_inbox(shares)


def without_id(answer):
    """An answer without what differs from request to request."""
    headers = {name: value for name, value in answer.headers.items() if name not in {"X-Request-ID", "Date"}}
    return answer.status, headers, len(answer.body)


async def listed(shares):
    answer = await shares.service.ask("GET", f"/patient/{shares.patient}/dicom", patient=shares.patient)
    return {each["dicom_id"] for each in answer.json()["instances"]}


# --- making --------------------------------------------------------------------------------------------------------


async def test_an_inbox_is_a_share_the_other_way_round(shares):
    made = await shares.make(upload=True, max_files=3, max_bytes=1000, label="for the clinic")
    assert made["inbox"] == {"max_files": 3, "max_bytes": 1000, "files": 0, "bytes": 0}
    assert (made["studies"], made["series"], made["instances"], made["download"]) == (None, None, None, False)
    opened = (await shares.open(secret_of(made))).json()
    assert opened["inbox"] == {"max_files": 3, "max_bytes": 1000}
    assert opened["visible"] == {"studies": None, "series": None, "instances": None}


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"max_files": 1},
        {"max_bytes": 1},
        {"max_files": 0, "max_bytes": 1},
        {"max_files": 10_001, "max_bytes": 1},
        {"max_files": 1, "max_bytes": 0},
        {"max_files": 1, "max_bytes": 1, "studies": ["1.2"]},
        {"max_files": 1, "max_bytes": 1, "instances": ["1.2"]},
        {"max_files": 1, "max_bytes": 1, "download": True},
        {"max_files": 1, "max_bytes": 1, "frozen": True},
        {"max_files": 1, "max_bytes": 1, "upload": False},
        {"max_files": 1, "max_bytes": 1, "upload": "yes"},
        {"max_files": True, "max_bytes": 1},
    ],
)
async def test_an_inbox_that_makes_no_sense_is_422_with_a_sentence(shares, wanted):
    answer = await shares.ask("POST", "/shares", {"expires_in": 60, "upload": True, **wanted})
    assert answer.status == 422
    assert answer.detail.endswith(".")


async def test_bounds_of_an_inbox_are_none_of_a_view(shares):
    wanted = {"expires_in": 60, "instances": [shares.dicom_id], "max_files": 3}
    assert (await shares.ask("POST", "/shares", wanted)).status == 422


# --- putting in ----------------------------------------------------------------------------------------------------


async def test_what_is_put_in_waits_and_is_seen_by_its_patient_alone(shares, inbox):
    viewing = await shares.session(await shares.make(studies=[shares.known["study_instance_uid"]]))
    content = dicom(1)
    answer = await inbox.send(content)
    assert answer.status == 200
    assert "Location" not in answer.headers
    inbox_id = answer.json()
    (waits,) = (await inbox.look())["files"]
    assert (waits["inbox_id"], waits["size"], waits["state"]) == (inbox_id, len(content), "done")
    assert waits["study_instance_uid"] == shares.known["study_instance_uid"]
    answer = await shares.service.ask("GET", f"/patient/{shares.patient}/dicom", patient=shares.patient)
    found = {each["dicom_id"]: each.get("inbox") for each in answer.json()["instances"]}
    assert found == {shares.dicom_id: None, inbox_id: inbox.share_id}
    for path in ("/dicom", "/dicomweb/instances"):
        seen = await shares.ask("GET", path, headers=viewing)
        assert seen.status == 200
        assert inbox_id not in seen.body.decode()
        assert "1.2.826.0.1.3680043.8.498.1" not in seen.body.decode()
    assert (await shares.ask("GET", f"/dicom/{inbox_id}/tags", headers=viewing)).status == 404


async def test_whoever_puts_files_in_can_do_nothing_else(shares, inbox):
    mine = (await inbox.send(dicom(1))).json()
    sentences = set()
    for method, template, public in all_routes(shares.service):
        if public or (method, template) == ("POST", "/patient/{patient_id}/dicom"):
            continue
        for dicom_id in (mine, shares.dicom_id):
            path = concrete(template.replace("{patient_id}", shares.patient).replace("{dicom_id}", dicom_id))
            answer = await shares.service.ask(method, path, headers=inbox.session)
            assert answer.status == 403, (method, path)
            if method != "HEAD":
                sentences.add(answer.detail)
    assert sentences == {"This link only takes files: nothing can be read or changed by it."}


async def test_a_file_that_the_patient_has_is_answered_as_a_new_one(shares, inbox, ct):
    new, again = await inbox.send(dicom(1)), await inbox.send(ct)
    assert without_id(new) == without_id(again)
    assert again.json() != shares.dicom_id
    # Another inbox of the same patient gives another id, so ids of two links cannot be compared.
    other = await open_inbox(shares)
    assert (await other.send(ct)).json() not in {again.json(), shares.dicom_id}


async def test_a_file_that_came_before_is_answered_as_a_new_one(inbox, shares):
    large = dicom(1)[:-2] + b"\0" * (2 << 20)
    for content in (dicom(1), large):
        first, second = await inbox.send(content), await inbox.send(content)
        assert without_id(first) == without_id(second)
        assert first.json() == second.json()
    forms = [await inbox.send_form(dicom(2)) for _ in range(2)]
    assert without_id(forms[0]) == without_id(forms[1])
    assert len(await listed(shares)) == 4
    assert await inbox.use() == (6, 2 * (len(dicom(1)) + len(large) + len(dicom(2))))


@pytest.mark.parametrize("where", ["service", "worker", "later"])
async def test_what_files_have_in_common_is_not_remembered_of_what_is_put_in(shares, inbox, monkeypatch, where):
    """The time of an upload would else tell whether such a file had come before."""
    context = shares.service.context
    size = context.settings.in_process_bytes if where == "worker" else 0
    first, second, third = (dicom(number) + bytes(size) for number in (1, 2, 3))
    apart = []

    def extracted_here(*arguments, **options):
        apart.append(options["apart"])
        return extract(*arguments, **options)

    async def run(function, *arguments, **options):
        if function is extract_packed:
            apart.append(arguments[2])
        return await type(context.workers).run(context.workers, function, *arguments, **options)

    monkeypatch.setattr(ingest, "extract", extracted_here)
    monkeypatch.setattr(context.workers, "run", run)
    later = {"Prefer": "respond-async"} if where == "later" else {}
    ways = [
        inbox.send(first, {**DICOM, **later}),
        inbox.send(packed(("one.dcm", second), ("two.dcm", third)), {**ZIP, **later}),
    ]
    for way in ways:
        answer = await way
        assert answer.status in {200, 202}, answer.body
    if where == "later":
        for _ in range(200):
            if all(each["state"] == "done" for each in (await inbox.look())["files"]):
                break
            await asyncio.sleep(0.05)
    assert len(apart) >= 3
    assert set(apart) == {True}
    # What the patient uploads is extracted as all else is.
    apart.clear()
    assert (await shares.service.upload(shares.patient, dicom(4))).status == 200
    assert apart == [False]


async def test_a_zip_says_of_each_file_that_it_is_new(inbox, ct):
    members = [("a/there.dcm", ct), ("a/new.dcm", dicom(1)), ("a/twice.dcm", dicom(1)), ("a/readme.txt", b"hello")]
    answers = [await inbox.send_zip(*members) for _ in range(2)]
    assert answers[0] == answers[1]
    status, (*lines, summary) = answers[0]
    assert status == 200
    assert [line.get("new") for line in lines] == [True, True, True, None]
    assert summary["summary"]["stored"] == 3
    assert summary["summary"]["present"] == 0
    form = await inbox.send_form(packed(*members), "disc.zip", "application/zip")
    assert [json.loads(line) for line in form.body.splitlines()] == [*lines, summary]


def stranger(content, *, series=None, sop=None):
    """A file of the patient's own study as somebody else writes it, with a picture of nothing."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.PatientName = dataset.StudyDescription = dataset.SeriesDescription = "STRANGER"
    dataset.SeriesInstanceUID = series or dataset.SeriesInstanceUID
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = sop or dataset.SOPInstanceUID
    dataset.PixelData = bytes(len(dataset.PixelData))
    made = io.BytesIO()
    dataset.save_as(made)
    return made.getvalue()


async def test_what_waits_replaces_nothing_that_its_patient_sees_under_the_same_uids(shares, inbox, ct):
    study, series, sop = (
        f"/{level}/{shares.known[f'{name}_instance_uid']}"
        for level, name in (("studies", "study"), ("series", "series"), ("instances", "sop"))
    )
    owner = {"access-token": shares.service.token(shares.patient)}

    async def see():
        answers = [
            await shares.ask("GET", f"/dicomweb{path}", headers={**owner, "Accept": accept})
            for path, accept in (
                (f"{study}{series}{sop}/metadata", "application/dicom+json"),
                (f"{study}{series}{sop}", "application/dicom; transfer-syntax=*"),
                (f"{study}{series}{sop}/rendered", "image/png"),
                (f"{study}{series}/thumbnail", "image/png"),
                (f"{study}/thumbnail", "image/png"),
            )
        ]
        for path in ("/studies", f"{study}/series", "/series"):
            answer = await shares.ask("GET", f"/dicomweb{path}?includefield=StudyDescription", headers=owner)
            listed = [each for each in answer.json() if STRANGE not in json.dumps(each)]
            # How many instances there are may change.
            answers.append([{key: value for key, value in each.items() if key[:6] != "002012"} for each in listed])
        return [each if isinstance(each, list) else (each.status, each.body) for each in answers]

    before = await see()
    assert all(each[0] == 200 if isinstance(each, tuple) else len(each) == 1 for each in before)
    for content in (
        stranger(ct),
        stranger(ct, sop="1.2.826.0.1.3680043.8.498.91"),
        stranger(ct, series=STRANGE, sop="1.2.826.0.1.3680043.8.498.92"),
        stranger(ct, series=STRANGE, sop=shares.known["sop_instance_uid"]),
    ):
        assert (await inbox.send(content)).status == 200
    assert await see() == before
    studies = await shares.ask("GET", "/dicomweb/studies?PatientName=STRANGER", headers=owner)
    assert "STRANGER" not in studies.body.decode()
    medium = await shares.ask("GET", "/dicom", headers={**owner, "Accept": "application/zip; media=dicomdir"})
    with zipfile.ZipFile(io.BytesIO(medium.body)) as archive:
        directory = pydicom.dcmread(io.BytesIO(archive.read("DICOMDIR")))
        first = archive.read("DICOM/PA000001/ST000001/SE000001/IM000001")
        kinds = {record.DirectoryRecordType: record for record in reversed(directory.DirectoryRecordSequence)}
        assert first == ct
        assert kinds["STUDY"].get("StudyDescription") != "STRANGER"
        assert kinds["PATIENT"].PatientName == "CompressedSamples^CT1"
    # Accepted, it is the patient's own, and the newest.
    assert (await inbox.answer()).status == 200
    assert [each == there for each, there in zip(await see(), before, strict=True)][:2] == [False, False]


async def test_store_requests_are_refused(shares, inbox):
    content = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + dicom(1) + b"\r\n--x--\r\n"
    headers = {**inbox.session, "Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}
    for path in ("/dicomweb/studies", f"/dicomweb/studies/{shares.known['study_instance_uid']}"):
        answer = await shares.service.ask("POST", f"/patient/{shares.patient}{path}", headers=headers, data=content)
        assert answer.status == 403
    assert await listed(shares) == {shares.dicom_id}


async def test_the_expected_person_is_looked_up_in_the_file_alone(inbox, ct):
    for content in (ct, dicom(1), dicom(1)):
        assert (await inbox.send(content, query="?expect_patient_id=1CT1")).status == 200
        assert (await inbox.send(content, query="?expect_patient_id=OTHER")).status == 422


async def test_a_patient_without_room_says_so_of_what_is_there_too(begin, ct):
    service = await begin(dev_mode=True, max_patient_bytes=2 * len(ct) + len(dicom(1)))
    shares = Sharing(service, "p-full")
    shares.dicom_id = (await service.upload("p-full", ct)).json()
    inbox = await open_inbox(shares)
    assert (await inbox.send(dicom(1))).status == 200
    assert (await inbox.send(ct)).status == 200
    answers = [await inbox.send(content) for content in (ct, dicom(1), dicom(2))]
    for answer in answers:
        assert (answer.status, answer.json()["code"]) == (507, "inbox-full")
    assert len({answer.detail for answer in answers}) == 1
    assert str(len(ct)) not in answers[0].detail
    assert await inbox.use() == (2, len(ct) + len(dicom(1)))


# --- how much ------------------------------------------------------------------------------------------------------


async def test_an_inbox_takes_so_many_files_those_that_come_again_too(shares):
    inbox = await open_inbox(shares, max_files=3)
    for content in (dicom(1), dicom(1), dicom(2)):
        assert (await inbox.send(content)).status == 200
    for content in (dicom(1), dicom(3)):
        answer = await inbox.send(content)
        assert (answer.status, answer.json()["code"], answer.detail) == (
            507,
            "inbox-full",
            "This inbox takes no more files.",
        )
    assert await inbox.reserved() == {}


async def test_an_inbox_takes_so_many_bytes_and_one_more_is_too_much(shares):
    size = len(dicom(1))
    inbox = await open_inbox(shares, max_bytes=2 * size)
    assert (await inbox.send(dicom(1))).status == 200
    assert (await inbox.send(dicom(2) + b"\0")).status == 507
    assert (await inbox.send_form(dicom(2))).status == 200
    assert await inbox.use() == (2, 2 * size)


@pytest.mark.parametrize("way", ["length", "pieces", "form", "zip"])
async def test_room_is_given_back_of_what_was_not_stored(shares, way):
    inbox = await open_inbox(shares, max_files=2)
    junk = b"no dicom" * 1000

    async def pieces():
        for start in range(0, len(junk), 500):
            yield junk[start : start + 500]

    for _ in range(5):
        if way == "zip":
            status, lines = await inbox.send_zip(("a.bin", junk), ("b.bin", junk), ("c.bin", junk))
            assert (status, lines[-1]["summary"]["refused"]) == (200, 3)
        elif way == "form":
            assert (await inbox.send_form(junk)).status == 422
        else:
            assert (await inbox.send(junk if way == "length" else pieces())).status == 422
    assert await inbox.use() == (0, 0)
    assert await inbox.reserved() == {}
    assert (await inbox.send(dicom(1))).status == 200


async def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_read(shares):
    inbox = await open_inbox(shares, max_bytes=1000)
    head = (
        f"POST /patient/{shares.patient}/dicom HTTP/1.1\r\nHost: x\r\nContent-Type: application/dicom\r\n"
        f"access-token: {inbox.session['access-token']}\r\nContent-Length: 1001\r\n\r\n"
    )
    answer = await shares.service.raw(head.encode())
    assert answer.status == 507


async def test_many_at_once_are_no_more_than_the_inbox_takes(shares):
    inbox = await open_inbox(shares, max_files=4)
    answers = await asyncio.gather(*(inbox.send(dicom(number)) for number in range(8)))
    statuses = sorted(answer.status for answer in answers)
    assert statuses.count(200) == 4
    assert set(statuses) == {200, 507}
    assert len(await listed(shares)) == 5


async def test_a_zip_ends_where_the_inbox_is_full_with_a_line_for_each(shares):
    inbox = await open_inbox(shares, max_files=2)
    status, (*lines, summary) = await inbox.send_zip(*((f"{number}.dcm", dicom(number)) for number in range(4)))
    assert status == 200
    assert [line.get("refused") for line in lines] == [None, None, "inbox-full", "inbox-full"]
    assert (summary["summary"]["stored"], summary["summary"]["refused"]) == (2, 2)


async def test_what_a_process_that_died_had_reserved_comes_back(shares, turned):
    inbox = await open_inbox(shares, max_files=2)
    now = shares.service.context.clock()
    share = await shares.service.store.shares.find(shares.patient, inbox.share_id)
    dead = inboxes.InboxUpload(
        shares.service.context, inboxes.OpenInbox(inbox.share_id, share["inbox"], lambda: asyncio.sleep(0, True))
    )
    await dead.take(2, 1000)
    assert await inbox.use() == (2, inboxes.STEP_BYTES)
    assert (await inbox.send(dicom(1))).status == 507
    await shares.service.store.inboxes.end_reservations(inbox.share_id, now)
    assert await inbox.use() == (2, inboxes.STEP_BYTES)
    turned(inboxes.RESERVED_SECONDS + 1)
    inbox = Sending(shares, inbox.made, inbox.session)
    document = {"expires_at": now.replace(year=now.year + 1), "sessions.0.expires_at": now.replace(year=now.year + 1)}
    await shares.service.store._database["shares"].update_one({"_id": inbox.share_id}, {"$set": document})
    assert (await inbox.send(dicom(1))).status == 200
    assert await inbox.use() == (1, len(dicom(1)))
    # The process was not dead but slow: what it stored is counted all the same.
    dead.note_stored(500)
    await dead.settle()
    assert await inbox.use() == (2, len(dicom(1)) + 500)


async def test_a_larger_file_than_the_service_takes_is_too_large(shares):
    inbox = await open_inbox(shares, max_bytes=1 << 30)

    async def pieces():
        yield dicom(1)
        for _ in range(5):
            yield b"\0" * (1 << 20)

    assert (await inbox.send(dicom(1) + b"\0" * MAX_UPLOAD_BYTES)).status == 413
    assert (await inbox.send(pieces())).status == 413
    assert await inbox.use() == (0, 0)


# --- ending --------------------------------------------------------------------------------------------------------


async def test_an_inbox_that_is_revoked_takes_no_more_and_what_came_stays(shares, inbox):
    inbox_id = (await inbox.send(dicom(1))).json()
    assert (await shares.ask("DELETE", f"/shares/{inbox.share_id}")).status == 204
    assert (await inbox.send(dicom(2))).status == 401
    assert [each["inbox_id"] for each in (await inbox.look())["files"]] == [inbox_id]
    assert (await inbox.answer()).json()["accepted"].keys() == {inbox_id}


async def test_an_upload_that_is_under_way_when_its_inbox_ends_is_not_stored(shares, inbox):
    async def pieces():
        yield dicom(1)[:5000]
        await shares.ask("DELETE", f"/shares/{inbox.share_id}")
        yield dicom(1)[5000:]

    answer = await inbox.send(pieces())
    assert answer.status == 401
    assert await listed(shares) == {shares.dicom_id}
    assert await inbox.reserved() == {}


# --- accepting -----------------------------------------------------------------------------------------------------


async def test_what_is_accepted_is_the_patients_own_under_the_id_that_their_upload_has(shares, inbox, ct):
    there, new = (
        (await inbox.send(ct)).json(),
        (await inbox.send(dicom(1), {**DICOM, "Content-Disposition": 'attachment; filename="new.dcm"'})).json(),
    )
    viewing = await shares.session(await shares.make(studies=[shares.known["study_instance_uid"]], download=True))
    answered = (await inbox.answer()).json()
    own = answered["accepted"][new]
    assert answered == {"accepted": {there: shares.dicom_id, new: own}, "declined": [], "left": 0}
    assert await listed(shares) == {shares.dicom_id, own}
    original = await shares.ask("GET", f"/dicom/{own}", headers={**viewing, "Accept": "application/dicom"})
    assert (original.status, original.body) == (200, dicom(1))
    again = await shares.service.upload(shares.patient, dicom(1), "other.dcm")
    assert again.json() == own
    described = await shares.service.ask(
        "GET", f"/patient/{shares.patient}/dicom/{own}", patient=shares.patient, headers={"Accept": "application/json"}
    )
    assert described.json()["file_name"] == "new.dcm"
    looked = await inbox.look()
    assert (looked["files"], looked["accepted"], looked["declined"]) == ([], 2, 0)


async def test_some_are_accepted_and_others_declined_and_a_second_answer_is_the_first(shares, inbox):
    first, second, third = [(await inbox.send(dicom(number))).json() for number in (1, 2, 3)]
    accepted = (await inbox.answer([first])).json()["accepted"]
    assert (await inbox.answer([second], decline=True)).json() == {"accepted": {}, "declined": [second], "left": 0}
    assert [each["inbox_id"] for each in (await inbox.look())["files"]] == [third]
    for decline in (False, True):
        told = (await inbox.answer([first, second, first], decline=decline)).json()
        assert told == {"accepted": accepted, "declined": [second], "left": 0}
    assert await listed(shares) == {shares.dicom_id, accepted[first], third}
    looked = await inbox.look()
    assert (looked["accepted"], looked["declined"]) == (1, 1)


async def test_what_was_declined_and_is_sent_again_waits_again(inbox):
    inbox_id = (await inbox.send(dicom(1))).json()
    await inbox.answer(decline=True)
    assert (await inbox.send(dicom(1))).json() == inbox_id
    assert [each["inbox_id"] for each in (await inbox.look())["files"]] == [inbox_id]
    assert inbox_id in (await inbox.answer([inbox_id])).json()["accepted"]


@pytest.mark.parametrize("broken", ["note_answer", "delete"])
async def test_a_crash_between_two_steps_leaves_what_the_next_try_finishes(shares, inbox, monkeypatch, broken):
    inbox_id = (await inbox.send(dicom(1))).json()

    def fail(*_, **__):
        raise accepting.Unavailable("The database does not answer.")

    with monkeypatch.context() as patch:
        owner = shares.service.store.inboxes if broken == "note_answer" else shares.service.store.deletion
        patch.setattr(type(owner), broken, fail)
        assert (await inbox.answer()).status == 503
    assert [each["inbox_id"] for each in (await inbox.look())["files"]] == [inbox_id]
    own = (await inbox.answer()).json()["accepted"][inbox_id]
    assert await listed(shares) == {shares.dicom_id, own}


async def test_two_who_accept_at_once_store_it_once(shares, inbox):
    for number in range(4):
        await inbox.send(dicom(number))
    answers = await asyncio.gather(*(inbox.answer() for _ in range(3)))
    assert {answer.status for answer in answers} == {200}
    assert len(await listed(shares)) == 5
    assert (await inbox.look())["accepted"] == 4


async def test_of_two_who_answer_at_once_otherwise_one_is_obeyed_and_the_other_is_told(shares, inbox, monkeypatch):
    inbox_id = (await inbox.send(dicom(1))).json()
    noted, others = type(shares.service.store.inboxes).note_answer, []

    async def note_second(self, share_id, dicom_id, seen, accepted_as):
        if not others:
            others.append(None)
            others[0] = (await inbox.answer(decline=True)).json()
        return await noted(self, share_id, dicom_id, seen, accepted_as)

    with monkeypatch.context() as patch:
        patch.setattr(type(shares.service.store.inboxes), "note_answer", note_second)
        told = (await inbox.answer()).json()
    assert others == [{"accepted": {}, "declined": [inbox_id], "left": 0}]
    assert told == {"accepted": {}, "declined": [], "left": 1}
    assert await listed(shares) == {shares.dicom_id}
    assert (await inbox.answer([inbox_id])).json() == others[0]


async def test_an_answer_that_cannot_be_done_is_no_answer(inbox, monkeypatch):
    inbox_id = (await inbox.send(dicom(1))).json()

    async def fail(*_, **__):
        raise accepting.StorageFull(1, 1, 1)

    with monkeypatch.context() as patch:
        patch.setattr(accepting.ingest, "store_upload", fail)
        assert (await inbox.answer()).status == 507
    looked = await inbox.look()
    assert (len(looked["files"]), looked["accepted"], looked["declined"]) == (1, 0, 0)
    assert (await inbox.answer(decline=True)).json()["declined"] == [inbox_id]


async def test_more_files_than_one_request_answers_are_answered_by_several(inbox, monkeypatch):
    monkeypatch.setattr(accepting, "AT_ONCE", 2)
    for number in range(5):
        await inbox.send(dicom(number))
    left = []
    while not left or left[-1]:
        left.append((await inbox.answer()).json()["left"])
    assert left == [3, 1, 0]


async def test_only_what_came_by_it_can_be_answered(shares, inbox):
    mine = (await inbox.send(dicom(1))).json()
    other = await open_inbox(shares)
    theirs = (await other.send(dicom(2))).json()
    details = set()
    for files in ([shares.dicom_id], [theirs], [mine, theirs], [str(uuid.uuid4())], ["x"]):
        answer = await inbox.answer(files)
        assert answer.status == 422
        details.add(answer.detail)
    assert len(details) == 1
    assert [each["inbox_id"] for each in (await inbox.look())["files"]] == [mine]


@pytest.mark.parametrize("files", [[], "none", "", None, 1, [1], ["x" * 65], ["x"] * 1001, {"all": True}])
async def test_an_answer_that_makes_no_sense_is_422(inbox, files):
    assert (await inbox.answer(files)).status == 422


async def test_nobody_answers_for_another_patient_or_without_the_scope(shares, inbox):
    inbox_id = (await inbox.send(dicom(1))).json()
    body = {"files": "all"}
    for headers in (shares.owner(f"{READ} {DELETE}"), inbox.session):
        assert (await shares.ask("POST", f"/shares/{inbox.share_id}/accept", body, headers)).status == 403
    answer = await Sharing(shares.service, "p-1").ask("POST", f"/shares/{inbox.share_id}/accept", body)
    assert (answer.status, answer.detail) == (404, "There is no such share.")
    assert [each["inbox_id"] for each in (await inbox.look())["files"]] == [inbox_id]


async def test_a_view_has_no_files_to_accept(shares):
    made = await shares.make(instances=[shares.dicom_id])
    for files in ("all", [shares.dicom_id]):
        answer = await shares.ask("POST", f"/shares/{made['share_id']}/accept", {"files": files})
        assert answer.status == 404


async def test_what_came_by_a_share_that_is_forgotten_can_be_accepted_still(shares, inbox):
    inbox_id = (await inbox.send(dicom(1))).json()
    await shares.service.store._database["shares"].delete_one({"_id": inbox.share_id})
    assert (await shares.ask("GET", f"/shares/{inbox.share_id}")).status == 404
    assert (await inbox.answer()).json()["accepted"].keys() == {inbox_id}
    assert (await inbox.answer()).status == 404


async def test_a_share_that_is_made_shows_nothing_that_waits(shares, inbox):
    inbox_id = (await inbox.send(dicom(1))).json()
    for wanted in ({"instances": [inbox_id]}, {"instances": ["1.2.826.0.1.3680043.8.498.1"]}):
        assert (await shares.ask("POST", "/shares", {"expires_in": 60, **wanted})).status == 422
    frozen = await shares.make(studies=[shares.known["study_instance_uid"]], frozen=True)
    assert frozen["instances"] == 1


# --- what is told --------------------------------------------------------------------------------------------------


async def test_what_waits_and_what_was_done_is_listed_by_pages(shares, inbox):
    sent = [(await inbox.send(dicom(number))).json() for number in range(3)]
    await shares.audit()
    first = await shares.ask("GET", f"/shares/{inbox.share_id}?limit=2")
    assert [each["inbox_id"] for each in first.json()["files"]] == sent[:0:-1]
    assert [line["action"] for line in first.json()["audit"]] == ["upload", "upload"]
    assert 'rel="next"' in first.headers["Link"]
    rest = await inbox.look("?limit=3&offset=2")
    assert [each["inbox_id"] for each in rest["files"]] == sent[:1]
    assert [line["action"] for line in rest["audit"]] == ["upload", "open_share", "share"]
    last = await shares.ask("GET", f"/shares/{inbox.share_id}?limit=3&offset=2")
    assert "Link" not in last.headers


async def test_the_lines_of_the_audit_say_what_and_not_who(shares, inbox):
    inbox_id = (await inbox.send(dicom(1))).json()
    own = (await inbox.answer()).json()["accepted"][inbox_id]
    found = await shares.audit(share_id=inbox.share_id)
    looked = await inbox.look()
    lines = [(line["action"], line["outcome"], line["by"], line["dicom_ids"]) for line in looked["audit"]]
    assert lines == [
        ("accept_files", "done", "token", [inbox_id, own]),
        ("accept_files", "intended", "token", [inbox_id]),
        ("upload", "done", "link", [inbox_id]),
        ("open_share", "done", "link", []),
        ("share", "done", "token", []),
    ]
    assert {frozenset(line) for line in looked["audit"]} == {
        frozenset({"at", "action", "outcome", "status", "by", "dicom_ids", "instances"})
    }
    shown = json.dumps(looked["audit"])
    for entry in found:
        for name in ("token_id", "request_id", "subject"):
            assert entry[name] is None or entry[name] not in shown


async def test_another_share_has_lines_of_its_own(shares, inbox):
    other = await shares.make(instances=[shares.dicom_id])
    await inbox.send(dicom(1))
    await shares.audit()
    lines = (await shares.ask("GET", f"/shares/{other['share_id']}")).json()["audit"]
    assert [line["action"] for line in lines] == ["share"]
