"""A sandbox of the user's own: a URL, or a function by its import path."""

import importlib
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from passk_trl.working_dir import importable_working_dir

from .limits import CodeLimits
from .unit_tests import UnitTests


Sandbox = Callable[[str, UnitTests, dict[str, Any]], str]
"""A function from a program, its unit tests and the fields of `CodeLimits` to a verdict."""

VARIABLE = "PASSK_TRL_CODE_SANDBOX"
"""The environment variable that names a sandbox."""

VERDICTS = ("passed", "wrong", "error", "timeout", "memory", "unscorable")
"""What a sandbox may say."""

_PATIENCE = 60.0  # seconds beyond the limits


def sandbox_named(name: str) -> Sandbox:
    """
    The sandbox of a URL, or of an import path such as `my_sandbox.judge`.

    Raises:
        `ValueError`: if it is neither, or what it names cannot be called.
    """
    if "://" in name:
        address = urlsplit(name)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError(f"the sandbox is {name!r}: set {VARIABLE} to a URL such as http://localhost:8000/judge.")
        return lambda program, tests, limits: _asked(name, program, tests, limits)
    module, _, function = name.rpartition(".")
    try:
        with importable_working_dir():  # as for reward functions
            sandbox = getattr(importlib.import_module(module), function)
    except Exception as error:  # the module's own code runs here and may raise anything
        raise ValueError(
            f"the sandbox {name!r} cannot be imported ({type(error).__name__}: {error}): set {VARIABLE} to a URL or "
            "to the path module.function of a function."
        ) from error
    if not callable(sandbox):
        raise ValueError(
            f"the sandbox {name!r} is a {type(sandbox).__name__}: set {VARIABLE} to the path of a function."
        )
    return sandbox


def verdicts_elsewhere(
    sandbox: Sandbox, jobs: list[tuple[str, UnitTests]], limits: CodeLimits, at_once: int | None
) -> list[dict[str, Any]]:
    """
    As [`~passk_trl.rewards.code.workers.verdicts_of`], from a sandbox.

    Raises:
        `RuntimeError`: if the sandbox fails, or says something that is no verdict.
    """

    def verdict(job: tuple[str, UnitTests]) -> dict[str, Any]:
        try:
            said = sandbox(*job, asdict(limits))
        except Exception as error:  # it is the user's
            raise RuntimeError(f"the sandbox for programs fails with {type(error).__name__}: {error}.") from error
        if said not in VERDICTS:
            raise RuntimeError(f"the sandbox for programs said {said!r}: let it say one of {', '.join(VERDICTS)}.")
        return {"verdict": said, "text": ""}

    with ThreadPoolExecutor(max(1, min(at_once or 32, len(jobs)))) as threads:
        return list(threads.map(verdict, jobs))


def _asked(url: str, program: str, tests: UnitTests, limits: dict[str, Any]) -> Any:
    body = json.dumps({"program": program, "tests": tests, "limits": limits}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=limits["seconds"] + _PATIENCE) as reply:
        return json.load(reply)["verdict"]
