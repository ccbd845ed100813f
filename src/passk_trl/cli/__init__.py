"""The `passk-trl` command and its subcommands."""

import argparse
import sys
from importlib import import_module


def main() -> None:
    """Runs `passk-trl`: passes the rest of the command line to the module of the subcommand."""
    parser = argparse.ArgumentParser(prog="passk-trl", description="Pass@k reinforcement learning with TRL.")
    commands = parser.add_subparsers(dest="command", required=True, title="commands", metavar="COMMAND")
    descriptions = {
        "train": "train a policy for pass@k, with the monitor",
        "probe": "audit a checkpoint: would pass@k training lower its pass@1, and from which k on?",
        "evaluate": "pass@k of a checkpoint with intervals, or of two checkpoints side by side",
        "report": "one HTML page and figures for a run that has ended or is still running",
    }
    for name, description in descriptions.items():
        commands.add_parser(name, help=description, add_help=False)
    args = parser.parse_args(sys.argv[1:2])  # a --help after the command is for the command
    # Imported here, so that `passk-trl --help` does not wait for TRL.
    import_module(f".{args.command}", __name__).main(sys.argv[2:])
