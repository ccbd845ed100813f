"""The folder of a program: emptied before each run, and watched, since no limit of the kernel counts all its files."""

import os
import shutil
from contextlib import suppress


MOST_FILES = 1000


def emptied(folder: str) -> None:
    """Removes all that is in a folder. A confined program makes no folders in it; others are removed if possible."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            _remove_tree(entry.path)
        else:
            os.unlink(entry.path)


def removed(folder: str) -> None:
    """Removes a folder, if it is there and can be removed."""
    with suppress(OSError):
        emptied(folder)
        os.rmdir(folder)


def is_full(folder: str, most_mb: int) -> bool:
    """Whether a folder has more than so many megabytes, or more than 1,000 files."""
    size = 0
    for count, entry in enumerate(os.scandir(folder)):
        size += _bytes_of(entry)
        if count >= MOST_FILES or size > most_mb * 2**20:
            return True
    return False


def _bytes_of(entry: os.DirEntry) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_blocks * 512
    except OSError:  # removed since
        return 0


def _remove_tree(path: str) -> None:
    with suppress(RecursionError):
        shutil.rmtree(path, ignore_errors=True)
