"""Worker processes: real ones, really killed."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from service.errors import LimitExceeded, NotDicom, Overloaded, Unavailable, WorkerLost
from service.launch.children import start_child
from service.workers.handle import COMPLAINT_BYTES, start_worker
from service.workers.pool import JobError, OutOfTime, WorkerPool
from service.workers.turns import Turns
from tests.running_service import ROOT
from tests.workers import jobs

PACKAGES = ("service", "tests")


@pytest.fixture
async def pool():
    pool = WorkerPool(size=1, packages=PACKAGES)
    await pool.start()
    yield pool
    await pool.close(grace=0)
    assert pool.process_ids == []


@pytest.fixture
async def pair():
    pool = WorkerPool(size=2, packages=PACKAGES, warm=2)
    await pool.start()
    await asyncio.gather(pool.run(jobs.sleep, 0.2, timeout=5), pool.run(jobs.sleep, 0.2, timeout=5))
    yield pool
    await pool.close(grace=0)


async def until(condition, seconds=10):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it is another process that is waited for
            await asyncio.sleep(0.01)


async def test_a_job_runs_in_another_process_and_its_result_comes_back(pool):
    assert await pool.run(jobs.add, 2, 3, timeout=5) == 5
    assert await pool.run(jobs.process_id, timeout=5) != os.getpid()
    assert pool.finished == 2


async def test_one_process_serves_job_after_job(pool):
    assert await pool.run(jobs.remember, 1, timeout=5) == [1]
    assert await pool.run(jobs.remember, 2, timeout=5) == [1, 2]
    assert pool.restarts == 0


async def test_two_workers_work_at_the_same_time(pair):
    first, second = await asyncio.gather(*(pair.run(jobs.span, 2, timeout=60) for _ in range(2)))
    assert max(first[0], second[0]) < min(first[1], second[1])


async def test_processes_start_when_jobs_need_them():
    pool = WorkerPool(size=2, packages=PACKAGES, warm=0)
    await pool.start()
    assert pool.process_ids == []
    await pool.run(jobs.add, 1, 1, timeout=5)
    await pool.run(jobs.add, 1, 1, timeout=5)
    assert len(pool.process_ids) == 1
    await pool.close()


async def test_modules_are_imported_before_the_first_job():
    pool = WorkerPool(size=1, packages=PACKAGES, modules=("pydicom.uid",))
    await pool.start()
    assert "pydicom.uid" in await pool.run(jobs.modules, timeout=5)
    await pool.close()


async def test_a_module_that_cannot_be_imported_fails_the_job_and_not_the_pool(caplog):
    pool = WorkerPool(size=1, packages=PACKAGES, modules=("service.nowhere",), warm=0)
    await pool.start()
    for _ in range(2):
        with pytest.raises(WorkerLost):
            await pool.run(jobs.add, 1, 1, timeout=5)
    assert "service.nowhere" in caplog.text
    await pool.close()


async def test_the_services_own_errors_come_back_as_they_were_raised(pool):
    with pytest.raises(NotDicom) as caught:
        await pool.run(jobs.raise_not_dicom, "These are not the bytes of a DICOM file.", timeout=5)
    assert caught.value.detail == "These are not the bytes of a DICOM file."
    with pytest.raises(Unavailable) as caught:
        await pool.run(jobs.raise_pending, timeout=5)
    assert caught.value.retry_after == 7


async def test_a_foreign_exception_comes_back_without_the_value_in_its_message(pool):
    with pytest.raises(JobError) as caught:
        await pool.run(jobs.raise_foreign, "MILLER^ANNA", timeout=5)
    assert "ValueError" in str(caught.value)
    assert "raise_foreign" in str(caught.value)
    assert "MILLER" not in str(caught.value)


async def test_sys_exit_and_results_that_cannot_be_sent_are_failures_of_the_job_alone(pool):
    process = await pool.run(jobs.process_id, timeout=5)
    for function in (jobs.leave, jobs.no_plain_data):
        with pytest.raises(JobError):
            await pool.run(function, timeout=5)
    assert await pool.run(jobs.process_id, timeout=5) == process


@pytest.mark.parametrize("function", [jobs.crash, jobs.kill_itself])
async def test_a_crash_is_told_to_its_caller_and_to_nobody_else(pair, function, caplog):
    beside = asyncio.create_task(pair.run(jobs.sleep, 0.5, "unharmed", timeout=5))
    await asyncio.sleep(0.05)
    with pytest.raises(WorkerLost):
        await pair.run(function, timeout=5)
    assert await beside == "unharmed"
    assert pair.restarts == 1
    assert await pair.run(jobs.add, 1, 1, timeout=5) == 2
    if function is jobs.crash:
        assert "in string_at" in caplog.text  # where it crashed


async def test_last_words_are_kept_from_their_beginning_in_however_many_pieces_they_come(monkeypatch):
    speaker = "import os\nfor word in (b'first ', *[b'word '] * 5000, b'last'): os.write(2, word)"
    monkeypatch.setattr(
        "service.workers.handle.start_child",
        lambda *_, **options: start_child(sys.executable, "-S", "-c", speaker, **options),
    )
    process = await start_worker({})
    words = await process.last_words()
    await process.stop()
    assert words.startswith("first word word")
    assert len(words) == COMPLAINT_BYTES


@pytest.mark.parametrize("function", [jobs.sleep, jobs.spin_without_the_interpreter])
async def test_a_job_out_of_time_is_killed_and_its_process_replaced(pool, function):
    process = await pool.run(jobs.process_id, timeout=5)
    began = time.monotonic()
    with pytest.raises(OutOfTime):
        await pool.run(function, 60, timeout=0.3)
    assert time.monotonic() - began < 30  # it would have taken 60
    assert await pool.run(jobs.process_id, timeout=5) != process
    assert not psutil.pid_exists(process)
    assert issubclass(OutOfTime, WorkerLost)


async def test_a_process_killed_while_it_was_idle_costs_no_job(pool):
    process = await pool.run(jobs.process_id, timeout=5)
    os.kill(process, signal.SIGKILL)
    await until(lambda: not psutil.pid_exists(process))
    await asyncio.sleep(0.1)
    assert await pool.run(jobs.add, 1, 1, timeout=5) == 2


async def test_a_job_that_needs_too_much_memory_is_a_limit_and_the_next_one_works():
    pool = WorkerPool(size=1, packages=PACKAGES, memory_bytes=300 << 20)
    await pool.start()
    assert await pool.run(jobs.allocate, 50 << 20, timeout=5) == 50 << 20
    with pytest.raises(LimitExceeded):
        await pool.run(jobs.allocate, 400 << 20, timeout=5)
    assert await pool.run(jobs.allocate, 50 << 20, timeout=5) == 50 << 20
    await pool.close()


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts private memory on Linux only")
async def test_a_file_larger_than_a_workers_memory_can_be_mapped(tmp_path):
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(1 << 30)
    pool = WorkerPool(size=1, packages=PACKAGES, memory_bytes=300 << 20)
    await pool.start()
    assert await pool.run(jobs.read_ends, large, timeout=5) == [1 << 30, 0]
    await pool.close()


async def test_what_a_codec_prints_does_not_reach_the_answers(pool):
    assert await pool.run(jobs.print_everywhere, timeout=5) == "clean"
    assert await pool.run(jobs.add, 1, 1, timeout=5) == 2


async def test_a_full_queue_says_when_to_come_back():
    pool = WorkerPool(size=1, packages=PACKAGES, queue_limit=2)
    await pool.start()
    await pool.run(jobs.add, 1, 1, timeout=5)
    waiting = [asyncio.create_task(pool.run(jobs.sleep, 0.3, timeout=5)) for _ in range(3)]
    await until(lambda: pool.busy == 1)
    assert pool.queued == 2
    with pytest.raises(Overloaded) as caught:
        await pool.run(jobs.add, 1, 1, timeout=5)
    assert caught.value.retry_after >= 1
    await asyncio.gather(*waiting)
    assert await pool.run(jobs.add, 1, 1, timeout=5) == 2
    assert (pool.busy, pool.queued) == (0, 0)
    await pool.close()


async def test_who_comes_second_does_not_wait_for_all_that_the_first_one_wants(pool):
    await pool.run(jobs.add, 1, 1, timeout=5)
    first = [asyncio.create_task(pool.run(jobs.sleep, 0.5, timeout=5, caller="p-1")) for _ in range(8)]
    await until(lambda: pool.busy == 1)
    assert await pool.run(jobs.add, 1, 1, timeout=5, caller="p-2") == 2
    assert pool.queued >= 5
    assert pool.busy == 1  # the process that is one more does nothing for who has one already
    for each in first:
        each.cancel()


async def test_callers_take_turns_and_none_has_every_process_while_others_wait(pair):
    order = []

    async def ask(caller):
        await pair.run(jobs.sleep, 0.1, timeout=5, caller=caller)
        order.append(caller)

    asked = [asyncio.create_task(ask("p-1")) for _ in range(12)]
    await until(lambda: pair.busy == 2)
    asked += [asyncio.create_task(ask(caller)) for _ in range(3) for caller in ("p-2", "p-3")]
    await asyncio.gather(*asked)
    behind = [caller for caller in order if caller != "p-1"]
    assert len(behind) == 6
    assert order.index("p-2") < 8  # two that ran before, and one turn of each
    assert order.index("p-3") < 8
    assert order[-3:] == ["p-1"] * 3  # who wanted the most is served last


async def test_a_full_queue_refuses_whoever_fills_it_and_not_who_comes_then():
    pool = WorkerPool(size=1, packages=PACKAGES, queue_limit=3, warm=0)
    await pool.start()
    first = [asyncio.create_task(pool.run(jobs.sleep, 0.2, number, timeout=5, caller="p-1")) for number in range(4)]
    await until(lambda: pool.busy == 1 and pool.queued == 3)
    others = [asyncio.create_task(pool.run(jobs.sleep, 0.2, timeout=5, caller=caller)) for caller in ("p-2", "p-3")]
    ends = await asyncio.gather(*first, *others, return_exceptions=True)
    await pool.close()
    assert [type(each) for each in ends] == [int, int, Overloaded, Overloaded, type(None), type(None)]


def test_of_those_who_have_the_fewest_the_one_whose_turn_is_longest_ago_is_next():
    turns = Turns()
    for caller, number in (("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("c", 1)):
        turns.add(caller, f"{caller}{number}")
    assert [turns.take({}) for _ in range(4)] == ["a1", "b1", "c1", "a2"]
    assert turns.take({"b": 1}) == "a3"
    assert turns.take({"b": 1}, idle_only=True) is None
    assert turns.remove("b", "b2")
    assert not turns.remove("b", "b2")
    assert len(turns) == 0


def test_what_is_dropped_is_the_newest_of_whom_the_most_wait():
    turns = Turns()
    for caller, number in (("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3), ("c", 1)):
        turns.add(caller, f"{caller}{number}")
    assert turns.drop("c") == "a3"
    assert turns.drop("b") == "b2"  # as many of each: one's own
    assert turns.drop("c") == "a2"


async def test_a_caller_that_gives_up_never_leaves_its_answer_to_the_next(pool):
    await pool.run(jobs.add, 1, 1, timeout=5)
    running = asyncio.create_task(pool.run(jobs.remember_and_sleep, 1, 0.3, timeout=5))
    waiting = asyncio.create_task(pool.run(jobs.remember_and_sleep, 2, 0, timeout=5))
    await until(lambda: pool.busy == 1 and pool.queued == 1)
    running.cancel()
    waiting.cancel()
    assert await pool.run(jobs.add, 20, 3, timeout=5) == 23
    assert await pool.run(jobs.remember, 3, timeout=5) == [1, 3]  # the first one ended, the second never began
    assert (pool.busy, pool.queued, pool.restarts) == (0, 0, 0)


async def test_callers_that_give_up_at_any_moment_leave_a_working_pool(pair):
    for round_ in range(40):
        task = asyncio.create_task(pair.run(jobs.sleep, 0.004, timeout=5))
        await asyncio.sleep(0.0005 * (round_ % 12))
        task.cancel()
    numbers = await asyncio.gather(*(pair.run(jobs.add, number, 0, timeout=5) for number in range(20)))
    assert numbers == list(range(20))
    await until(lambda: pair.busy == 0)
    assert (pair.queued, pair.restarts) == (0, 0)


async def test_a_process_is_replaced_after_its_share_of_jobs():
    pool = WorkerPool(size=1, packages=PACKAGES, jobs_per_worker=2)
    await pool.start()
    processes = [await pool.run(jobs.process_id, timeout=5) for _ in range(4)]
    assert processes[0] == processes[1] != processes[2] == processes[3]
    assert pool.restarts == 0
    await pool.close()


async def test_a_large_answer_does_not_hold_the_event_loop(pool):
    await pool.run(jobs.add, 1, 1, timeout=5)
    steps = []

    async def watch():
        while True:
            before = time.thread_time()  # this thread's own work, whatever else the machine does
            await asyncio.sleep(0.001)
            steps.append(time.thread_time() - before)

    watcher = asyncio.create_task(watch())
    assert len(await pool.run(jobs.many_bytes, 10_000_000, timeout=10)) == 10_000_000
    await asyncio.sleep(0.005)
    watcher.cancel()
    assert max(steps) < 0.05


async def test_only_functions_of_the_project_run(pool):
    for function in (os.getpid, lambda: 1):
        with pytest.raises(ValueError, match="cannot run in a worker"):
            await pool.run(function, timeout=5)
    strict = WorkerPool(size=1)
    with pytest.raises(ValueError, match="cannot run in a worker"):
        await strict.run(jobs.add, 1, 1, timeout=5)


async def test_a_worker_gets_none_of_the_services_secrets_or_files(monkeypatch, tmp_path):
    monkeypatch.setenv("JWT_SECRET", "s" * 32)
    monkeypatch.setenv("MONGODB_URI", "mongodb://user:password@host")
    strangers = WorkerPool(size=1, packages=PACKAGES)
    with (tmp_path / "open").open("wb") as file:
        os.set_inheritable(file.fileno(), True)
        await strangers.start()
    environment, _ = await strangers.run(jobs.surroundings, timeout=5)
    assert not environment.keys() & {"JWT_SECRET", "MONGODB_URI"}
    assert environment["OMP_NUM_THREADS"] == "1"
    if sys.platform == "linux":
        # 0, 1, 2, the two pipes, where a crash is told, and where descriptors come from
        assert len(await strangers.run(jobs.opened_files, timeout=5)) == 7
    await strangers.close()


async def test_close_lets_running_jobs_finish_and_refuses_what_waits():
    pool = WorkerPool(size=1, packages=PACKAGES)
    await pool.start()
    process = await pool.run(jobs.process_id, timeout=5)
    running = asyncio.create_task(pool.run(jobs.sleep, 0.3, "finished", timeout=5))
    await until(lambda: pool.busy == 1)
    waiting = asyncio.create_task(pool.run(jobs.add, 1, 1, timeout=5))
    await until(lambda: pool.queued == 1)
    await pool.close(grace=5)
    assert await running == "finished"
    with pytest.raises(Unavailable):
        await waiting
    with pytest.raises(Unavailable):
        await pool.run(jobs.add, 1, 1, timeout=5)
    assert not psutil.pid_exists(process)


async def test_close_does_not_wait_longer_than_its_grace():
    pool = WorkerPool(size=1, packages=PACKAGES)
    await pool.start()
    process = await pool.run(jobs.process_id, timeout=5)
    running = asyncio.create_task(pool.run(jobs.sleep, 60, timeout=90))
    await until(lambda: pool.busy == 1)
    began = time.monotonic()
    await pool.close(grace=0.2)
    assert time.monotonic() - began < 30  # it would have taken 60
    with pytest.raises(WorkerLost):
        await running
    assert not psutil.pid_exists(process)


async def test_a_pool_closed_while_it_starts_leaves_no_process():
    before = psutil.Process().children()  # a service of other tests has workers too
    for pause in (0, 0.01, 0.1):
        pool = WorkerPool(size=2, packages=PACKAGES, warm=2)
        await pool.start()
        await asyncio.sleep(pause)
        await pool.close(grace=0)
    started = set(psutil.Process().children()) - set(before)
    assert not [child for child in started if "service.workers.child" in child.cmdline()]


async def test_ctrl_c_and_sigterm_to_the_whole_group_leave_workers_to_the_service(pool):
    process = await pool.run(jobs.process_id, timeout=5)
    running = asyncio.create_task(pool.run(jobs.sleep, 0.4, "finished", timeout=5))
    await until(lambda: pool.busy == 1)
    os.kill(process, signal.SIGINT)
    os.kill(process, signal.SIGTERM)
    assert await running == "finished"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a busy worker with its parent")
@pytest.mark.parametrize("moment", ["starting", "idle", "busy"])
def test_workers_die_with_a_service_that_is_killed(moment):
    program = textwrap.dedent(
        f"""
        import asyncio, sys, pathlib
        from service.workers.pool import WorkerPool
        from tests.workers import jobs

        async def main():
            pool = WorkerPool(size=2, packages=("service", "tests"), warm=2)
            await pool.start()
            if {moment!r} != "starting":
                await asyncio.gather(*(pool.run(jobs.sleep, 0.2, timeout=9) for _ in range(2)))
            if {moment!r} == "busy":
                for _ in range(2):
                    asyncio.create_task(pool.run(jobs.sleep, 60, timeout=90))
            while len(pool.process_ids) < 2:
                await asyncio.sleep(0.001)
            print(*pool.process_ids, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT, text=True) as service:
        workers = [psutil.Process(int(number)) for number in service.stdout.readline().split()]
        assert len(workers) == 2
        service.kill()
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert alive == []
