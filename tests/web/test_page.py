"""The page: ours alone, and nothing in it that a file could turn into markup."""

import re

import pytest

from service.web.page import FOLDER

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html"),
        ("/static/page.js", "text/javascript"),
        ("/static/page.css", "text/css"),
        ("/static/icon.svg", "image/svg+xml"),
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
        path = "/" if file.name == "index.html" else f"/static/{file.name}"
        assert (await service.ask("GET", path)).body == file.read_bytes()


async def test_nothing_comes_from_elsewhere():
    for file in FOLDER.iterdir():
        text = file.read_text("utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?://|//[a-z]+\.", text), file.name


async def test_what_comes_from_a_file_is_put_in_as_text():
    script = (FOLDER / "page.js").read_text("utf-8")
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "DOMParser",
    ):
        assert forbidden not in script
    page = (FOLDER / "index.html").read_text("utf-8")
    assert not re.search(r"\son\w+=|<script(?![^>]*src=)|style=", page)


async def test_the_ids_that_the_script_asks_for_are_in_the_page():
    script = (FOLDER / "page.js").read_text("utf-8")
    page = (FOLDER / "index.html").read_text("utf-8")
    asked = set(re.findall(r'find\("([\w-]+)"\)', script))
    assert asked
    assert asked <= set(re.findall(r'id="([\w-]+)"', page))
