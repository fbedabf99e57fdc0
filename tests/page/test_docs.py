"""/docs: what is asked for by trying an operation, and what the next one knows of it."""

import json

import pytest

from tests.page import looking
from tests.page.made import ROOT_UID, ct_slices

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENT = "p-docs"
LIST, GET, SERIES = "listInstances", "getInstance", "searchSeriesOfStudy"


@pytest.fixture(scope="module")
def stored(service):
    """The ids, the newest first."""
    return [service.upload(content, PATIENT) for _, content in ct_slices(2, 1300)][::-1]


async def open_docs(tab, service):
    await tab.open(f"{service.url}/docs")
    await tab.wait_for("document.querySelector('.operation')")
    await tab.evaluate(f"document.querySelector('#patient').value = '{PATIENT}'")
    await tab.click("#get-token")
    await tab.wait_for("document.querySelector('#token').value")


async def open_operation(tab, operation):
    await tab.evaluate(f"document.querySelector('#{operation}').open = true")
    await tab.wait_for(f"document.querySelector('#{operation} form')")


async def send(tab, operation):
    """Try an operation, and give what it asked for."""
    await tab.evaluate(f"document.querySelector('#{operation} .answer').replaceChildren()")
    await tab.click(f"#{operation} form button")
    await tab.wait_for(f"document.querySelector('#{operation} .answer .status')")
    return await looking.text_of(tab, f"#{operation} .answer pre")


async def value_of(tab, operation, parameter):
    return await tab.evaluate(f"document.querySelector('#{operation} [aria-label=\"{parameter}\"]').value")


async def test_an_id_from_a_list_is_taken_over_but_not_over_what_somebody_wrote(stored, service, tab):
    await open_docs(tab, service)
    await open_operation(tab, GET)
    await open_operation(tab, "getTags")
    await tab.evaluate("document.querySelector('#getTags [aria-label=dicom_id]').value = 'mine'")
    await open_operation(tab, LIST)
    await send(tab, LIST)
    first = await tab.evaluate(
        f"JSON.parse([...document.querySelectorAll('#{LIST} pre')].at(-1).innerText).instances[0]"
    )
    assert first["dicom_id"] in stored
    assert f"dicom_id={first['dicom_id']}" in await looking.text_of(tab, f"#{LIST} .taken")
    assert await value_of(tab, GET, "dicom_id") == first["dicom_id"]
    assert await value_of(tab, "getTags", "dicom_id") == "mine"
    await open_operation(tab, SERIES)
    assert await value_of(tab, SERIES, "study") == f"{ROOT_UID}.13"
    assert f"/studies/{ROOT_UID}.13/series'" in await send(tab, SERIES)
    assert "200" in await looking.text_of(tab, f"#{SERIES} .answer .status")
    # Another list brings another id, in the place of the one that was taken over before.
    limit = f"document.querySelector('#{LIST} [aria-label=offset]')"
    await tab.evaluate(f"{limit}.value = '1'")
    await send(tab, LIST)
    other = await value_of(tab, GET, "dicom_id")
    assert {first["dicom_id"], other} == set(stored)


async def test_only_examples_of_what_a_request_needs_are_sent(service, tab):
    await open_docs(tab, service)
    operations = [
        operation["operationId"]
        for path in json.loads(service.request("GET", "/openapi.json")[2])["paths"].values()
        for method, operation in path.items()
        if method == "get" and "{" in str(operation.get("parameters"))
    ]
    assert GET in operations
    # What is asked for is what is looked at, and not what comes of it.
    await tab.evaluate("window.fetch = async () => new Response('', { status: 200 })")
    for operation in operations:
        await open_operation(tab, operation)
        curl = await send(tab, operation)
        address = curl.split("'")[-2]
        assert "?" not in address, operation
        assert "{" not in address, operation
        assert " -H 'Accept" not in curl, operation
