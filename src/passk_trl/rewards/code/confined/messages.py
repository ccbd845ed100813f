"""Messages between processes: a length in four bytes, then JSON."""

import json
import os
from typing import Any


LARGEST = 64 * 2**20
"""Bytes of the largest message that is read. A larger one is refused before any of it is read."""


def send(descriptor: int, message: Any) -> None:
    """Writes a message whole."""
    payload = json.dumps(message).encode()
    data = memoryview(len(payload).to_bytes(4, "big") + payload)
    while data:
        data = data[os.write(descriptor, data) :]


def receive(descriptor: int) -> Any:
    """
    Reads one message and not a byte more.

    Raises:
        `EOFError`: if the other end has closed.
        `ValueError`: if the message is too large or is not JSON.
    """
    length = int.from_bytes(_exactly(descriptor, 4), "big")
    if length > LARGEST:
        raise ValueError(f"a message of {length} bytes is too large")
    return json.loads(_exactly(descriptor, length))


def _exactly(descriptor: int, count: int) -> bytes:
    parts = []
    while count:
        part = os.read(descriptor, min(count, 2**20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
