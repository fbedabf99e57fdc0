"""The memory of a service: hidden from others of its user. Nothing is from root: these tests are nobody."""

import subprocess
import sys
import textwrap

import pytest

from tests.running_service import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux hides memory")

NOBODY = 65534
LOOKING = textwrap.dedent(
    f"""
    import ctypes, os, sys
    from service.launch.kernel import hide_memory

    def drop_root():
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid({NOBODY})
            os.setuid({NOBODY})
        # Whoever changes its user is hidden for that; here only what is asked for shall count.
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)

    def look(pid):
        for name in ("environ", "mem"):
            try:
                os.close(os.open(f"/proc/{{pid}}/{{name}}", os.O_RDONLY))
                print(name, "open", flush=True)
            except PermissionError:
                print(name, "closed", flush=True)

    ready, done = os.pipe(), os.pipe()
    service = os.fork()
    if service == 0:
        drop_root()
        if sys.argv[1] == "hidden":
            assert hide_memory()
        os.write(ready[1], b".")
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    worker = os.fork()
    if worker == 0:
        drop_root()
        look(service)
        os._exit(0)
    os.waitpid(worker, 0)
    os.write(done[1], b".")
    os.waitpid(service, 0)
    """
)


@pytest.mark.parametrize(("how", "fate"), [("hidden", "closed"), ("as it is", "open")])
def test_another_process_of_the_same_user_reads_neither_environment_nor_memory_of_one_that_hides_them(how, fate):
    told = subprocess.run([sys.executable, "-c", LOOKING, how], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.split("\n")[:2] == [f"environ {fate}", f"mem {fate}"]


@pytest.mark.parametrize(
    "start",
    [
        "import service.__main__ as it; it.main(['--port', '-1'])",
        "import service.launch.server_process as it\ntry: it.main(0, 0)\nexcept EOFError: pass",
        "import argparse, service.commands.console as it\n"
        "it.run_command(argparse.Namespace(data_dir='', mongodb_database=''), {'MAX_UPLOAD_BYTES': 'x'}, None)",
    ],
    ids=["a service or a supervisor", "one of several", "a command"],
)
def test_whoever_has_secrets_hides_its_memory_before_it_reads_them(start):
    program = f"{start}\nimport ctypes; print('dumpable', ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert told.stdout.endswith("dumpable 0\n")
