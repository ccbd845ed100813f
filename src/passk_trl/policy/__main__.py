"""`python -m passk_trl.policy PATH`: makes PATH a link to the cached policy, which recipes can then name."""

import argparse
from pathlib import Path

from .from_scratch import cached_policy


def main() -> None:
    """Makes the policy where the cache has none, and the link."""
    parser = argparse.ArgumentParser(prog="python -m passk_trl.policy", description=__doc__)
    parser.add_argument("path", type=Path, help="where to put the link")
    path = parser.parse_args().path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # of an earlier version
    path.symlink_to(cached_policy(), target_is_directory=True)
    print(f"start policy: {path}")


if __name__ == "__main__":
    main()
