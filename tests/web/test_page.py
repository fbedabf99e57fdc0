"""The pages: ours alone, and nothing in them that a file could turn into markup."""

import asyncio
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from runpy import run_path

import pytest

from service.web.static_files import FILES, FOLDER, MODULES

STATIC = [path for path in sorted(FOLDER.rglob("*")) if path.is_file()]
SCRIPTS = [path.relative_to(FOLDER).as_posix() for path in STATIC if path.suffix == ".js"]
KEEPS = "page/session.js"
"""The one script that keeps something: the session of a link, so that a reload is not another opening."""

MAKE_NAMES = Path(__file__).resolve().parents[2] / "scripts" / "dev" / "make_uid_names.py"

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html"),
        ("/s", "text/html"),
        ("/docs", "text/html"),
        *((f"/static/{name}", kind) for name, kind in FILES.items()),
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
    for file in STATIC:
        name = file.relative_to(FOLDER).as_posix()
        path = {"index.html": "/", "docs.html": "/docs"}.get(name, f"/static/{name}")
        assert (await service.ask("GET", path)).body == file.read_bytes()


async def test_nothing_comes_from_elsewhere():
    for file in STATIC:
        text = file.read_text("utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?://|//[a-z]+\.", text), file.name


@pytest.mark.parametrize("script", SCRIPTS)
async def test_what_comes_from_elsewhere_is_put_in_as_text(script):
    text = (FOLDER / script).read_text("utf-8")
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "DOMParser",
        "localStorage",
        *(["sessionStorage"] if script != KEEPS else []),
        "document.cookie",
    ):
        assert forbidden not in text


@pytest.mark.parametrize("page", ["index.html", "docs.html"])
async def test_a_page_has_neither_scripts_nor_styles_within_it(page):
    markup = (FOLDER / page).read_text("utf-8")
    assert not re.search(r"\son\w+=|<script(?![^>]*src=)|style=", markup)


@pytest.mark.parametrize(
    ("page", "scripts"),
    [("index.html", [script for script in SCRIPTS if script != "docs.js"]), ("docs.html", ["docs.js"])],
)
async def test_the_ids_that_the_scripts_ask_for_are_in_the_page(page, scripts):
    text = "".join((FOLDER / script).read_text("utf-8") for script in scripts)
    asked = set(re.findall(r'\bfind\("([\w-]+)"[,)]', text))
    assert asked
    assert asked <= set(re.findall(r'id="([\w-]+)"', (FOLDER / page).read_text("utf-8")))


class Words(HTMLParser):
    """The words in a page's markup: texts, and attributes that are read to somebody."""

    def __init__(self):
        super().__init__()
        self.found, self.named = [], set()
        self.inside = ""

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        for name, value in attrs:
            if name in {"aria-label", "title", "placeholder", "alt"} and value:
                self.found.append(value)
            if name in {"data-text", "data-label", "data-title", "data-hint", "data-picture"}:
                self.named.add(value)

    def handle_data(self, data):
        if self.inside != "title" and re.search(r"[^\W\d_]", data):
            self.found.append(data.strip())


async def test_the_page_can_be_translated_in_one_file():
    parser = Words()
    parser.feed((FOLDER / "index.html").read_text("utf-8"))
    assert parser.found == ["DICOM document store"]  # its name
    text = (FOLDER / "page" / "text.js").read_text("utf-8")
    words = text[text.index("export const words") :]
    assert parser.named == set(re.findall(r"^  (\w+): ", words, re.MULTILINE))
    for script in SCRIPTS:
        if script not in {"docs.js", "page/text.js", "page/uids.js"}:
            code = re.sub(
                r"//[^\n]*|/\*.*?\*/|new Error\([^)]*\)", "", (FOLDER / script).read_text("utf-8"), flags=re.DOTALL
            )
            assert not re.findall(r"[\"'`][A-Z][a-z]+ [a-z][^\"'`]*[\"'`]", code), script


async def test_the_page_fetches_its_modules_at_once_and_not_one_after_another():
    fetched = set(
        re.findall(r'"modulepreload" href="/static/page/(\w+)\.js"', (FOLDER / "index.html").read_text("utf-8"))
    )
    assert fetched == set(MODULES) - {"uids"}  # which is asked for with the first tags


async def test_the_names_of_uids_are_those_of_the_dictionary():
    assert (FOLDER / "page" / "uids.js").read_text("utf-8") == run_path(str(MAKE_NAMES))["make_module"]()


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
