"""The `passk-trl` command."""

import argparse


def main() -> None:
    """Entry point of `passk-trl`: hands the rest of the command line to the subcommand's module."""
    parser = argparse.ArgumentParser(prog="passk-trl", description="Pass@k reinforcement learning with TRL.")
    parser.add_argument("command", choices=["train"], help="train: train a policy for pass@k, under the monitor")
    args, rest = parser.parse_known_args()
    if args.command == "train":
        # Imported here, so that `passk-trl --help` does not wait for TRL.
        from .train import main as train

        train(rest)
