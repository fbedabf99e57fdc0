"""The pages: ours alone, and nothing in them that a file could turn into markup."""

import asyncio
import re
import shutil

import pytest

from service.web.static_files import FOLDER

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html"),
        ("/static/page.js", "text/javascript"),
        ("/static/page.css", "text/css"),
        ("/static/icon.svg", "image/svg+xml"),
        ("/docs", "text/html"),
        ("/static/docs.js", "text/javascript"),
        ("/static/docs.css", "text/css"),
    ],
)
async def test_the_page_and_what_it_needs(service, path, media_type):
    answer = await service.ask("GET", path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == f"{media_type}; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    again = await service.ask("GET", path, headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status == 304
    assert (await service.ask("HEAD", path)).status == 200


async def test_every_file_of_the_page_is_served(service):
    for file in FOLDER.iterdir():
        path = {"index.html": "/", "docs.html": "/docs"}.get(file.name, f"/static/{file.name}")
        assert (await service.ask("GET", path)).body == file.read_bytes()


async def test_nothing_comes_from_elsewhere():
    for file in FOLDER.iterdir():
        text = file.read_text("utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?://|//[a-z]+\.", text), file.name


@pytest.mark.parametrize(("page", "script"), [("index.html", "page.js"), ("docs.html", "docs.js")])
async def test_what_comes_from_elsewhere_is_put_in_as_text(page, script):
    text = (FOLDER / script).read_text("utf-8")
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "DOMParser",
    ):
        assert forbidden not in text
    markup = (FOLDER / page).read_text("utf-8")
    assert not re.search(r"\son\w+=|<script(?![^>]*src=)|style=", markup)


@pytest.mark.parametrize(("page", "script"), [("index.html", "page.js"), ("docs.html", "docs.js")])
async def test_the_ids_that_the_script_asks_for_are_in_the_page(page, script):
    asked = set(re.findall(r'find\("([\w-]+)"\)', (FOLDER / script).read_text("utf-8")))
    assert asked
    assert asked <= set(re.findall(r'id="([\w-]+)"', (FOLDER / page).read_text("utf-8")))


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not here")
async def test_a_browser_shows_every_operation_and_complains_of_nothing(service, tmp_path):
    browser = await asyncio.create_subprocess_exec(
        *("chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"),
        *("--enable-logging=stderr", "--virtual-time-budget=4000", "--dump-dom", f"{service.url}/docs#getInstance"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    shown, said = (part.decode() for part in await asyncio.wait_for(browser.communicate(), 60))
    assert [line for line in said.splitlines() if "CONSOLE" in line] == []
    document = (await service.ask("GET", "/openapi.json")).json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert shown.count('class="operation"') == len(operations)
    assert all(f'id="{operation["operationId"]}"' in shown for operation in operations)
    assert 'aria-label="dicom_id"' in shown  # the one that the address names is open
