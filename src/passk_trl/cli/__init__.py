"""The `passk-trl` command."""

import argparse
from importlib import import_module


def main() -> None:
    """Entry point of `passk-trl`: hands the rest of the command line to the subcommand's module."""
    parser = argparse.ArgumentParser(prog="passk-trl", description="Pass@k reinforcement learning with TRL.")
    commands = {
        "train": "train a policy for pass@k, under the monitor",
        "probe": "audit a checkpoint: would pass@k training lower its pass@1, and from which k?",
        "report": "one HTML page and figures on a run that is over or still going",
    }
    told = "; ".join(f"{name}: {what}" for name, what in commands.items())
    parser.add_argument("command", choices=list(commands), help=told)
    args, rest = parser.parse_known_args()
    # Imported here, so that `passk-trl --help` does not wait for TRL.
    import_module(f".{args.command}", __name__).main(rest)
