"""Child processes: ended in two steps, started again at growing intervals, and gone with whoever started them."""

import asyncio
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from service.launch.children import BACK_OFF_SECONDS, BackOff, end_child, start_child
from tests.running_service import ROOT

SLEEPER = (sys.executable, "-S", "-c", "print(1, flush=True); import time; time.sleep(60)")
DEAF = (
    sys.executable, "-S", "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)",
)  # fmt: skip


async def started(command):
    child = await start_child(*command, stdout=asyncio.subprocess.PIPE)
    await child.stdout.readline()
    return child


async def test_a_child_that_ends_when_it_is_asked_is_not_killed():
    child = await started(SLEEPER)
    await end_child(child, 10)
    assert child.returncode == -signal.SIGTERM


async def test_a_child_that_does_not_end_when_it_is_asked_is_killed():
    child = await started(DEAF)
    await end_child(child, 0.1)
    assert child.returncode == -signal.SIGKILL


async def test_a_paused_child_sees_the_request():
    child = await started(SLEEPER)
    child.send_signal(signal.SIGSTOP)
    await end_child(child, 10)
    assert child.returncode == -signal.SIGTERM


async def test_ending_a_child_that_has_ended_is_nothing():
    child = await started((sys.executable, "-S", "-c", "print(1)"))
    await child.wait()
    await end_child(child, 10)
    assert child.returncode == 0


def test_the_wait_grows_with_each_death_and_begins_anew_after_a_life():
    back_off = BackOff(settled=30)
    assert [back_off.after(1) for _ in range(8)] == [*BACK_OFF_SECONDS, BACK_OFF_SECONDS[-1], BACK_OFF_SECONDS[-1]]
    assert back_off.deaths == 8
    assert (back_off.after(31), back_off.deaths) == (BACK_OFF_SECONDS[0], 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
@pytest.mark.parametrize("signal_name", ["SIGKILL", "SIGTERM"])
def test_a_child_ends_with_a_parent_that_is_killed(signal_name):
    program = textwrap.dedent(
        f"""
        import asyncio, signal
        from service.launch.children import start_child

        async def main():
            child = await start_child({sys.executable!r}, "-S", "-c", "import time; time.sleep(60)",
                                      ending=signal.{signal_name})
            print(child.pid, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        # It asks the kernel before it becomes the program.
        for _ in range(200):
            if "-c" in child.cmdline() and "-I" not in child.cmdline():
                break
            time.sleep(0.01)
        parent.kill()
    assert psutil.wait_procs([child], timeout=5)[1] == []
