"""Links in answers begin with the address at which callers reach the service."""

from __future__ import annotations

import pytest
import pytest_asyncio

from service.settings import Settings, SettingsError

pytestmark = pytest.mark.asyncio(loop_scope="session")

PUBLIC = "https://images.example/store"
STOW = {"Content-Type": "application/dicom"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def behind_a_proxy(start):
    service = await start(public_url=PUBLIC)
    yield service
    await service.stop()


async def links_of(service, patient, ct, headers=None):
    """Every kind of link, by its name."""
    uploaded = await service.upload(patient, ct, headers=headers)
    await service.upload(patient, ct + b"\0")
    path = f"/patient/{patient}/dicom"
    page = await service.ask("GET", f"{path}?limit=1", patient=patient, headers=headers)
    as_json = {**(headers or {}), "Accept": "application/dicom+json"}
    tags = await service.ask("GET", f"{path}/{uploaded.json()}/tags", patient=patient, headers=as_json)
    web = f"/patient/{patient}/dicomweb"
    stored = await service.ask("POST", f"{web}/studies", patient=patient, data=ct, headers={**(headers or {}), **STOW})
    found = await service.ask("GET", f"{web}/studies", patient=patient, headers=headers)
    plain = {**(headers or {}), "Accept-Encoding": "identity"}
    metadata = await service.ask(
        "GET", f"{web}/studies/{found.json()[0]['0020000D']['Value'][0]}/metadata", patient=patient, headers=plain
    )
    return {
        "Location": uploaded.headers["Location"],
        "Link": page.headers["Link"].strip("<"),
        "BulkDataURI of tags": tags.json()[0]["7FE00010"]["BulkDataURI"],
        "RetrieveURL of a store": stored.json()["00081190"]["Value"][0],
        "RetrieveURL of a search": found.json()[0]["00081190"]["Value"][0],
        "BulkDataURI of metadata": metadata.json()[0]["7FE00010"]["BulkDataURI"],
    }


async def test_every_link_begins_with_the_public_url_whatever_the_host(behind_a_proxy, ct):
    links = await links_of(behind_a_proxy, "p-1", ct, {"Host": "evil.example"})
    wrong = {name: link for name, link in links.items() if not link.startswith(f"{PUBLIC}/patient/p-1/dicom")}
    assert wrong == {}


async def test_without_one_links_have_the_host_of_the_request(service, patient, ct):
    links = await links_of(service, patient, ct, {"Host": "images.example", "X-Forwarded-Proto": "https"})
    for name in ("Location", "Link"):
        assert links.pop(name).startswith(f"/patient/{patient}/dicom")
    wrong = {name: link for name, link in links.items() if not link.startswith("https://images.example/patient/")}
    assert wrong == {}


@pytest.mark.parametrize(
    "text", ["images.example", "ftp://x", "https://", "https://a b", "https://x/?a", "https://u@x", 'https://x/">']
)
async def test_what_is_no_public_url_keeps_the_service_from_starting(text):
    with pytest.raises(SettingsError, match="PUBLIC_URL"):
        Settings.from_environment({"PUBLIC_URL": text, "DEV_MODE": "1"})


async def test_a_slash_at_its_end_does_not_count():
    assert Settings.from_environment({"PUBLIC_URL": f"{PUBLIC}/", "DEV_MODE": "1"}).public_url == PUBLIC
