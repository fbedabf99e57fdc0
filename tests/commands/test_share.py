"""An operator looks which shares a patient has, and ends all of them, beside a service."""

import json
from datetime import datetime

import pytest

from tests.commands.running import content, run, summary
from tests.running_service import RunningService

PATIENT = "p-1"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with RunningService(tmp_path_factory.mktemp("share") / "data") as running:
        yield running


def make(service, patient=PATIENT, **wanted):
    body = json.dumps({"expires_in": 600, "label": "a private note", **wanted})
    path = f"/patient/{patient}/shares"
    status, _, answer = service.request("POST", path, body, patient, content_type="application/json")
    assert status == 201, answer
    return json.loads(answer)


def open_link(service, made):
    body = json.dumps({"secret": made["link"].rpartition("#")[2]})
    return service.request("POST", "/shares/session", body, content_type="application/json")[0]


def test_shares_are_listed_and_revoked_with_an_entry_in_the_audit(service):
    dicom_id = service.upload(content("CT_small.dcm"), PATIENT)
    theirs = make(service, "p-2", upload=True, max_files=1, max_bytes=1000)
    view = make(service, instances=[dicom_id])
    inbox = make(service, upload=True, max_files=1, max_bytes=1000)
    assert open_link(service, view) == 200
    flags = ("list", "--patient", PATIENT)
    status, told = summary("share", service.data_dir, *flags)
    assert status == 0
    assert [(each["share_id"], each["kind"], each["state"], each["opens"]) for each in told["shares"]] == [
        (inbox["share_id"], "inbox", "open", 0),
        (view["share_id"], "view", "open", 1),
    ]
    status, out, _ = run("share", service.data_dir, *flags)
    assert status == 0
    line = next(line for line in out.splitlines() if view["share_id"] in line)
    assert line.endswith("UTC  opened 1x")
    assert all(datetime.fromisoformat(each["made_at"]).tzinfo for each in told["shares"])
    assert all("T" in each["expires_at"] for each in told["shares"])
    for secret in ("a private note", view["link"].rpartition("#")[2]):
        assert secret not in out + json.dumps(told)

    status, told = summary("share", service.data_dir, "revoke", "--patient", PATIENT)
    assert (status, set(told["revoked"])) == (0, {view["share_id"], inbox["share_id"]})
    assert [open_link(service, each) for each in (view, inbox, theirs)] == [404, 404, 200]
    assert summary("share", service.data_dir, "revoke", "--patient", PATIENT) == (0, {"revoked": []})
    states = {each["state"] for each in summary("share", service.data_dir, *flags)[1]["shares"]}
    assert states == {"revoked"}
    shown = json.loads(service.request("GET", f"/patient/{PATIENT}/shares/{inbox['share_id']}")[2])
    assert (shown["audit"][0]["action"], shown["audit"][0]["by"]) == ("revoke_share", "operator")


def test_who_has_none_is_told_so(service):
    status, out, _ = run("share", service.data_dir, "list", "--patient", "nobody")
    assert (status, out) == (0, "This patient has no shares.\n")
