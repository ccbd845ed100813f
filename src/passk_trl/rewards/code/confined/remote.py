"""A program as its unit tests see it: names that can be called, in a process of its own.

Only plain values come back, and an object of any other type as a [`Remote`]. It equals itself alone.
"""

import builtins
from collections.abc import Callable
from typing import Any

from .messages import receive, send
from .plain_data import decoded, encoded


class ProgramEnded(BaseException):
    """The program's process has ended or has broken the protocol. No `except Exception` of a unit test hides it."""


class CannotBeAsked(BaseException):
    """A unit test passes what cannot be sent to another process, such as a function of its own."""


class Connection:
    """
    A connection to the process of a program.

    Attributes:
        used (`bool`): whether a unit test has asked something of the program.
        ended (`bool`): whether the process has ended: then nothing that unit tests catch can make it right.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.used = self.ended = False
        self.result(open_objects=False)  # of the program's own text

    def asked(self, request: dict[str, Any], open_objects: bool) -> Any:
        """What the program answers to a request. Raises what it raised, if Python has an exception of that name."""
        self.used = True
        if self.ended:
            raise ProgramEnded
        try:
            send(self._descriptor, request)
        except OSError as error:
            self.ended = True
            raise ProgramEnded from error
        return self.result(open_objects)

    def result(self, open_objects: bool) -> Any:
        """The next answer. Objects in it that are not plain are open or closed [`Remote`]s."""
        try:
            reply = receive(self._descriptor)
            if "raised" not in reply:
                return decoded(reply["returned"], lambda at: Remote(self, {"object": int(at["object"])}, open_objects))
            name, text = str(reply["raised"]), str(reply["text"])
        except Exception as error:  # the program may have written anything
            self.ended = True
            raise ProgramEnded from error
        kind: Callable[[str], BaseException] = getattr(builtins, name, Exception)
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            kind = Exception
        try:
            raised = kind(text)
        except TypeError:  # a UnicodeDecodeError wants more than a text
            raised = Exception(text)
        raised.program_raised = name  # type: ignore[attr-defined]
        raise raised


class Remote:
    """
    A name of a program, or one of its objects that is not plain.

    It is open, so that its attributes can be asked for, if it is a class that the unit tests name or came from one.
    What a function returned is closed: an object must not say itself that it is the right one.
    """

    def __init__(self, connection: Connection, place: dict[str, Any], is_open: bool) -> None:
        self.__connection, self.__place__, self.__is_open = connection, place, is_open

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        request = {
            "of": self.__place__,
            "arguments": [encoded(value, _place_of) for value in arguments],
            "named": {name: encoded(value, _place_of) for name, value in named.items()},
        }
        return self.__connection.asked(request, self.__is_open)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not self.__is_open:
            raise AttributeError(name)
        return self.__connection.asked({"of": self.__place__, "attribute": name}, self.__is_open)


def remote_name(connection: Connection, name: str) -> Remote:
    """A name of a program: a class, by its capital letter, or a function."""
    return Remote(connection, {"name": name}, is_open=name[:1].isupper())


def _place_of(value: Any) -> Any:
    if isinstance(value, Remote):
        return value.__place__
    raise CannotBeAsked(f"an argument is a {type(value).__name__}, which cannot be sent to the program")
