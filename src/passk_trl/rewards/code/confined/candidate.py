"""The process of a program. It knows the program and the arguments of calls, and nothing of the expected results.

Whatever the program does to this process, all it can do to its verdict is to return values or to end.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from .messages import receive, send
from .plain_data import decoded, encoded


OUT_OF_MEMORY = 113
"""Exit status of a script that ran out of memory."""


def answer_calls(program: str, channel: int) -> int:
    """Runs a program as a module, then answers requests from the channel until it is killed."""
    _standard_streams(None)
    module = ModuleType("program")
    sys.modules["program"] = module  # where dataclasses look for it
    objects: list[Any] = []
    send(channel, _outcome(lambda: exec(compile(program, "<program>", "exec"), vars(module)), objects))
    while True:
        send(channel, _outcome(partial(_answered, receive(channel), module, objects), objects))


def run_script(program: str, channel: int) -> int:
    """Runs a program as a script whose input and output are the channel. Returns its exit status."""
    _standard_streams(channel)
    module = ModuleType("__main__")
    sys.modules["__main__"] = module
    try:
        try:
            exec(compile(program, "<program>", "exec"), vars(module))
        finally:
            sys.stdout.flush()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except MemoryError:
        return OUT_OF_MEMORY
    except BaseException:
        return 1
    return 0


def _standard_streams(channel: int | None) -> None:
    """Opens `sys.stdin` and the others, the first two on the channel if there is one; else they lead nowhere."""
    if channel is not None:
        os.dup2(channel, 0)
        os.dup2(channel, 1)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        stream = open(number, mode, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _answered(request: dict[str, Any], module: ModuleType, objects: list[Any]) -> Any:
    """What a request asks for: an attribute of the module or of an object, or what a call of it returns."""
    target = _target(request["of"], module, objects)
    if "attribute" in request:
        return getattr(target, request["attribute"])

    def object_of(handle: dict[str, Any]) -> Any:
        return _target(handle, module, objects)

    arguments = [decoded(value, object_of) for value in request["arguments"]]
    named = {name: decoded(value, object_of) for name, value in request["named"].items()}
    return target(*arguments, **named)


def _target(handle: dict[str, Any], module: ModuleType, objects: list[Any]) -> Any:
    if "object" in handle:
        return objects[handle["object"]]
    name = handle["name"]
    if not hasattr(module, name) and hasattr(module, "Solution"):
        return getattr(module.Solution(), name)  # where problems ask for a method of a class
    return getattr(module, name)


def _outcome(action: Callable[[], Any], objects: list[Any]) -> dict[str, Any]:
    """What an action returned or raised, in plain data."""

    def handle(value: Any) -> dict[str, Any]:
        objects.append(value)
        return {"object": len(objects) - 1}

    try:
        return {"returned": encoded(action(), handle)}
    except BaseException as error:
        return {"raised": type(error).__name__, "text": _text_of(error)}


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:200]
    except BaseException:
        return ""
