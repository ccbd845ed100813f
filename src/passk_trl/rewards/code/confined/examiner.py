"""The process of the unit tests. It has the expected results and makes every comparison; the program is elsewhere."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from types import CodeType
from typing import Any

from .messages import receive, send
from .remote import CannotBeAsked, Connection, ProgramEnded, remote_name


_LONGEST_OUTPUT = 2**24  # bytes of a script's output
_PATIENCE = 0.2  # seconds for a program that has closed its channel to end


class _NotPassed(Exception):
    """A unit test that the program does not pass, or that cannot be posed."""

    def __init__(self, verdict: str, text: str) -> None:
        self.verdict, self.text = verdict, text


def examine(tests_from: int, channel: int) -> int:
    """
    Reads unit tests from a descriptor, asks the worker at the other end of the channel for processes of the program,
    and tells it the verdict, with no text that could hold an expected result.
    """
    tests = receive(tests_from)
    kinds: dict[str, Callable[..., None]] = {"asserts": _asserts, "calls": _calls, "scripts": _scripts}
    worker = socket.socket(fileno=channel)
    try:
        kinds[tests["kind"]](tests, worker)
    except _NotPassed as end:
        _tell(worker, verdict=end.verdict, text=end.text[:300])
    except CannotBeAsked as error:
        _tell(worker, verdict="unscorable", text=str(error))
    else:
        _tell(worker, verdict="passed", text="")
    return 0


def _asserts(tests: dict[str, Any], worker: socket.socket) -> None:
    """Unit tests as Python: a set-up, then statements that call the program's names."""
    known: dict[str, Any] = {"__name__": "unit_tests"}
    try:
        exec(_compiled(tests["setup"]), known)
        statements = [_compiled(statement) for statement in tests["asserts"]]
    except BaseException as error:
        text = f"the set-up of the unit tests fails: {type(error).__name__}: {error}"
        raise _NotPassed("unscorable", text) from None
    connection = _connected(worker)
    known |= {name: remote_name(connection, name) for name in tests["names"]}
    for number, statement in enumerate(statements, 1):
        with _judging(connection, worker, number):
            exec(statement, known)


def _compiled(source: str) -> CodeType:
    return compile(source, "<unit tests>", "exec", optimize=0)


def _calls(tests: dict[str, Any], worker: socket.socket) -> None:
    """Calls of one function, with the result that is expected of each."""
    connection = _connected(worker)
    function = remote_name(connection, tests["name"])
    for number, (arguments, expected) in enumerate(zip(tests["inputs"], tests["outputs"], strict=True), 1):
        with _judging(connection, worker, number):
            if not _same_result(function(*arguments), expected):
                raise AssertionError


def _scripts(tests: dict[str, Any], worker: socket.socket) -> None:
    """Runs of the program as a script, each with its input and the output that is expected."""
    for number, (given, expected) in enumerate(zip(tests["inputs"], tests["outputs"], strict=True), 1):
        output = _output(_process(worker, "script"), given)
        end, text = _end_of(worker, None)
        if end != "ended":
            raise _NotPassed(end, f"unit test {number}: {text}")
        if not _same_output(output.decode("utf-8", "replace"), expected):
            raise _NotPassed("wrong", f"unit test {number}: another output")


@contextmanager
def _judging(connection: Connection, worker: socket.socket, number: int) -> Iterator[None]:
    """Turns what a unit test raises into a verdict, and the end of the program too if the unit test has caught it."""
    raised: BaseException | None = None
    try:
        yield
    except CannotBeAsked:
        raise
    except BaseException as error:
        raised = error
    if connection.ended:
        raise _ended_early(worker)
    if raised is not None:
        if not connection.used:
            text = f"unit test {number} fails by itself: {type(raised).__name__}: {raised}"
            raise _NotPassed("unscorable", text)
        raise _not_passed(raised, f"unit test {number}")


def _not_passed(error: BaseException, where: str) -> _NotPassed:
    name = getattr(error, "program_raised", None)
    if name is not None:
        return _NotPassed("memory" if name == "MemoryError" else "error", f"{where}: {name}: {error}")
    if isinstance(error, AssertionError):
        return _NotPassed("wrong", f"{where} does not hold")
    return _NotPassed("error", f"{where} fails on a result with {type(error).__name__}")


def _connected(worker: socket.socket) -> Connection:
    try:
        return Connection(_process(worker, "calls"))
    except ProgramEnded:
        raise _ended_early(worker) from None
    except Exception as error:
        raise _not_passed(error, "the program itself") from None


def _ended_early(worker: socket.socket) -> _NotPassed:
    end, text = _end_of(worker, _PATIENCE)
    return _NotPassed("error" if end == "ended" else end, f"{text} before its unit tests were done")


def _process(worker: socket.socket, kind: str) -> int:
    """The channel to a new process of the program. The worker kills the one before."""
    _tell(worker, start=kind)
    _, (descriptor,), _, _ = socket.recv_fds(worker, 1, 1)
    return descriptor


def _end_of(worker: socket.socket, patience: float | None) -> tuple[str, str]:
    """
    How the process of the program ended: `"ended"` if well, else a verdict. The worker waits for its end for so many
    seconds, or until the time of the run is up.
    """
    _tell(worker, end=patience)
    end, text = receive(worker.fileno())
    return end, text


def _tell(worker: socket.socket, **message: Any) -> None:
    send(worker.fileno(), message)


def _output(channel: int, given: str) -> bytes:
    """What a script writes until it ends, while it is fed its input."""
    program = socket.socket(fileno=channel)

    def feed() -> None:
        try:
            program.sendall(given.encode("utf-8", "surrogateescape"))
            program.shutdown(socket.SHUT_WR)
        except OSError:  # it reads no more
            pass

    threading.Thread(target=feed, daemon=True).start()
    parts, size = [], 0
    try:
        while part := program.recv(2**16):
            parts.append(part)
            size += len(part)
            if size > _LONGEST_OUTPUT:
                raise _NotPassed("error", f"the output is longer than {_LONGEST_OUTPUT} bytes")
    except ConnectionResetError:  # it ended without reading all of its input
        pass
    return b"".join(parts)


def _same_result(result: Any, expected: Any) -> bool:
    """
    Whether a function's result is the expected one: a tuple is as good as a list, and the expected result may be in a
    list of its own.

    Source: the tests of APPS (arXiv 2105.09938), github.com/hendrycks/apps, eval/testing_util.py.
    """
    result = _with_lists(result)
    return result == expected or (isinstance(expected, list) and len(expected) == 1 and result == expected[0])


def _with_lists(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_with_lists(item) for item in value]
    return {str(key): _with_lists(item) for key, item in value.items()} if isinstance(value, dict) else value


def _same_output(output: str, expected: str) -> bool:
    """Whether two outputs have the same lines, but for white space and for how numbers are written."""
    ours, theirs = ([line.split() for line in text.strip().splitlines()] for text in (output, expected))
    return ours == theirs or (
        len(ours) == len(theirs) and all(_same_numbers(one, other) for one, other in zip(ours, theirs, strict=True))
    )


def _same_numbers(ours: list[str], theirs: list[str]) -> bool:
    if ours == theirs:
        return True
    try:
        return [Decimal(word) for word in ours] == [Decimal(word) for word in theirs]
    except InvalidOperation:
        return False
