"""The workers that run programs: as many at once as asked for, kept between calls, replaced when they die."""

import atexit
import os
import select
import subprocess
import sys
import tempfile
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .confined.folders import removed
from .confined.messages import receive, send
from .limits import CodeLimits
from .unit_tests import UnitTests


# The packages around `confined` are made by hand, so that their own modules, which import torch and more, are not run.
_START = """
import sys, types
name, path = "", sys.argv[2]
for part in ("passk_trl", "rewards", "code"):
    name, path = (name + "." + part).strip("."), path + "/" + part
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [path]
from passk_trl.rewards.code.confined.worker import serve
serve(sys.argv[1])
"""
_SOURCES = str(Path(__file__).parents[3])
# -P -s: neither the working directory nor the user's own packages are searched. Sets have the same order in each run.
_OPTIONS = ("-P", "-s", "-B", "-X", "utf8")
_ENVIRONMENT = {"PYTHONHASHSEED": "0"}

_INSTEAD = "set PASSK_TRL_CODE_SANDBOX to a sandbox of your own"
_PATIENCE = 30.0  # seconds beyond the limits, after which a worker is given up

_idle: list["_Worker"] = []
_lock = threading.Lock()


class _Worker:
    """A worker's process, from the trainer's side."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="passk-trl-program-")
        command = [sys.executable, *_OPTIONS, "-c", _START, self._folder, _SOURCES]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            start_new_session=True,  # Ctrl-C is for the trainer, whose end ends the workers
            cwd="/",
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._verdicts = self._process.stdin.fileno(), self._process.stdout.fileno()

    def verdict(self, program: str, tests: UnitTests, limits: CodeLimits) -> dict[str, Any]:
        """Raises `OSError` or `EOFError` if the worker has died or does not answer."""
        send(self._requests, {"program": program, "limits": asdict(limits)})
        send(self._requests, tests)
        runs = len(tests["inputs"]) if tests["kind"] == "scripts" else 1
        answer = select.poll()
        answer.register(self._verdicts, select.POLLIN)
        if not answer.poll(1000 * ((runs + 1) * limits.seconds + _PATIENCE)):
            raise OSError("the worker does not answer")
        return receive(self._verdicts)

    def end(self) -> None:
        """Ends the process, whose own descendants it ends first if it can."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        removed(self._folder)  # where the worker could not


def verdicts_of(
    jobs: list[tuple[str, UnitTests]], limits: CodeLimits, at_once: int | None = None
) -> list[dict[str, Any]]:
    """
    The verdicts on programs, each with a `text` that says why.

    Args:
        jobs (`list[tuple[str, UnitTests]]`): programs and their unit tests.
        limits ([`CodeLimits`]): what each may use.
        at_once (`int`, *optional*): programs at once; if `None`, one for each processor that this process
            has, or its share where several train on one machine.

    Raises:
        `RuntimeError`: if programs cannot be run or confined here.
    """
    if sys.platform != "linux":
        raise RuntimeError(f"code_reward runs programs on Linux only, and this is {sys.platform}: {_INSTEAD}.")
    at_once = at_once or len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    with ThreadPoolExecutor(max(1, min(at_once, len(jobs)))) as threads:
        verdicts = list(threads.map(lambda job: _verdict(job, limits), jobs))
    for verdict in verdicts:
        if verdict["verdict"] == "refused":
            raise RuntimeError(
                f"code_reward cannot confine programs here ({verdict['text']}): {_INSTEAD}, or "
                "CodeLimits(confined=False) inside a machine that you can lose."
            )
    return verdicts


def _verdict(job: tuple[str, UnitTests], limits: CodeLimits) -> dict[str, Any]:
    for _ in range(2):  # a worker may have died since its last verdict, such as for want of memory
        worker = _idle_worker()
        try:
            verdict = worker.verdict(*job, limits)
        except (OSError, EOFError, ValueError):
            worker.end()
            continue
        if verdict["verdict"] == "refused":
            worker.end()
        else:
            with _lock:
                _idle.append(worker)
        return verdict
    warnings.warn("code_reward: the process that runs programs died twice on one program, which counts as an error.")
    return {"verdict": "error", "text": "the worker died twice"}


def _idle_worker() -> _Worker:
    with _lock:
        if _idle:
            return _idle.pop()
    return _Worker()


def end_workers() -> None:
    """Ends the workers that wait for programs. Later programs get new ones."""
    while _idle:
        _idle.pop().end()


def _forget_workers() -> None:
    global _lock
    _lock = threading.Lock()
    _idle.clear()


atexit.register(end_workers)
# A forked process must not talk to the workers of its parent.
os.register_at_fork(after_in_child=_forget_workers)
