"""Where ready policies are kept."""

import os
from pathlib import Path


def cache_folder(cache_dir: str | os.PathLike | None = None) -> Path:
    """`cache_dir`, or by default `$XDG_CACHE_HOME/passk-trl`, else `~/.cache/passk-trl`."""
    if cache_dir is not None:
        return Path(cache_dir)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "passk-trl"
