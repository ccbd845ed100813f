"""The `passk-trl` command and its subcommands."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from passk_trl.quiet import silence_libraries


silence_libraries()  # here, since `python -m passk_trl.cli.train` imports TRL before it runs anything of its own


def main() -> None:
    """Runs `passk-trl`: passes the rest of the command line to the module of the subcommand."""
    parser = argparse.ArgumentParser(prog="passk-trl", description="Pass@k reinforcement learning with TRL.")
    commands = parser.add_subparsers(dest="command", required=True, title="commands", metavar="COMMAND")
    descriptions = {
        "train": "train a policy for pass@k, with the monitor",
        "probe": "audit a checkpoint: would pass@k training lower its pass@1, and from which k on?",
        "evaluate": "pass@k of a checkpoint, of two side by side, or of success counts from anywhere, with bands",
        "report": "one HTML page and figures for a run that has ended or is still running",
    }
    for name, description in descriptions.items():
        commands.add_parser(name, help=description, add_help=False)
    command = parser.parse_args(sys.argv[1:2]).command  # a --help after the command is for the command
    # Imported here, so that neither `passk-trl --help` nor what needs no model waits for TRL.
    module = "evaluate_counts" if command == "evaluate" and asks_for_counts(sys.argv[2:]) else command
    import_module(f".{module}", __name__).main(sys.argv[2:])


def asks_for_counts(args: Sequence[str]) -> bool:
    """Whether a command line of `passk-trl evaluate` is of counts, not of checkpoints."""
    return any(argument.split("=")[0] == "--counts" for argument in args)
