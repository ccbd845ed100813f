"""Imports from the working directory, as those of reward functions by their import path."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


__all__ = ["importable_working_dir"]


@contextmanager
def importable_working_dir() -> Iterator[None]:
    """
    Lets the block import modules of the working directory too. It is searched last, so that no file there takes the
    place of a library's module, and not beyond the block. If Python searches it anyway, nothing changes.
    """
    folder = os.getcwd()
    if folder in sys.path or "" in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        if folder in sys.path:  # what was imported may have changed the path
            sys.path.remove(folder)
