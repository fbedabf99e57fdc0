"""A worker that was taken over: what it says, what it can do, and that neither reaches anybody else."""

import asyncio
import gc
import json
import os
import pickle
import re
import socket
import sys
import time
import weakref

import pytest

from service.dicom.limits import Limits
from service.errors import NotDicom, WorkerLost
from service.workers.confinement import REFUSED_CALLS, readable_paths
from service.workers.messages import (
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_HEAD_BYTES,
    Stretch,
    Unreadable,
    convert,
    fill,
    pack,
    read_head,
)
from service.workers.pool import LARGEST_ANSWER, WorkerPool
from tests.running_service import ROOT
from tests.workers import jobs

PACKAGES = ("service", "tests")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are of Linux")

# A pickle that makes every text a token: pickle's BUILD sets attributes of a class that it names.
TAKE_OVER = (
    b"\x80\x04\x8c\x06resultcservice.auth.tokens\nAuthenticator\nN}\x8c\x06verify"
    b"cservice.auth.tokens\nClaims\ns\x86b0}\x86."
)


def message(head, blobs=b""):
    head = head if isinstance(head, bytes) else json.dumps(head).encode()
    return len(head).to_bytes(4, "big") + head + blobs


def nested(depth):
    return b'{"value": ' + b"[" * depth + b"]" * depth + b', "blobs": []}'


@pytest.fixture
async def pool():
    pool = WorkerPool(size=1, packages=PACKAGES)
    await pool.start()
    yield pool
    await pool.close(grace=0)


SAID = {
    "a pickle": TAKE_OVER,
    "a pickle of the length that pickles had": len(TAKE_OVER).to_bytes(8, "big") + TAKE_OVER,
    "a pickle as a message": message(TAKE_OVER),
    "a nest of tuples as a pickle": message(pickle.dumps((((((),),),),))),
    "a deep nest": message(nested(MAX_DEPTH)),
    "a nest as deep as a head has room": message(nested(MAX_HEAD_BYTES // 2 - 20)),
    "more parts than any answer has": message(b'{"value": [' + b"[]," * MAX_CONTAINERS + b'[]], "blobs": []}'),
    "an over-long length": (1 << 31).to_bytes(4, "big"),
    "a blob that is longer than any answer": message({"value": [], "blobs": [LARGEST_ANSWER + 1]}),
    "blobs that are too long together": message({"value": [], "blobs": [LARGEST_ANSWER // 2 + 1] * 2}),
    "a blob of no bytes": message({"value": [], "blobs": [-1]}),
    "no JSON": message(b"{" * 4),
    "no head": message([1, 2]),
    "a head with more in it": message({"value": [], "blobs": [], "more": 1}),
    "a whole number of a million digits": message(b'{"value": ' + b"1" * 1_000_000 + b', "blobs": []}'),
    "half a character": message(b'{"value": ["\\ud800"], "blobs": []}'),
    "nothing that a job says": message({"value": None, "blobs": []}),
}


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
async def test_what_is_no_answer_costs_its_caller_a_worker_and_nobody_else_anything(pool, said, caplog):
    await pool.run(jobs.add, 1, 1, timeout=5)
    asked = asyncio.create_task(pool.run(jobs.say, said, timeout=20))
    longest = 0.0
    while not asked.done():
        before = time.thread_time()  # this thread's own work, whatever else the machine does
        await asyncio.sleep(0.001)
        longest = max(longest, time.thread_time() - before)
    with pytest.raises(WorkerLost, match="cannot be read"):
        await asked
    assert "an answer that cannot be read" in caplog.text
    assert longest < 0.2
    assert await pool.run(jobs.add, 1, 1, timeout=5) == 2


@pytest.mark.parametrize("said", [b"", b"\0", b"\0\0\0\x08", message({"value": [], "blobs": [100]}, b"ten bytes.")])
async def test_an_answer_that_is_cut_short_is_a_lost_worker(pool, said):
    with pytest.raises(WorkerLost, match="in the middle"):
        await pool.run(jobs.say_and_end, said, timeout=20)
    assert await pool.run(jobs.add, 1, 1, timeout=5) == 2


async def test_no_answer_sets_anything_of_the_service(pool):
    from service.auth.tokens import Authenticator

    verify = Authenticator.verify
    for raw in (TAKE_OVER, message(TAKE_OVER)):
        with pytest.raises(WorkerLost):
            await pool.run(jobs.say, raw, timeout=20)
    assert Authenticator.verify is verify


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (jobs.returns_a_number, "5"),
        (jobs.returns_a_number, None),
        (jobs.returns_a_number, True),
        (jobs.returns_a_number, [5]),
        (jobs.returns_a_picture, {}),
        (jobs.returns_a_picture, b"png"),
        (jobs.returns_a_picture, {"data": b"", "width": 1, "kind": "gif"}),
        (jobs.returns_a_picture, {"data": "Kg==", "width": 1}),
        (jobs.returns_bytes, "sizes"),
    ],
)
async def test_a_result_of_another_type_than_the_job_returns_is_none(pool, function, value):
    value = {"sizes": [1]}[value] if value == "sizes" else value
    told = jobs.returns_bytes if function is jobs.returns_bytes else function
    wanted = list[jobs.Picture] if function is jobs.returns_bytes else None
    with pytest.raises(WorkerLost, match="cannot be read"):
        await pool.run(told, value, timeout=5, returns=wanted)
    assert await pool.run(jobs.add, 1, 1, timeout=5) == 2


@pytest.mark.parametrize(
    "value",
    [
        ["raised", ["Unauthorized", "x", None]],  # an error that no job raises
        ["raised", ["SystemExit", "x", None]],
        ["raised", ["NotDicom"]],
        ["raised", "NotDicom"],
        ["failed", "MILLER^ANNA\nis what it read"],  # the log holds places in the program, and no value
        ["failed", None],
        ["result"],
        ["elsewhere", 1],
    ],
)
async def test_an_answer_of_no_kind_is_none(pool, value, caplog):
    with pytest.raises(WorkerLost, match="cannot be read"):
        await pool.run(jobs.say_value, value, timeout=20)
    assert "MILLER" not in caplog.text


@pytest.mark.parametrize("function", [jobs.say_of_another_job, jobs.say_without_its_blob])
async def test_an_answer_to_another_job_or_without_its_bytes_is_none(pool, function):
    with pytest.raises(WorkerLost, match="cannot be read"):
        await pool.run(function, timeout=20)


async def test_the_log_of_a_fault_names_the_place_in_the_worker(pool, caplog):
    with pytest.raises(Exception, match="raise_foreign"):
        await pool.run(jobs.raise_foreign, "MILLER^ANNA", timeout=5)
    assert re.search(r"builtins\.ValueError\n(.*\n)*.*jobs\.py:\d+ in raise_foreign", caplog.text)
    assert "MILLER" not in caplog.text


def test_what_is_packed_is_what_is_read():
    value = ["é", -1, 1.5, None, True, {"a": [b"one", b""], "b": {}}, [b"two"]]
    packed = pack(value)
    head, sizes = read_head(packed.head[4:])
    assert sizes == [3, 0, 3]
    assert fill(head, packed.blobs) == value


@pytest.mark.parametrize("value", [object(), lambda: 1, {1}, [{"a": int}]])
def test_only_plain_data_goes_back(value):
    with pytest.raises(TypeError):
        pack(value)


def test_a_type_is_what_was_asked_for_and_no_subclass_of_it_or_likeness():
    with pytest.raises(Unreadable):
        convert({"start": 1}, Stretch)
    with pytest.raises(Unreadable):
        convert("Kg==", bytes)


async def test_arguments_arrive_as_the_types_of_the_function(pool):
    picture = jobs.Picture(b"x", 1, window=(40.0, 400.0))
    told = ["Limits", "Picture", "b'x'", "(40.0, 400.0)"]
    assert await pool.run(jobs.takes_types, Limits(), picture, timeout=5) == told
    assert await pool.run(jobs.calls, jobs.add, 2, 3, timeout=5) == 5


async def test_a_file_is_handed_over_and_an_empty_one_too(pool, tmp_path):
    for content in (b"", b"content"):
        path = tmp_path / "file"
        path.write_bytes(content)
        assert await pool.run(jobs.read_ends, path, timeout=5) == [len(content), content[-1] if content else None]
    with pytest.raises(FileNotFoundError):
        await pool.run(jobs.read_ends, tmp_path / "nowhere", timeout=5)
    assert await pool.run(jobs.read_ends, path, timeout=5) == [7, ord("t")]
    assert pool.restarts == 0


async def test_bytes_go_where_the_caller_wants_them(pool):
    taken = bytearray(30)

    def sink(start, piece):
        taken[start : start + len(piece)] = piece

    stretches = await pool.run(jobs.returns_bytes, [10, 0, 20], timeout=5, sink=sink, returns=list[Stretch])
    assert stretches == [Stretch(0, 10), Stretch(10, 0), Stretch(10, 20)]
    assert taken == b"\0" * 10 + b"\2" * 20


async def test_a_sink_that_takes_no_more_is_told_to_its_caller_and_costs_no_worker(pool):
    def full(*_):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        await pool.run(jobs.returns_bytes, [3 << 20, 10], timeout=5, sink=full, returns=list[Stretch])
    assert await pool.run(jobs.add, 1, 1, timeout=5) == 2
    assert pool.restarts == 0


async def test_neither_an_answer_nor_an_error_is_kept_by_the_pool(pool):
    await pool.run(jobs.add, 1, 1, timeout=5)
    gc.collect()
    gc.disable()
    try:
        picture = jobs.Picture(b"x" * 999, 1)
        made = await pool.run(jobs.returns_a_picture, picture, timeout=5)
        await asyncio.sleep(0)
        holders = [each for each in gc.get_referrers(made) if each is not sys._getframe()]
        assert holders == []
        fate = None
        try:
            await pool.run(jobs.raise_not_dicom, "no", timeout=5)
        except NotDicom as error:
            fate = weakref.ref(error)
        await asyncio.sleep(0)
        assert fate() is None  # no circle holds it, and with it what it was about
    finally:
        gc.enable()


def attempts(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    own = os.getpid()
    return {
        "reads the environment of the service": ("read", f"/proc/{own}/environ"),
        "reads the memory of the service": ("read", f"/proc/{own}/mem"),
        "reads its own memory": ("read", "/proc/self/mem"),
        "reads a file of the service": ("read", str(secret)),
        "reads the users": ("read", "/etc/passwd"),
        "lists the directory of the project": ("list", os.getcwd()),  # noqa: PTH109
        "writes a file": ("write", str(tmp_path / "new")),
        "overwrites a file": ("write", str(secret)),
        "overwrites the program": ("write", jobs.__file__),
        "removes a file": ("remove", str(secret)),
        "changes a mode": ("mode", str(secret)),
        "runs a program": ("run",),
        "signals the service": ("signal", own),
        "attaches to the service": ("attach", own),
        "limits the service": ("limit", own),
        "opens a socket": ("socket",),
    }


@LINUX
@pytest.mark.parametrize("how", ["attempt", "forked"])
async def test_a_worker_can_do_nothing_but_its_work(pool, tmp_path, how):
    """As root too: neither Landlock nor seccomp knows an exception."""
    asked = attempts(tmp_path)
    became = {what: await pool.run(getattr(jobs, how), *each, timeout=5) for what, each in asked.items()}
    assert {what: fate for what, fate in became.items() if fate not in ("EACCES", "EPERM")} == {}
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert await pool.run(getattr(jobs, how), "connect", server.getsockname()[1], timeout=5) == "EPERM"
    assert (tmp_path / "secret").read_text() == "x"


@LINUX
async def test_a_worker_does_its_work_confined(pool):
    assert await pool.run(jobs.attempt, "read", jobs.__file__, timeout=5) == "done"
    assert await pool.run(jobs.attempt, "read", os.__file__, timeout=5) == "done"
    assert await pool.run(jobs.attempt, "read", os.devnull, timeout=5) == "done"
    assert await pool.run(jobs.forked, "read", os.__file__, timeout=5) == "done"


@LINUX
async def test_the_log_says_once_what_confines_workers(caplog):
    caplog.set_level("INFO")
    pool = WorkerPool(size=2, packages=PACKAGES, warm=2)
    await pool.start()
    await asyncio.gather(*(pool.run(jobs.sleep, 0.2, timeout=5) for _ in range(2)))
    await pool.close()
    told = [record for record in caplog.records if "confined" in record.message]
    assert len(told) == 1
    assert re.fullmatch(r"workers are confined by Landlock \d+ and seccomp", told[0].message)


@LINUX
async def test_a_kernel_without_them_is_told_as_a_warning(caplog):
    caplog.set_level("INFO")
    pool = WorkerPool(size=1)
    pool._tell([])
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_worker_may_read_packages_and_never_the_directory_that_they_stand_in():
    root = str(ROOT)
    paths = {str(path) for path in readable_paths(PACKAGES)}
    assert f"{root}/service" in paths
    assert not paths & {root, "/", str(ROOT.parent)}


@pytest.mark.parametrize("machine", [0, 1])
def test_no_call_is_named_twice(machine):
    numbers = [each[machine] for each in REFUSED_CALLS.values() if each[machine] is not None]
    assert len(set(numbers)) == len(numbers)
