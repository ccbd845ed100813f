"""A process that answers in lines of JSON: replaced when it dies, and undisturbed by what is printed in it."""

import os

import pytest

from passk_trl.child_process import ChildProcess


@pytest.fixture
def echo(tmp_path, monkeypatch) -> ChildProcess:
    (tmp_path / "echo.py").write_text(
        "import os, sys\n"
        "from passk_trl.child_process import serve\n"
        "def answer(question):\n"
        "    print('noise')\n"
        "    os.system('echo noise')\n"
        "    if question == 'die':\n"
        "        os._exit(3)\n"
        "    return [question, os.getpid(), os.environ.get('GIVEN'), sys.stdin.read()]\n"
        "serve(answer)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return ChildProcess("echo", GIVEN="this")


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


def test_a_forked_process_has_one_of_its_own(echo):
    parents = echo.ask("one")[1]
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, str(echo.ask("two")[1]).encode())
        os._exit(0)
    assert int(os.read(reading, 100)) != parents
    assert echo.ask("three")[1] == parents
