"""Shares: a patient makes a link, somebody opens it, sees what it shows and nothing else, until it ends."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from service.auth.tokens import DELETE, READ, SHARE, WRITE
from service.storage.shares import MAX_SESSIONS, MAX_WRONG
from service.storage.visible import Visible
from service.usecases import sharing, sharing_sessions
from tests.web.service import SECRET
from tests.web.sharing import JSON, Sharing, secret_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
NOWHERE = "/shares/00000000-0000-4000-8000-000000000000"


# --- making --------------------------------------------------------------------------------------------------------


async def test_a_share_has_a_link_and_a_picture_of_it_this_once(shares):
    made = await shares.make(studies=[shares.known["study_instance_uid"]], label="for Dr Lang")
    link = f"{shares.service.url}/s#{secret_of(made)}"
    assert made["link"] == link
    assert len(secret_of(made)) == 43
    picture = ElementTree.fromstring(made["qr"])
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert (made["state"], made["opens"], made["label"], made["download"]) == ("open", 0, "for Dr Lang", False)
    again = await shares.ask("GET", f"/shares/{made['share_id']}")
    shown = {name: value for name, value in made.items() if name not in {"link", "qr"}}
    assert again.json() == {**shown, "dicom_ids": None, "files": [], "accepted": 0, "declined": 0, "audit": []}
    assert (await shares.ask("GET", "/shares")).json() == {"shares": [shown]}
    assert secret_of(made) not in str(again.body)


async def test_two_shares_of_the_same_have_different_links(shares):
    links = {(await shares.make(studies=[shares.known["study_instance_uid"]]))["link"] for _ in range(5)}
    assert len(links) == 5


@pytest.mark.parametrize(
    ("level", "named"),
    [("studies", "study_instance_uid"), ("series", "series_instance_uid"), ("instances", "sop_instance_uid")],
)
async def test_a_share_is_of_studies_series_or_instances(shares, level, named):
    made = await shares.make(**{level: [shares.known[named]]})
    assert made[level] == (1 if level == "instances" else [shares.known[named]])
    share = await shares.service.store.shares.find(shares.patient, made["share_id"])
    seen = sharing.visible_by(share)
    wanted = {"studies": None, "series": None, "dicom_ids": None}
    wanted["dicom_ids" if level == "instances" else level] = frozenset(
        {shares.dicom_id if level == "instances" else shares.known[named]}
    )
    assert seen == Visible(shares.patient, **wanted)
    assert seen.is_part


async def test_an_instance_is_named_by_its_id_or_by_its_uid_which_means_all_versions(shares, ct):
    other = await shares.service.upload(shares.patient, ct + b"\0\0")
    both = {shares.dicom_id, other.json()}
    assert len(both) == 2

    async def ids_of(*instances):
        made = await shares.make(instances=list(instances))
        return set((await shares.ask("GET", f"/shares/{made['share_id']}")).json()["dicom_ids"])

    assert await ids_of(shares.known["sop_instance_uid"]) == both
    assert await ids_of(shares.dicom_id) == {shares.dicom_id}
    assert await ids_of(shares.dicom_id, shares.known["sop_instance_uid"]) == both


async def test_a_frozen_share_is_fixed_to_what_was_there(shares, ct):
    study = [shares.known["study_instance_uid"]]
    frozen, living = await shares.make(studies=study, frozen=True), await shares.make(studies=study)
    await shares.service.upload(shares.patient, ct + b"\0\0")
    found = [await shares.service.store.shares.find(shares.patient, each["share_id"]) for each in (frozen, living)]
    assert sharing.visible_by(found[0]) == Visible(shares.patient, dicom_ids=frozenset({shares.dicom_id}))
    assert sharing.visible_by(found[1]) == Visible(shares.patient, studies=frozenset(study))
    assert (frozen["studies"], frozen["instances"]) == (study, 1)


async def test_what_is_not_there_and_what_is_another_patients_is_refused_in_one_text(shares, ct):
    service = shares.service
    other = f"other-{shares.patient}"
    theirs = b"1.3.6.1.4.1.5962.1.2.9.20040119072730.12322"
    changed = ct.replace(shares.known["study_instance_uid"].encode(), theirs)
    their_id = (await service.upload(other, changed)).json()
    assert their_id != shares.dicom_id
    details = set()
    for wanted in (
        {"studies": ["1.2.3"]},
        {"studies": [theirs.decode()]},
        {"studies": [shares.known["study_instance_uid"], theirs.decode()]},
        {"series": ["1.2.3"]},
        {"series": [shares.known["study_instance_uid"]]},
        {"instances": ["1.2.3"]},
        {"instances": [their_id]},
        {"instances": [shares.dicom_id, their_id]},
        {"instances": [shares.dicom_id, "no-such-id"]},
        {"studies": [theirs.decode()], "frozen": True},
    ):
        answer = await shares.ask("POST", "/shares", {"expires_in": 60, **wanted})
        assert answer.status == 422, (wanted, answer.body)
        details.add(answer.detail)
    assert len(details) == 1
    assert (await shares.ask("GET", "/shares")).json() == {"shares": []}


async def test_an_instance_that_was_deleted_is_not_there(shares):
    assert (await shares.ask("DELETE", f"/dicom/{shares.dicom_id}", headers=shares.owner(DELETE))).status == 204
    for wanted in ({"studies": [shares.known["study_instance_uid"]]}, {"instances": [shares.dicom_id]}):
        assert (await shares.ask("POST", "/shares", {"expires_in": 60, **wanted})).status == 422


@pytest.mark.parametrize(
    "changes",
    [
        {"studies": []},
        {"studies": ["x" * 65]},
        {"studies": [1]},
        {"studies": "1.2.3"},
        {"studies": None},
        {"series": [STUDY]},
        {"instances": ["1.2"]},
        {"expires_in": 0},
        {"expires_in": -1},
        {"expires_in": 90 * 86_400 + 1},
        {"expires_in": 1.5},
        {"expires_in": True},
        {"expires_in": "60"},
        {"expires_in": None},
        {"max_opens": 0},
        {"passcode": "12345"},
        {"passcode": "x" * 129},
        {"passcode": 123456},
        {"download": 1},
        {"download": "yes"},
        {"label": ""},
        {"label": "x" * 201},
        {"patient_id": "p-1"},
        {"Studies": ["1"]},
    ],
)
async def test_a_share_that_makes_no_sense_is_422_with_a_sentence(shares, changes):
    wanted = {"studies": [shares.known["study_instance_uid"]], "expires_in": 60, **changes}
    answer = await shares.ask("POST", "/shares", wanted)
    assert answer.status == 422
    assert answer.detail.endswith(".")
    assert "x" * 65 not in answer.detail
    del wanted["studies"]
    if not changes.keys() & {"series", "instances"}:
        assert (await shares.ask("POST", "/shares", wanted)).status == 422
    assert (await shares.ask("GET", "/shares")).json() == {"shares": []}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", {}, 415),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"expires_in=60", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"{", JSON, 422),
        (b"", JSON, 422),
        (b"[]", JSON, 422),
        (b"null", JSON, 422),
        (b'{"secret": "\\ud800"}', JSON, 422),
        (b"\xff", JSON, 422),
        (b"[" * 3000, JSON, 422),
        (b" " * (1 << 20) + b"{}", JSON, 413),
        (b"{}", {**JSON, "Content-Encoding": "gzip"}, 415),
    ],
)
async def test_a_body_is_json_and_not_too_long(shares, body, headers, status):
    service = shares.service
    answer = await service.ask("POST", "/shares/session", headers=headers, data=body)
    assert answer.status == status
    owner = {**shares.owner(), **headers}
    answer = await service.ask("POST", f"/patient/{shares.patient}/shares", headers=owner, data=body)
    assert answer.status == status


async def test_a_patient_has_so_many_shares_at_once(shares, monkeypatch):
    monkeypatch.setattr(sharing, "MAX_OPEN", 2)
    wanted = {"studies": [shares.known["study_instance_uid"]], "expires_in": 60}
    made = [await shares.make(**wanted) for _ in range(2)]
    answer = await shares.ask("POST", "/shares", wanted)
    assert (answer.status, answer.json()["code"]) == (409, "conflict")
    assert (await shares.ask("DELETE", f"/shares/{made[0]['share_id']}")).status == 204
    await shares.make(**wanted)


async def test_a_share_of_too_many_instances_is_refused(shares, ct, monkeypatch):
    await shares.service.upload(shares.patient, ct + b"\0\0")
    monkeypatch.setattr(sharing, "MAX_INSTANCES", 1)
    for wanted in (
        {"studies": [shares.known["study_instance_uid"]], "frozen": True},
        {"instances": [shares.known["sop_instance_uid"]]},
    ):
        answer = await shares.ask("POST", "/shares", {"expires_in": 60, **wanted})
        assert (answer.status, "at most 1 instances" in answer.detail) == (422, True)


async def test_outside_dev_mode_there_are_no_links_without_an_address(start, ct):
    for url, status in ((None, 409), ("https://images.example/store", 201)):
        service = await start(public_url=url)
        shares = Sharing(service, "p-1")
        dicom_id = (await service.upload("p-1", ct)).json()
        answer = await shares.ask("POST", "/shares", {"expires_in": 60, "instances": [dicom_id]})
        assert answer.status == status
        if status == 201:
            assert answer.json()["link"].startswith("https://images.example/store/s#")
        else:
            assert answer.json()["code"] == "no-public-url"
            assert "has to set PUBLIC_URL" in answer.detail


async def test_shares_are_listed_by_pages_the_newest_first(shares):
    made = [await shares.make(instances=[shares.dicom_id], label=str(number)) for number in range(3)]
    answer = await shares.ask("GET", "/shares?limit=2")
    assert [each["label"] for each in answer.json()["shares"]] == ["2", "1"]
    assert 'rel="next"' in answer.headers["Link"]
    rest = await shares.ask("GET", "/shares?limit=2&offset=2")
    assert [each["share_id"] for each in rest.json()["shares"]] == [made[0]["share_id"]]
    assert "Link" not in rest.headers


# --- who may -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [None, "", READ, f"{READ} {WRITE} {DELETE}"])
async def test_a_token_that_does_not_name_the_scope_cannot_share(shares, scope):
    options = {} if scope is None else {"scope": scope}
    headers = {"access-token": shares.service.token(shares.patient, **options)}
    for method, path, body in (
        ("POST", "/shares", {"expires_in": 60, "instances": [shares.dicom_id]}),
        ("GET", "/shares", None),
        ("GET", NOWHERE, None),
        ("DELETE", NOWHERE, None),
    ):
        answer = await shares.ask(method, path, body, headers)
        assert answer.status == 403, (method, path)
        assert f'scope="{SHARE}"' in answer.headers["WWW-Authenticate"]


async def test_nobody_sees_or_revokes_the_share_of_another_patient(shares):
    made = await shares.make(instances=[shares.dicom_id])
    other = Sharing(shares.service, "p-1")
    for method in ("GET", "DELETE"):
        for path in (f"/shares/{made['share_id']}", NOWHERE, "/shares/x"):
            answer = await other.ask(method, path)
            assert (answer.status, answer.detail) == (404, "There is no such share.")
    assert (await shares.open(secret_of(made))).status == 200


# --- sessions ------------------------------------------------------------------------------------------------------


async def test_a_link_opens_a_session_that_reads_and_does_nothing_else(shares):
    made = await shares.make(studies=[shares.known["study_instance_uid"]])
    answer = await shares.open(secret_of(made))
    opened = answer.json()
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert "Set-Cookie" not in answer.headers
    assert opened["access_token"].startswith("share-session.")
    assert 0 < opened["expires_in"] <= 600
    assert {name: opened[name] for name in ("patient_id", "visible", "download")} == {
        "patient_id": shares.patient,
        "visible": {"studies": [shares.known["study_instance_uid"]], "series": None, "instances": None},
        "download": False,
    }
    for headers in (
        {"access-token": opened["access_token"]},
        {"Authorization": f"Bearer {opened['access_token']}"},
    ):
        read = await shares.ask("GET", f"/dicom/{shares.dicom_id}/tag/Modality", headers=headers)
        assert (read.status, read.json()["value"]) == (200, "CT")
        assert read.headers["Cache-Control"] == "private, no-store"
        picture = {**headers, "Accept": "image/png"}
        seen = await shares.ask("GET", f"/dicom/{shares.dicom_id}", headers=picture)
        assert (seen.status, seen.headers["Cache-Control"]) == (200, "private, no-store")
        for method, path, body in (
            ("POST", "/dicom", {}),
            ("DELETE", f"/dicom/{shares.dicom_id}", None),
            ("GET", "/shares", None),
            ("POST", "/shares", {"expires_in": 60, "instances": [shares.dicom_id]}),
            ("DELETE", f"/shares/{made['share_id']}", None),
        ):
            assert (await shares.ask(method, path, body, headers)).status == 403


async def test_a_session_opens_no_other_patients_data(shares):
    session = await shares.session(await shares.make(instances=[shares.dicom_id]))
    answer = await shares.service.ask("GET", "/patient/p-1/dicom", headers=session)
    assert answer.status == 401
    (denied,) = [
        each
        for each in await Sharing(shares.service, "p-1").audit(status=401)
        if (each["subject"] or "").startswith("share:")
    ][-1:]
    assert denied["outcome"] == "denied"


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: token + "A",
        lambda token: token.replace("share-session.", "share-session.x"),
        lambda token: token.upper(),
        lambda token: token.rpartition(".")[0] + "." + "A" * 43,
        lambda token: "share-session.00000000-0000-4000-8000-000000000000." + token.rpartition(".")[2],
        lambda _: "share-session.",
        lambda token: token.rpartition(".")[2],
    ],
)
async def test_a_token_that_is_not_quite_it_opens_nothing(shares, change):
    session = await shares.session(await shares.make(instances=[shares.dicom_id]))
    wrong = {"access-token": change(session["access-token"])}
    assert wrong != session
    assert (await shares.ask("GET", "/dicom", headers=wrong)).status == 401
    assert (await shares.ask("GET", f"/dicom/{shares.dicom_id}/tag/Modality", headers=session)).status == 200


async def test_a_session_lasts_an_hour_and_no_longer_than_its_share(shares, turned):
    long = await shares.make(instances=[shares.dicom_id], expires_in=86_400)
    short = await shares.make(instances=[shares.dicom_id], expires_in=60)
    answers = [(await shares.open(secret_of(each))).json() for each in (long, short)]
    assert 3590 < answers[0]["expires_in"] <= 3600
    assert 50 < answers[1]["expires_in"] <= 60
    sessions = [{"access-token": each["access_token"]} for each in answers]

    async def statuses():
        return [(await shares.ask("GET", f"/dicom/{shares.dicom_id}/tag/Modality", headers=h)).status for h in sessions]

    assert await statuses() == [200, 200]
    turned(61)
    assert await statuses() == [200, 401]
    turned(3601)
    assert await statuses() == [401, 401]
    assert (await shares.open(secret_of(long))).status == 200
    assert (await shares.open(secret_of(short))).status == 404


async def test_links_that_never_were_and_that_have_ended_are_refused_in_one_text(shares, turned):
    expired = await shares.make(instances=[shares.dicom_id], expires_in=30)
    used_up = await shares.make(instances=[shares.dicom_id], max_opens=1)
    revoked = await shares.make(instances=[shares.dicom_id])
    closed = await shares.make(instances=[shares.dicom_id], passcode="123456")
    await shares.session(used_up)
    await shares.ask("DELETE", f"/shares/{revoked['share_id']}")
    for _ in range(MAX_WRONG):
        await shares.open(secret_of(closed), passcode="654321")
    turned(31)
    states = {each["state"] for each in (await shares.ask("GET", "/shares")).json()["shares"]}
    assert states == {"expired", "used-up", "revoked", "closed"}
    bodies = set()
    for secret in (*map(secret_of, (expired, used_up, revoked, closed)), "A" * 43, "x", "ß" * 100):
        answer = await shares.open(secret, passcode="123456")
        assert answer.status == 404
        problem = answer.json()
        del problem["request_id"]
        bodies.add(json.dumps(problem))
    assert len(bodies) == 1


async def test_so_many_sessions_as_max_opens_says_however_many_ask_at_once(shares):
    made = await shares.make(instances=[shares.dicom_id], max_opens=3)
    answers = await asyncio.gather(*(shares.open(secret_of(made)) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] * 3 + [404] * 17
    (listed,) = (await shares.ask("GET", "/shares")).json()["shares"]
    assert (listed["opens"], listed["state"]) == (3, "used-up")
    assert listed["opened_at"]
    tokens = [answer.json()["access_token"] for answer in answers if answer.status == 200]
    for token in tokens:  # used up, and those who are in stay in
        assert (
            await shares.ask("GET", f"/dicom/{shares.dicom_id}/tags", headers={"access-token": token})
        ).status == 200


async def test_the_session_that_ends_soonest_makes_room_for_one_more(shares, turned):
    made = await shares.make(instances=[shares.dicom_id], expires_in=7200)
    first = await shares.session(made)
    turned(1)
    second = await shares.session(made)
    for _ in range(MAX_SESSIONS - 1):
        await shares.session(made)
    path = f"/dicom/{shares.dicom_id}/tag/Modality"
    assert (await shares.ask("GET", path, headers=first)).status == 401
    assert (await shares.ask("GET", path, headers=second)).status == 200


async def test_a_revoked_share_ends_with_its_sessions_and_a_second_time_too(shares):
    made, other = [await shares.make(instances=[shares.dicom_id]) for _ in range(2)]
    session, untouched = await shares.session(made), await shares.session(other)
    path = f"/dicom/{shares.dicom_id}/tag/Modality"
    assert (await shares.ask("GET", path, headers=session)).status == 200
    for _ in range(2):
        assert (await shares.ask("DELETE", f"/shares/{made['share_id']}")).status == 204
        assert (await shares.ask("GET", path, headers=session)).status == 401
    assert (await shares.ask("GET", path, headers=untouched)).status == 200
    assert (await shares.ask("GET", f"/shares/{made['share_id']}")).json()["state"] == "revoked"


async def test_whoever_reads_for_long_is_told_when_it_ends(shares):
    made = await shares.make(instances=[shares.dicom_id])
    token = (await shares.session(made))["access-token"]
    context = shares.service.context
    assert await sharing_sessions.is_open(context, token)
    await shares.ask("DELETE", f"/shares/{made['share_id']}")
    assert not await sharing_sessions.is_open(context, token)


# --- passcodes -----------------------------------------------------------------------------------------------------


async def test_a_passcode_is_asked_for_and_asking_is_no_try(shares):
    made = await shares.make(instances=[shares.dicom_id], passcode="Käse-1")
    secret = secret_of(made)
    for _ in range(MAX_WRONG + 2):
        answer = await shares.open(secret)
        assert (answer.status, answer.json()["code"]) == (401, "passcode-required")
    answer = await shares.open(secret, passcode="Käse-2")
    assert (answer.status, answer.json()["code"]) == (401, "wrong-passcode")
    assert (await shares.open(secret, passcode="Ka\u0308se-1")).status == 200  # as another keyboard writes it
    (listed,) = (await shares.ask("GET", "/shares")).json()["shares"]
    assert (listed["has_passcode"], listed["wrong_passcodes"], listed["opens"]) == (True, 1, 1)


async def test_ten_wrong_passcodes_close_a_share_and_end_its_sessions(shares):
    made = await shares.make(instances=[shares.dicom_id], passcode="123456")
    session = await shares.session(made, passcode="123456")
    for number in range(MAX_WRONG):
        # Right ones between them give none of the wrong ones back.
        if number < MAX_WRONG - 1:
            await shares.session(made, passcode="123456")
        assert (await shares.open(secret_of(made), passcode="654321")).status == 401
    assert (await shares.open(secret_of(made), passcode="123456")).status == 404
    assert (await shares.ask("GET", f"/dicom/{shares.dicom_id}/tags", headers=session)).status == 401
    (listed,) = (await shares.ask("GET", "/shares")).json()["shares"]
    assert (listed["state"], listed["wrong_passcodes"]) == ("closed", MAX_WRONG)
    actions = [each["action"] for each in await shares.audit(share_id=made["share_id"])]
    assert (actions.count("try_passcode"), actions.count("close_share")) == (MAX_WRONG, 1)


async def test_many_passcodes_at_once_are_no_more_than_ten(shares):
    made = await shares.make(instances=[shares.dicom_id], passcode="123456")
    answers = await asyncio.gather(*(shares.open(secret_of(made), passcode=f"00000{n}") for n in range(40)))
    statuses = [answer.status for answer in answers]
    assert statuses.count(401) == MAX_WRONG
    assert set(statuses) <= {401, 404, 503}
    assert (await shares.open(secret_of(made), passcode="123456")).status == 404


# --- audit ---------------------------------------------------------------------------------------------------------


async def test_what_is_done_of_a_share_and_by_it_is_written_down(shares):
    made = await shares.make(instances=[shares.dicom_id], passcode="123456", label="a label")
    share_id = made["share_id"]
    await shares.open(secret_of(made))
    session = await shares.session(made, passcode="123456")
    await shares.ask("GET", f"/dicom/{shares.dicom_id}/tag/Modality", headers=session)
    await shares.ask("DELETE", f"/dicom/{shares.dicom_id}", headers=session)
    await shares.ask("GET", f"/shares/{share_id}")
    await shares.ask("DELETE", f"/shares/{share_id}")
    found = await shares.audit(share_id=share_id)
    assert [(each["action"], each["outcome"], each["status"]) for each in found] == [
        ("share", "done", 201),
        ("open_share", "denied", 401),
        ("open_share", "done", 200),
        ("read_tag", "done", 200),
        ("delete", "denied", 403),
        ("read_share", "done", 200),
        ("revoke_share", "done", 204),
    ]
    subject = f"share:{share_id}"
    assert [each["subject"] == subject for each in found] == [False, True, True, True, True, False, False]
    assert found[2]["token_id"] == found[3]["token_id"] != None  # noqa: E711 - of the session
    assert found[3]["dicom_ids"] == [shares.dicom_id]
    for each in found:
        shown = str(each)
        for secret in (secret_of(made), session["access-token"], "123456", "a label"):
            assert secret not in shown


async def test_the_database_has_none_of_what_opens_a_share(shares):
    made = await shares.make(instances=[shares.dicom_id], passcode="my passcode")
    session = await shares.session(made, passcode="my passcode")
    document = await shares.service.store._database["shares"].find_one({"_id": made["share_id"]})
    for secret in (secret_of(made), session["access-token"], session["access-token"].rpartition(".")[2], "my passcode"):
        assert secret not in str(document)
    assert SECRET not in str(document)
    assert document["forget_at"].replace(tzinfo=UTC) > datetime.now(UTC) + timedelta(days=29)
