"""Files that are written whole or not at all, even if the process is killed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


__all__ = ["whole", "write"]


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """
    Yields a path to write to. The file appears at `path` when the block ends, and does not when it raises.

    Args:
        path (`Path`):
            The file to write. Its folder is made if it does not exist.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    yield unfinished
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)


def write(path: Path, text: str) -> None:
    """Writes a text file whole or not at all, in UTF-8."""
    with whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
