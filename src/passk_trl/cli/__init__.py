"""The `passk-trl` command."""

import argparse
import sys
from importlib import import_module


def main() -> None:
    """Entry point of `passk-trl`: hands the rest of the command line to the subcommand's module."""
    parser = argparse.ArgumentParser(prog="passk-trl", description="Pass@k reinforcement learning with TRL.")
    commands = {
        "train": "train a policy for pass@k, under the monitor",
        "probe": "audit a checkpoint: would pass@k training lower its pass@1, and from which k?",
        "evaluate": "pass@k of a checkpoint with its intervals, or of two side by side",
        "report": "one HTML page and figures on a run that is over or still going",
    }
    told = "; ".join(f"{name}: {what}" for name, what in commands.items())
    parser.add_argument("command", choices=list(commands), help=told)
    args = parser.parse_args(sys.argv[1:2])  # --help after the command is the command's
    # Imported here, so that `passk-trl --help` does not wait for TRL.
    import_module(f".{args.command}", __name__).main(sys.argv[2:])
