"""A sandbox of the user's: a real server, and a function."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from passk_trl.rewards import CodeReward, code_reward
from passk_trl.rewards.code.elsewhere import VARIABLE, sandbox_named
from passk_trl.rewards.code.limits import CodeLimits
from passk_trl.rewards.code.workers import verdicts_of


TESTS = [["assert double(4) == 8"]] * 2
PROGRAMS = ["def double(x): return 2 * x", "def double(x): return x"]


@pytest.fixture
def server():
    """It judges by this package, and keeps what it was asked."""
    asked = []

    class Judge(BaseHTTPRequestHandler):
        def do_POST(self):
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(question)
            (verdict,) = verdicts_of([(question["program"], question["tests"])], CodeLimits(**question["limits"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(verdict).encode())

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("localhost", 0), Judge) as listening:
        Thread(target=listening.serve_forever, daemon=True).start()
        listening.asked = asked
        yield listening
        listening.shutdown()


def test_a_server_judges(server, monkeypatch):
    monkeypatch.setenv(VARIABLE, f"http://localhost:{server.server_port}/judge")
    code_reward.check_before_training(["test_list"])
    assert code_reward(PROGRAMS, test_list=TESTS) == [1.0, 0.0]
    assert {question["program"] for question in server.asked} >= set(PROGRAMS)
    assert server.asked[-1]["tests"]["asserts"] == TESTS[0]
    assert server.asked[-1]["limits"]["seconds"] == 10.0


def test_a_function_judges_by_its_import_path(tmp_path, monkeypatch):
    (tmp_path / "house_sandbox.py").write_text(
        "def judge(program, tests, limits):\n    return 'passed' if '2 * x' in program else 'wrong'\nLEVEL = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    reward = CodeReward(sandbox="house_sandbox.judge")
    reward.check_before_training(["test_list"])
    assert reward(PROGRAMS, test_list=TESTS) == [1.0, 0.0]
    with pytest.raises(ValueError, match=r"'house_sandbox.LEVEL' is a int: set PASSK_TRL_CODE_SANDBOX"):
        sandbox_named("house_sandbox.LEVEL")


@pytest.mark.parametrize(
    ("sandbox", "words"),
    [
        ("ftp://host/judge", "set PASSK_TRL_CODE_SANDBOX to a URL such as"),
        ("no_such_package.judge", "'no_such_package.judge' cannot be imported .*set PASSK_TRL_CODE_SANDBOX"),
        ("judge", "'judge' cannot be imported"),
        ("http://localhost:9/judge", "the sandbox for programs fails with URLError"),
        (lambda *question: "right", "said 'right': let it say one of passed, wrong"),
        (lambda *question: "passed", "says 'passed' of a right program and 'passed' of a wrong one: mend"),
    ],
)
def test_a_bad_sandbox_is_named_before_training(sandbox, words):
    with pytest.raises(ValueError, match=words):
        CodeReward(sandbox=sandbox).check_before_training(["test_list"])
