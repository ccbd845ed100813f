"""Makes a link to a ready policy, which recipes can then name. The policy is made where the cache has none.

python -m passk_trl.policy outputs/quickstart/policy        # the quickstart's, trained here in a minute
python -m passk_trl.policy smollm2 outputs/smollm2/policy   # SmolLM2-135M-Instruct, from a Python package
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from .from_scratch import cached_policy
from .smollm2 import cached_smollm2


_POLICIES: dict[str, Callable[[], Path]] = {"quickstart": cached_policy, "smollm2": cached_smollm2}


def main() -> None:
    """Makes the policy where the cache has none, and the link."""
    parser = argparse.ArgumentParser(
        prog="python -m passk_trl.policy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", choices=_POLICIES, default="quickstart", help="which policy")
    parser.add_argument("path", type=Path, help="where to put the link")
    args = parser.parse_args()
    if args.path.exists() and not args.path.is_symlink():
        parser.error(f"{args.path} exists and is no link: set path to where nothing is.")
    try:
        policy = _POLICIES[args.name]()
    except (ImportError, OSError) as error:
        sys.exit(f"passk_trl.policy: {error}")
    args.path.parent.mkdir(parents=True, exist_ok=True)
    args.path.unlink(missing_ok=True)  # of an earlier version
    args.path.symlink_to(policy, target_is_directory=True)
    print(f"start policy: {args.path}")


if __name__ == "__main__":
    main()
