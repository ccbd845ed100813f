"""Workers: they are kept, replaced when they die, shared by threads, and refuse where nothing can be confined."""

import os
import signal
import tempfile
import threading

import pytest

from passk_trl.rewards.code import workers
from passk_trl.rewards.code.limits import CodeLimits
from passk_trl.rewards.code.unit_tests import unit_tests_of
from programs import SQUARE, descendants, verdict_on


RIGHT = "def square(x): return x * x"
JOB = (RIGHT, unit_tests_of(SQUARE))


@pytest.fixture(autouse=True)
def no_workers():
    workers.end_workers()
    yield
    workers.end_workers()


def test_no_more_programs_run_at_once_than_asked_for():
    assert {each["verdict"] for each in workers.verdicts_of([JOB] * 40, CodeLimits(), at_once=3)} == {"passed"}
    assert len(workers._idle) == 3
    workers.verdicts_of([JOB] * 8, CodeLimits(), at_once=2)
    assert len(workers._idle) == 3


def test_a_killed_worker_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(descendants())
    assert verdict_on(RIGHT) == "passed"
    (worker,) = set(descendants()) - before
    os.kill(worker, signal.SIGKILL)
    assert verdict_on(RIGHT) == "passed"
    workers.end_workers()
    assert list(tmp_path.iterdir()) == []


def test_what_a_worker_prints_is_no_part_of_a_verdict(monkeypatch):
    noisy = workers._START.replace(
        "serve(sys",
        "from passk_trl.rewards.code.confined import worker\n"
        "judge = worker._verdict_on\n"
        "worker._verdict_on = lambda *given: print('noise', flush=True) or judge(*given)\n"
        "serve(sys",
    )
    monkeypatch.setattr(workers, "_START", noisy)
    before = set(descendants())
    assert [verdict_on(RIGHT), verdict_on("def square(x): return x"), verdict_on(RIGHT)] == [
        "passed",
        "wrong",
        "passed",
    ]
    assert len(set(descendants()) - before) == 1  # none was replaced


def test_a_folder_that_somebody_cleans_away_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert verdict_on(RIGHT) == "passed"
    (folder,) = tmp_path.iterdir()
    folder.rmdir()
    assert verdict_on(RIGHT) == "passed"
    workers.end_workers()
    assert list(tmp_path.iterdir()) == []


def test_threads_share_the_workers():
    found = []
    judging = [threading.Thread(target=lambda: found.append(verdict_on(RIGHT))) for _ in range(6)]
    for thread in judging:
        thread.start()
    for thread in judging:
        thread.join(timeout=60)
    assert found == ["passed"] * 6


def test_a_forked_process_has_workers_of_its_own():
    assert verdict_on(RIGHT) == "passed"
    pid = os.fork()
    if pid == 0:
        os._exit(0 if workers._idle == [] and verdict_on(RIGHT) == "passed" else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert verdict_on(RIGHT) == "passed"


def test_where_nothing_can_be_confined_programs_are_refused_unless_that_is_wanted(monkeypatch):
    without = workers._START.replace(
        "serve(sys",
        "from passk_trl.rewards.code.confined import confinement, landlock\n"
        "def refuse(*a): raise OSError('this kernel has no Landlock')\n"
        "landlock.ruleset = confinement.deny_system_calls = refuse\n"
        "serve(sys",
    )
    monkeypatch.setattr(workers, "_START", without)
    with pytest.raises(RuntimeError, match=r"cannot confine programs here .*Landlock.*: set PASSK_TRL_CODE_SANDBOX"):
        workers.verdicts_of([JOB], CodeLimits())
    assert verdict_on(RIGHT, limits=CodeLimits(confined=False)) == "passed"
    daemon = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0: time.sleep(60)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    ) + RIGHT
    before = set(descendants())
    assert verdict_on(daemon, limits=CodeLimits(confined=False, seconds=3)) == "passed"
    assert len(set(descendants()) - before) == 0
