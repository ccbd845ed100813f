"""Mathematical equality in a process of its own: the same results and time limits in any thread."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from passk_trl.rewards import accuracy_reward, mathematical


ENDLESS = r"\boxed{9^{9^9}}"  # sympy would count its digits for hours


def in_thread(function, *args):
    """Run a function in a background thread and return what it returned."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*args)))
    thread.start()
    thread.join(timeout=60)
    assert results, "the background thread failed or hangs"
    return results[0]


@pytest.fixture
def empty_caches():
    """No cached results, so that each test makes its own comparisons."""
    mathematical._equality.cache_clear()


def test_accuracy_in_a_background_thread_is_that_of_the_main_thread(empty_caches):
    completions = [r"\boxed{12}", r"\boxed{\frac{2}{4}}", "The answer is 3.", r"\boxed{12}"]
    golds = ["12", "0.5", "4", ""]
    threaded = in_thread(accuracy_reward, completions, golds)
    assert mathematical._process.process.poll() is None
    mathematical._equality.cache_clear()
    assert threaded == accuracy_reward(completions, golds) == [1.0, 1.0, 0.0, None]


@pytest.mark.parametrize("run", [lambda f, *args: f(*args), in_thread], ids=["main thread", "background thread"])
def test_an_endless_expression_is_wrong_after_seconds(run, empty_caches):
    start = time.monotonic()
    assert run(accuracy_reward, [ENDLESS, r"\boxed{12}"], ["12", "12"]) == [0.0, 1.0]
    assert time.monotonic() - start < 30


def test_a_killed_process_is_replaced(empty_caches):
    assert in_thread(accuracy_reward, [r"\boxed{12}"], ["12"]) == [1.0]
    mathematical._process.process.kill()
    mathematical._process.process.wait()
    assert in_thread(accuracy_reward, [r"\boxed{13}"], ["12"]) == [0.0]
    assert mathematical._process.process.poll() is None


def test_a_process_that_is_stopped_is_killed_at_the_time_limit(empty_caches, monkeypatch):
    assert accuracy_reward([r"\boxed{12}"], ["12"]) == [1.0]
    monkeypatch.setattr(mathematical._process, "seconds", 1)
    os.kill(mathematical._process.process.pid, signal.SIGSTOP)  # as sympy, where no signal of its own can end it
    with pytest.warns(UserWarning, match="did not end"):
        assert accuracy_reward([r"\boxed{13}"], ["13"]) == [0.0]
    monkeypatch.undo()
    assert accuracy_reward([r"\boxed{14}", r"\boxed{15}"], ["14", "14"]) == [1.0, 0.0]


def test_the_process_finds_the_package_where_a_script_has_put_it_on_the_path(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, threading\n"
        f"sys.path.insert(0, {str(Path(mathematical.__file__).parents[2])!r})\n"
        "from passk_trl.rewards import accuracy_reward\n"
        "judge = lambda: print(accuracy_reward(['12'], ['12']))\n"
        "thread = threading.Thread(target=judge)\n"
        "thread.start()\n"
        "thread.join()\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env={}, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[1.0]\n"
