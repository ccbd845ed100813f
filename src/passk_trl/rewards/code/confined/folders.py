"""The folder of a program: emptied before each run, and watched, since no limit of the kernel counts all its files."""

import os
import shutil


MOST_FILES = 1000


def folder_name(pid: int) -> str:
    """The name of the folder where the programs of the worker `pid` may write."""
    return f"passk-trl-program-{pid}"


def emptied(folder: str) -> None:
    """Removes all that is in a folder."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def is_full(folder: str, most_mb: int) -> bool:
    """Whether a folder has more than so many megabytes, or more than 1,000 files and folders."""
    size = count = 0
    for path, folders, files in os.walk(folder):
        count += len(folders) + len(files)
        size += sum(_bytes_of(os.path.join(path, name)) for name in files)
        if count > MOST_FILES or size > most_mb * 2**20:
            return True
    return False


def _bytes_of(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:  # removed since
        return 0
