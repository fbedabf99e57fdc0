"""What may stand in a line of the log, whoever writes it."""

import json
import subprocess
import sys

import pytest

from service.__main__ import main
from tests.running_service import ROOT

MARK = "MARK7KRAM"

SPEAK = """
import asyncio, logging, sys, threading, warnings
from service.telemetry import logs

MARK = "MARK" + "7KRAM"
logs.configure("DEBUG", sys.argv[1])
own, foreign = logging.getLogger("service.somewhere"), logging.getLogger("pydicom")
own.debug("in my own %s", "words", extra={"fields": {"status": 200}})
foreign.warning("the value %s", MARK)
logging.getLogger("pymongo.command").debug("a document: %s", MARK)
logging.getLogger("service_of_others").warning(MARK)
logging.warning(MARK)
own.info("%d arguments are missing", MARK)
try:
    try:
        raise KeyError(MARK)
    except KeyError as error:
        raise ValueError(MARK) from error
except ValueError:
    own.exception("it failed")
    foreign.exception(MARK)
warnings.warn(MARK)

def fail():
    raise OSError(MARK)

threading.Thread(target=fail).start()

class Fails:
    def __del__(self):
        fail()

Fails()

async def forget():
    async def fails():
        fail()
    asyncio.get_running_loop().call_soon(fail)
    task = asyncio.create_task(fails())
    await asyncio.sleep(0.01)
    del task

asyncio.run(forget(), debug=True)
token = logs.request_id.set("r-1")
own.info("within a request")
raise RuntimeError(MARK)
"""


def speak(form):
    done = subprocess.run(
        [sys.executable, "-c", SPEAK, form], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_message_of_others_and_of_an_exception_is_withheld_and_its_place_told(form):
    told = speak(form)
    assert MARK not in told
    assert "Traceback" not in told
    assert "in my own words" in told
    for kind in ("KeyError", "ValueError", "OSError", "RuntimeError", "UserWarning"):
        assert kind in told
    assert "pydicom" in told
    assert "pymongo" not in told
    assert told.count("message withheld") >= 5
    assert "<string>:" in told


def test_in_json_every_line_is_an_object_with_the_same_beginning():
    lines = [json.loads(line) for line in speak("json").splitlines()]
    assert all(list(line)[:4] == ["time", "level", "logger", "message"] for line in lines)
    assert lines[0]["status"] == 200
    within = [line["message"] for line in lines if line.get("request_id") == "r-1"]
    assert within[0] == "within a request"


def test_a_level_holds_for_the_services_own_messages():
    quiet = SPEAK.replace('"DEBUG"', '"WARNING"')
    done = subprocess.run([sys.executable, "-c", quiet, "text"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "in my own words" not in done.stderr
    assert "it failed" in done.stderr


@pytest.mark.parametrize(
    ("variables", "form"),
    [
        ({}, "json"),
        ({"DEV_MODE": "1"}, "text"),
        ({"LOG_FORMAT": "text"}, "text"),
        ({"DEV_MODE": "1", "LOG_FORMAT": "JSON"}, "json"),
    ],
)
def test_lines_are_for_machines_outside_dev_mode_unless_it_is_said_otherwise(monkeypatch, tmp_path, variables, form):
    class Told(Exception):
        pass

    def configure(_level, chosen):
        assert chosen == form
        raise Told

    monkeypatch.setattr("service.telemetry.logs.configure", configure)
    for name, value in {"JWT_SECRET": "s" * 32, "DATA_DIR": str(tmp_path), **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Told):
        main([])
