"""Files and folders that are written whole or not at all, even if the process is killed."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from passk_trl.withheld import text_without_secrets


__all__ = ["whole", "whole_folder", "write"]


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
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)  # which a full disk has no room for
        raise


def write(path: Path, text: str) -> None:
    """Writes a text file whole or not at all, in UTF-8, without what looks like a secret."""
    with whole(path) as unfinished:
        unfinished.write_text(text_without_secrets(text), encoding="utf-8")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """
    Yields the path of a folder to make. It appears at `path` when the block ends, and does not when it raises.

    If another process has written `path` meanwhile, that folder is kept, because others may already use it.

    Args:
        path (`Path`):
            The folder to write. Its parent folder is made if it does not exist.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as building:
        unfinished = Path(building) / path.name
        yield unfinished
        try:
            unfinished.rename(path)
        except OSError:
            if not path.is_dir():
                raise
