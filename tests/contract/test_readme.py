"""README and docs: what they tell people to type works, in the shells that people have."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from tests.running_service import ROOT

PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]+))?\)")
README, SHARING = [BLOCK.findall((ROOT / page).read_text("utf-8")) for page in ("README.md", "docs/sharing.md")]


def of_kind(kind, page=README):
    return [text for name, text in page if name == kind]


def anchors(text):
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_part(shown, whole):
    """Whether a JSON value is another one, of which some was left out."""
    if isinstance(shown, dict):
        return all(name in whole and is_part(value, whole[name]) for name, value in shown.items())
    if isinstance(shown, list):
        return len(shown) == len(whole) and all(map(is_part, shown, whole))
    return shown == whole


def run(command, text, tmp_path):
    done = subprocess.run(command, input=text, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def directory(tmp_path):
    """A directory in which the commands can run: they write a picture."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.mark.parametrize("shell", [("sh",), ("bash", "-i"), ("zsh", "-i")], ids=" ".join)
def test_the_commands_of_the_readme_do_what_it_says(shell, service, directory):
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not here")
    start, *blocks = of_kind("sh")
    assert start == "./scripts/serve\n"
    typed = "".join(f"{block}\necho; echo ---\n" for block in blocks).replace("http://127.0.0.1:8000", service.url)
    output = run([*shell], typed, directory).split("---\n")
    answers = [json.loads(text) for text in output if text.lstrip().startswith("{")]
    shown = [json.loads(text) for text in of_kind("json")]
    assert len(shown) == len(answers) == 2
    assert shown[0] == answers[0]
    assert is_part(shown[1], answers[1])
    assert (directory / "ct.png").read_bytes().startswith(b"\x89PNG")


def test_the_python_of_the_readme_does_the_same(service, directory):
    (code,) = of_kind("python")
    printed = run([sys.executable, "-"], code.replace("http://127.0.0.1:8000", service.url), directory)
    assert printed.splitlines() == ["CT", "['CT_small.dcm']"]
    assert (directory / "ct.png").read_bytes().startswith(b"\x89PNG")


def answers_in(output):
    """What stands in an output, one JSON value after another."""
    found, decoder = [], json.JSONDecoder()
    while output := output.lstrip():
        value, end = decoder.raw_decode(output)
        found.append(value)
        output = output[end:]
    return found


def test_the_commands_of_the_page_on_sharing_do_what_it_says(service, directory):
    upload = next(block for block in of_kind("sh") if "$STORE/dicom" in block)
    # What an operator does is tried in tests/commands/test_share.py.
    blocks = [block for block in of_kind("sh", SHARING) if "scripts/" not in block]
    typed = "\n".join([upload, *blocks, 'curl -s -H "access-token: $GUEST" $STORE/dicom'])
    output = run(["sh"], typed.replace("http://127.0.0.1:8000", service.url), directory)
    found, studies, listed, shown, inbox_id, waiting, accepted, declined, ended = answers_in(output)
    made, inbox = (json.loads((directory / name).read_text()) for name in ("share.json", "inbox.json"))
    (hit,) = found["instances"]
    assert (hit["fields"]["PatientID"]["value"], found["storage"]) == ("1CT1", None)
    assert [each["0020000D"]["Value"][0] for each in studies] == made["studies"]
    assert (directory / "shared.png").read_bytes().startswith(b"\x89PNG")
    assert [each["share_id"] for each in listed["shares"]] == [made["share_id"]]
    assert (shown["opens"], shown["label"]) == (1, "for Dr Lang")
    assert [each["inbox_id"] for each in waiting["files"]] == [inbox_id]
    assert accepted == {"accepted": {inbox_id: hit["dicom_id"]}, "declined": [], "left": 0}
    assert declined == {"accepted": {}, "declined": [], "left": 0}
    assert ended["status"] == 401
    assert inbox["state"] == "open"


def test_the_python_of_the_page_on_sharing_reads_a_share_by_a_client_that_knows_nothing_of_it(service, directory):
    service.upload(Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes(), "p-17")
    (code,) = of_kind("python", SHARING)
    printed = run([sys.executable, "-"], code.replace("http://127.0.0.1:8000", service.url), directory)
    assert printed == "['CT'] 32768\n"


@pytest.mark.parametrize("page", PAGES)
def test_no_block_for_a_shell_has_a_comment_which_an_interactive_zsh_takes_for_a_command(page):
    for kind, text in BLOCK.findall((ROOT / page).read_text("utf-8")):
        assert kind != "sh" or not re.search(r"(^|\s)#", text), text


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_and_a_heading_leads_there(page):
    here = ROOT / page
    for target, anchor in LINK.findall(here.read_text("utf-8")):
        if not target.startswith("http"):
            there = (here.parent / target).resolve() if target else here
            assert there.exists(), target
            assert not anchor or anchor in anchors(there.read_text("utf-8")), f"{target}#{anchor}"
