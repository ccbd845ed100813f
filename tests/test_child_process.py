"""A process that answers questions: replaced when it dies, hangs or breaks the protocol, undisturbed by its prints."""

import os
import signal
import time

import pytest

from passk_trl.child_process import ChildProcess


@pytest.fixture
def echo(tmp_path, monkeypatch) -> ChildProcess:
    (tmp_path / "echo.py").write_text(
        "import os, sys, time\n"
        "from passk_trl.child_process import serve\n"
        "print('noise')\n"
        "def answer(question):\n"
        "    print('noise')\n"
        "    os.system('echo noise')\n"
        "    if question == 'die':\n"
        "        os._exit(3)\n"
        "    if question == 'hang':\n"
        "        time.sleep(60)\n"
        "    if question == 'slow':\n"
        "        time.sleep(1)\n"
        "    if question == 'stray':\n"
        "        from multiprocessing.connection import Connection\n"
        "        stray = Connection(int(sys.argv[1]))\n"
        "        stray.send_bytes(b'ANTLR runtime and generated code versions disagree')\n"
        "    if question == 'another':\n"
        "        from multiprocessing.connection import Connection\n"
        "        stray = Connection(int(sys.argv[1]))\n"
        "        stray.send_bytes(b'[0, 1.0]')\n"
        "    return [question, os.getpid(), os.environ.get('GIVEN'), sys.stdin.read()]\n"
        "serve(answer)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return ChildProcess("echo", seconds=2, GIVEN="this")


def test_answers_and_nothing_else_come_back(echo):
    first, second = echo.ask({"é": [1, None]}), echo.ask("two")
    assert first == [{"é": [1, None]}, echo.process.pid, "this", ""]
    assert second == ["two", first[1], "this", ""]
    assert first[1] != os.getpid()


def test_a_process_that_died_is_replaced(echo):
    before = echo.ask("one")[1]
    with pytest.raises(ChildProcessError, match="the process died with status 3"):
        echo.ask("die")
    assert echo.ask("two")[1] != before


@pytest.mark.parametrize("breach", ["stray", "another", "hang"])
def test_a_process_that_breaks_the_protocol_is_killed_and_no_later_answer_is_shifted(echo, breach):
    killed = echo.ask("one")[1]
    start = time.monotonic()
    with pytest.raises(ChildProcessError, match="the process was killed: "):
        echo.ask(breach)
    assert time.monotonic() - start < 30
    with pytest.raises(ProcessLookupError):
        os.kill(killed, 0)
    assert [echo.ask(number)[0] for number in range(3)] == [0, 1, 2]


def test_an_interrupted_question_shifts_no_later_answer(echo):
    def interrupt(number, frame):
        raise KeyboardInterrupt

    echo.ask("one")
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            echo.ask("slow")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [echo.ask(number)[0] for number in range(3)] == [0, 1, 2]


def test_a_forked_process_has_one_of_its_own(echo):
    parents = echo.ask("one")[1]
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, str(echo.ask("two")[1]).encode())
        os._exit(0)
    assert int(os.read(reading, 100)) != parents
    assert echo.ask("three")[1] == parents


@pytest.mark.parametrize("source", ["import no_such_module\n", "print('noise')\n", "import os\nos._exit(0)\n"])
def test_a_process_that_cannot_start_is_an_error_of_its_own(source, tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    broken = ChildProcess("broken", seconds=2)
    for _ in range(2):
        with pytest.raises(
            RuntimeError, match=r"^the process of broken cannot start \(status \d\): run .* -m broken to"
        ):
            broken.ask("one")
