"""What a share shows while its patient deletes, adds and accepts: by every way to look, the same instances."""

import json

import pytest
import pytest_asyncio

from service.auth.tokens import DELETE
from tests.web.sharing import Sharing
from tests.web.zips import dicom

pytestmark = pytest.mark.asyncio(loop_scope="session")

DICOM = {"Content-Type": "application/dicom"}


class Shown(Sharing):
    """A patient with shares of a study, of its series and of an instance, and one that is frozen."""

    async def share(self):
        study, series = [self.known["study_instance_uid"]], [self.known["series_instance_uid"]]
        self.links = {
            "study": await self.link(studies=study),
            "series": await self.link(series=series),
            "instance": await self.link(instances=[self.dicom_id]),
            "frozen": await self.link(studies=study, frozen=True),
            "frozen series": await self.link(series=series, frozen=True),
        }

    async def link(self, **wanted):
        return await self.session(await self.make(download=True, **wanted))

    async def get(self, link, path, accept="*/*"):
        return await self.ask("GET", path, headers={**self.links[link], "Accept": accept})

    async def seen(self, link):
        """The instances that a share shows, by its list; every other way must tell as much."""
        listed = (await self.get(link, "/dicom?count=true")).json()
        ids = {each["dicom_id"] for each in listed["instances"]}
        assert listed["total"] == len(ids)
        counted = (await self.get(link, "/tags?path=SOPInstanceUID")).json()["tags"]
        assert sum(each["files"] for each in counted) == len(ids)
        uids = {each["00080018"]["Value"][0] for each in await self.found(link, "instances")}
        (study, *others) = [*await self.found(link, "studies"), None]
        assert others in ([], [None])
        assert (0 if study is None else study["00201208"]["Value"][0]) == len(uids)
        metadata = await self.get(link, f"/dicomweb/studies/{self.known['study_instance_uid']}/metadata")
        assert metadata.status == (200 if ids else 404)
        assert {each["00080018"]["Value"][0] for each in json.loads(metadata.body)} == uids if ids else True
        return ids

    async def found(self, link, level):
        answer = await self.get(link, f"/dicomweb/{level}")
        return [] if answer.status == 204 else answer.json()

    async def everywhere(self):
        return {link: await self.seen(link) for link in self.links}

    async def put(self, content):
        answer = await self.service.upload(self.patient, content)
        assert answer.status == 200, answer.body
        return answer.json()

    async def delete(self, dicom_id):
        assert (await self.ask("DELETE", f"/dicom/{dicom_id}", headers=self.owner(DELETE))).status == 204


@pytest_asyncio.fixture(loop_scope="session")
async def shown(shares):
    made = Shown(shares.service, shares.patient)
    made.dicom_id, made.known = shares.dicom_id, shares.known
    await made.share()
    return made


async def test_an_instance_that_is_deleted_is_gone_from_every_share_and_there_again_when_it_is_sent_again(shown, ct):
    both = {shown.dicom_id, await shown.put(dicom(1))}
    first = {shown.dicom_id}
    wanted = {"study": both, "series": both, "instance": first, "frozen": first, "frozen series": first}
    assert await shown.everywhere() == wanted
    await shown.delete(shown.dicom_id)
    assert await shown.everywhere() == {link: ids - first for link, ids in wanted.items()}
    for link in shown.links:
        for below in ("", "/tags", "/tag/Modality", "/bulkdata/PixelData"):
            assert (await shown.get(link, f"/dicom/{shown.dicom_id}{below}")).status == 404
    assert await shown.put(ct) == shown.dicom_id  # an id stands for these bytes of this patient
    assert await shown.everywhere() == wanted
    for link in shown.links:
        answer = await shown.get(link, f"/dicom/{shown.dicom_id}", "application/dicom")
        assert (answer.status, answer.body) == (200, ct)


async def test_an_instance_that_is_added_is_in_the_shares_of_its_study_and_series_and_in_no_frozen_one(shown):
    added = await shown.put(dicom(1))
    both, first = {shown.dicom_id, added}, {shown.dicom_id}
    assert await shown.everywhere() == {
        "study": both,
        "series": both,
        "instance": first,
        "frozen": first,
        "frozen series": first,
    }
    for link, ids in (await shown.everywhere()).items():
        for accept in ("application/dicom", "application/json"):
            assert (await shown.get(link, f"/dicom/{added}", accept)).status == (200 if added in ids else 404)


async def test_another_version_of_a_shared_instance_is_no_part_of_what_was_fixed(shown, ct):
    other = await shown.put(ct + b"\0\0")
    seen = await shown.everywhere()
    assert seen["study"] == seen["series"] == {shown.dicom_id, other}
    assert seen["instance"] == seen["frozen"] == {shown.dicom_id}
    path = "/dicomweb/studies/{study_instance_uid}/series/{series_instance_uid}/instances/{sop_instance_uid}"
    for link, content in (("study", ct + b"\0\0"), ("instance", ct), ("frozen", ct)):  # the newest that is shown
        answer = await shown.get(link, path.format(**shown.known), "application/dicom; transfer-syntax=*")
        assert (answer.status, answer.body) == (200, content), link


async def test_what_comes_by_an_inbox_is_shown_once_it_is_accepted(shown, ct):
    inbox = await shown.make(upload=True, max_files=9, max_bytes=9 << 20)
    sending = {**await shown.session(inbox), **DICOM}
    first = {shown.dicom_id}
    sent = [
        (await shown.service.ask("POST", f"/patient/{shown.patient}/dicom", headers=sending, data=content)).json()
        for content in (dicom(1), dicom(2), ct)
    ]
    assert await shown.everywhere() == dict.fromkeys(shown.links, first)
    for link in shown.links:
        for inbox_id in sent:
            for below in ("", "/tags", "/tag/Modality", "/bulkdata/PixelData"):
                assert (await shown.get(link, f"/dicom/{inbox_id}{below}")).status == 404
    accept = f"/shares/{inbox['share_id']}/accept"
    accepted = (await shown.ask("POST", accept, {"files": [sent[0]]})).json()["accepted"]
    now = first | set(accepted.values())
    assert len(now) == 2
    assert await shown.everywhere() == {
        "study": now,
        "series": now,
        "instance": first,
        "frozen": first,
        "frozen series": first,
    }
    assert (await shown.ask("POST", accept, {"files": "all", "decline": True})).status == 200
    assert (await shown.everywhere())["study"] == now
    # A share that is frozen now has what was accepted by now.
    shown.links = {"later": await shown.link(studies=[shown.known["study_instance_uid"]], frozen=True)}
    assert await shown.everywhere() == {"later": now}
